#include "net/segments.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* What every kernel takes in one message (UDP_MAX_SEGMENTS; 128 from Linux 6.9 on). */
#define RUN_MAX 64

/* Datagrams of one sendmmsg(2). */
#define PIECES 512

struct control {
	_Alignas(struct cmsghdr) unsigned char bytes[sizeof(struct tni_tell) + CMSG_SPACE(sizeof(uint16_t))];
};

struct tni_segments {
	struct iovec iov[PIECES];
	struct control control[TNI_BATCH];
	uint8_t datagrams[TNI_BATCH]; /* of each message; 0: none was described there */
	unsigned singly;              /* so many are sent one by one: their run was refused */
	size_t longest;               /* longer ones are not joined */
	size_t suspect; /* the new `longest`, if the datagrams of the refused run can be sent one by one */
};

struct tni_segments *tni_segments_new(void)
{
	struct tni_segments *segments = calloc(1, sizeof(*segments));

	if (segments)
		segments->longest = segments->suspect = TNI_DGRAM_MAX;
	return segments;
}

void tni_segments_free(struct tni_segments *segments)
{
	free(segments);
}

/* Whether two go to the same place, in the same way. */
static bool is_same_way(const struct tni_slice *a, const struct tni_slice *b)
{
	const struct tni_dgram_record *x = tni_record_of(a), *y = tni_record_of(b);

	return x->addr_len == y->addr_len && x->hops == y->hops && x->local.len == y->local.len &&
	       x->local.index == y->local.index && !memcmp(x->local.ip, y->local.ip, x->local.len) &&
	       !memcmp(tni_record_addr(a), tni_record_addr(b), x->addr_len);
}

/* How many datagrams from `first` on can go as one message. */
static unsigned run_of(const struct tni_segments *segments, const struct tni_slice *first, unsigned max)
{
	size_t size = tni_record_of(first)->len, len = size, all = size;
	unsigned n = 1;

	if (!size || size > segments->longest)
		return 1;
	/* An empty one would not be seen at the end of a run. */
	for (const struct tni_slice *s = first->next; s && n < max && len == size; s = s->next, n++) {
		len = tni_record_of(s)->len;
		if (!len || len > size || all + len > TNI_DGRAM_MAX || !is_same_way(first, s))
			break;
		all += len;
	}
	return n;
}

static void tell_size(struct msghdr *msg, struct control *control, size_t size)
{
	struct cmsghdr *head = (struct cmsghdr *)(void *)(control->bytes + msg->msg_controllen);
	uint16_t of_each = (uint16_t)size;

	msg->msg_control = control->bytes;
	msg->msg_controllen += CMSG_SPACE(sizeof(of_each));
	head->cmsg_level = IPPROTO_UDP;
	head->cmsg_type = UDP_SEGMENT;
	head->cmsg_len = CMSG_LEN(sizeof(of_each));
	memcpy(CMSG_DATA(head), &of_each, sizeof(of_each));
}

void tni_segments_describe(struct tni_segments *segments, const struct tni_dgram_queue *queue,
			   struct tni_outbox *outbox, const struct tn_addr *to)
{
	const struct tni_slice *s = queue->buf.head;
	unsigned n, pieces = 0, left = segments->singly ? segments->singly : PIECES;

	for (n = 0; s && n < TNI_BATCH && left; n++) {
		struct msghdr *msg = &outbox->v[n].msg_hdr, each;
		struct control *control = &segments->control[n];
		unsigned run = run_of(segments, s, segments->singly ? 1 : left < RUN_MAX ? left : RUN_MAX);
		struct iovec *iov = &segments->iov[pieces];

		tni_dgram_describe(s, msg, iov, (struct tni_tell *)(void *)control->bytes, to);
		if (run > 1)
			tell_size(msg, control, iov->iov_len);
		msg->msg_iovlen = run;
		segments->datagrams[n] = (uint8_t)run;
		for (unsigned i = 1; i < run; i++) {
			struct tni_tell unused;

			s = s->next;
			tni_dgram_describe(s, &each, &iov[i], &unused, to);
		}
		s = s->next;
		pieces += run;
		left -= run;
	}
	outbox->mm = (struct tni_mmsg){.v = outbox->v, .n = n};
}

unsigned tni_segments_sent(struct tni_segments *segments, unsigned messages)
{
	unsigned all = 0;

	for (unsigned i = 0; i < messages; i++)
		all += segments->datagrams[i];
	if (segments->singly) {
		segments->longest = segments->suspect;
		segments->singly = segments->singly > all ? segments->singly - all : 0;
	}
	return all;
}

bool tni_segments_refused(struct tni_segments *segments, int err)
{
	if (segments->singly) {
		segments->singly--; /* this one is given up */
		return false;
	}
	if (segments->datagrams[0] < 2)
		return false;
	switch (err) {
	case -EINVAL: /* longer than the path takes, for older kernels */
	case -EMSGSIZE:
		segments->suspect = segments->iov[0].iov_len - 1;
		break;
	case -EIO: /* the device, or what stands in front of it, cannot */
	case -EOPNOTSUPP:
		segments->suspect = 0;
		break;
	default:
		return false;
	}
	segments->singly = segments->datagrams[0];
	return true;
}

bool tni_dgram_join(int fd)
{
	int on = 1;

	return setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0;
}

size_t tni_dgram_joined(const struct msghdr *msg, size_t len)
{
	const void *told;
	int size = 0;

	if (msg->msg_controllen < sizeof(struct cmsghdr))
		return len;
	told = tni_dgram_find_told(msg, IPPROTO_UDP, UDP_GRO, sizeof(size));
	if (told)
		memcpy(&size, told, sizeof(size));
	return size > 0 && (size_t)size < len ? (size_t)size : len;
}
