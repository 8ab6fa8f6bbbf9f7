/*
 * Sockets below the transports: raw IP, ICMP, packets of a network interface. They ride on the datagrams' machinery.
 * What differs is here: how they are opened, which part of a packet is the message, and which packets are not for us.
 */
#ifndef TNI_NET_RAW_H
#define TNI_NET_RAW_H

#include "net/addr.h"

#include <stdint.h>

enum tni_raw_kind {
	TNI_RAW_NONE,
	TNI_RAW_IP,
	TNI_RAW_ICMP,   /* a ping socket where one may be had and will do, otherwise a raw one */
	TNI_RAW_PACKET, /* AF_PACKET */
};

struct tni_raw_spec {
	enum tni_raw_kind kind;
	bool serving;
	int protocol; /* of IP; of packets the EtherType */
	bool frames;  /* packets with the header of their link */
};

/* A protocol's number from its number or name (icmp, tcp, ...; of packets: all, ip, arp, ipv6, ...), or -EINVAL. */
int tni_raw_protocol(enum tni_raw_kind kind, const char *text);

/* How many bytes its longest message may have. */
#define TNI_RAW_MAX 65535

/* Opens a socket, non-blocking, close-on-exec. Returns it, or -errno;
 * the detail names the privilege that is lacking. */
int tni_raw_open(const struct tni_raw_spec *spec, int family);

/* The address of an interface to bind to: its name, or "*" for every one. -ENODEV. */
int tni_raw_interface(struct tn_addr *addr, const char *name, int protocol);

/* The address of a neighbour on the interface that `at` is bound to: aa:bb:cc:dd:ee:ff. -EINVAL. */
int tni_raw_neighbour(struct tn_addr *addr, const struct tn_addr *at, const char *text);

/* What is to be known of an open socket. */
struct tni_raw;

/*
 * Looks at an open socket, which was opened as `kind` or inherited (TNI_RAW_NONE). `to`: the one that a packet
 * socket, or one that is not connected, talks to; or NULL. `netns`: the network that it was made in (net/netns.h), or
 * NULL; it must stay. Sets NULL where nothing is to be known: of datagrams and ping sockets. Returns 0 or -ENOMEM.
 */
int tni_raw_new(int fd, enum tni_raw_kind kind, bool connected, const struct tn_addr *to, const char *netns,
		struct tni_raw **out);
void tni_raw_free(struct tni_raw *raw);

/* Whom a packet socket sends to without being told; NULL: the kernel knows. */
const struct tn_addr *tni_raw_to(const struct tni_raw *raw);

/*
 * Narrows what was received to the message. False: it is not for this socket (another's answer, or what it has itself
 * sent to its own machine).
 */
bool tni_raw_take(struct tni_raw *raw, const struct tn_addr *from, const void **data, size_t *len);

/* Completes a message that is about to be sent: the checksum of ICMP, which raw sockets leave to us. */
void tni_raw_give(struct tni_raw *raw, const struct tn_addr *to, unsigned char *data, size_t len);

#endif
