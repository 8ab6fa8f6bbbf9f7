/* The kernel's tables of sockets, asked for through netlink: sock_diag(7). */
#include "diag.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <linux/vm_sockets.h>
#include <linux/vm_sockets_diag.h>

#include "sock.h"
#include "common/tcp_state.h"
#include "tcp.h"

#define ROOM (64 * 1024)

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef NDIAG_SHOW_GROUPS
#define NDIAG_SHOW_GROUPS 2
#endif

/* A table: what to ask for, and what an answer becomes. */
struct table {
	int family, type, protocol;
	void (*take)(struct sock *sock, const struct table *table, const struct nlmsghdr *h);
};

/* Calls fn for each attribute behind a message's fixed part. */
static void each_attribute(struct sock *sock, const struct nlmsghdr *h, size_t fixed,
			   void (*fn)(struct sock *sock, unsigned type, const void *data, size_t len))
{
	size_t left = NLMSG_PAYLOAD(h, NLMSG_ALIGN(fixed));
	const struct rtattr *a =
		(const struct rtattr *)(const void *)((const char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed));

	if (h->nlmsg_len < NLMSG_LENGTH(NLMSG_ALIGN(fixed)))
		return;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		fn(sock, a->rta_type & NLA_TYPE_MASK, RTA_DATA(a), RTA_PAYLOAD(a));
}

static void take_memory(struct sock *sock, const void *data, size_t len)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};

	memcpy(memory, data, len < sizeof(memory) ? len : sizeof(memory));
	sock->memory_in = memory[SK_MEMINFO_RMEM_ALLOC];
	sock->memory_out = memory[SK_MEMINFO_WMEM_ALLOC];
	sock->limit_in = memory[SK_MEMINFO_RCVBUF];
	sock->limit_out = memory[SK_MEMINFO_SNDBUF];
	if (len > SK_MEMINFO_DROPS * sizeof(uint32_t))
		sock->drops = memory[SK_MEMINFO_DROPS];
}

static void state_is(struct sock *sock, const char *state)
{
	snprintf(sock->state, sizeof(sock->state), "%s", state);
}

/* ---- IP ---- */

static void take_inet_addr(struct sock_addr *addr, int family, const uint32_t *ip, uint16_t port, uint32_t interface)
{
	if (family == AF_INET) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = ip[0]};

		memcpy(&addr->sa, &in, addr->len = sizeof(in));
	} else {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};

		memcpy(&in6.sin6_addr, ip, sizeof(in6.sin6_addr));
		if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
			in6.sin6_scope_id = interface;
		memcpy(&addr->sa, &in6, addr->len = sizeof(in6));
	}
}

static void take_inet_attribute(struct sock *sock, unsigned type, const void *data, size_t len)
{
	switch (type) {
	case INET_DIAG_INFO:
		if (sock->protocol != IPPROTO_TCP)
			break;
		sock->tcp_info_len = len < sizeof(sock->tcp_info) ? len : sizeof(sock->tcp_info);
		memcpy(sock->tcp_info, data, sock->tcp_info_len);
		break;
	case INET_DIAG_CONG:
		snprintf(sock->congestion, sizeof(sock->congestion), "%.*s", (int)len, (const char *)data);
		break;
	case INET_DIAG_SKMEMINFO:
		take_memory(sock, data, len);
		break;
	default:
		break;
	}
}

