/*
 * What a duplicate of a process's descriptor tells. It shares all state with the original, so nothing here sets, reads
 * data, or asks what changes by being asked (SO_ERROR).
 */
#include "read.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <linux/mptcp.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/vm_sockets.h>

#include "sock.h"
#include "common/tcp_state.h"
#include "tcp.h"
#include "tenon.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef SOL_MPTCP
#define SOL_MPTCP 284
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

#define SEND_LOCKED 1
#define RECEIVE_LOCKED 2

static bool get_number(int fd, int level, int name, int *number)
{
	socklen_t len = sizeof(*number);

	*number = 0;
	return getsockopt(fd, level, name, number, &len) == 0;
}

static void state_is(struct sock *sock, const char *state)
{
	snprintf(sock->state, sizeof(sock->state), "%s", state);
}

static bool is_ip(const struct sock *sock)
{
	return sock->family == AF_INET || sock->family == AF_INET6;
}

static bool is_tcp(const struct sock *sock)
{
	return is_ip(sock) && sock->type == SOCK_STREAM && sock->protocol == IPPROTO_TCP;
}

static bool is_mptcp(const struct sock *sock)
{
	return is_ip(sock) && sock->protocol == IPPROTO_MPTCP;
}

/* ---- what is at either end ---- */

static void read_addrs(struct sock *sock, int fd)
{
	socklen_t len = sizeof(sock->local.sa);

	if (getsockname(fd, (struct sockaddr *)&sock->local.sa, &len) == 0)
		sock->local.len = len;
	len = sizeof(sock->peer.sa);
	sock->peer.len = getpeername(fd, (struct sockaddr *)&sock->peer.sa, &len) == 0 ? len : 0;
	if (sock->family == AF_PACKET) /* it is not the protocol of the socket, but what it is bound to */
		sock->protocol = ntohs(((const struct sockaddr_ll *)&sock->local.sa)->sll_protocol);
}

static bool is_bound(const struct sock *sock)
{
	const struct sockaddr_storage *sa = &sock->local.sa;

	switch (sock->family) {
	case AF_INET:
		return ((const struct sockaddr_in *)sa)->sin_port;
	case AF_INET6:
		return ((const struct sockaddr_in6 *)sa)->sin6_port;
	case AF_UNIX:
		return sock->local.len > sizeof(sa_family_t);
	case AF_PACKET:
		return sock->protocol;
	case AF_VSOCK:
		return ((const struct sockaddr_vm *)sa)->svm_port != VMADDR_PORT_ANY;
	case AF_NETLINK:
		return ((const struct sockaddr_nl *)sa)->nl_pid;
	default:
		return sock->local.len;
	}
}

static void read_state(struct sock *sock, int fd)
{
	int listening;

	(void)get_number(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening);
	sock->listening = listening;
	if (sock->tcp_info_len)
		state_is(sock, tcp_state_name(tcp_info_state(sock)));
	else if (listening)
		state_is(sock, "listening");
	else if (sock->peer.len && sock->family != AF_NETLINK)
		state_is(sock, "connected");
	else
		state_is(sock, is_bound(sock) ? "bound" : "unbound");
}

/* ---- queues ---- */

static int64_t ask_bytes(int fd, unsigned long request)
{
	int bytes;

	return ioctl(fd, request, &bytes) == 0 ? bytes : -1;
}

/*
 * How many bytes wait is asked for streams only. Of a listener, and of a Unix peer, the kernel's tables know more. On
 * datagrams, SIOCINQ drops damaged ones.
 */
static void read_queues(struct sock *sock, int fd)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(memory);

	if (sock->type == SOCK_STREAM && sock->peer.len) {
		sock->unread = ask_bytes(fd, SIOCINQ);
		sock->unsent = ask_bytes(fd, SIOCOUTQ);
	}
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len) < 0)
		return;
	sock->memory_in = memory[SK_MEMINFO_RMEM_ALLOC];
	sock->memory_out = memory[SK_MEMINFO_WMEM_ALLOC];
	sock->limit_in = memory[SK_MEMINFO_RCVBUF];
	sock->limit_out = memory[SK_MEMINFO_SNDBUF];
	sock->drops = memory[SK_MEMINFO_DROPS];
}

/* ---- kinds ---- */

static void read_tcp(struct sock *sock, int fd)
{
	socklen_t len = sizeof(sock->tcp_info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, sock->tcp_info, &len) == 0)
		sock->tcp_info_len = len;
	len = sizeof(sock->congestion) - 1;
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, sock->congestion, &len) == 0)
		sock->congestion[len] = '\0';
}

