/* SIGINT and SIGTERM end a server in good order: it answers what it has taken, then the loop has nothing left to do. */
#ifndef EXAMPLE_STOP_H
#define EXAMPLE_STOP_H

#include <signal.h>
#include <stdbool.h>

#include <tenon.h>

#define DRAIN_MS 5000

struct stop {
	struct tn_server *server;
	void (*before)(void *arg); /* told first; may be NULL */
	void *arg;
	struct tn_signal *interrupt, *end;
	bool stopped;
};

static void stop_now(struct stop *stop)
{
	if (stop->stopped)
		return;
	stop->stopped = true;
	tn_signal_stop(stop->interrupt); /* as long as one is waited for, the loop goes on */
	tn_signal_stop(stop->end);
	if (stop->before)
		stop->before(stop->arg);
	tn_server_close(stop->server, DRAIN_MS, NULL, NULL);
}

static void on_stop(int signo, void *arg)
{
	(void)signo;
	stop_now(arg);
}

/* Returns 0 or a negative code. */
static int stop_on_signals(struct tn_loop *loop, struct stop *stop)
{
	int rc = tn_signal_start(loop, SIGINT, on_stop, stop, &stop->interrupt);

	return rc < 0 ? rc : tn_signal_start(loop, SIGTERM, on_stop, stop, &stop->end);
}

#endif
