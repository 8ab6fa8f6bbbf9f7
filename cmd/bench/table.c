/* The result for people. */
#include "table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/human.h"
#include "common/paint.h"
#include "common/text.h"
#include "result.h"
#include "tenon.h"

static const struct {
	const char *name;
	double quantile;
} ladder[] = {{"p50", 0.5},  {"p75", 0.75},    {"p90", 0.9},       {"p95", 0.95},
	      {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1}};

#define NLADDER (sizeof(ladder) / sizeof(ladder[0]))

static const char *bold(void)
{
	return paint_code(STDOUT_FILENO, PAINT_BOLD);
}

static const char *dim(void)
{
	return paint_code(STDOUT_FILENO, PAINT_DIM);
}

static const char *plain(void)
{
	return paint_code(STDOUT_FILENO, PAINT_NONE);
}

static void head(const struct result *r, struct text *text)
{
	char n[32];

	text_add(text, "%s%s%s\n", bold(), r->url, plain());
	text_add(text, "  %s mode, %u connection%s", r->mode, r->conns, r->conns == 1 ? "" : "s");
	if (r->rate_wanted > 0)
		text_add(text, ", %s messages/s by schedule", human_count(r->rate_wanted, n, sizeof(n)));
	else if (strcmp(r->mode, "request") == 0)
		text_add(text, ", %u in flight on each", r->depth);
	if (strcmp(r->mode, "connect") != 0 && strcmp(r->mode, "recv") != 0)
		text_add(text, ", %s bytes each", r->size);
	if (r->think_max_s > r->think_min_s)
		text_add(text, ", %.3g to %.3g s between reply and message", r->think_min_s, r->think_max_s);
	else if (r->think_max_s > 0)
		text_add(text, ", %.3g s between reply and message", r->think_max_s);
	text_add(text, ", %.3g s%s%s\n\n", r->duration_s, r->rounds > 1 ? " in several runs" : "",
		 r->interrupted ? " (interrupted)" : "");
}

static const char *state_of(int value)
{
	return value < 0 ? "?" : value ? "on" : "off";
}

static void path(const struct result *r, struct text *text)
{
	const struct path *p = &r->path;

	if (!p->mtu && !*p->interface)
		return;
	text_add(text, "%s  path         ", dim());
	text_clean(text, *p->interface ? p->interface : "?");
	if (p->mtu)
		text_add(text, ", MTU %u", p->mtu);
	if (p->mss)
		text_add(text, ", MSS %u", p->mss);
	text_add(text, ", TSO %s, GSO %s, GRO %s\n%s", state_of(p->tso), state_of(p->gso), state_of(p->gro), plain());
}

static void throughput(const struct result *r, struct text *text)
{
	char rate[32], bytes[32], bits[32];
	double received = r->duration_s > 0 ? (double)r->counts.received_bytes / r->duration_s : 0;
	const char *what = strcmp(r->mode, "connect") == 0 ? "connections" : "messages";

	text_add(text, "  %-12s %llu\n", what, (unsigned long long)r->messages);
	text_add(text, "  %-12s %s%s/s%s\n", "rate", bold(), human_count(result_rate(r), rate, sizeof(rate)), plain());
	if (r->bytes)
		text_add(text, "  %-12s %s/s, %s/s%s\n", "payload",
			 human_bytes(result_bytes_rate(r), bytes, sizeof(bytes)),
			 human_bits(result_bytes_rate(r) * 8, bits, sizeof(bits)),
			 strcmp(r->mode, "request") == 0 ? " each way" : "");
	if (strcmp(r->mode, "both") == 0)
		text_add(text, "  %-12s %s/s, %s/s\n", "back", human_bytes(received, bytes, sizeof(bytes)),
			 human_bits(received * 8, bits, sizeof(bits)));
}

static void latency_row(const struct tn_hist *hist, const char *name, double quantile, struct text *text)
{
	char us[32];

	(void)name;
	text_add(text, "%14s", human_us((double)tn_hist_quantile(hist, quantile) / 1e3, us, sizeof(us)));
}

static void latency(const struct result *r, struct text *text)
{
	bool scheduled = r->rate_wanted > 0;
	char us[32];

	if (!result_has_latency(r))
		return;
	text_add(text, "\n  %-12s%s%14s%s\n", "latency", scheduled ? "      response" : "", "service", "");
	for (size_t i = 0; i < NLADDER; i++) {
		text_add(text, "  %-12s%s", ladder[i].name, i == 4 ? bold() : "");
		if (scheduled)
			latency_row(r->hists.response, ladder[i].name, ladder[i].quantile, text);
		latency_row(r->hists.service, ladder[i].name, ladder[i].quantile, text);
		text_add(text, "%s\n", i == 4 ? plain() : "");
	}
	text_add(text, "  %-12s", "mean");
	if (scheduled)
		text_add(text, "%14s", human_us(tn_hist_mean(r->hists.response) / 1e3, us, sizeof(us)));
	text_add(text, "%14s\n", human_us(tn_hist_mean(r->hists.service) / 1e3, us, sizeof(us)));
	if (scheduled)
		text_add(text, "%s  response: from when the schedule wanted it sent; what a user would wait for\n%s",
			 dim(), plain());
	text_add(text, "%s  service:  %s\n%s", dim(), result_service_means(r), plain());
	if (scheduled)
		text_add(text, "  sent late    p50 %s",
			 human_us((double)tn_hist_quantile(r->hists.late, 0.5) / 1e3, us, sizeof(us)));
	if (scheduled)
		text_add(text, ", p99 %s: the schedule's own error\n",
			 human_us((double)tn_hist_quantile(r->hists.late, 0.99) / 1e3, us, sizeof(us)));
}

