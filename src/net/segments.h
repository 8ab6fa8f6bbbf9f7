/*
 * Several UDP datagrams as one, which the kernel takes apart (GSO) or has joined (GRO): they pass its stack in one
 * trip. On the wire nothing is different. All of a run have one length, only the last may be shorter.
 */
#ifndef TNI_NET_SEGMENTS_H
#define TNI_NET_SEGMENTS_H

#include "net/dgram.h"

/* Sending: one per socket with key gso. */
struct tni_segments;

#ifdef TNI_HAVE_SEGMENTS

/* NULL: no memory. */
struct tni_segments *tni_segments_new(void);
void tni_segments_free(struct tni_segments *segments);

/* As tni_dgram_queue_describe(), with runs as one message each. */
void tni_segments_describe(struct tni_segments *segments, const struct tni_dgram_queue *queue,
			   struct tni_outbox *outbox, const struct tn_addr *to);

/* So many messages have been taken. Returns how many datagrams that were. */
unsigned tni_segments_sent(struct tni_segments *segments, unsigned messages);

/*
 * The first message was refused. True: it was a run, which the next call describes as single datagrams, since the path
 * or the device may take those. What is too long for a run here is not joined any more.
 */
bool tni_segments_refused(struct tni_segments *segments, int err);

/* The kernel may join datagrams from now on. False: it cannot (Linux 4.x), and they come one by one. */
bool tni_dgram_join(int fd);

/* How many bytes each of those that were joined has, the last perhaps less; `len`: it is one datagram. */
size_t tni_dgram_joined(const struct msghdr *msg, size_t len);

#else

static inline struct tni_segments *tni_segments_new(void)
{
	return NULL;
}

static inline void tni_segments_free(struct tni_segments *segments)
{
	(void)segments;
}

static inline size_t tni_dgram_joined(const struct msghdr *msg, size_t len)
{
	(void)msg;
	return len;
}

#endif
#endif
