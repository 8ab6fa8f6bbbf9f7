#include "net/dgram.h"

#include <errno.h>
#include <linux/sock_diag.h>
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
	tni_batch_prepare(batch, TNI_BATCH);
	loop->dgram_batch = batch;
	return batch;
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

const void *tni_dgram_find_told(const struct msghdr *msg, int level, int type, size_t len)
{
	struct msghdr *all = (struct msghdr *)(uintptr_t)msg;

	for (const struct cmsghdr *head = CMSG_FIRSTHDR(all); head;
	     head = CMSG_NXTHDR(all, (struct cmsghdr *)(uintptr_t)head))
		if (head->cmsg_level == level && head->cmsg_type == type)
			return head->cmsg_len >= CMSG_LEN(len) ? CMSG_DATA(head) : NULL;
	return NULL;
}

unsigned tni_dgram_find_hops(const struct msghdr *msg)
{
	const void *told = tni_dgram_find_told(msg, IPPROTO_IP, IP_TTL, sizeof(int));
	int hops = 0;

	if (!told)
		told = tni_dgram_find_told(msg, IPPROTO_IPV6, IPV6_HOPLIMIT, sizeof(int));
	if (told)
		memcpy(&hops, told, sizeof(hops));
	return (unsigned)hops;
}

/* ---- the address of ours ---- */

bool tni_dgram_tell_local(int fd)
{
	struct tn_addr bound;
	int on = 1, family;
	bool told;

	if (tni_addr_local(fd, &bound) < 0 || !(tni_addr_is_any(&bound) || tni_addr_is_multicast(&bound)))
		return false;
	family = tni_addr_family(&bound);
	told = family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0;
	/* An IPv6 socket that hears IPv4 as well tells of that in IPv4's words. */
	return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0 || told;
}

static bool is_on(int fd, int name)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, name, &on, &len) == 0 && on;
}

int tni_dgram_own_port(int fd)
{
	struct tn_addr bound;

	if (is_on(fd, SO_REUSEADDR) || is_on(fd, SO_REUSEPORT) || tni_addr_local(fd, &bound) < 0)
		return 0;
	return tni_addr_port(&bound) > 0 ? tni_addr_port(&bound) : 0;
}

/* Addresses that are somebody's on each link: 169.254.0.0/16 (RFC 3927). */
static bool is_link_local(const unsigned char *ip)
{
	return ip[0] == 169 && ip[1] == 254;
}

/*
 * The kernel says where to answer from: the address itself, or for a group's or a broadcast the one that the routes to
 * the sender name. The interface is left to the routes, as TCP does, but for addresses that mean nothing without it.
 */
static void take_local4(struct tn_local *local, const struct sockaddr *from, const struct in_pktinfo *info)
{
	const struct sockaddr_in *in = (const void *)from;

	local->to_many = info->ipi_addr.s_addr != info->ipi_spec_dst.s_addr;
	if (!info->ipi_spec_dst.s_addr)
		return;
	local->len = sizeof(info->ipi_spec_dst);
	memcpy(local->ip, &info->ipi_spec_dst, sizeof(info->ipi_spec_dst));
	if (is_link_local(local->ip) ||
	    (from->sa_family == AF_INET && is_link_local((const unsigned char *)&in->sin_addr)))
		local->index = (uint32_t)info->ipi_ifindex;
}

static void take_local6(struct tn_local *local, const struct in6_pktinfo *info)
{
	local->to_many = IN6_IS_ADDR_MULTICAST(&info->ipi6_addr);
	if (local->to_many || IN6_IS_ADDR_UNSPECIFIED(&info->ipi6_addr))
		return;
	local->len = sizeof(info->ipi6_addr);
	memcpy(local->ip, &info->ipi6_addr, sizeof(info->ipi6_addr));
	if (IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
		local->index = info->ipi6_ifindex;
}

void tni_dgram_take_local(const struct msghdr *msg, struct tn_addr *peer)
{
	struct in6_pktinfo info6;
	struct in_pktinfo info4;
	const void *told;

	if (msg->msg_controllen < sizeof(struct cmsghdr))
		return;
	told = tni_dgram_find_told(msg, IPPROTO_IP, IP_PKTINFO, sizeof(info4));
	if (told) {
		memcpy(&info4, told, sizeof(info4));
		take_local4(&peer->local, tn_addr_sockaddr(peer), &info4);
		return;
	}
	told = tni_dgram_find_told(msg, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info6));
	if (told) {
		memcpy(&info6, told, sizeof(info6));
		take_local6(&peer->local, &info6);
	}
}

