#include "targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "balance.h"
#include "common/clock.h"
#include "events.h"
#include "pass.h"
#include "plan.h"
#include "tenon.h"

struct targets *targets_new(void)
{
	struct targets *targets = calloc(1, sizeof(*targets));

	if (targets)
		pthread_mutex_init(&targets->lock, NULL);
	return targets;
}

void targets_free(struct targets *targets)
{
	if (!targets)
		return;
	for (int i = 0; i < targets->count; i++) {
		free(targets->list[i].url);
		free(targets->list[i].given);
	}
	pthread_mutex_destroy(&targets->lock);
	free(targets);
}

/* With a key that has this value, unless it is there already or means nothing to this URL. Frees `url`. */
static char *with_key(char *url, const char *key, const char *value)
{
	char *full = NULL;

	if (!url || tn_url_has_key(url, key) > 0)
		return url;
	if (asprintf(&full, "%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', key, value) < 0)
		full = NULL;
	else if (tn_url_check(full, TN_DIAL) < 0) {
		free(full);
		return url;
	}
	free(url);
	return full;
}

char *targets_url(const char *url, const char *connect)
{
	return with_key(with_key(strdup(url), "connect", connect), "handshake", connect);
}

bool targets_add(struct targets *targets, const char *url, const char *given)
{
	struct target target = {.closes_at_bad = pass_closes_at_bad(url)};

	if (targets->count == TARGETS_MAX)
		return false;
	target.url = strdup(url);
	target.given = strdup(given);
	if (!target.url || !target.given) {
		free(target.url);
		free(target.given);
		return false;
	}
	targets->list[targets->count++] = target;
	return true;
}

const char *targets_why(const struct targets *targets, int index, char *out, size_t cap)
{
	const struct target *target = index >= 0 ? &targets->list[index] : NULL;
	const char *why = tn_errmsg(), *at = target ? strstr(why, target->url) : NULL;

	if (at)
		snprintf(out, cap, "%.*s%s%s", (int)(at - why), why, target->given, at + strlen(target->url));
	else
		snprintf(out, cap, "%s", why);
	return out;
}

/* Those that may be tried, and of these, if there are any, those that are not left out. */
static uint64_t able(const struct targets *targets, uint64_t tried)
{
	uint64_t now = clock_ns(), may = 0, good = 0;

	for (int i = 0; i < targets->count; i++) {
		const struct target *target = &targets->list[i];

		if (target->loops || tried >> i & 1)
			continue;
		may |= UINT64_C(1) << i;
		if (target->out_until_ns <= now && !target->down)
			good |= UINT64_C(1) << i;
	}
	return good ? good : may;
}

int targets_choose(struct targets *targets, uint64_t tried, uint64_t source)
{
	int at;

	pthread_mutex_lock(&targets->lock);
	at = balance_choose(targets, able(targets, tried), source);
	if (at >= 0) {
		targets->list[at].sessions++;
		targets->next = (at + 1) % targets->count;
	}
	pthread_mutex_unlock(&targets->lock);
	return at;
}

void targets_leave(struct targets *targets, int index)
{
	pthread_mutex_lock(&targets->lock);
	targets->list[index].sessions--;
	pthread_mutex_unlock(&targets->lock);
}

/* Sessions and probes may each have left it out: what is told is whether any of them has. */
static bool is_out(const struct target *target)
{
	return target->out || target->down;
}

/* What this process lacks says nothing about a target. */
static bool is_own_lack(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS;
}

void targets_failed(struct targets *targets, int index, int err, const char *why)
{
	struct target *target = &targets->list[index];
	uint64_t chance = 0;
	bool tell;

	if (is_own_lack(err))
		return;
	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = clock_ns();
	pthread_mutex_lock(&targets->lock);
	target->failures++;
	target->out_until_ns = clock_ns() + balance_backoff_ns(target->failures, chance);
	tell = !is_out(target);
	target->out = true;
	pthread_mutex_unlock(&targets->lock);
	if (tell)
		report_target(target->given, false, why);
}

void targets_worked(struct targets *targets, int index)
{
	struct target *target = &targets->list[index];
	bool tell;

	pthread_mutex_lock(&targets->lock);
	tell = target->out && !target->down;
	target->out = false;
	target->failures = 0;
	target->out_until_ns = 0;
	pthread_mutex_unlock(&targets->lock);
	if (tell)
		report_target(target->given, true, NULL);
}

void targets_probed(struct targets *targets, int index, bool works, int err, const char *why)
{
	struct target *target = &targets->list[index];
	bool was_out, tell;

	if (is_own_lack(err))
		return;
	pthread_mutex_lock(&targets->lock);
	was_out = is_out(target);
	target->in_a_row = works == target->down ? target->in_a_row + 1 : 0;
	if (target->in_a_row >= (works ? plan.probe.rise : plan.probe.fall)) {
		target->in_a_row = 0;
		target->down = !works;
	}
	if (works && !target->down) { /* what sessions have met is over */
		target->out = false;
		target->failures = 0;
		target->out_until_ns = 0;
	}
	tell = is_out(target) != was_out;
	pthread_mutex_unlock(&targets->lock);
	if (tell)
		report_target(target->given, works, works ? NULL : why);
}

void targets_loops(struct targets *targets, int index)
{
	struct target *target = &targets->list[index];
	bool tell;

	pthread_mutex_lock(&targets->lock);
	tell = !target->loops;
	target->loops = true;
	pthread_mutex_unlock(&targets->lock);
	if (tell)
		report_target(target->given, false, "it is this relay itself");
}