static void datagrams(const struct result *r, struct text *text)
{
	const struct message_counts *c = &r->counts;
	double share = c->sent ? 100.0 * (double)c->lost / (double)c->sent : 0;

	if (!r->may_lose || (strcmp(r->mode, "request") != 0 && !r->received.flows))
		return;
	text_add(text, "\n  %-12s %llu of %llu sent (%.3g %%)\n", "lost", (unsigned long long)c->lost,
		 (unsigned long long)c->sent, share);
	if (r->numbered)
		text_add(text, "  %-12s %llu\n  %-12s %llu\n", "duplicates", (unsigned long long)c->duplicates,
			 "reordered", (unsigned long long)c->reordered);
	else
		text_add(text, "%s  duplicates and order are not known: messages of under 12 bytes carry no number\n%s",
			 dim(), plain());
	if (c->late)
		text_add(text, "  %-12s %llu after they had been given up\n", "late", (unsigned long long)c->late);
}

/* What the other end says of --mode one-way. */
static void received(const struct result *r, struct text *text)
{
	const struct received *from = &r->received;
	char a[32], b[32];

	if (!from->flows)
		return;
	text_add(text, "\n  %-12s %llu messages, %s/s, %s/s\n", "received", (unsigned long long)from->messages,
		 human_bytes(received_bytes_rate(from), a, sizeof(a)),
		 human_bits(received_bytes_rate(from) * 8, b, sizeof(b)));
	if (!r->may_lose && from->sent > from->messages)
		text_add(text, "  %-12s %llu of %llu sent\n", "not come",
			 (unsigned long long)(from->sent - from->messages), (unsigned long long)from->sent);
	text_add(text, "  %-12s %s\n", "jitter", human_us(from->jitter_us, a, sizeof(a)));
	if (from->dropped)
		text_add(text, "  %-12s %llu by the receiver's kernel, of all who send to its socket\n", "dropped",
			 (unsigned long long)from->dropped);
	if (!from->timed) {
		text_add(text, "%s  one-way latency is not known: the two ends have no clock in common\n%s", dim(),
			 plain());
		return;
	}
	text_add(text, "  %-12s", "one way");
	for (int i = 0; i < RECEIVED_STEPS; i++)
		text_add(text, "%s %s %s", i ? "," : "", received_steps[i],
			 human_us(from->latency_us[i], a, sizeof(a)));
	text_add(text, "%s\n", from->flows > 1 ? "; of each the longest of all connections" : "");
}

static void errors(const struct result *r, struct text *text)
{
	text_add(text, "\n  %-12s %s%llu%s\n", "errors", r->errors.total ? paint_code(STDOUT_FILENO, PAINT_RED) : "",
		 (unsigned long long)r->errors.total, r->errors.total ? plain() : "");
	for (unsigned i = 0; i < r->errors.n; i++)
		text_add(text, "  %10llu   %s\n", (unsigned long long)r->errors.list[i].count, r->errors.list[i].text);
	if (r->counts.reconnects)
		text_add(text, "  %-12s %llu\n", "reconnects", (unsigned long long)r->counts.reconnects);
}

static void targets(const struct result *r, struct text *text)
{
	char rate[32], p50[32], p99[32];

	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct target_result *target = &r->targets[i];
		double seconds = r->duration_s > 0 ? r->duration_s : 1;

		text_add(text, "%s  %s\n", i ? "" : "\n", target->url);
		text_add(text, "  %12s %u connection%s, %s/s", "", target->conns, target->conns == 1 ? "" : "s",
			 human_count((double)target->counts.messages / seconds, rate, sizeof(rate)));
		if (tn_hist_count(target->counts.latency))
			text_add(
				text, ", p50 %s, p99 %s",
				human_us((double)tn_hist_quantile(target->counts.latency, 0.5) / 1e3, p50, sizeof(p50)),
				human_us((double)tn_hist_quantile(target->counts.latency, 0.99) / 1e3, p99,
					 sizeof(p99)));
		text_add(text, ", %llu errors\n", (unsigned long long)target->counts.errors);
	}
}

static void search(const struct result *r, struct text *text)
{
	char n[32], us[32];

	if (!r->nslo_steps)
		return;
	text_add(text, "\n  search for p%g <= %s\n", r->slo_quantile * 100, human_us(r->slo_limit_us, us, sizeof(us)));
	for (unsigned i = 0; i < r->nslo_steps; i++) {
		text_add(text, "  %10s/s ", human_count(r->slo_steps[i].rate, n, sizeof(n)));
		text_add(text, "%14s   %s", human_us(r->slo_steps[i].value_us, us, sizeof(us)),
			 r->slo_steps[i].kept ? "kept" : "missed");
		if (r->slo_steps[i].trials > 1) {
			text_add(text, "   %s to ", human_us(r->slo_steps[i].least_us, us, sizeof(us)));
			text_add(text, "%s in %u runs", human_us(r->slo_steps[i].most_us, us, sizeof(us)),
				 r->slo_steps[i].trials);
		}
		text_add(text, "\n");
	}
}

static void generator(const struct result *r, struct text *text)
{
	text_add(text, "\n  %-12s %.2f s of CPU time, busiest of %u thread%s %.0f %% busy, engine %s\n", "generator",
		 r->cpu_s, r->threads, r->threads == 1 ? "" : "s", r->busy * 100, r->engine ? r->engine : "?");
	for (unsigned i = 0; i < r->nwarnings; i++)
		text_add(text, "\n  %swarning:%s %s\n", bold(), plain(), r->warnings[i]);
}

void result_table(const struct result *result, struct text *text)
{
	head(result, text);
	throughput(result, text);
	latency(result, text);
	received(result, text);
	datagrams(result, text);
	errors(result, text);
	targets(result, text);
	search(result, text);
	path(result, text);
	generator(result, text);
}