/* ---- what a datagram is told on its way ---- */

static void *put_tell(struct msghdr *msg, struct tni_tell *control, int level, int type, size_t len)
{
	struct cmsghdr *head = (struct cmsghdr *)(void *)(control->bytes + msg->msg_controllen);

	msg->msg_control = control->bytes;
	msg->msg_controllen += CMSG_SPACE(len);
	head->cmsg_level = level;
	head->cmsg_type = type;
	head->cmsg_len = CMSG_LEN(len);
	return CMSG_DATA(head);
}

static void tell_local(struct msghdr *msg, struct tni_tell *control, const struct tn_local *local)
{
	struct in6_pktinfo info6 = {.ipi6_ifindex = local->index};
	struct in_pktinfo info4 = {.ipi_ifindex = (int)local->index};
	bool ipv6 = is_ipv6(msg->msg_name);

	if (ipv6 && local->len == sizeof(info6.ipi6_addr)) {
		memcpy(&info6.ipi6_addr, local->ip, sizeof(info6.ipi6_addr));
		memcpy(put_tell(msg, control, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info6)), &info6, sizeof(info6));
	} else if (!ipv6 && local->len == sizeof(info4.ipi_spec_dst)) {
		memcpy(&info4.ipi_spec_dst, local->ip, sizeof(info4.ipi_spec_dst));
		memcpy(put_tell(msg, control, IPPROTO_IP, IP_PKTINFO, sizeof(info4)), &info4, sizeof(info4));
	}
}

static void tell(struct msghdr *msg, struct tni_tell *control, int hops, const struct tn_local *local)
{
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	if (!msg->msg_name || !(hops || local->len))
		return;
	if (hops && is_ipv6(msg->msg_name))
		memcpy(put_tell(msg, control, IPPROTO_IPV6, IPV6_HOPLIMIT, sizeof(hops)), &hops, sizeof(hops));
	else if (hops)
		memcpy(put_tell(msg, control, IPPROTO_IP, IP_TTL, sizeof(hops)), &hops, sizeof(hops));
	if (local->len)
		tell_local(msg, control, local);
}

/* ---- what the kernel has dropped ---- */

uint32_t tni_dgram_dropped(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ? 0 : info[SK_MEMINFO_DROPS];
}

/* ---- the queue ---- */

/* Records start where an address may: on eight bytes. */
static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

