/* The parts of `tenon ping`: what is counted (ping.c) and what a probe is on an endpoint (ping_probe.c). */
#ifndef TENON_PING_H
#define TENON_PING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_loop;

/* What a probe and its answer are. */
enum probe_kind {
	PROBE_ECHO,    /* an ICMP echo request */
	PROBE_MESSAGE, /* a message, to which one is replied */
	PROBE_CONNECT, /* getting connected, the handshake included where it is secured */
};

struct probing {
	struct tn_loop *loop;
	const char *url;
	enum probe_kind kind;
	size_t size; /* payload of a message */
};

/* Begins: fn(err) is called once the first connection stands (0), or has failed.
 * PROBE_CONNECT has nothing to wait for. */
int probe_begin(const struct probing *probing, void (*fn)(int err));

/* Sends the probe of this number; what becomes of it is told by the functions below. */
void probe_send(uint64_t number);

/* Nobody waits for this one any more. */
void probe_forget(uint64_t number);

/* After the loop has been freed. */
void probe_end(void);

/* ---- told by probes ---- */

/* The times of one that was answered. */
struct answer {
	uint64_t sent_ns, came_ns;
	uint64_t lookup_ns;    /* PROBE_CONNECT, by name: how long it was looked up, before sent_ns; otherwise 0 */
	uint64_t connected_ns; /* PROBE_CONNECT, secured: when the handshake began; otherwise 0 */
	size_t bytes;
	bool damaged;
	const char *from; /* URL */
};

/* 0: any one, the oldest that is waited for. A number that nobody sent is ignored. */
void ping_answered(uint64_t number, const struct answer *answer);

/* When it really left. */
void ping_left(uint64_t number, uint64_t ns);

/* It cannot be answered any more: an error code, with its words in tn_errmsg(). */
void ping_failed(uint64_t number, int err);

/* All that are waited for have failed. */
void ping_failed_all(int err);

/* The last that was sent. */
uint64_t ping_latest(void);

uint64_t ping_clock_ns(void);

#endif