static void take_inet(struct sock *sock, const struct table *table, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	bool stream = table->type == SOCK_STREAM, peer;

	sock->family = m->idiag_family;
	sock->inode = m->idiag_inode;
	sock->uid = m->idiag_uid;
	sock->id = m->id;
	sock->listening = stream && m->idiag_state == 10;
	peer = !sock->listening && (m->id.idiag_dport || m->id.idiag_dst[0] || m->id.idiag_dst[1] ||
				    m->id.idiag_dst[2] || m->id.idiag_dst[3]);
	take_inet_addr(&sock->local, sock->family, m->id.idiag_src, m->id.idiag_sport, m->id.idiag_if);
	if (peer)
		take_inet_addr(&sock->peer, sock->family, m->id.idiag_dst, m->id.idiag_dport, m->id.idiag_if);
	if (table->type == SOCK_RAW)
		sock->protocol = ntohs(m->id.idiag_sport);
	state_is(sock, stream ? tcp_state_name(m->idiag_state) : peer ? "connected" : "bound");
	if (stream) {
		sock->timer = m->idiag_timer;
		sock->timer_ms = m->idiag_expires;
		sock->timer_count = m->idiag_retrans;
		sock->unread = m->idiag_rqueue;
		sock->unsent = m->idiag_wqueue;
	}
	each_attribute(sock, h, sizeof(*m), take_inet_attribute);
}

/* ---- Unix ---- */

static void take_unix_attribute(struct sock *sock, unsigned type, const void *data, size_t len)
{
	const uint32_t *numbers = data;
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	switch (type) {
	case UNIX_DIAG_NAME:
		len = len < sizeof(un.sun_path) ? len : sizeof(un.sun_path);
		memcpy(un.sun_path, data, len);
		memcpy(&sock->local.sa, &un, sizeof(un));
		sock->local.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
		break;
	case UNIX_DIAG_PEER:
		sock->peer_inode = numbers[0];
		break;
	case UNIX_DIAG_RQLEN:
		sock->unread = numbers[0];
		sock->unsent = numbers[1];
		break;
	case UNIX_DIAG_MEMINFO:
		take_memory(sock, data, len);
		break;
	case UNIX_DIAG_UID:
		sock->uid = numbers[0];
		break;
	default:
		break;
	}
}

static void take_unix(struct sock *sock, const struct table *table, const struct nlmsghdr *h)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);

	(void)table;
	sock->family = AF_UNIX;
	sock->type = m->udiag_type;
	sock->inode = m->udiag_ino;
	sock->listening = m->udiag_state == 10;
	each_attribute(sock, h, sizeof(*m), take_unix_attribute);
	state_is(sock, sock->listening            ? "listening"
		       : sock->peer_inode         ? "connected"
		       : sock->type == SOCK_DGRAM ? "bound"
						  : "unconnected");
	if (sock->type == SOCK_DGRAM && !sock->peer_inode && !sock->local.len)
		state_is(sock, "unbound");
}

/* ---- packets, netlink, vsock ---- */

static void take_packet_attribute(struct sock *sock, unsigned type, const void *data, size_t len)
{
	struct sockaddr_ll *ll = (struct sockaddr_ll *)&sock->local.sa;
	struct packet_diag_info info = {0};

	if (type == PACKET_DIAG_INFO) {
		memcpy(&info, data, len < sizeof(info) ? len : sizeof(info));
		ll->sll_ifindex = (int)info.pdi_index;
	} else if (type == PACKET_DIAG_UID) {
		memcpy(&info, data, sizeof(uint32_t));
		sock->uid = info.pdi_index;
	} else if (type == PACKET_DIAG_MEMINFO) {
		take_memory(sock, data, len);
	}
}

static void take_packet(struct sock *sock, const struct table *table, const struct nlmsghdr *h)
{
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	struct sockaddr_ll *ll = (struct sockaddr_ll *)&sock->local.sa;

	(void)table;
	sock->family = AF_PACKET;
	sock->type = m->pdiag_type;
	sock->protocol = m->pdiag_num;
	sock->inode = m->pdiag_ino;
	ll->sll_family = AF_PACKET;
	ll->sll_protocol = htons(m->pdiag_num);
	sock->local.len = sizeof(*ll);
	each_attribute(sock, h, sizeof(*m), take_packet_attribute);
	state_is(sock, m->pdiag_num ? "bound" : "unbound");
}

static void take_netlink_attribute(struct sock *sock, unsigned type, const void *data, size_t len)
{
	if (type == NETLINK_DIAG_GROUPS)
		memcpy(&sock->groups, data, len < sizeof(sock->groups) ? len : sizeof(sock->groups));
	else if (type == NETLINK_DIAG_MEMINFO)
		take_memory(sock, data, len);
}

