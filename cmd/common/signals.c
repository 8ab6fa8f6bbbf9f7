#include "signals.h"

#include <signal.h>
#include <stddef.h>

#include "tenon.h"

static struct {
	struct tn_signal *interrupt, *end;
	int count;
	void (*fn)(int nth, void *arg);
	void *arg;
} interrupts;

static struct {
	struct tn_signal *sig;
	void (*fn)(void *arg);
	void *arg;
} hangup;

void signals_init(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* with a file size limit, a write is an error that is reported like any other */
	signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, children could not be waited for */
}

static void on_interrupt(int signo, void *arg)
{
	(void)signo, (void)arg;
	interrupts.fn(++interrupts.count, interrupts.arg);
}

int signals_start(struct tn_loop *loop, void (*fn)(int nth, void *arg), void *arg)
{
	int err;

	interrupts.fn = fn;
	interrupts.arg = arg;
	err = tn_signal_start(loop, SIGINT, on_interrupt, NULL, &interrupts.interrupt);
	if (err >= 0)
		err = tn_signal_start(loop, SIGTERM, on_interrupt, NULL, &interrupts.end);
	if (err < 0)
		signals_stop();
	return err;
}

static void on_hangup(int signo, void *arg)
{
	(void)signo, (void)arg;
	hangup.fn(hangup.arg);
}

int signals_on_hangup(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	hangup.fn = fn;
	hangup.arg = arg;
	return tn_signal_start(loop, SIGHUP, on_hangup, NULL, &hangup.sig);
}

/* The library restores what was there before only if nothing else is there. */
static void ignore(int signo, struct tn_signal **sig)
{
	if (!*sig)
		return;
	signal(signo, SIG_IGN);
	tn_signal_stop(*sig);
	*sig = NULL;
}

void signals_stop(void)
{
	ignore(SIGHUP, &hangup.sig);
	ignore(SIGINT, &interrupts.interrupt);
	ignore(SIGTERM, &interrupts.end);
}
