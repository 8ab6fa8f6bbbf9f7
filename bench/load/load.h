/*
 * The bare load generator: a closed loop of echo messages over many connections from one thread, measured and checked.
 *
 * main.c    options, connections, the report          lane.c   what one connection owes and is owed, whatever moves its
 * bytes epoll.c   moves the bytes with epoll                uring.c  moves the bytes with io_uring      hold.c   only
 * holds connections tls.c     TLS on a connection, and handshakes alone
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "hist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum proto { PROTO_TCP, PROTO_UNIX, PROTO_UDP, PROTO_TLS, PROTO_WS };
enum framing { FRAMING_NONE, FRAMING_LINE, FRAMING_U32 };
enum engine { ENGINE_AUTO, ENGINE_EPOLL, ENGINE_URING };
enum phase { PHASE_WARMUP, PHASE_COUNT, PHASE_DRAIN, PHASE_OVER };

enum {
	PERIOD = 4093,          /* the pattern repeats after a prime: no buffer or page size hides a shift */
	WRITE_MAX = 256 * 1024, /* bytes handed to one send */
	BULK_SIZE = 4096,       /* messages this large are bulk */
	CHECK_EVERY = 1000,     /* messages from one that is compared byte by byte to the next */
	HEADER_SIZE = 8,        /* of a datagram: its slot and its number */
	WAIT_MS = 10,           /* the longest sleep: phases change and lost datagrams are looked for this often */
	LOST_MS = 100,
	DRAIN_MS = 2000,
};

struct options {
	enum proto proto;
	const char *host, *port; /* or host = path */
	unsigned conns, depth;
	size_t size;    /* of a message as it travels: its frame is part of it */
	size_t payload; /* without it */
	enum framing framing;
	double duration_s, warmup_s;
	bool spin, ack, hold, handshakes, resume, deflate;
	enum engine engine;
};

/* One datagram that is under way. */
struct slot {
	uint64_t due_ns, sent_ns; /* first time, and last time if it had to be sent again */
	uint32_t number;
};

struct lane {
	int fd;
	struct ssl_st *ssl; /* NULL: plain */
	bool sending, receiving, dead;
	uint32_t base;           /* where in the pattern this lane's stream starts */
	uint64_t due, sent, got; /* positions in its stream: may be sent, handed to the kernel, echoed */
	uint64_t end, check;     /* where the message being received ends; where the next one to compare starts */
	size_t in_flight;        /* bytes of a send that has not completed (io_uring) */
	unsigned oldest;         /* streams: index into due_ns of the message being received */
	uint64_t *due_ns;
	struct slot *slots; /* datagrams */
	char *messages;     /* datagrams: one for every slot */
	uint64_t answered;
};

struct load {
	struct options options;
	struct lane *lanes;
	enum phase phase;
	uint64_t now_ns, until_ns, begin_ns, end_ns, retry_ns;
	uint64_t messages, total, errors, lost, late;
	struct rusage usage_begin, usage_end;
	int pattern_fd; /* the pattern as a file, for sendfile */
	bool uring;     /* what moved the bytes */
	struct hist hist;
};

/* lane.c */
extern char load_pattern[PERIOD + WRITE_MAX];
extern unsigned load_period;
void pattern_fill(const struct options *options);
uint64_t clock_now_ns(void);
void load_fail(struct load *load, const char *what, int error);
void load_start(struct load *load);
bool load_over(struct load *load);
void load_phases(struct load *load); /* the same where no lanes are to be waited for */
void lane_open(struct load *load, struct lane *lane, unsigned index);
void lane_die(struct load *load, struct lane *lane, const char *what, int error);
size_t lane_owes(const struct lane *lane);
size_t lane_offset(const struct lane *lane);
void lane_take(struct load *load, struct lane *lane, const char *data, size_t len);
int lane_take_datagram(struct load *load, struct lane *lane, const char *data, size_t len);
unsigned load_find_lost(struct load *load, void (*resend)(struct load *, struct lane *, unsigned slot));

/* main.c */
int lane_connect(const struct options *options);

void run_epoll(struct load *load);
bool run_uring(struct load *load); /* false: the system refuses the ring, nothing was done */
int hold_conns(const struct options *options);

/* tls.c: the client's end of a connection that is there, handshake done; then as send(2) and recv(2). */
struct ssl_st *tls_connect(int fd);
ssize_t tls_send(struct ssl_st *ssl, const char *data, size_t len);
ssize_t tls_recv(struct ssl_st *ssl, char *data, size_t len);
void run_handshakes(struct load *load);

static inline bool is_datagram(const struct load *load)
{
	return load->options.proto == PROTO_UDP;
}

static inline char *slot_message(const struct load *load, const struct lane *lane, unsigned slot)
{
	return lane->messages + slot * load->options.size;
}

#endif
