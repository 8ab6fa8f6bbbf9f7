/*
 * Datagrams in batches: what one recvmmsg(2) brought, and the bounded queue of what one sendmmsg(2) will take. The
 * queue keeps each datagram as one record (head, address, bytes) so that sending points into it and copies nothing.
 */
#ifndef TNI_NET_DGRAM_H
#define TNI_NET_DGRAM_H

#include "io/loop.h"
#include "net/addr.h"

#include <netinet/in.h>
#include <string.h>

#define TNI_BATCH 64

/* The largest payload of a UDP datagram over IPv4 (IPv6: 65527, which nobody's stack sends unasked). */
#define TNI_DGRAM_MAX 65507

/* The largest Unix datagram that is sent and accepted: what a receive buffer of the batch holds. */
#define TNI_UNIX_DGRAM_MAX 65536

/*
 * Room for what a socket tells of a datagram beside it: its hops, the length of those that the kernel has joined, and
 * the address it was sent to. An IPv6 socket tells the latter twice of an IPv4 datagram.
 */
struct tni_told {
	_Alignas(struct cmsghdr) unsigned char bytes[3 * CMSG_SPACE(sizeof(int)) +
						     CMSG_SPACE(sizeof(struct in_pktinfo)) +
						     CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* The same for what it is told when it sends. */
struct tni_tell {
	_Alignas(struct cmsghdr) unsigned char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* Receiving: one per loop, shared by all its datagram sockets, since a batch is handed over before the next comes. */
struct tni_batch {
	struct mmsghdr v[TNI_BATCH];
	struct iovec iov[TNI_BATCH];
	struct tn_addr addr[TNI_BATCH];
	struct tni_told control[TNI_BATCH];
	unsigned char data[];
};

/* Sending: one per socket, since it stays in use while the socket cannot take more. */
struct tni_outbox {
	struct mmsghdr v[TNI_BATCH];
	struct iovec iov[TNI_BATCH];
	struct tni_tell control[TNI_BATCH];
	struct tni_mmsg mm;
};

/* The loop's batch, made on first use; NULL without memory. */
struct tni_batch *tni_batch_of(struct tn_loop *loop);

/* What came last, so many datagrams, has been handed over: it is ready for recvmmsg(2) again. */
static inline void tni_batch_prepare(struct tni_batch *batch, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		batch->v[i].msg_hdr.msg_namelen = sizeof(batch->addr[i].bytes);
		batch->v[i].msg_hdr.msg_controllen = sizeof(batch->control[i].bytes);
	}
}

/* A UDP socket tells from now on how many hops each datagram could still go. Returns how many its own get. */
unsigned tni_dgram_tell_hops(int fd);

unsigned tni_dgram_find_hops(const struct msghdr *msg);

/* What it told of this one; 0: nothing. Of IPv4 it is what was told first. */
static inline unsigned tni_dgram_hops(const struct msghdr *msg)
{
	const struct cmsghdr *first = msg->msg_control;
	int hops;

	if (msg->msg_controllen < CMSG_LEN(sizeof(hops)) || first->cmsg_len != CMSG_LEN(sizeof(hops)) ||
	    first->cmsg_level != IPPROTO_IP || first->cmsg_type != IP_TTL)
		return tni_dgram_find_hops(msg);
	memcpy(&hops, CMSG_DATA(first), sizeof(hops));
	return (unsigned)hops;
}

/*
 * A socket that is bound to no address of its own tells from now on to which address each datagram was sent. Returns
 * whether it does: one that is bound to an address need not, and other families than IP's cannot.
 */
bool tni_dgram_tell_local(int fd);

/* The port that no other socket of this host can have; 0: there is none, or others may share it. */
int tni_dgram_own_port(int fd);

/* What was told of where a datagram was sent to (tni_dgram_tell_local()) becomes part of its sender. */
void tni_dgram_take_local(const struct msghdr *msg, struct tn_addr *peer);

/* The sender of the i-th datagram of a batch. */
static inline struct tn_addr *tni_batch_peer(struct tni_batch *batch, unsigned i, bool tells_local)
{
	const struct msghdr *msg = &batch->v[i].msg_hdr;
	struct tn_addr *peer = &batch->addr[i];

	peer->len = msg->msg_namelen;
	peer->local = (struct tn_local){0};
	if (tells_local)
		tni_dgram_take_local(msg, peer);
	return peer;
}

/* How many datagrams the kernel has dropped at this socket, for want of room in its receive buffer most of all. */
uint32_t tni_dgram_dropped(int fd);

/* In front of each datagram's bytes in a queue. */
struct tni_dgram_record {
	uint32_t len;
	uint16_t addr_len;
	uint16_t hops;         /* it may go; 0: as many as others */
	struct tn_local local; /* where it leaves from */
};

static inline const struct tni_dgram_record *tni_record_of(const struct tni_slice *slice)
{
	return (const struct tni_dgram_record *)(uintptr_t)slice->data;
}

static inline unsigned char *tni_record_addr(const struct tni_slice *slice)
{
	return slice->data + sizeof(struct tni_dgram_record);
}

struct tni_dgram_queue {
	struct tn_buf buf; /* a slice a record */
	uint32_t count;
};

void tni_dgram_queue_init(struct tni_dgram_queue *queue, struct tni_mem *mem, size_t max);

/* Copies a datagram of `len` bytes to the end; `to` may be NULL (a connected socket). `hops`: how many it may go when
 * it is sent; 0: as many as the socket's others. 0, -ENOBUFS, -ENOMEM or -EMSGSIZE. */
int tni_dgram_queue_put(struct tni_dgram_queue *queue, const struct tn_addr *to, unsigned hops, const struct iovec *iov,
			int count, size_t len);

/* The bytes of the last one, which may still be changed. */
unsigned char *tni_dgram_queue_last(const struct tni_dgram_queue *queue);

/* Calls fn(arg, ...) with the bytes of each, which may still be changed. */
void tni_dgram_queue_each(const struct tni_dgram_queue *queue, void (*fn)(void *arg, unsigned char *data, size_t len),
			  void *arg);

/* Shows the first datagram. Returns false when there is none. */
bool tni_dgram_queue_first(const struct tni_dgram_queue *queue, struct tn_addr *addr, unsigned *hops, const void **data,
			   size_t *len);

/* Drops the first `n` datagrams; returns their payload's bytes. */
size_t tni_dgram_queue_drop(struct tni_dgram_queue *queue, unsigned n);

/* Sends one datagram at once, or not at all; `to` without a length: to whom the socket is connected. */
void tni_dgram_say(int fd, const struct tn_addr *to, const void *data, size_t len);

/* What the kernel told of a datagram beside it; NULL: it was not told, or not in this length. */
const void *tni_dgram_find_told(const struct msghdr *msg, int level, int type, size_t len);

/* Describes one datagram for sendmmsg(2): `msg` has its receiver and what it is told on its way, in `control`. */
void tni_dgram_describe(const struct tni_slice *slice, struct msghdr *msg, struct iovec *iov, struct tni_tell *control,
			const struct tn_addr *to);

/* Describes the first datagrams for sendmmsg(2) in the outbox, which must start zeroed. `to`: where those without an
 * address go; NULL: the socket is connected. */
void tni_dgram_queue_describe(const struct tni_dgram_queue *queue, struct tni_outbox *outbox, const struct tn_addr *to);

#endif
