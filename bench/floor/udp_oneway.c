/*
 * Bare one-way UDP: a sender that does nothing but sendmmsg, and a receiver that does nothing but recvmmsg, 64
 * datagrams a batch.
 *
 *     udp_oneway SIZE SECONDS RECEIVER_CORE,SENDER_CORE
 *
 * Prints what both have counted as one JSON object.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	DATAGRAM_MAX = 2048,
	STRIDE = DATAGRAM_MAX + 64 + 128, /* as in udp_ack.c */
	RECEIVE_BUFFER = 4 << 20,
};

struct counts {
	uint64_t messages;
	double first_s, last_s;
};

static char room[BATCH * STRIDE] __attribute__((aligned(4096)));
static struct iovec parts[BATCH];
static struct mmsghdr batch[BATCH];

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void lay_out(size_t size)
{
	memset(room, 'x', sizeof(room));
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){room + i * STRIDE, size};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "core %d", core);
}

/* Until nothing has come for a while: the sender has ended. */
static void receive(int fd, struct counts *counts)
{
	struct timeval quiet = {.tv_usec = 500000};

	lay_out(DATAGRAM_MAX);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet));
	for (;;) {
		int n = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);

		if (n <= 0)
			return;
		counts->last_s = now_s();
		if (!counts->messages)
			counts->first_s = counts->last_s;
		counts->messages += n;
	}
}

static void send_for(int fd, size_t size, double seconds, struct counts *counts)
{
	double end_s;

	lay_out(size);
	counts->first_s = now_s();
	end_s = counts->first_s + seconds;
	do {
		int n = sendmmsg(fd, batch, BATCH, 0);

		counts->messages += n > 0 ? n : 0;
		counts->last_s = now_s();
	} while (counts->last_s < end_s);
}

static double rate_of(const struct counts *counts)
{
	return counts->last_s > counts->first_s ? counts->messages / (counts->last_s - counts->first_s) : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), size = RECEIVE_BUFFER;
	struct counts *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int receiver, sender;
	pid_t child;

	if (argc != 4 || sscanf(argv[3], "%d,%d", &receiver, &sender) != 2 || atoi(argv[1]) > DATAGRAM_MAX)
		errx(2, "usage: udp_oneway SIZE SECONDS RECEIVER_CORE,SENDER_CORE");
	if (counts == MAP_FAILED || in < 0 || out < 0 || bind(in, (struct sockaddr *)&addr, len) ||
	    getsockname(in, (struct sockaddr *)&addr, &len) || connect(out, (struct sockaddr *)&addr, len))
		err(1, "sockets");
	setsockopt(in, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		pin(receiver);
		receive(in, &counts[0]);
		_exit(0);
	}
	pin(sender);
	send_for(out, (size_t)atoi(argv[1]), atof(argv[2]), &counts[1]);
	waitpid(child, NULL, 0);
	printf("{\"sent_rate\": %.0f, \"received_rate\": %.0f, \"sent\": %llu, \"received\": %llu}\n",
	       rate_of(&counts[1]), rate_of(&counts[0]), (unsigned long long)counts[1].messages,
	       (unsigned long long)counts[0].messages);
	return 0;
}
