/*
 * Bare UDP server: recvmmsg and sendmmsg, 64 datagrams a batch, and nothing else.
 *
 *     udp_ack PORT [ack | echo]
 *
 * MSG_WAITFORONE sleeps for the first datagram and takes the others that are there already. ack replies "ack: " and the
 * data: the prefix stands in front of every buffer once and for all, so no byte is moved. Buffers start at different
 * places of a page; 64 of them at the same offset would fight for the same few lines of the first-level cache.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BATCH = 64,
	DATAGRAM_MAX = 2048,
	COLOUR = 64 + 128, /* an odd number of cache lines: 64 buffers start in 64 different sets */
	STRIDE = DATAGRAM_MAX + COLOUR,
	PREFIX = sizeof("ack: ") - 1,
	RECEIVE_BUFFER = 4 << 20,
};

static char room[BATCH * STRIDE] __attribute__((aligned(4096)));
static struct sockaddr_in peers[BATCH];
static struct iovec in[BATCH], out[BATCH];
static struct mmsghdr received[BATCH], replies[BATCH];

static void lay_out_buffers(bool ack)
{
	for (int i = 0; i < BATCH; i++) {
		char *start = room + i * STRIDE;

		memcpy(start, "ack: ", PREFIX);
		in[i] = (struct iovec){start + PREFIX, DATAGRAM_MAX};
		out[i] = (struct iovec){ack ? start : start + PREFIX, 0};
		received[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_iov = &in[i], .msg_iovlen = 1};
		replies[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_iov = &out[i], .msg_iovlen = 1};
		received[i].msg_hdr.msg_namelen = replies[i].msg_hdr.msg_namelen = sizeof(peers[i]);
	}
}

static int open_socket(const char *port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int size = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len))
		err(1, "port %s", port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		err(1, "getsockname");
	printf("listening %u\n", ntohs(addr.sin_port));
	fflush(stdout);
	return fd;
}

static void send_replies(int fd, int count)
{
	for (int sent = 0; sent < count;) {
		int done = sendmmsg(fd, replies + sent, count - sent, 0);

		sent += done > 0 ? done : 1; /* the one that cannot be sent is lost, as UDP may */
	}
}

int main(int argc, char **argv)
{
	bool echo = argc == 3 && !strcmp(argv[2], "echo");
	bool ack = argc == 2 || (argc == 3 && !strcmp(argv[2], "ack"));
	int fd;

	if (!ack && !echo)
		errx(2, "usage: udp_ack PORT [ack | echo]");
	lay_out_buffers(ack);
	fd = open_socket(argv[1]);
	for (;;) {
		int count = recvmmsg(fd, received, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < count; i++) {
			out[i].iov_len = received[i].msg_len + (ack ? PREFIX : 0);
			/* The kernel wrote the name's length: recvmmsg needs the room again,
			 * and sendmmsg has it fixed. */
			received[i].msg_hdr.msg_namelen = sizeof(peers[i]);
		}
		send_replies(fd, count);
	}
}
