/*
 * What both fan-out programs share: the process that reads, and the account. A publisher sends one message after the
 * other to all of its connections. After each it waits until all of it has been read, so that no socket is ever full.
 * What counts is the publisher's own CPU time.
 */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

#include "../floor/listener.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { WARMUP_ROUNDS = 3, ACCEPTED_AT_A_TIME = 500, READ_SIZE = 256 * 1024 };

struct fanout {
	int nunix, ntcp, size, rounds, core;
	int round; /* how many have been read whole */
	int done;  /* a pipe: a byte for each time all has been read, and one when all are connected */
	int where; /* a pipe: where the readers connect */
	pid_t readers;
	double began_s; /* CPU time when the first round that counts began */
};

static inline void stay_on_core(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof(set), &set); /* in a machine of one core it stays where it is */
}

static inline double cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline unsigned char fanout_byte(int at)
{
	return (unsigned char)(at * 31 + at / 251);
}

/* The byte that stands at a place of every stream: messages of the same bytes, one behind the other. */
static inline void fanout_fill(unsigned char *message, int size)
{
	for (int i = 0; i < size; i++)
		message[i] = fanout_byte(i);
}

/* ---- the readers ---- */

static inline int dial_one(const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, addr, len))
		err(1, "connect");
	return fd;
}

struct reader {
	int fd;
	uint64_t got;
};

static inline uint64_t read_some(struct reader *r, int size)
{
	static unsigned char hot[READ_SIZE];
	ssize_t n = recv(r->fd, hot, sizeof(hot), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		errx(1, "a connection has ended early");
	if (hot[0] != fanout_byte((int)(r->got % (uint64_t)size)) ||
	    hot[n - 1] != fanout_byte((int)((r->got + (uint64_t)n - 1) % (uint64_t)size)))
		errx(1, "what was read is not what was sent");
	r->got += (uint64_t)n;
	return (uint64_t)n;
}

static inline void tell_done(int fd)
{
	if (write(fd, "", 1) != 1)
		exit(1); /* the publisher has gone */
}

/* Reads "PORT\n" and, for Unix sockets, "PATH\n" behind it. */
static inline void read_readers(const struct fanout *f, FILE *where, int done)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int n = f->nunix + f->ntcp, port = 0, poller = epoll_create1(EPOLL_CLOEXEC);
	struct reader *readers = calloc((size_t)n, sizeof(*readers));
	static struct epoll_event events[512];
	uint64_t got = 0;

	if (!readers || poller < 0 || fscanf(where, "%d\n%107[^\n]", &port, un.sun_path) < 1)
		errx(1, "the readers do not know where to connect");
	in.sin_port = htons((uint16_t)port);
	for (int i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &readers[i]};

		readers[i].fd = i < f->nunix ? dial_one((struct sockaddr *)&un, sizeof(un))
					     : dial_one((struct sockaddr *)&in, sizeof(in));
		if (epoll_ctl(poller, EPOLL_CTL_ADD, readers[i].fd, &event))
			err(1, "epoll_ctl");
	}
	tell_done(done);
	for (;;) {
		int count = epoll_wait(poller, events, 512, -1);

		for (int i = 0; i < count; i++)
			got += read_some(events[i].data.ptr, f->size);
		if (got == (uint64_t)n * (uint64_t)f->size) {
			tell_done(done);
			got = 0;
		}
	}
}

/* ---- the publisher ---- */

/* fanout_... NUNIX NTCP SIZE ROUNDS [CORES], the last as 0,1: the publisher's core and the readers'. */
static inline void fanout_start(struct fanout *f, char **argv, int argc)
{
	int where[2], done[2], cores[2] = {0, 1};

	raise_descriptor_limit();
	if (argc < 4)
		errx(2, "NUNIX NTCP SIZE ROUNDS [CORE,CORE]");
	*f = (struct fanout){
		.nunix = atoi(argv[0]), .ntcp = atoi(argv[1]), .size = atoi(argv[2]), .rounds = atoi(argv[3])};
	if (argc > 4)
		(void)sscanf(argv[4], "%d,%d", &cores[0], &cores[1]);
	if (f->nunix + f->ntcp < 1 || f->size < 1 || f->rounds < 1)
		errx(2, "at least one connection, byte and round");
	if (pipe(where) || pipe(done))
		err(1, "pipe");
	f->readers = fork();
	if (f->readers < 0)
		err(1, "fork");
	if (!f->readers) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stay_on_core(cores[1]);
		close(where[1]);
		close(done[0]);
		read_readers(f, fdopen(where[0], "r"), done[1]);
	}
	close(where[0]);
	close(done[1]);
	stay_on_core(cores[0]);
	f->where = where[1];
	f->done = done[0];
	f->round = -1;
}

static inline void fanout_tell_where(struct fanout *f, int port, const char *path)
{
	dprintf(f->where, "%d\n%s\n", port, path);
	close(f->where);
}

/* A byte from the readers: all are connected, or have all of a message. True: the next is to be sent. */
static inline bool fanout_goes_on(struct fanout *f)
{
	char byte;

	if (read(f->done, &byte, 1) != 1)
		errx(1, "the readers have gone");
	if (++f->round == WARMUP_ROUNDS)
		f->began_s = cpu_s();
	return f->round < WARMUP_ROUNDS + f->rounds;
}

/* `spun_s`: of its CPU time, what was waiting. */
static inline void fanout_tell(const struct fanout *f, double spun_s)
{
	double cpu = cpu_s() - f->began_s - spun_s;
	double messages = (double)f->rounds * (f->nunix + f->ntcp);

	printf("{\"messages\": %.0f, \"cpu_s\": %.6f, \"server_us\": %.4f}\n", messages, cpu, cpu * 1e6 / messages);
	fflush(stdout);
	kill(f->readers, SIGKILL);
	waitpid(f->readers, NULL, 0);
}

#endif
