/*
 * TCP put together again: from packets, in whatever order they were captured, to the bytes of each connection's two
 * directions, in order and once. What is missing is said where it would have stood. Memory is bounded.
 */
#ifndef PACKET_STREAMS_H
#define PACKET_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packet;
struct streams;

enum stream_end {
	STREAM_FINISHED, /* both sides have ended */
	STREAM_RESET,
	STREAM_REUSED, /* a new connection begins between the same ports */
	STREAM_LET_GO, /* for lack of memory */
	STREAM_OVER,   /* the capture has ended */
};

/* One connection. Side 0 is the one that opened it or, when nobody saw it do so, that was heard first. */
struct stream {
	uint64_t id; /* from 1 */
	uint8_t ip;  /* 4 or 6 */
	unsigned char addr[2][16];
	uint16_t port[2];
	bool joined;  /* its beginning was not captured */
	int reset_by; /* the side that has reset it: in close(), with STREAM_RESET */
	void *data;   /* yours; NULL at first */
};

/* `from`: the side that has sent it. `ns`: when what is told of was captured. None may call streams_packet(). */
struct stream_ops {
	void (*open)(void *arg, struct stream *stream, uint64_t ns);
	void (*data)(void *arg, struct stream *stream, int from, uint64_t ns, const void *data, uint32_t len);
	void (*gap)(void *arg, struct stream *stream, int from, uint64_t ns, uint32_t missing);
	void (*end)(void *arg, struct stream *stream, int from, uint64_t ns);
	void (*close)(void *arg, struct stream *stream, uint64_t ns, enum stream_end why); /* the last of it */
	/* A segment without bytes that is pushed (PSH), where nothing before it is missing: --record writes a message
	 * of no bytes so. */
	void (*empty)(void *arg, struct stream *stream, int from, uint64_t ns);
};

struct streams_counts {
	uint64_t streams, out_of_order, retransmitted, overlapping;
	uint64_t conflicting;   /* overlapping segments that say different things: the first one heard counts */
	uint64_t outside;       /* segments that are nowhere near where the stream is */
	uint64_t missing_bytes; /* told as gaps */
	uint64_t let_go;        /* connections */
};

/* `ops` must stay; `seed` makes the table's order unknown to those who make up connections. Returns 0 or -ENOMEM. */
int streams_new(struct streams **streams, const struct stream_ops *ops, void *arg, size_t memory_max, uint64_t seed);

/* Takes what one packet adds; one that is not TCP is not looked at. Returns 0 or -ENOMEM. */
int streams_packet(struct streams *streams, const struct packet *packet, uint64_t ns);

/* What you keep for a stream in all, in bytes: counts against the maximum too. */
void streams_hold(struct streams *streams, struct stream *stream, size_t bytes);

/* The capture has ended: hands over what waits, and closes every stream. */
void streams_over(struct streams *streams, uint64_t ns);

const struct streams_counts *streams_counted(const struct streams *streams);
size_t streams_memory(const struct streams *streams);

/* Frees all, without telling anybody: after streams_over(). */
void streams_free(struct streams *streams);

#endif