static void read_mptcp(struct sock *sock, int fd)
{
	struct mptcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_MPTCP, MPTCP_INFO, &info, &len) == 0) {
		sock->subflows_known = true;
		/* Those beside the first */
		sock->subflows = info.mptcpi_subflows + 1U;
		sock->fallback = info.mptcpi_flags & MPTCP_INFO_FLAG_FALLBACK;
	}
}

static void read_unix(struct sock *sock, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid == 0)
		return;
	sock->cred_pid = cred.pid;
	sock->cred_uid = cred.uid;
	sock->cred_gid = cred.gid;
}

/* ---- options ---- */

/* A new socket of each kind that was found, to compare with. */
static struct fresh {
	int family, type, protocol, fd;
	struct fresh *next;
} * fresh_all;

static int fresh_socket(const struct sock *sock)
{
	struct fresh *f = fresh_all;

	while (f && (f->family != sock->family || f->type != sock->type || f->protocol != sock->protocol))
		f = f->next;
	if (f)
		return f->fd;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -1;
	*f = (struct fresh){.family = sock->family, .type = sock->type, .protocol = sock->protocol, .next = fresh_all};
	/* A packet socket with a protocol would receive every packet at once */
	f->fd = socket(sock->family, sock->type | SOCK_CLOEXEC, sock->family == AF_PACKET ? 0 : sock->protocol);
	fresh_all = f;
	return f->fd;
}

void sock_read_end(void)
{
	while (fresh_all) {
		struct fresh *f = fresh_all;

		fresh_all = f->next;
		if (f->fd >= 0)
			close(f->fd);
		free(f);
	}
}

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(*words, word) != 0)
		words++;
	return *words;
}

/* Options that the kernel changes on a connection by itself. The kernel says which buffers the program has set. */
static bool is_kernels_doing(const struct sock *sock, const char *key, int locked)
{
	static const char *const moving[] = {"maxseg", "window_clamp", "quickack", "incoming_cpu", "txrehash", NULL};

	if (locked >= 0 && strcmp(key, "rcvbuf") == 0)
		return !(locked & RECEIVE_LOCKED);
	if (locked >= 0 && strcmp(key, "sndbuf") == 0)
		return !(locked & SEND_LOCKED);
	if (strcmp(key, "incoming_cpu") == 0)
		return true;
	return sock->type == SOCK_STREAM && sock->peer.len && is_one_of(key, moving);
}

static void read_option(struct sock *sock, int fd, int fresh, const char *key, int locked)
{
	struct sock_option *o = &sock->options[sock->noptions];

	if (tn_socket_option(fd, key, o->value, sizeof(o->value)) < 0)
		return;
	snprintf(o->key, sizeof(o->key), "%s", key);
	if (fresh < 0 || tn_socket_option(fresh, key, o->fresh, sizeof(o->fresh)) < 0)
		o->fresh[0] = '\0';
	o->differs = o->fresh[0] && strcmp(o->value, o->fresh) != 0;
	o->by_kernel = o->differs && is_kernels_doing(sock, key, locked);
	sock->noptions++;
}

static void read_options(struct sock *sock, int fd)
{
	int fresh = fresh_socket(sock), locked;
	struct tn_option option;
	int n = 0;

	while (tn_option_at(n, &option) == 0)
		n++;
	free(sock->options);
	sock->noptions = 0;
	sock->options = n ? calloc((size_t)n, sizeof(*sock->options)) : NULL;
	if (!sock->options) {
		sock->err = -ENOMEM;
		return;
	}
	if (!get_number(fd, SOL_SOCKET, SO_BUF_LOCK, &locked))
		locked = -1;
	for (int i = 0; i < n; i++)
		if (tn_option_at(i, &option) == 0 && option.constant)
			read_option(sock, fd, fresh, option.key, locked);
}

void sock_read(struct sock *sock, int fd, bool options)
{
	(void)get_number(fd, SOL_SOCKET, SO_DOMAIN, &sock->family);
	(void)get_number(fd, SOL_SOCKET, SO_TYPE, &sock->type);
	(void)get_number(fd, SOL_SOCKET, SO_PROTOCOL, &sock->protocol);
	sock->opened = true;
	read_addrs(sock, fd);
	if (is_tcp(sock) || is_mptcp(sock))
		read_tcp(sock, fd);
	read_state(sock, fd);
	if (is_mptcp(sock))
		read_mptcp(sock, fd);
	if (sock->family == AF_UNIX)
		read_unix(sock, fd);
	read_queues(sock, fd);
	if (options)
		read_options(sock, fd);
}