static void take_netlink(struct sock *sock, const struct table *table, const struct nlmsghdr *h)
{
	const struct netlink_diag_msg *m = NLMSG_DATA(h);
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK, .nl_pid = m->ndiag_portid};

	(void)table;
	sock->family = AF_NETLINK;
	sock->type = m->ndiag_type;
	sock->protocol = m->ndiag_protocol;
	sock->inode = m->ndiag_ino;
	each_attribute(sock, h, sizeof(*m), take_netlink_attribute);
	nl.nl_groups = sock->groups;
	memcpy(&sock->local.sa, &nl, sock->local.len = sizeof(nl));
	state_is(sock, m->ndiag_portid ? "bound" : "unbound");
}

static void take_vsock_addr(struct sock_addr *addr, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};

	memcpy(&addr->sa, &vm, addr->len = sizeof(vm));
}

static void take_vsock(struct sock *sock, const struct table *table, const struct nlmsghdr *h)
{
	const struct vsock_diag_msg *m = NLMSG_DATA(h);

	(void)table;
	sock->family = AF_VSOCK;
	sock->type = m->vdiag_type;
	sock->inode = m->vdiag_ino;
	sock->listening = m->vdiag_state == 10;
	take_vsock_addr(&sock->local, m->vdiag_src_cid, m->vdiag_src_port);
	if (m->vdiag_state == 1)
		take_vsock_addr(&sock->peer, m->vdiag_dst_cid, m->vdiag_dst_port);
	state_is(sock, tcp_state_name(m->vdiag_state));
}

/* ---- asking ---- */

static int by_inode(const void *a, const void *b)
{
	const struct sock *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

struct sock *diag_find(const struct socks *socks, uint64_t inode)
{
	struct sock key = {.inode = inode};

	return inode && socks->count ? bsearch(&key, socks->list, socks->count, sizeof(key), by_inode) : NULL;
}

static const struct table tables[] = {
	{AF_INET, SOCK_STREAM, IPPROTO_TCP, take_inet},
	{AF_INET6, SOCK_STREAM, IPPROTO_TCP, take_inet},
	{AF_INET, SOCK_STREAM, IPPROTO_MPTCP, take_inet},
	{AF_INET6, SOCK_STREAM, IPPROTO_MPTCP, take_inet},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDP, take_inet},
	{AF_INET6, SOCK_DGRAM, IPPROTO_UDP, take_inet},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, take_inet},
	{AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE, take_inet},
	{AF_INET, SOCK_RAW, IPPROTO_RAW, take_inet},
	{AF_INET6, SOCK_RAW, IPPROTO_RAW, take_inet},
	{AF_UNIX, 0, 0, take_unix},
	{AF_PACKET, 0, 0, take_packet},
	{AF_NETLINK, 0, 0, take_netlink},
	{AF_VSOCK, 0, 0, take_vsock},
};

#define NTABLES (sizeof(tables) / sizeof(tables[0]))

struct question {
	struct nlmsghdr head;
	union {
		struct inet_diag_req_v2 inet;
		struct unix_diag_req un;
		struct packet_diag_req packet;
		struct netlink_diag_req netlink;
		struct vsock_diag_req vsock;
	};
	struct rtattr protocol_head; /* inet, for protocols beyond eight bits */
	uint32_t protocol;
};

static size_t ask_inet(struct question *q, const struct table *table)
{
	q->inet = (struct inet_diag_req_v2){.sdiag_family = (uint8_t)table->family,
					    .sdiag_protocol = (uint8_t)table->protocol,
					    .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1) | 1 << (INET_DIAG_INFO - 1) |
							 1 << (INET_DIAG_CONG - 1),
					    .idiag_states = ~0U};
	if (table->protocol < 256)
		return sizeof(q->inet);
	q->protocol_head =
		(struct rtattr){.rta_len = RTA_LENGTH(sizeof(q->protocol)), .rta_type = INET_DIAG_REQ_PROTOCOL};
	q->protocol = (uint32_t)table->protocol;
	return sizeof(q->inet) + q->protocol_head.rta_len;
}

