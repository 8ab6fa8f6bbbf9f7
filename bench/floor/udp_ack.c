/*
 * Bare UDP server: recvmmsg and sendmmsg, 64 datagrams a batch, and nothing else.
 *
 *     udp_ack PORT [ack | echo | joined]
 *
 * joined: ack, and the kernel may hand over datagrams of one length from one peer as one (UDP_GRO); their replies, of
 * one length too, leave as one (UDP_SEGMENT). Replies are copied then: each has its own prefix.
 *
 * MSG_WAITFORONE sleeps for the first datagram and takes the others that are there already. ack replies "ack: " and the
 * data: the prefix stands in front of every buffer once and for all, so no byte is moved. Buffers start at different
 * places of a page; 64 of them at the same offset would fight for the same few lines of the first-level cache.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	BATCH = 64,
	JOINED_BATCH = 16,
	JOINED_MAX = 65536,
	SEGMENTS_MAX = 64, /* of one message: the kernel's limit */
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

/* ---- joined ---- */

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

static char joined_in[JOINED_BATCH][JOINED_MAX], joined_out[JOINED_BATCH][JOINED_MAX];
static union control controls_in[JOINED_BATCH], controls_out[JOINED_BATCH];

/* How long each of those in it is but for the last, which may be shorter. */
static size_t segment_of(struct msghdr *msg, size_t len)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int size;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&size, CMSG_DATA(c), sizeof(size));
		return (size_t)size;
	}
	return len;
}

/* The replies that fit into one message: so many bytes of what came are answered. */
static size_t join_replies(int i, const char *from, size_t len, size_t segment)
{
	struct msghdr *msg = &replies[i].msg_hdr;
	uint16_t each = (uint16_t)(segment + PREFIX);
	size_t done = 0, count = 0;
	char *to = joined_out[i];

	for (; done < len && count < SEGMENTS_MAX && to + each <= joined_out[i] + JOINED_MAX - 64; count++) {
		size_t size = len - done < segment ? len - done : segment;

		memcpy(to, "ack: ", PREFIX);
		memcpy(to + PREFIX, from + done, size);
		to += PREFIX + size;
		done += size;
	}
	out[i] = (struct iovec){joined_out[i], (size_t)(to - joined_out[i])};
	msg->msg_control = count > 1 ? &controls_out[i] : NULL;
	msg->msg_controllen = count > 1 ? CMSG_SPACE(sizeof(each)) : 0;
	if (count > 1) {
		struct cmsghdr *c = CMSG_FIRSTHDR(msg);

		*c = (struct cmsghdr){CMSG_LEN(sizeof(each)), IPPROTO_UDP, UDP_SEGMENT};
		memcpy(CMSG_DATA(c), &each, sizeof(each));
	}
	return done;
}

static void serve_joined(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)))
		err(1, "UDP_GRO");
	for (;;) {
		size_t done[JOINED_BATCH] = {0};
		int count, left;

		for (int i = 0; i < JOINED_BATCH; i++) {
			in[i] = (struct iovec){joined_in[i], JOINED_MAX};
			received[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
							      .msg_namelen = sizeof(peers[i]),
							      .msg_iov = &in[i],
							      .msg_iovlen = 1,
							      .msg_control = &controls_in[i],
							      .msg_controllen = sizeof(controls_in[i])};
		}
		count = recvmmsg(fd, received, JOINED_BATCH, MSG_WAITFORONE, NULL);
		for (left = count; left > 0;) { /* mostly once: what is more than fits goes in another round */
			int n = 0;

			left = 0;
			for (int i = 0; i < count; i++) {
				size_t len = received[i].msg_len, segment = segment_of(&received[i].msg_hdr, len);

				if (done[i] == len)
					continue;
				replies[n].msg_hdr.msg_name = &peers[i];
				done[i] += join_replies(n++, joined_in[i] + done[i], len - done[i], segment);
				left += done[i] < len;
			}
			send_replies(fd, n);
		}
	}
}

int main(int argc, char **argv)
{
	bool echo = argc == 3 && !strcmp(argv[2], "echo");
	bool ack = argc == 2 || (argc == 3 && !strcmp(argv[2], "ack"));
	bool joined = argc == 3 && !strcmp(argv[2], "joined");
	int fd;

	if (!ack && !echo && !joined)
		errx(2, "usage: udp_ack PORT [ack | echo | joined]");
	lay_out_buffers(ack);
	fd = open_socket(argv[1]);
	if (joined)
		serve_joined(fd);
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
