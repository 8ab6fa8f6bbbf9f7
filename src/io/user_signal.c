/*
 * Signals as events of loops: tn_signal_start(). The handler runs in whichever thread the kernel chooses. It puts the
 * watches of its signal into the inboxes of their loops, which takes no lock and no memory (io/inbox).
 */
#include "base/err.h"
#include "io/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct tn_signal {
	struct tni_owned owned;
	struct tni_post post;
	_Atomic(struct tn_signal *) next; /* of the same signal; read by the handler */
	_Atomic(bool) posted;             /* in the inbox: those that come until it is run count as one */
	struct tn_loop *loop;
	void (*fn)(int signo, void *arg);
	void *arg;
	int signo;
	bool keeps, stopped;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of those who change the lists */
static _Atomic(struct tn_signal *) watches[NSIG];
static struct sigaction before[NSIG];
static _Atomic(unsigned) handling; /* threads inside the handler */
static _Atomic(pid_t) home;

static void on_signal(int signo)
{
	int err = errno;
	struct tn_signal *s;

	atomic_fetch_add(&handling, 1);
	if (getpid() == atomic_load(&home)) /* a child that was forked has copies only, and the descriptors in common */
		for (s = atomic_load(&watches[signo]); s; s = atomic_load(&s->next))
			if (!atomic_exchange(&s->posted, true))
				(void)tni_inbox_put(s->loop->inbox, &s->post);
	atomic_fetch_sub(&handling, 1);
	errno = err;
}

static void signal_run(struct tni_post *post)
{
	struct tn_signal *s = tni_container_of(post, struct tn_signal, post);

	if (s->stopped) {
		free(s);
		return;
	}
	atomic_store(&s->posted, false);
	s->fn(s->signo, s->arg);
}

/* Takes it off its list. With the last one, what stood there before the first stands there again. */
static void unlink_watch(struct tn_signal *s)
{
	_Atomic(struct tn_signal *) *at = &watches[s->signo];
	struct sigaction now;

	while (atomic_load(at) != s)
		at = &atomic_load(at)->next;
	atomic_store(at, atomic_load(&s->next));
	if (!atomic_load(&watches[s->signo]) && sigaction(s->signo, NULL, &now) == 0 && now.sa_handler == on_signal)
		sigaction(s->signo, &before[s->signo], NULL);
}

static int link_watch(struct tn_signal *s)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	bool first = !atomic_load(&watches[s->signo]);
	int err;

	atomic_store(&home, getpid());
	atomic_store(&s->next, atomic_load(&watches[s->signo]));
	atomic_store(&watches[s->signo], s);
	if (!first || sigaction(s->signo, &action, &before[s->signo]) == 0)
		return 0;
	err = -errno;
	atomic_store(&watches[s->signo], NULL);
	return err;
}

static void signal_free(struct tn_signal *s)
{
	pthread_mutex_lock(&lock);
	unlink_watch(s);
	pthread_mutex_unlock(&lock);
	while (atomic_load(&handling)) /* one of them may stand on it */
		sched_yield();
	tni_list_del(&s->owned.node);
	s->loop->alive -= s->keeps;
	s->stopped = true;
	if (!atomic_load(&s->posted))
		free(s);
}

static void signal_destroy(struct tni_owned *owned)
{
	signal_free(tni_container_of(owned, struct tn_signal, owned));
}

/* They tell a thread of its own fault: to go on would repeat it. */
static bool is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL;
}

int tn_signal_start(struct tn_loop *loop, int signo, void (*fn)(int signo, void *arg), void *arg,
		    struct tn_signal **out)
{
	struct tn_signal *s;
	int rc;

	if (signo < 1 || signo >= NSIG || is_fault(signo))
		return tni_err(-EINVAL, "signal %d cannot be an event", signo);
	s = calloc(1, sizeof(*s));
	if (!s)
		return tni_err(-ENOMEM, "signal %d: out of memory", signo);
	s->loop = loop;
	s->signo = signo;
	s->fn = fn;
	s->arg = arg;
	s->post.run = signal_run;
	s->owned.destroy = signal_destroy;
	pthread_mutex_lock(&lock);
	rc = link_watch(s);
	pthread_mutex_unlock(&lock);
	if (rc < 0) {
		free(s);
		return tni_err(rc, "signal %d: %s", signo, tn_strerror(rc));
	}
	tni_list_add_tail(&loop->helpers, &s->owned.node);
	s->keeps = true;
	loop->alive++;
	if (out)
		*out = s;
	return 0;
}

void tn_signal_stop(struct tn_signal *s)
{
	if (s)
		signal_free(s);
}

void tn_signal_keep_loop(struct tn_signal *s, bool keep)
{
	s->loop->alive += (unsigned)keep - (unsigned)s->keeps;
	s->keeps = keep;
}