static int ask(int fd, struct question *q, const struct table *table)
{
	size_t len = 0;

	if (table->take == take_inet) {
		len = ask_inet(q, table);
	} else if (table->family == AF_UNIX) {
		q->un = (struct unix_diag_req){.sdiag_family = AF_UNIX,
					       .udiag_states = ~0U,
					       .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN |
							     UDIAG_SHOW_MEMINFO | UDIAG_SHOW_UID};
		len = sizeof(q->un);
	} else if (table->family == AF_PACKET) {
		q->packet = (struct packet_diag_req){.sdiag_family = AF_PACKET,
						     .pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MEMINFO};
		len = sizeof(q->packet);
	} else if (table->family == AF_NETLINK) {
		q->netlink = (struct netlink_diag_req){.sdiag_family = AF_NETLINK,
						       .sdiag_protocol = NDIAG_PROTO_ALL,
						       .ndiag_show = NDIAG_SHOW_GROUPS | NDIAG_SHOW_MEMINFO};
		len = sizeof(q->netlink);
	} else {
		q->vsock = (struct vsock_diag_req){.sdiag_family = AF_VSOCK, .vdiag_states = ~0U};
		len = sizeof(q->vsock);
	}
	q->head = (struct nlmsghdr){.nlmsg_len = (uint32_t)(NLMSG_LENGTH(0) + len),
				    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
				    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
	while (send(fd, q, q->head.nlmsg_len, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* 1: more follows; 0: that was all, or the kernel has no such table; -ENOMEM. */
static int take_answer(struct socks *socks, const struct table *table, const struct nlmsghdr *h)
{
	struct sock *sock;

	if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
		return 0;
	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 1;
	sock = socks_add(socks);
	if (!sock)
		return -ENOMEM;
	sock->type = table->type;
	sock->protocol = table->protocol;
	table->take(sock, table, h);
	return 1;
}

static int read_table(int fd, struct socks *socks, const struct table *table, void *room)
{
	struct question q;
	int rc;

	memset(&q, 0, sizeof(q));
	rc = ask(fd, &q, table);
	if (rc == 0)
		rc = 1;
	while (rc > 0) {
		ssize_t n = recv(fd, room, ROOM, 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (const struct nlmsghdr *h = room; rc > 0 && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			rc = take_answer(socks, table, h);
	}
	return rc;
}

/* Our own question is no part of the answer. */
static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* An MPTCP socket stands before its first subflow, which has the same inode in the table of TCP. */
static int by_inode_and_protocol(const void *a, const void *b)
{
	const struct sock *x = a, *y = b;
	int order = by_inode(a, b);

	return order ? order : (x->protocol < y->protocol) - (x->protocol > y->protocol);
}

/* By inode, each once: a netlink socket that hears groups stands in two tables, an MPTCP socket too. */
static void sort_out(struct socks *socks, uint64_t own)
{
	size_t kept = 0;

	if (socks->count)
		qsort(socks->list, socks->count, sizeof(*socks->list), by_inode_and_protocol);
	for (size_t i = 0; i < socks->count; i++) {
		uint64_t inode = socks->list[i].inode;

		if (inode != own && (!inode || !kept || socks->list[kept - 1].inode != inode))
			socks->list[kept++] = socks->list[i];
	}
	socks->count = kept;
}

int diag_all(struct socks *socks)
{
	int rc = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	void *room = malloc(ROOM);

	if (fd < 0 || !room) {
		rc = fd < 0 ? -errno : -ENOMEM;
		if (fd >= 0)
			close(fd);
		free(room);
		return rc;
	}
	for (size_t i = 0; i < NTABLES && rc == 0; i++)
		rc = read_table(fd, socks, &tables[i], room);
	sort_out(socks, inode_of(fd));
	close(fd);
	free(room);
	return rc;
}
