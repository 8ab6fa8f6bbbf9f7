/*
 * Packets that were never on a wire: what passes in a session, written as the IP packets of a TCP connection or of
 * datagrams, so that every program that reads captures can read it. Pure.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEAD_MAX 60     /* IPv6 and TCP */
#define WIRE_DATA_MAX 65495u /* what one packet can carry behind headers: of TCP over IPv4 */
#define WIRE_CLIENT 0
#define WIRE_SERVER 1

enum { WIRE_FIN = 1, WIRE_SYN = 2, WIRE_RST = 4, WIRE_PSH = 8, WIRE_ACK = 16 };

struct wire {
	uint8_t ip;     /* 4 or 6 */
	bool datagrams; /* UDP; otherwise TCP */
	unsigned char addr[2][16];
	uint16_t port[2];
	uint32_t seq[2]; /* the next of each side */
};

/* Makes up IPv4 addresses for ends that have none (Unix sockets): loopback, and ports, by the session's number. */
void wire_make_up(struct wire *wire, uint64_t number);

/*
 * Writes the headers of a packet from one side, which carries `data`, and counts what it takes of the sequence. `out`
 * has WIRE_HEAD_MAX bytes; `flags` are of TCP. Returns their length.
 */
size_t wire_head(struct wire *wire, int from, unsigned flags, const void *data, size_t len, unsigned char *out);

#endif
