/* What a probe is on an endpoint. */
#ifndef TENON_PING_PROBE_H
#define TENON_PING_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_loop;

/* The times of one that was answered. */
struct answer {
	uint64_t sent_ns, came_ns;
	uint64_t lookup_ns;    /* PROBE_CONNECT, by name: how long the lookup took, before sent_ns; otherwise 0 */
	uint64_t connected_ns; /* PROBE_CONNECT, secured: when the handshake began; otherwise 0 */
	size_t bytes;
	bool damaged;
	const char *from; /* URL */
};

/* What a probe and its answer are. */
enum probe_kind {
	PROBE_ECHO,    /* an ICMP echo request */
	PROBE_MESSAGE, /* a message, to which one is replied */
	PROBE_PING,    /* a ping of WebSocket, which the protocol answers */
	PROBE_CONNECT, /* getting connected, the handshake included where it is secured */
};

/* Who sends probes, and is told what becomes of them. */
struct probe_user {
	/* `number` 0: any probe, the oldest that is waited for. A number that was never sent is to be ignored. */
	void (*answered)(uint64_t number, const struct answer *answer);
	void (*left)(uint64_t number, uint64_t ns); /* when it was really sent */
	void (*failed)(uint64_t number, int err);   /* no answer can come: a code, with its words in tn_errmsg() */
	void (*failed_all)(int err);                /* the same for all that are waited for */
};

struct probing {
	struct tn_loop *loop;
	const char *url;
	enum probe_kind kind;
	size_t size; /* payload of a message */
	const struct probe_user *user;
};

/*
 * Begins. fn(err) is called once the first connection is open (0), or has failed. PROBE_CONNECT has nothing to wait
 * for.
 */
int probe_begin(const struct probing *probing, void (*fn)(int err));

/* Sends the probe of this number; the user is told what becomes of it. */
void probe_send(uint64_t number);

/* This probe is no longer waited for. */
void probe_forget(uint64_t number);

/* After the loop has been freed. */
void probe_end(void);

#endif
