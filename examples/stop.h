/* SIGINT and SIGTERM end a server in good order: it answers what it has taken, then the loop has nothing left to do. */
#ifndef EXAMPLE_STOP_H
#define EXAMPLE_STOP_H

#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <tenon.h>

#define DRAIN_MS 5000

struct stop {
	struct tn_server *server;
	void (*before)(void *arg); /* told first; may be NULL */
	void *arg;
	struct tn_poll *poll;
	int fd;
};

static void stop_now(void *arg)
{
	struct stop *stop = arg;

	if (!stop->poll)
		return;
	tn_poll_stop(stop->poll);
	stop->poll = NULL;
	close(stop->fd);
	if (stop->before)
		stop->before(stop->arg);
	tn_server_close(stop->server, DRAIN_MS, NULL, NULL);
}

/* Call it before threads are started: they must not take the signals. Returns 0 or a negative code. */
static int stop_on_signals(struct tn_loop *loop, struct stop *stop)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	stop->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return stop->fd < 0 ? -1 : tn_poll_start(loop, stop->fd, stop_now, stop, &stop->poll);
}

#endif
