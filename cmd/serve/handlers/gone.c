/*
 * Whether a client has closed its connection. Closing it and ending only its direction send the same FIN. For a Unix
 * socket the kernel tells the difference. For TCP it knows if the client is on this machine, in the same network
 * namespace: its socket belongs to no file any more (sock_diag(7): inode 0). Another machine answers a keepalive probe
 * to a closed connection with a reset, once it has forgotten the connection: Linux after a minute.
 */
#include "gone.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROBE_S 10

void gone_begin(int fd)
{
	int on = 0, every = PROBE_S;
	socklen_t len = sizeof(on);

	if (getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len) < 0 || on)
		return;
	on = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof(every)) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every)) == 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static void take_address(const struct sockaddr_in6 *in6, __be32 out[4], __be16 *port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)in6;

	if (in6->sin6_family == AF_INET) {
		out[0] = in->sin_addr.s_addr;
		*port = in->sin_port;
	} else {
		memcpy(out, &in6->sin6_addr, sizeof(in6->sin6_addr));
		*port = in6->sin6_port;
	}
}

/* The socket at the other end: its addresses are ours, exchanged. */
static bool question_about(int fd, struct question *q)
{
	struct sockaddr_in6 ours = {0}, theirs = {0}; /* with room for IPv4 */
	socklen_t len = sizeof(ours), their_len = sizeof(theirs), size = sizeof(int);
	int protocol = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 || protocol != IPPROTO_TCP ||
	    getsockname(fd, (struct sockaddr *)&ours, &len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&theirs, &their_len) < 0)
		return false;
	*q = (struct question){
		.head = {.nlmsg_len = sizeof(*q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		.body = {.sdiag_family = (__u8)ours.sin6_family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U}};
	q->body.id.idiag_cookie[0] = q->body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	take_address(&theirs, q->body.id.idiag_src, &q->body.id.idiag_sport);
	take_address(&ours, q->body.id.idiag_dst, &q->body.id.idiag_dport);
	return true;
}

static bool is_orphan(const struct question *q)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_msg body;
		char rest[4096];
	} reply;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	ssize_t n = -1;

	if (fd < 0)
		return false;
	if (send(fd, q, sizeof(*q), 0) == sizeof(*q))
		n = recv(fd, &reply, sizeof(reply), MSG_DONTWAIT);
	close(fd);
	return n >= (ssize_t)(sizeof(reply.head) + sizeof(reply.body)) &&
	       reply.head.nlmsg_type == SOCK_DIAG_BY_FAMILY && reply.body.idiag_inode == 0 &&
	       reply.body.idiag_state != TCP_LISTEN;
}

bool client_is_gone(int fd)
{
	struct pollfd state = {.fd = fd};
	struct question q;

	if (poll(&state, 1, 0) == 1 && state.revents & (POLLHUP | POLLERR))
		return true;
	return question_about(fd, &q) && is_orphan(&q);
}
