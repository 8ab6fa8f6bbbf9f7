/* What the load's packets go through: the interface and its limits. */
#ifndef TENON_BENCH_PATH_H
#define TENON_BENCH_PATH_H

#include <stdbool.h>

struct tn_conn;

/* What does not apply or is not known is 0, "" or -1. */
struct path {
	char interface[16];
	unsigned mtu; /* of the path, as far as the kernel knows it: bytes of a packet */
	unsigned mss; /* TCP: bytes of a segment that is sent */
	/* The interface's: larger packets are handed over and cut (tso: segments of TCP, by the hardware; gso: by the
	 * kernel, late) or put together (gro) */
	int tso, gso, gro;
};

/* Looks at an open connection. */
void path_look(const struct tn_conn *conn, struct path *path);

#endif