static unsigned char *record_data(const struct tni_slice *slice)
{
	return tni_record_addr(slice) + padded(tni_record_of(slice)->addr_len);
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

/* Any IPv4 address is copied as one piece of fixed length, without a call. */
static inline void put_addr(struct tni_dgram_record *record, unsigned char *out, const struct tn_addr *to)
{
	record->local = to->local;
	if (to->len == sizeof(struct sockaddr_in))
		memcpy(out, to->bytes, sizeof(struct sockaddr_in));
	else
		memcpy(out, to->bytes, to->len);
}

int tni_dgram_queue_put(struct tni_dgram_queue *queue, const struct tn_addr *to, unsigned hops, const struct iovec *iov,
			int count, size_t len)
{
	size_t addr_len = to ? to->len : 0, need;
	struct tni_dgram_record *record;
	unsigned char *at;
	struct tni_blk *blk;

	if (len > UINT32_MAX / 2)
		return -EMSGSIZE;
	need = padded(sizeof(*record) + padded(addr_len) + len);
	if (need > tni_buf_room(&queue->buf))
		return -ENOBUFS;
	blk = block_for(queue, need);
	if (!blk)
		return -ENOMEM;
	at = blk->data + blk->used;
	if (tni_buf_hold(&queue->buf, blk, at, need, true) < 0)
		return -ENOMEM;
	blk->used += (uint32_t)need;
	record = (struct tni_dgram_record *)(void *)at;
	record->len = (uint32_t)len;
	record->addr_len = (uint16_t)addr_len;
	record->hops = (uint16_t)hops;
	at += sizeof(*record);
	if (to)
		put_addr(record, at, to);
	else
		record->local = (struct tn_local){0};
	at += padded(addr_len);
	for (const struct iovec *piece = iov; piece < iov + count; at += piece->iov_len, piece++)
		if (piece->iov_len)
			memcpy(at, piece->iov_base, piece->iov_len);
	queue->count++;
	return 0;
}

unsigned char *tni_dgram_queue_last(const struct tni_dgram_queue *queue)
{
	return record_data(queue->buf.tail);
}

void tni_dgram_queue_each(const struct tni_dgram_queue *queue, void (*fn)(void *arg, unsigned char *data, size_t len),
			  void *arg)
{
	for (const struct tni_slice *s = queue->buf.head; s; s = s->next)
		fn(arg, record_data(s), tni_record_of(s)->len);
}

bool tni_dgram_queue_first(const struct tni_dgram_queue *queue, struct tn_addr *addr, unsigned *hops, const void **data,
			   size_t *len)
{
	const struct tni_slice *slice = queue->buf.head;

	if (!slice)
		return false;
	addr->len = tni_record_of(slice)->addr_len;
	memcpy(addr->bytes, tni_record_addr(slice), addr->len);
	addr->local = tni_record_of(slice)->local;
	*hops = tni_record_of(slice)->hops;
	*data = record_data(slice);
	*len = tni_record_of(slice)->len;
	return true;
}

size_t tni_dgram_queue_drop(struct tni_dgram_queue *queue, unsigned n)
{
	uint32_t left = queue->count;
	size_t bytes = 0;

	for (; n && queue->buf.head; n--, left--) {
		bytes += tni_record_of(queue->buf.head)->len;
		tni_buf_drop(&queue->buf);
	}
	queue->count = left;
	return bytes;
}

void tni_dgram_describe(const struct tni_slice *slice, struct msghdr *msg, struct iovec *iov, struct tni_tell *control,
			const struct tn_addr *to)
{
	const struct tni_dgram_record *record = tni_record_of(slice);
	unsigned char *addr = tni_record_addr(slice);
	size_t addr_len = record->addr_len;

	*iov = (struct iovec){.iov_base = addr + padded(addr_len), .iov_len = record->len};
	if (to && !addr_len) {
		addr = (unsigned char *)(uintptr_t)to->bytes;
		addr_len = to->len;
	}
	msg->msg_name = addr_len ? addr : NULL;
	msg->msg_namelen = (socklen_t)addr_len;
	msg->msg_iov = iov;
	msg->msg_iovlen = 1;
	tell(msg, control, record->hops, &record->local);
}

void tni_dgram_queue_describe(const struct tni_dgram_queue *queue, struct tni_outbox *outbox, const struct tn_addr *to)
{
	unsigned n = 0;

	for (const struct tni_slice *s = queue->buf.head; s && n < TNI_BATCH; s = s->next, n++)
		tni_dgram_describe(s, &outbox->v[n].msg_hdr, &outbox->iov[n], &outbox->control[n], to);
	outbox->mm = (struct tni_mmsg){.v = outbox->v, .n = n};
}

void tni_dgram_say(int fd, const struct tn_addr *to, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_namelen = to->len};
	struct tni_tell control;

	if (to->len)
		msg.msg_name = (void *)(uintptr_t)to->bytes;
	tell(&msg, &control, 0, &to->local);
	(void)sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}
