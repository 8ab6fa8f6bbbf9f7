#include "net/dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/*
 * Room for the largest datagram of any family, at a distance that is no power of two: buffers 64 KiB apart would all
 * fall into the same few cache lines.
 */
#define DATA_CAP TNI_UNIX_DGRAM_MAX
#define DATA_STRIDE (DATA_CAP + 4096 + 64)

struct tni_batch *tni_batch_of(struct tn_loop *loop)
{
	struct tni_batch *batch = loop->dgram_batch;

	if (batch)
		return batch;
	batch = malloc(sizeof(*batch) + (size_t)TNI_BATCH * DATA_STRIDE);
	if (!batch)
		return NULL;
	memset(batch->v, 0, sizeof(batch->v));
	for (int i = 0; i < TNI_BATCH; i++) {
		batch->iov[i] = (struct iovec){.iov_base = batch->data + (size_t)i * DATA_STRIDE, .iov_len = DATA_CAP};
		batch->v[i].msg_hdr.msg_iov = &batch->iov[i];
		batch->v[i].msg_hdr.msg_iovlen = 1;
		batch->v[i].msg_hdr.msg_name = batch->addr[i].bytes;
		batch->v[i].msg_hdr.msg_control = batch->control[i].bytes;
	}
	loop->dgram_batch = batch;
	return batch;
}

void tni_batch_prepare(struct tni_batch *batch, struct tni_mmsg *mm)
{
	for (int i = 0; i < TNI_BATCH; i++) {
		batch->v[i].msg_hdr.msg_namelen = sizeof(batch->addr[i].bytes);
		batch->v[i].msg_hdr.msg_controllen = sizeof(batch->control[i].bytes);
	}
	*mm = (struct tni_mmsg){.v = batch->v, .n = TNI_BATCH};
}

/* ---- hops ---- */

/* An IPv6 socket tells and is told of IPv4 peers in IPv4's words. */
static bool is_ipv6(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *in6 = (const void *)sa;

	return sa->sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
}

unsigned tni_dgram_tell_hops(int fd)
{
	int on = 1, own = 0, own6 = 0;
	socklen_t len = sizeof(own);

	(void)setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
	(void)getsockopt(fd, IPPROTO_IP, IP_TTL, &own, &len);
	len = sizeof(own6);
	if (getsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &own6, &len) == 0 && own6 > 0)
		own = own6;
	return own > 0 && own < 256 ? (unsigned)own : 64;
}

unsigned tni_dgram_hops(const struct msghdr *msg)
{
	const struct cmsghdr *head = CMSG_FIRSTHDR(msg);
	int hops;

	if (!head || head->cmsg_len < CMSG_LEN(sizeof(hops)) ||
	    !((head->cmsg_level == IPPROTO_IP && head->cmsg_type == IP_TTL) ||
	      (head->cmsg_level == IPPROTO_IPV6 && head->cmsg_type == IPV6_HOPLIMIT)))
		return 0;
	memcpy(&hops, CMSG_DATA(head), sizeof(hops));
	return (unsigned)hops;
}

static void set_hops(struct msghdr *msg, struct tni_hops *control, int hops)
{
	struct cmsghdr *head;
	bool ipv6;

	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	if (!hops || !msg->msg_name)
		return;
	ipv6 = is_ipv6(msg->msg_name);
	msg->msg_control = control->bytes;
	msg->msg_controllen = sizeof(control->bytes);
	head = CMSG_FIRSTHDR(msg);
	head->cmsg_level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
	head->cmsg_type = ipv6 ? IPV6_HOPLIMIT : IP_TTL;
	head->cmsg_len = CMSG_LEN(sizeof(hops));
	memcpy(CMSG_DATA(head), &hops, sizeof(hops));
}

/* ---- the queue ---- */

/* In front of each datagram's bytes. */
struct tni_dgram_record {
	uint32_t len;
	uint16_t addr_len;
	uint16_t hops; /* it may go; 0: as many as others */
};

static const struct tni_dgram_record *record_of(const struct tni_slice *slice)
{
	return (const struct tni_dgram_record *)(uintptr_t)slice->data;
}

/* Records start where an address may: on eight bytes. */
static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

static unsigned char *record_addr(const struct tni_slice *slice)
{
	return slice->data + sizeof(struct tni_dgram_record);
}

static unsigned char *record_data(const struct tni_slice *slice)
{
	return record_addr(slice) + padded(record_of(slice)->addr_len);
}

void tni_dgram_queue_init(struct tni_dgram_queue *queue, struct tni_mem *mem, size_t max)
{
	tni_buf_init(&queue->buf, mem, max);
	queue->count = 0;
}

