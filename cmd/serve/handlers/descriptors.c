#include "descriptors.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tenon.h"

static unsigned wanted;

void handler_take_descriptors(unsigned max)
{
	wanted = max;
}

/* What is encrypted, or has a head of another protocol, begins with bytes that the library reads. */
bool handler_descriptors_may_come(const char *url)
{
	const int unlike =
		TN_URL_SECURE | TN_URL_MEMORY | TN_URL_WEBSOCKET | TN_URL_PROXY | TN_URL_HTTP | TN_URL_DATAGRAMS;
	int kind = tn_url_kind(url);

	return kind >= 0 && (kind & (TN_URL_LOCAL | unlike)) == TN_URL_LOCAL;
}

bool descriptors_are_awaited(const struct tn_conn *conn)
{
	const struct tn_server *server = tn_conn_server(conn);

	return wanted && server && handler_descriptors_may_come(tn_server_url(server, 0));
}

static void add(struct descriptors *taken, const unsigned char *data, size_t len)
{
	int fd;

	for (size_t at = 0; at + sizeof(fd) <= len; at += sizeof(fd)) {
		memcpy(&fd, data + at, sizeof(fd));
		if (taken->count < wanted)
			taken->fd[taken->count++] = fd;
		else
			close(fd);
	}
}

void descriptors_take(const struct tn_conn *conn, struct descriptors *taken)
{
	union {
		char room[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = sizeof(byte)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
	struct tn_conn_info info;

	taken->count = 0;
	tn_conn_info(conn, &info);
	/* Looking at bytes makes copies of their descriptors */
	if (recvmsg(info.fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			add(taken, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
}

void descriptors_close(struct descriptors *taken)
{
	while (taken->count > 0)
		close(taken->fd[--taken->count]);
}
