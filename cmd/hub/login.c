#include "login.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/workers.h"
#include "users.h"

#define WAITING_MAX 1000 /* attempts; beyond that they are refused */

struct attempt {
	struct attempt *next;
	int loop;                /* its number */
	const struct user *user; /* stays in memory until the end */
	void (*done)(void *arg, bool right);
	_Atomic(void *) arg; /* NULL: nobody wants to know any more */
	bool right;
	char password[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool runs, ends;
	struct attempt *first, **last;
	unsigned waiting;
} checker = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .last = &checker.first};

static void attempt_free(struct attempt *attempt)
{
	explicit_bzero(attempt->password, strlen(attempt->password));
	free(attempt);
}

/* On the loop. */
static void tell(void *arg)
{
	struct attempt *attempt = arg;

	void *client = attempt->arg;

	if (client)
		attempt->done(client, attempt->right);
	attempt_free(attempt);
}

/* Under the lock. NULL: it ends. */
static struct attempt *next(void)
{
	struct attempt *attempt;

	while (!checker.first && !checker.ends)
		pthread_cond_wait(&checker.wake, &checker.lock);
	attempt = checker.ends ? NULL : checker.first;
	if (!attempt)
		return NULL;
	checker.first = attempt->next;
	if (!checker.first)
		checker.last = &checker.first;
	checker.waiting--;
	return attempt;
}

/* False: its loop has ended. */
static bool check(struct attempt *attempt)
{
	attempt->right = user_has_password(attempt->user, attempt->password);
	return workers_post_to(attempt->loop, tell, attempt);
}

static void *run(void *arg)
{
	struct attempt *attempt;

	(void)arg;
	pthread_mutex_lock(&checker.lock);
	while ((attempt = next())) {
		pthread_mutex_unlock(&checker.lock);
		/* Who has gone costs no time: others wait behind it. Its loop does not know the attempt any more. */
		if (!attempt->arg || !check(attempt))
			attempt_free(attempt);
		pthread_mutex_lock(&checker.lock);
	}
	pthread_mutex_unlock(&checker.lock);
	return NULL;
}

/* Under the lock. The first who logs in starts it. Signals are for the others. */
static bool start(void)
{
	sigset_t all, before;

	if (checker.runs)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	checker.runs = pthread_create(&checker.thread, NULL, run, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return checker.runs;
}

struct attempt *login_begin(int loop, const struct user *user, struct span password,
			    void (*done)(void *arg, bool right), void *arg)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt) + password.len + 1);
	bool taken = false;

	if (!attempt)
		return NULL;
	*attempt = (struct attempt){.loop = loop, .user = user, .done = done, .arg = arg};
	memcpy(attempt->password, password.data, password.len);
	pthread_mutex_lock(&checker.lock);
	if (checker.waiting < WAITING_MAX && start()) {
		taken = true;
		checker.waiting++;
		*checker.last = attempt;
		checker.last = &attempt->next;
		pthread_cond_signal(&checker.wake);
	}
	pthread_mutex_unlock(&checker.lock);
	if (taken)
		return attempt;
	attempt_free(attempt);
	return NULL;
}

void login_forget(struct attempt *attempt)
{
	attempt->arg = NULL;
}

void login_end(void)
{
	pthread_mutex_lock(&checker.lock);
	checker.ends = true;
	pthread_cond_signal(&checker.wake);
	pthread_mutex_unlock(&checker.lock);
	if (checker.runs)
		pthread_join(checker.thread, NULL);
	checker.runs = false;
	while (checker.first) {
		struct attempt *attempt = checker.first;

		checker.first = attempt->next;
		attempt_free(attempt);
	}
	checker.last = &checker.first;
}
