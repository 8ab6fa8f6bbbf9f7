#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "output.h"
#include "tenon.h"

static struct {
	int fd, count;
	struct tn_poll *poll;
	void (*fn)(int nth, void *arg);
	void *arg;
} watch = {.fd = -1};

static struct {
	int fd;
	struct tn_poll *poll;
	void (*fn)(void *arg);
	void *arg;
} hangup = {.fd = -1};

void signals_init(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log or key log that may not grow is an error, told like any other */
	signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, children could not be waited for */
}

int signals_open(const sigset_t *set)
{
	int fd, err;

	pthread_sigmask(SIG_BLOCK, set, NULL);
	fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	err = -errno;
	if (fd >= 0)
		return fd;
	pthread_sigmask(SIG_UNBLOCK, set, NULL); /* they end the command as they always did */
	complain_of("signals cannot be read: signalfd: %s", tn_strerror(err));
	return err;
}

/* Whether one has come; no event tells of it a second time. */
static bool take(int fd)
{
	struct signalfd_siginfo info;
	ssize_t n;

	do
		n = read(fd, &info, sizeof(info));
	while (n < 0 && errno == EINTR);
	return n == sizeof(info);
}

static void on_signal(void *arg)
{
	(void)arg;
	while (watch.fd >= 0 && take(watch.fd))
		watch.fn(++watch.count, watch.arg);
}

int signals_start(struct tn_loop *loop, void (*fn)(int nth, void *arg), void *arg)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	watch.fn = fn;
	watch.arg = arg;
	watch.fd = err = signals_open(&set);
	if (err >= 0)
		err = tn_poll_start(loop, watch.fd, on_signal, NULL, &watch.poll);
	if (err < 0)
		signals_stop();
	return err;
}

static void on_hangup(void *arg)
{
	bool came = false;

	(void)arg;
	while (take(hangup.fd))
		came = true;
	if (came)
		hangup.fn(hangup.arg);
}

int signals_on_hangup(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	hangup.fn = fn;
	hangup.arg = arg;
	hangup.fd = signals_open(&set);
	return hangup.fd < 0 ? hangup.fd : tn_poll_start(loop, hangup.fd, on_hangup, NULL, &hangup.poll);
}

static void unwatch(int *fd, struct tn_poll **poll)
{
	if (*fd < 0)
		return;
	tn_poll_stop(*poll);
	*poll = NULL;
	close(*fd);
	*fd = -1;
}

void signals_stop(void)
{
	unwatch(&hangup.fd, &hangup.poll);
	unwatch(&watch.fd, &watch.poll);
}
