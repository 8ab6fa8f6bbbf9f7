#include "login.h"

#include <netinet/in.h>
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
	int loop; /* its number */
	void (*done)(void *arg, bool right);
	_Atomic(void *) arg; /* NULL: nobody wants to know any more */
	uint64_t source, turn;
	bool right;
	char *hash; /* behind the password */
	char password[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool runs, ends;
	struct attempt *first; /* by turn */
	unsigned waiting;
	uint64_t turn; /* of the one that was taken last */
} checker = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

uint64_t login_source(const struct tn_addr *peer)
{
	const struct sockaddr *sa = tn_addr_sockaddr(peer);
	const unsigned char *bytes = NULL;
	uint64_t source = 0;
	int len = 0;

	if (peer->len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		bytes = (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
		len = 4;
	} else if (peer->len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		const struct in6_addr *ip = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
		bool v4 = IN6_IS_ADDR_V4MAPPED(ip);

		bytes = ip->s6_addr + (v4 ? 12 : 0);
		len = v4 ? 4 : 8;
	}
	for (int i = 0; i < len; i++)
		source = source << 8 | bytes[i];
	return source;
}

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
	checker.turn = attempt->turn;
	checker.waiting--;
	return attempt;
}

/* False: its loop has ended. */
static bool check(struct attempt *attempt)
{
	attempt->right = user_has_password(attempt->hash, attempt->password);
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

/*
 * Under the lock. Sources take turns: an attempt's is one behind the last of its own source that waits, so whoever
 * tries a thousand passwords keeps others waiting for one of them. Where all places are taken, the last turn loses its
 * own. Returns who has lost it; NULL: nobody.
 */
static struct attempt *queue(struct attempt *attempt)
{
	struct attempt **at, *lost = NULL;

	attempt->turn = checker.turn + 1;
	for (const struct attempt *other = checker.first; other; other = other->next)
		if (other->source == attempt->source)
			attempt->turn = other->turn + 1;
	for (at = &checker.first; *at && (*at)->turn <= attempt->turn;)
		at = &(*at)->next;
	attempt->next = *at;
	*at = attempt;
	if (++checker.waiting <= WAITING_MAX)
		return NULL;
	for (at = &checker.first; (*at)->next;)
		at = &(*at)->next;
	lost = *at;
	*at = NULL;
	checker.waiting--;
	return lost;
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

/* NULL: no memory. */
static struct attempt *attempt_new(const char *hash, struct span password)
{
	size_t len = strlen(hash) + 1;
	struct attempt *attempt = calloc(1, sizeof(*attempt) + password.len + 1 + len);

	if (!attempt)
		return NULL;
	memcpy(attempt->password, password.data, password.len);
	attempt->hash = memcpy(attempt->password + password.len + 1, hash, len);
	return attempt;
}

struct attempt *login_begin(const struct login_from *from, const char *hash, struct span password,
			    void (*done)(void *arg, bool right), void *arg)
{
	struct attempt *attempt = attempt_new(hash, password), *lost = attempt;

	if (!attempt)
		return NULL;
	attempt->loop = from->loop;
	attempt->source = from->source;
	attempt->done = done;
	attempt->arg = arg;
	pthread_mutex_lock(&checker.lock);
	if (start()) {
		lost = queue(attempt);
		pthread_cond_signal(&checker.wake);
	}
	pthread_mutex_unlock(&checker.lock);
	if (lost == attempt) {
		attempt_free(attempt);
		return NULL;
	}
	if (lost && !workers_post_to(lost->loop, tell, lost))
		attempt_free(lost);
	return attempt;
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
}
