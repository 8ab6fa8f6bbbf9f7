#include "retry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/options.h"
#include "common/settings.h"
#include "tenon.h"

const char *retry_set_count(const char *value, void *to)
{
	struct retry *retry = to;
	unsigned count = 0;
	const char *why = strcmp(value, "forever") == 0 ? NULL : option_set_number(value, &count);

	retry->wanted = true;
	retry->left = strcmp(value, "forever") == 0 ? UINT64_MAX : count;
	return why ? "is neither a number from 1 up nor forever" : NULL;
}

const char *retry_set_every(const char *value, void *to)
{
	struct retry *retry = to;
	const char *why = option_set_duration(value, &retry->every_ns);

	return why || retry->every_ns ? why : "is no time that could pass between two attempts: 200ms, 5s";
}

bool retry_check(struct retry *retry, const char *command)
{
	if (retry->every_ns && !retry->wanted) {
		complain("%s: --every: how often? Only with --retry N or --retry forever", command);
		return false;
	}
	if (!retry->every_ns)
		retry->every_ns = NS_PER_S;
	return true;
}

bool retry_is_wanted(const struct retry *retry)
{
	return retry->wanted;
}

/* Who was wrong the first time is wrong the next time. */
static bool is_for_good(int err)
{
	return err == 0 || err == TN_EURL || err == TN_ECERT || err == -EACCES || err == -EPERM || err == -ECANCELED ||
	       err == -ENOMEM;
}

/* Many clients of one server that came back must not all knock at one time. */
static uint64_t delay_ns(const struct retry *retry)
{
	uint32_t random = 0;

	(void)!getrandom(&random, sizeof(random), 0);
	return retry->every_ns / 4 * 3 + (uint64_t)((double)retry->every_ns / 2 * (random / 4294967296.0));
}

bool retry_after(struct retry *retry, struct tn_loop *loop, int err, void (*dial)(void *arg))
{
	uint64_t wait_ns = delay_ns(retry);

	if (!retry->wanted || !retry->left || is_for_good(err))
		return false;
	retry->nth++;
	if (retry->left != UINT64_MAX)
		retry->left--;
	if (!settings.quiet && (retry->nth == 1 || settings.verbose))
		complain("%s; again in %.1f s", tn_errmsg(), (double)wait_ns / NS_PER_S);
	return tn_timer_start(loop, wait_ns / NS_PER_MS + 1, dial, NULL, NULL) == 0;
}
