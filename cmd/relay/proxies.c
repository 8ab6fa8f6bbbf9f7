#include "proxies.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/workers.h"
#include "plan.h"
#include "targets.h"
#include "tenon.h"

#define PROXIES_MAX 4096

static struct {
	struct proxy *first;
	int count, next_loop;
	uint64_t ids;
} all;

static struct {
	struct {
		struct proxy *proxy;
		enum proxy_step what;
	} * list;
	int count, room, at;
	void (*done)(const struct toxic_error *error);
	struct toxic_error error, failed; /* failed: before all steps, which are run all the same */
} steps;

static struct {
	bool wanted;
	uint64_t drain_ns;
	int left;
	void (*done)(void);
} closing;

/* ---- places ---- */

static bool is_host(const char *text, size_t len)
{
	if (len >= 2 && *text == '[' && text[len - 1] == ']') {
		for (size_t i = 1; i < len - 1; i++)
			if (!isxdigit((unsigned char)text[i]) && !strchr(":.%", text[i]) &&
			    !isalnum((unsigned char)text[i]))
				return false;
		return len > 2;
	}
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-._", text[i]))
			return false;
	return true;
}

/* HOST:PORT. `port` is the text behind the colon. */
static bool split_place(const char *text, size_t *host_len, const char **port)
{
	const char *colon = strrchr(text, ':');

	if (!colon || strlen(text) > 300 || !is_host(text, (size_t)(colon - text)))
		return false;
	*host_len = (size_t)(colon - text);
	*port = colon + 1;
	return **port && strlen(*port) <= 5 && strspn(*port, "0123456789") == strlen(*port) && atoi(*port) <= 65535;
}

static bool check_place(const char *what, const char *text, bool any_port, struct toxic_error *error)
{
	size_t len;
	const char *port;

	if (!split_place(text, &len, &port))
		return toxic_fail(error, 400, "bad request body: %s: '%.100s' is no HOST:PORT", what, text);
	if (!any_port && atoi(port) == 0)
		return toxic_fail(error, 400, "bad request body: %s: '%.100s' has no port", what, text);
	return true;
}

bool proxy_check(const char *listen, const char *upstream, struct toxic_error *error)
{
	return (!*listen || check_place("listen", listen, true, error)) &&
	       check_place("upstream", upstream, false, error);
}

/* Without a host: all addresses where it listens, this machine where it dials. `port` NULL: that of the text. */
static char *url_of(const char *text, const char *without, const char *port)
{
	size_t len = 0;
	const char *own = "0";
	bool any = !*text || (split_place(text, &len, &own) && (!len || (len == 4 && strncmp(text, "[::]", 4) == 0)));
	char *url;

	if (asprintf(&url, "tcp://%.*s:%s", (int)(any ? strlen(without) : len), any ? without : text,
		     port ? port : own) < 0)
		return NULL;
	return url;
}

bool proxy_is_at(const struct proxy *proxy, const char *listen, const char *upstream)
{
	return (strcmp(proxy->listen, listen) == 0 || strcmp(proxy->asked, listen) == 0) &&
	       strcmp(proxy->upstream, upstream) == 0;
}

/* ---- proxies ---- */

struct proxy *proxies_first(void)
{
	return all.first;
}

struct proxy *proxies_find(const char *name)
{
	struct proxy *proxy = all.first;

	while (proxy && strcmp(proxy->name, name) != 0)
		proxy = proxy->next;
	return proxy;
}

static bool no_memory(struct toxic_error *error)
{
	return toxic_fail(error, 500, "out of memory");
}

bool proxy_change(struct proxy *proxy, const char *listen, const char *upstream, struct toxic_error *error)
{
	char *texts[3];

	if (!proxy_check(listen, upstream, error))
		return false;
	texts[0] = strdup(listen);
	texts[1] = strdup(listen);
	texts[2] = strdup(upstream);
	if (!texts[0] || !texts[1] || !texts[2]) {
		for (int i = 0; i < 3; i++)
			free(texts[i]);
		return no_memory(error);
	}
	free(proxy->asked);
	free(proxy->listen);
	free(proxy->upstream);
	proxy->asked = texts[0];
	proxy->listen = texts[1];
	proxy->upstream = texts[2];
	return true;
}

static void proxy_free(struct proxy *proxy)
{
	proxy_remove_toxics(proxy);
	served_told_end(&proxy->told);
	free(proxy->name);
	free(proxy->asked);
	free(proxy->listen);
	free(proxy->upstream);
	free(proxy);
}