/* A record lies in one piece: in the tail's block when it fits there, otherwise at the start of a new one. */
static struct tni_blk *block_for(struct tni_dgram_queue *queue, size_t need)
{
	struct tni_slice *tail = queue->buf.tail;
	struct tni_mem *mem = queue->buf.mem;

	if (tail && tail->blk->cap - tail->blk->used >= need)
		return tni_blk_ref(tail->blk);
	if (need <= mem->small.cap && !tail)
		return tni_blk_get(&mem->small);
	return need <= mem->large.cap ? tni_blk_get(&mem->large) : tni_blk_new(need);
}

int tni_dgram_queue_put(struct tni_dgram_queue *queue, const struct tn_addr *to, unsigned hops, const struct iovec *iov,
			int count)
{
	size_t len = 0, addr_len = to ? to->len : 0, need;
	unsigned char *at, *out;
	struct tni_blk *blk;
	int rc;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len > UINT32_MAX / 2)
		return -EMSGSIZE;
	need = padded(sizeof(struct tni_dgram_record) + padded(addr_len) + len);
	if (need > tni_buf_room(&queue->buf))
		return -ENOBUFS;
	blk = block_for(queue, need);
	if (!blk)
		return -ENOMEM;
	at = blk->data + blk->used;
	rc = tni_buf_link(&queue->buf, blk, at, need, true);
	if (rc == 0) {
		blk->used += (uint32_t)need;
		*(struct tni_dgram_record *)(void *)at = (struct tni_dgram_record){
			.len = (uint32_t)len, .addr_len = (uint16_t)addr_len, .hops = (uint16_t)hops};
		if (to)
			memcpy(at + sizeof(struct tni_dgram_record), to->bytes, addr_len);
		out = at + sizeof(struct tni_dgram_record) + padded(addr_len);
		for (int i = 0; i < count; i++) {
			if (iov[i].iov_len)
				memcpy(out, iov[i].iov_base, iov[i].iov_len);
			out += iov[i].iov_len;
		}
		queue->count++;
	}
	tni_blk_unref(blk);
	return rc;
}

unsigned char *tni_dgram_queue_last(const struct tni_dgram_queue *queue, size_t *len)
{
	*len = record_of(queue->buf.tail)->len;
	return record_data(queue->buf.tail);
}

void tni_dgram_queue_each(const struct tni_dgram_queue *queue, void (*fn)(void *arg, unsigned char *data, size_t len),
			  void *arg)
{
	for (const struct tni_slice *s = queue->buf.head; s; s = s->next)
		fn(arg, record_data(s), record_of(s)->len);
}

bool tni_dgram_queue_first(const struct tni_dgram_queue *queue, struct tn_addr *addr, unsigned *hops, const void **data,
			   size_t *len)
{
	const struct tni_slice *slice = queue->buf.head;

	if (!slice)
		return false;
	addr->len = record_of(slice)->addr_len;
	memcpy(addr->bytes, record_addr(slice), addr->len);
	*hops = record_of(slice)->hops;
	*data = record_data(slice);
	*len = record_of(slice)->len;
	return true;
}

size_t tni_dgram_queue_drop(struct tni_dgram_queue *queue, unsigned n)
{
	size_t bytes = 0;

	for (; n && queue->buf.head; n--) {
		bytes += record_of(queue->buf.head)->len;
		tni_buf_consume(&queue->buf, queue->buf.head->len);
		queue->count--;
	}
	return bytes;
}

void tni_dgram_queue_describe(const struct tni_dgram_queue *queue, struct tni_outbox *outbox)
{
	unsigned n = 0;

	for (const struct tni_slice *s = queue->buf.head; s && n < TNI_BATCH; s = s->next, n++) {
		struct msghdr *msg = &outbox->v[n].msg_hdr;

		msg->msg_namelen = record_of(s)->addr_len;
		msg->msg_name = msg->msg_namelen ? record_addr(s) : NULL;
		msg->msg_iov = &outbox->iov[n];
		msg->msg_iovlen = 1;
		set_hops(msg, &outbox->control[n], record_of(s)->hops);
		outbox->iov[n] = (struct iovec){.iov_base = record_data(s), .iov_len = record_of(s)->len};
	}
	outbox->mm = (struct tni_mmsg){.v = outbox->v, .n = n};
}

void tni_dgram_say(int fd, const struct tn_addr *to, const void *data, size_t len)
{
	(void)sendto(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL,
		     to->len ? (const struct sockaddr *)(const void *)to->bytes : NULL, to->len);
}
