/*
 * Sockets that share an address (SO_REUSEPORT) are a group. One of them leaves it to the others: what has reached it is
 * still taken, what is new goes to them.
 */
#ifndef TNI_NET_GROUP_H
#define TNI_NET_GROUP_H

#include <stdbool.h>
#include <stdint.h>

/* All that is new goes to one socket of the group, by its place there; while there is none, to all as before. False:
 * this kind of socket cannot do it (MPTCP). */
bool tni_group_steer(int fd, unsigned place);

/* To all of the group again: they are the others', once this socket is closed. */
void tni_group_unsteer(int fd);

/* A socket of datagrams gets nothing more that is new. Nothing can be sent from it any more. */
void tni_group_retire(int fd);

/* The least time to live that a socket takes, of IPv4 and IPv6. */
struct tni_least_ttl {
	int ttl, hops;
};

/*
 * A listener takes no SYN any more; handshakes that have begun go on. A client whose SYN comes all the same sends it
 * again after a second (RFC 6298 2.1), and finds the others. What is accepted from then on needs
 * tni_group_admit(), with what is written to `before`.
 */
void tni_group_refuse_syn(int fd, struct tni_least_ttl *before);
void tni_group_admit(int fd, const struct tni_least_ttl *before);

/* Whether SYNs have been dropped since the last call, which `seen` is about. */
bool tni_group_missed(int fd, uint32_t *seen);

#endif