struct proxy *proxies_add(const char *name, const char *listen, const char *upstream, struct toxic_error *error)
{
	struct proxy *proxy, **last = &all.first;

	if (proxies_find(name)) {
		toxic_fail(error, 409, "proxy already exists");
		return NULL;
	}
	if (all.count == PROXIES_MAX) {
		toxic_fail(error, 400, "there are %d proxies already", PROXIES_MAX);
		return NULL;
	}
	proxy = calloc(1, sizeof(*proxy));
	if (!proxy || !(proxy->name = strdup(name))) {
		free(proxy);
		no_memory(error);
		return NULL;
	}
	served_told_begin(&proxy->told);
	proxy->job.told = &proxy->told;
	if (!proxy_change(proxy, listen, upstream, error)) {
		proxy_free(proxy);
		return NULL;
	}
	proxy->fresh = true;
	proxy->job.loop = all.next_loop++ % workers_count();
	while (*last)
		last = &(*last)->next;
	*last = proxy;
	all.count++;
	return proxy;
}

void proxies_remove(struct proxy *proxy)
{
	struct proxy **at = &all.first;

	while (*at != proxy)
		at = &(*at)->next;
	*at = proxy->next;
	all.count--;
	proxy_free(proxy);
}

/* ---- toxics ---- */

struct toxic *proxy_toxic(struct proxy *proxy, const char *name)
{
	for (int i = 0; i < proxy->ntoxics; i++)
		if (strcmp(proxy->toxics[i].name, name) == 0)
			return &proxy->toxics[i];
	return NULL;
}

struct toxic *proxy_add_toxic(struct proxy *proxy, const struct toxic *toxic, struct toxic_error *error)
{
	struct toxic *added = &proxy->toxics[proxy->ntoxics];

	if (proxy_toxic(proxy, toxic->name)) {
		toxic_fail(error, 409, "toxic already exists");
		return NULL;
	}
	if (proxy->ntoxics == CHAOS_SPECS_MAX) {
		toxic_fail(error, 400, "a proxy has at most %d toxics", CHAOS_SPECS_MAX);
		return NULL;
	}
	*added = *toxic;
	added->id = ++all.ids;
	if (getrandom(&added->seed, sizeof(added->seed), GRND_NONBLOCK) < 0)
		added->seed = clock_ns();
	proxy->ntoxics++;
	return added;
}

void proxy_remove_toxic(struct proxy *proxy, struct toxic *toxic)
{
	size_t behind = (size_t)(&proxy->toxics[--proxy->ntoxics] - toxic);

	free(toxic->name);
	memmove(toxic, toxic + 1, behind * sizeof(*toxic));
}

void proxy_remove_toxics(struct proxy *proxy)
{
	while (proxy->ntoxics)
		proxy_remove_toxic(proxy, &proxy->toxics[proxy->ntoxics - 1]);
}

static struct chaos_set *set_of(const struct proxy *proxy)
{
	struct chaos_set *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	set->live = true;
	for (; set->count < proxy->ntoxics; set->count++)
		toxic_spec(&proxy->toxics[set->count], &set->specs[set->count]);
	return set;
}

/* ---- steps ---- */

bool proxies_step(struct proxy *proxy, enum proxy_step step)
{
	int room = steps.room ? 2 * steps.room : 16;
	void *grown = steps.count < steps.room ? steps.list : realloc(steps.list, (size_t)room * sizeof(*steps.list));

	if (!grown)
		return false;
	if (steps.count == steps.room)
		steps.room = room;
	steps.list = grown;
	steps.list[steps.count].proxy = proxy;
	steps.list[steps.count++].what = step;
	return true;
}

/* Those that never came to listen. */
static void remove_fresh(void)
{
	for (struct proxy *proxy = all.first, *next; proxy; proxy = next) {
		next = proxy->next;
		if (proxy->fresh)
			proxies_remove(proxy);
	}
}

void proxies_forget_steps(void)
{
	steps.count = 0;
	remove_fresh();
}

void proxies_fail(const struct toxic_error *error)
{
	steps.failed = *error;
}

static void next(void);

/* As Go has it: other programs look for these words. */
static void tell_bind_error(const struct proxy *proxy, int err, const char *words)
{
	bool local = strncmp(proxy->asked, "localhost:", 10) == 0;
	char why[128];

	if (err != -EADDRINUSE && err != -EACCES && err != -EADDRNOTAVAIL) {
		toxic_fail(&steps.error, 500, "listen tcp %s: %s", proxy->asked, words);
		return;
	}
	snprintf(why, sizeof(why), "%s", strerror(-err));
	*why = (char)tolower((unsigned char)*why);
	toxic_fail(&steps.error, 500, "listen tcp %s%s: bind: %s", local ? "127.0.0.1" : "",
		   proxy->asked + (local ? 9 : 0), why);
}

