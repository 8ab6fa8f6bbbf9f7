/*
 * The search for the highest rate that keeps a target. Anything on the machine can disturb one short run. So a rate
 * near the target is judged by several runs, and the spread between them is reported.
 */
#include "slo.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/human.h"
#include "common/settings.h"
#include "load.h"
#include "plan.h"
#include "result.h"
#include "tenon.h"

#define STEPS 12 /* rates that are tried at most */
#define TRIALS 3 /* of each */
#define TRIAL_NS (2 * NS_PER_S)
#define ENOUGH 0.98 /* of the rate must be achieved */
#define NEAR 1.03   /* the search ends when the border is known so exactly */

struct trial {
	double value_us, achieved;
	bool kept;
};

static int try_once(const struct plan *plan, const struct result *total, double rate, struct trial *trial)
{
	struct plan step = *plan;
	struct result result;
	int rc;

	step.rate = rate;
	step.hlog = NULL;
	step.warmup_ns = TRIAL_NS / 4;
	step.duration_ns = TRIAL_NS < plan->duration_ns ? TRIAL_NS : plan->duration_ns;
	if (result_new(&result, &step) < 0)
		return -ENOMEM;
	rc = bench_run(&step, &result, NULL);
	trial->value_us = (double)tn_hist_quantile(result.hists.response, total->slo_quantile) / 1e3;
	trial->achieved = result_rate(&result);
	trial->kept = trial->value_us <= total->slo_limit_us && trial->achieved >= ENOUGH * rate &&
		      !result.errors.total && result.messages;
	result_free(&result);
	return rc;
}

/* Well within the target: one run is enough. A failure may always have been a disturbance. */
static bool is_plain(const struct result *total, const struct trial *trial)
{
	return trial->kept && trial->value_us <= total->slo_limit_us / 2;
}

static int by_value(const void *a, const void *b)
{
	const struct trial *x = a, *y = b;

	return (x->value_us > y->value_us) - (x->value_us < y->value_us);
}

/* Until more than half of the trials that there can be say the same. */
static bool is_decided(unsigned kept, unsigned n)
{
	return kept > TRIALS / 2 || n - kept > TRIALS / 2;
}

static void tell(const struct result *total, const struct slo_step *step)
{
	char rate[32], value[32], least[32], most[32];

	if (!settings.verbose && (!isatty(STDERR_FILENO) || settings.quiet || settings.json))
		return;
	human_count(step->rate, rate, sizeof(rate));
	human_us(step->value_us, value, sizeof(value));
	if (step->trials < 2)
		complain("%s/s: p%g %s: %s", rate, total->slo_quantile * 100, value, step->kept ? "kept" : "missed");
	else
		complain("%s/s: p%g %s (%s to %s in %u runs): %s", rate, total->slo_quantile * 100, value,
			 human_us(step->least_us, least, sizeof(least)), human_us(step->most_us, most, sizeof(most)),
			 step->trials, step->kept ? "kept" : "missed");
}

/* Judges a rate by as many runs as it takes. */
static int try_rate(const struct plan *plan, double rate, struct result *total, bool *is_kept)
{
	struct slo_step *step = &total->slo_steps[total->nslo_steps];
	struct trial trials[TRIALS];
	unsigned n = 0, kept = 0;
	double achieved = 0;
	int rc = 0;

	while (rc >= 0 && n < TRIALS && !is_decided(kept, n) && !bench_interrupted()) {
		rc = try_once(plan, total, rate, &trials[n]);
		if (rc < 0 || bench_interrupted())
			break;
		achieved += trials[n].achieved;
		kept += trials[n].kept;
		n++;
		if (n == 1 && is_plain(total, &trials[0]))
			break;
	}
	if (!n)
		return rc;
	*is_kept = kept * 2 > n;
	qsort(trials, n, sizeof(trials[0]), by_value);
	*step = (struct slo_step){.rate = rate,
				  .achieved = achieved / n,
				  .value_us = trials[n / 2].value_us,
				  .least_us = trials[0].value_us,
				  .most_us = trials[n - 1].value_us,
				  .trials = n,
				  .kept = *is_kept};
	total->nslo_steps++;
	tell(total, step);
	return rc;
}

/* What the server does in a closed loop: no rate above it can be kept. */
static int highest_rate(const struct plan *plan, unsigned depth, double *rate)
{
	struct plan closed = *plan;
	struct result result;
	int rc;

	closed.rate = 0;
	closed.hlog = NULL;
	closed.depth = depth ? depth : plan->conns < 16 && (plan->keeps || plan->expect == EXPECT_ECHO) ? 16 : 1;
	closed.warmup_ns = NS_PER_S / 4;
	closed.duration_ns = NS_PER_S;
	if (result_new(&result, &closed) < 0)
		return -ENOMEM;
	rc = bench_run(&closed, &result, NULL);
	*rate = result_rate(&result);
	result_free(&result);
	return rc;
}

/* Halves the interval between a rate that is kept and one that is not, in ratios. */
int slo_search(struct plan *plan, struct result *total, unsigned depth)
{
	double low = 0, high = 0, rate;
	bool kept = false;
	int rc = highest_rate(plan, depth, &high);

	rate = high * 0.8;
	high *= 1.1;
	while (rc >= 0 && !bench_interrupted() && total->nslo_steps < STEPS && rate >= 1) {
		rc = try_rate(plan, rate, total, &kept);
		if (kept)
			low = rate;
		else
			high = rate;
		if (low > 0 && high / low < NEAR)
			break;
		rate = low > 0 ? sqrt(low * high) : high / 4;
	}
	plan->rate = low;
	return rc;
}

/* The whole run at the rate that was found decides. */
void slo_compare(struct result *total)
{
	double value_us = (double)tn_hist_quantile(total->hists.response, total->slo_quantile) / 1e3;
	char value[32];

	for (unsigned i = 0; i < total->nslo_steps; i++)
		if (total->slo_steps[i].kept && value_us > total->slo_limit_us) {
			result_warn(
				total,
				"the whole run at the rate that was found missed the target (p%g %s): the border is as "
				"uncertain as that; a lower rate is safer",
				total->slo_quantile * 100, human_us(value_us, value, sizeof(value)));
			return;
		}
}
