/*
 * What the kernel and the memory take for a message, without anybody who waits: the limit of any server here.
 *
 *     limit
 *
 * One process sends to itself over loopback and receives what has come, so that there is no sleep, no wake and no other
 * processor. Each figure is the least of many short batches: what other programs take meanwhile is not in it. Prints
 * "NAME NANOSECONDS" for one message (send and receive), or for one call or copy.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum { BATCHES = 400, TURNS = 64, SMALL = 64, LARGE = 65536, DATAGRAMS = 64, STRIDE = 2112 };

static char from[LARGE], to[LARGE * 2];
static int near_end, far_end;
static char room[DATAGRAMS * STRIDE];
static struct mmsghdr out[DATAGRAMS], in[DATAGRAMS];
static struct iovec out_iov[DATAGRAMS], in_iov[DATAGRAMS];

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *name, void (*turn)(void), int turns, int messages)
{
	double least = 1e18;

	for (int batch = 0; batch < BATCHES; batch++) {
		double before = now_ns(), took;

		for (int i = 0; i < turns; i++)
			turn();
		took = (now_ns() - before) / turns / messages;
		least = took < least ? took : least;
	}
	printf("%s %.0f\n", name, least);
}

static void null_call(void)
{
	syscall(SYS_getppid);
}

static void copy_large(void)
{
	memcpy(to, from, LARGE);
	__asm__ volatile("" ::: "memory");
}

static void pass(size_t len)
{
	size_t got = 0;

	if (send(near_end, from, len, 0) != (ssize_t)len)
		err(1, "send");
	while (got < len) {
		ssize_t n = recv(far_end, to, sizeof(to), 0);

		if (n <= 0)
			err(1, "recv");
		got += (size_t)n;
	}
}

static void pass_small(void)
{
	pass(SMALL);
}

static void pass_large(void)
{
	pass(LARGE);
}

static void pass_datagrams(void)
{
	for (int sent = 0, n; sent < DATAGRAMS; sent += n) {
		n = sendmmsg(near_end, out + sent, (unsigned)(DATAGRAMS - sent), 0);
		if (n <= 0)
			err(1, "sendmmsg");
	}
	for (int got = 0, n; got < DATAGRAMS; got += n) {
		n = recvmmsg(far_end, in, DATAGRAMS, MSG_WAITFORONE, NULL);
		if (n <= 0)
			err(1, "recvmmsg");
	}
}

static void pass_joined(void)
{
	size_t got = 0;

	if (send(near_end, from, (size_t)DATAGRAMS * SMALL, 0) < 0)
		err(1, "send");
	while (got < (size_t)DATAGRAMS * SMALL) {
		ssize_t n = recv(far_end, to, sizeof(to), 0);

		if (n <= 0)
			err(1, "recv");
		got += (size_t)n;
	}
}

static struct sockaddr_in bound(int fd)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) || getsockname(fd, (struct sockaddr *)&at, &len))
		err(1, "bind");
	return at;
}

static void tcp_pair(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	struct sockaddr_in at = bound(listener);

	near_end = socket(AF_INET, SOCK_STREAM, 0);
	if (listen(listener, 1) || connect(near_end, (struct sockaddr *)&at, sizeof(at)))
		err(1, "connect");
	far_end = accept(listener, NULL, NULL);
	setsockopt(near_end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(listener);
}

static void unix_pair(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		err(1, "socketpair");
	near_end = pair[0];
	far_end = pair[1];
}

static void udp_pair(void)
{
	struct sockaddr_in at;
	int size = 4 << 20;

	far_end = socket(AF_INET, SOCK_DGRAM, 0);
	near_end = socket(AF_INET, SOCK_DGRAM, 0);
	at = bound(far_end);
	setsockopt(far_end, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(near_end, (struct sockaddr *)&at, sizeof(at)))
		err(1, "connect");
	for (int i = 0; i < DATAGRAMS; i++) {
		out_iov[i] = (struct iovec){from, SMALL};
		in_iov[i] = (struct iovec){room + i * STRIDE, 2048};
		out[i].msg_hdr = (struct msghdr){.msg_iov = &out_iov[i], .msg_iovlen = 1};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &in_iov[i], .msg_iovlen = 1};
	}
}

static void end_pair(void)
{
	close(near_end);
	close(far_end);
}

int main(void)
{
	int size = SMALL, on = 1;

	measure("call", null_call, TURNS, 1);
	measure("copy-64KiB", copy_large, TURNS, 1);
	tcp_pair();
	measure("tcp-64B", pass_small, TURNS, 1);
	measure("tcp-64KiB", pass_large, 8, 1);
	end_pair();
	unix_pair();
	measure("unix-64B", pass_small, TURNS, 1);
	measure("unix-64KiB", pass_large, 8, 1);
	end_pair();
	udp_pair();
	measure("udp-64B", pass_datagrams, 1, DATAGRAMS);
	if (setsockopt(near_end, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) == 0) {
		setsockopt(far_end, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
		measure("udp-64B-joined", pass_joined, 1, DATAGRAMS);
	}
	end_pair();
	return 0;
}