static void free_urls(struct served_job *job)
{
	free((char *)(uintptr_t)job->listen);
	free((char *)(uintptr_t)job->target);
	job->listen = job->target = NULL;
}

/* It comes back at the port that it had, whichever that was. */
static bool make_urls(struct proxy *proxy)
{
	char *target = url_of(proxy->upstream, "localhost", NULL);

	proxy->job.given = proxy->upstream;
	proxy->job.listen = url_of(proxy->asked, "*", *proxy->listen ? strrchr(proxy->listen, ':') + 1 : NULL);
	proxy->job.target = target ? targets_url(target, plan.connect) : NULL;
	free(target);
	return proxy->job.listen && proxy->job.target;
}

static void started(struct served_job *job, struct proxy *proxy)
{
	char *at;

	free_urls(job);
	if (job->err < 0) {
		tell_bind_error(proxy, job->err, job->words);
		return;
	}
	proxy->enabled = true;
	proxy->fresh = false;
	if (asprintf(&at, "%s%s", *job->at == '*' ? "[::]" : "", job->at + (*job->at == '*')) < 0)
		return; /* what was asked for stays there */
	free(proxy->listen);
	proxy->listen = at;
}

static void step_done(struct served_job *job)
{
	struct proxy *proxy = steps.list[steps.at++].proxy;

	if (job->what == SERVED_START) {
		started(job, proxy);
	} else if (job->what == SERVED_STOP) {
		proxy->enabled = false;
	}
	next();
}

/* Whether there is something to wait for. */
static bool begin(struct proxy *proxy, enum proxy_step what)
{
	struct served_job *job = &proxy->job;

	if (proxy->enabled == (what == PROXY_START))
		return false;
	job->done = step_done;
	job->what = what == PROXY_START ? SERVED_START : what == PROXY_STOP ? SERVED_STOP : SERVED_CHANGE;
	job->drain_ns = 0;
	job->set = what == PROXY_STOP ? NULL : set_of(proxy);
	if (what != PROXY_STOP && !job->set)
		return no_memory(&steps.error);
	if ((what != PROXY_START || make_urls(proxy)) && served_post(job))
		return true;
	free_urls(job);
	free(job->set);
	return steps.error.status || no_memory(&steps.error);
}

static void next(void)
{
	void (*done)(const struct toxic_error *error) = steps.done;
	struct toxic_error error;

	while (steps.at < steps.count && !steps.error.status && !closing.wanted) {
		if (begin(steps.list[steps.at].proxy, steps.list[steps.at].what))
			return;
		steps.at++;
	}
	if (steps.at < steps.count && !steps.error.status)
		toxic_fail(&steps.error, 503, "the relay is ending");
	error = steps.error.status ? steps.error : steps.failed;
	steps.at = steps.count = 0;
	steps.error.status = steps.failed.status = 0;
	steps.done = NULL;
	remove_fresh(); /* it failed, or the steps ended before it */
	done(error.status ? &error : NULL);
	if (closing.wanted)
		proxies_close(closing.drain_ns, closing.done);
}

void proxies_run(void (*done)(const struct toxic_error *error))
{
	steps.done = done;
	next();
}

/* ---- the end ---- */

static void closed(struct served_job *job)
{
	(void)job;
	if (--closing.left == 0)
		closing.done();
}

void proxies_close(uint64_t drain_ns, void (*done)(void))
{
	closing.wanted = true;
	closing.drain_ns = drain_ns;
	closing.done = done;
	if (steps.done) /* then it is called again */
		return;
	closing.left = 1;
	for (struct proxy *proxy = all.first; proxy; proxy = proxy->next) {
		if (!proxy->enabled)
			continue;
		proxy->enabled = false;
		proxy->job.what = SERVED_STOP;
		proxy->job.drain_ns = drain_ns ? drain_ns : 1;
		proxy->job.done = closed;
		closing.left++;
		if (!served_post(&proxy->job))
			closing.left--;
	}
	if (--closing.left == 0)
		done();
}

void proxies_free(void)
{
	while (all.first) {
		served_free(all.first->job.served);
		free_urls(&all.first->job); /* if nobody was left to hear that it listens */
		proxies_remove(all.first);
	}
	free(steps.list);
	steps.list = NULL;
	steps.count = steps.room = 0;
}
