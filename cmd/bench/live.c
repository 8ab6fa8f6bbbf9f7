/* What is shown during a run: two lines on a terminal, drawn over now and then. */
#include "live.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/human.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/text.h"
#include "plan.h"
#include "result.h"

#define SPARKS 40
#define BAR 24

static struct {
	const struct plan *plan;
	double rates[SPARKS];
	unsigned nrates;
	struct column last;
	uint64_t errors;
	bool drawn;
} live;

void live_begin(const struct plan *plan)
{
	memset(&live, 0, sizeof(live));
	live.plan = plan;
}

static unsigned terminal_width(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void sparkline(struct text *text, unsigned most)
{
	static const char *const sparks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	unsigned from = live.nrates > most ? live.nrates - most : 0;
	double top = 1;

	for (unsigned i = from; i < live.nrates; i++)
		top = fmax(top, live.rates[i]);
	for (unsigned i = from; i < live.nrates; i++)
		text_add(text, "%s", sparks[(unsigned)(live.rates[i] / top * 7.49)]);
}

static double progress(double elapsed_s, const struct result *result)
{
	double share = live.plan->requests ? (double)result->messages / (double)live.plan->requests
					   : elapsed_s / ((double)live.plan->duration_ns / 1e9);

	return share < 0 ? 0 : share > 1 ? 1 : share;
}

static void bar(struct text *text, double share)
{
	unsigned done = (unsigned)(share * BAR);

	for (unsigned i = 0; i < BAR; i++)
		text_add(text, "%s", i < done ? "█" : "░");
	text_add(text, " %3.0f %%", share * 100);
}

static void erase(struct text *text)
{
	if (live.drawn)
		text_add(text, "\r\033[1A\033[J");
	live.drawn = false;
}

static void flush(struct text *text)
{
	if (!text->failed)
		(void)!write(STDERR_FILENO, text->data, text->len);
	text_free(text);
}

static void note(const struct result *result, const struct column *column)
{
	if (!column)
		return;
	live.last = *column;
	live.errors += column->errors;
	if (live.nrates == SPARKS) {
		memmove(live.rates, live.rates + 1, (SPARKS - 1) * sizeof(*live.rates));
		live.nrates--;
	}
	live.rates[live.nrates++] = column->seconds > 0 ? (double)column->messages / column->seconds : 0;
	(void)result;
}

void live_tick(void *arg, const struct result *result, const struct column *column, double elapsed_s, bool warming)
{
	struct text text = {0};
	char n[32], p50[32], p99[32];
	unsigned width = terminal_width();

	(void)arg;
	note(result, column);
	erase(&text);
	bar(&text, progress(elapsed_s, result));
	if (warming)
		text_add(&text, "  warming up\n");
	else
		text_add(&text, "  %.0f s\n", elapsed_s);
	if (live.nrates) {
		text_add(&text, "%s/s  p50 %s  p99 %s", human_count(live.rates[live.nrates - 1], n, sizeof(n)),
			 human_us(live.last.p50_us, p50, sizeof(p50)), human_us(live.last.p99_us, p99, sizeof(p99)));
		if (live.errors)
			text_add(&text, "  %s%llu errors%s", paint_code(STDERR_FILENO, PAINT_RED),
				 (unsigned long long)live.errors, paint_code(STDERR_FILENO, PAINT_NONE));
		text_add(&text, "  ");
		sparkline(&text, width > 60 ? (width - 60 < SPARKS ? width - 60 : SPARKS) : 0);
	}
	live.drawn = true;
	flush(&text);
}

void live_line(const struct column *column)
{
	struct text text = {0};
	double seconds = column->seconds > 0 ? column->seconds : 1;
	char rate[32], bytes[32], bits[32], p50[32], p99[32];

	text_add(&text, "%8.2f-%-8.2f s %9s/s %11s/s %11s/s", column->at_s, column->at_s + column->seconds,
		 human_count((double)column->messages / seconds, rate, sizeof(rate)),
		 human_bytes((double)column->bytes / seconds, bytes, sizeof(bytes)),
		 human_bits((double)column->bytes * 8 / seconds, bits, sizeof(bits)));
	if (column->max_us > 0)
		text_add(&text, "   p50 %s   p99 %s", human_us(column->p50_us, p50, sizeof(p50)),
			 human_us(column->p99_us, p99, sizeof(p99)));
	if (column->errors)
		text_add(&text, "   %llu errors", (unsigned long long)column->errors);
	out_line(&text);
}

void live_end(void)
{
	struct text text = {0};

	erase(&text);
	flush(&text);
}
