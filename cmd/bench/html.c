/*
 * The result as a page: one file that needs nothing else, no script and no network. Pictures are SVG. Their colours are
 * variables of the page, so they follow the reader's light or dark theme. A picture is stretched to the width of the
 * page; the text next to it keeps its size, so the page can be read on a phone.
 */
#include "html.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/human.h"
#include "common/text.h"
#include "result.h"
#include "tenon.h"

/* The units of each picture, which is as wide as the page is. */
#define WIDTH 800.0
#define HEIGHT 250.0
#define CURVE_POINTS 400
#define FAINTEST 0.16 /* of a single message in the heat map */

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1c2024;--soft:#5d6670;--line:#dfe3e8;--card:#f6f8fa;--a:#0b62c4;"
	"--b:#c2570c;--bad:#c8202f}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e7eaee;--soft:#9aa4af;--line:#31373f;"
	"--card:#1c2026;--a:#6db3ff;--b:#ffa057;--bad:#ff6b76}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;padding:28px 20px 60px;max-width:980px;background:var(--bg);color:var(--fg);"
	"font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:22px;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:16px;margin:34px 0 4px}\n"
	"p{margin:2px 0 10px;color:var(--soft)}\n"
	".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:20px 0}\n"
	".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 16px}\n"
	".card b{display:block;font-size:20px;font-weight:600;white-space:nowrap}"
	".card span{color:var(--soft);font-size:13px}\n"
	".bad b,.warn{color:var(--bad)}\n"
	".plot{position:relative;height:260px;margin:30px 22px 58px 72px}\n"
	"svg{position:absolute;top:0;left:0;width:100%;height:100%;background:var(--card);"
	"outline:1px solid var(--line)}\n"
	".plot span{position:absolute;color:var(--soft);font-size:12px;line-height:16px;white-space:nowrap}\n"
	".x{top:100%;margin-top:5px;transform:translateX(-50%)}.y{right:100%;margin-right:8px;margin-bottom:-8px}\n"
	".plot .name{bottom:100%;left:-72px;margin-bottom:8px;color:var(--fg)}\n"
	".plot .at{top:100%;right:0;margin-top:21px}\n"
	".dot{position:absolute;width:9px;height:9px;margin:0 0 -4px -4px;border-radius:5px}\n"
	".grid{stroke:var(--line);stroke-width:1}.a{stroke:var(--a)}.b{stroke:var(--b)}\n"
	".grid,.curve{vector-effect:non-scaling-stroke}\n"
	".curve{fill:none;stroke-width:2;stroke-linejoin:round}.area{fill:var(--a);opacity:.15}\n"
	".heat rect{fill:var(--a);shape-rendering:crispEdges}.err{fill:var(--bad)}\n"
	".key{display:inline-block;margin-right:16px}\n"
	".key i{display:inline-block;width:14px;height:3px;vertical-align:middle;margin-right:5px}\n"
	".key .cell{width:22px;height:14px;background:var(--a)}\n"
	"table{border-collapse:collapse;margin:6px 0;font-variant-numeric:tabular-nums}\n"
	"td,th{padding:3px 18px 3px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;"
	"overflow-wrap:anywhere}\n"
	"th{font-weight:500;color:var(--soft);white-space:nowrap}td.n{text-align:right}\n"
	"@media(max-width:600px){body{padding:18px 14px 40px}h1{font-size:18px}.plot{height:220px;margin-left:62px;"
	"margin-right:14px}.plot .name{left:-62px}.o{display:none}.e{transform:translateX(-78%)}"
	".card{padding:8px 12px}td,th{padding-right:12px}}\n";

static void escape(struct text *text, const char *s)
{
	for (; s && *s; s++) {
		const char *entity = *s == '<'   ? "&lt;"
				     : *s == '>' ? "&gt;"
				     : *s == '&' ? "&amp;"
				     : *s == '"' ? "&quot;"
						 : NULL;

		if (entity)
			text_add(text, "%s", entity);
		else
			text_bytes(text, s, 1);
	}
}

/* ---- pictures: axes ---- */

/* What is drawn, and the labels next to it. */
struct plot {
	struct text *text;
	struct text beside;
};

static double clamp(double value)
{
	return value < 0 ? 0 : value > 1 ? 1 : value;
}

static double at_x(double share)
{
	return clamp(share) * WIDTH;
}

static double at_y(double share)
{
	return (1 - clamp(share)) * HEIGHT;
}

/* `axis`: what is told upwards; `along`: what to the right. */
static void plot_begin(struct plot *plot, struct text *text, const char *id, const char *axis, const char *along)
{
	*plot = (struct plot){.text = text};
	text_add(text,
		 "<div class=\"plot\">\n<svg id=\"%s\" viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=\"none\" "
		 "role=\"img\" aria-label=\"%s, %s\">\n",
		 id, WIDTH, HEIGHT, axis, along);
	text_add(&plot->beside, "<span class=\"name\">%s</span><span class=\"at\">%s</span>\n", axis, along);
}

static void plot_end(struct plot *plot)
{
	text_add(plot->text, "</svg>\n");
	text_bytes(plot->text, plot->beside.data, plot->beside.len);
	text_add(plot->text, "</div>\n");
	plot->text->failed |= plot->beside.failed;
	text_free(&plot->beside);
}

/* `spare`: the label can be left out if there is little room. */
static void tick_x(struct plot *plot, double share, const char *label, bool spare)
{
	text_add(plot->text, "<line class=\"grid\" x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%.0f\"/>\n", at_x(share),
		 at_x(share), HEIGHT);
	text_add(&plot->beside, "<span class=\"x%s\" style=\"left:%.2f%%\">%s</span>\n",
		 spare          ? " o"
		 : share > 0.97 ? " e"
				: "",
		 share * 100, label);
}

static void tick_y(struct plot *plot, double share, const char *label)
{
	text_add(plot->text, "<line class=\"grid\" x1=\"0\" y1=\"%.1f\" x2=\"%.0f\" y2=\"%.1f\"/>\n", at_y(share),
		 WIDTH, at_y(share));
	text_add(&plot->beside, "<span class=\"y\" style=\"bottom:%.2f%%\">%s</span>\n", share * 100, label);
}

static void dot(struct plot *plot, double x, double y, const char *color, const char *name, const char *value)
{
	text_add(&plot->beside,
		 "<i class=\"dot\" style=\"left:%.2f%%;bottom:%.2f%%;background:var(--%s)\" title=\"%s: %s\"></i>\n",
		 clamp(x) * 100, clamp(y) * 100, color, name, value);
}

/* 1, 2 or 5 times a power of ten, about `n` of them up to `top`. */
static double round_step(double top, double n)
{
	double raw = top / n, power = pow(10, floor(log10(raw > 0 ? raw : 1)));
	double share = raw / power;

	return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

/* Latency axes are logarithmic: microseconds and seconds stand in one picture. They begin and end at a round number. */
struct scale {
	double low, high; /* log10 of microseconds */
};

/* 1, 2 or 5 times a power of ten: step 0 is 0.1 us. */
static double step_us(int step)
{
	static const double steps[] = {1, 2, 5};
	int exponent = step / 3 - 1;

	return steps[step % 3] * pow(10, exponent);
}

static struct scale scale_of(const struct result *r)
{
	const struct tn_hist *latency = result_latency(r);
	double min = fmin((double)tn_hist_min(latency), (double)tn_hist_min(r->hists.service)) / 1e3;
	double max = fmax((double)tn_hist_max(latency), (double)tn_hist_max(r->hists.service)) / 1e3;
	int low = 0, high = 0;

	while (step_us(low + 1) <= min)
		low++;
	for (high = low + 2; step_us(high) < max;)
		high++;
	return (struct scale){log10(step_us(low)), log10(step_us(high))};
}

static double scale_at(const struct scale *scale, double us)
{
	return (log10(fmax(us, 0.001)) - scale->low) / (scale->high - scale->low);
}

/* Both ends have a label, and between them as many as there is room for. */
static void latency_axis(struct plot *plot, const struct scale *scale)
{
	bool wide = scale->high - scale->low > 2.5;
	char label[32];

	for (int step = 0; step < 33; step++) {
		double us = step_us(step), share = scale_at(scale, us);
		bool end = fabs(share) < 1e-6 || fabs(share - 1) < 1e-6;

		if (share < -1e-6 || share > 1 + 1e-6 || (!end && (share < 0.06 || share > 0.94 || (wide && step % 3))))
			continue;
		tick_y(plot, share, human_us(us, label, sizeof(label)));
	}
}

static double length_s(const struct result *r)
{
	double end = r->duration_s;

	for (unsigned i = 0; i < r->ncolumns; i++)
		end = fmax(end, r->columns[i].at_s + r->columns[i].seconds);
	return end > 0 ? end : 1;
}

static void time_axis(struct plot *plot, double length)
{
	double step = round_step(length, 10);
	char label[32];

	for (int i = 0; i * step <= length * 1.0001; i++) {
		snprintf(label, sizeof(label), "%g s", i * step);
		tick_x(plot, i * step / length, label, i % 2);
	}
}

/* ---- percentiles ---- */

/* Nines: 0 at the median's left end, 1 at 90 %, 2 at 99 %, ... */
static void percentile_curve(struct text *text, const struct tn_hist *hist, const struct scale *scale, double nines,
			     const char *class)
{
	if (!tn_hist_count(hist))
		return;
	text_add(text, "<polyline class=\"curve %s\" points=\"", class);
	for (int i = 0; i <= CURVE_POINTS; i++) {
		double n = nines * i / CURVE_POINTS, us = (double)tn_hist_quantile(hist, 1 - pow(10, -n)) / 1e3;

		text_add(text, "%.1f,%.1f ", at_x(n / nines), at_y(scale_at(scale, us)));
	}
	text_add(text, "\"/>\n");
}

static void percentile_points(struct plot *plot, const struct tn_hist *hist, const struct scale *scale, double nines,
			      const char *color)
{
	static const double marks[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
	char label[32], name[32];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		double n = -log10(1 - marks[i]), us = (double)tn_hist_quantile(hist, marks[i]) / 1e3;

		if (n > nines + 1e-9 || !tn_hist_count(hist))
			continue;
		snprintf(name, sizeof(name), "p%g", marks[i] * 100);
		dot(plot, n / nines, scale_at(scale, us), color, name, human_us(us, label, sizeof(label)));
	}
}

static void percentiles(const struct result *r, struct text *text)
{
	static const char *const labels[] = {"0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"};
	struct scale scale = scale_of(r);
	double nines = fmax(1, fmin(6, ceil(log10((double)tn_hist_count(r->hists.service)))));
	bool scheduled = r->rate_wanted > 0;
	struct plot plot;

	text_add(text, "<h2>Latency by percentile</h2>\n<p>So many messages took at most so long.");
	if (scheduled)
		text_add(text, "<br><span class=\"key\"><i style=\"background:var(--a)\"></i>response: from when the "
			       "schedule wanted it sent, what a user would wait for</span>");
	text_add(text, "<br><span class=\"key\"><i style=\"background:var(--%s)\"></i>service: %s</span></p>\n",
		 scheduled ? "b" : "a", result_service_means(r));
	plot_begin(&plot, text, "percentiles", "latency", "share of all messages");
	for (int i = 0; i <= (int)nines; i++)
		tick_x(&plot, i / nines, labels[i], nines > 4 && i % 2 != (int)nines % 2);
	tick_x(&plot, 0.30103 / nines, "50 %", true);
	latency_axis(&plot, &scale);
	percentile_curve(text, r->hists.service, &scale, nines, scheduled ? "b" : "a");
	percentile_points(&plot, r->hists.service, &scale, nines, scheduled ? "b" : "a");
	if (scheduled) {
		percentile_curve(text, r->hists.response, &scale, nines, "a");
		percentile_points(&plot, r->hists.response, &scale, nines, "a");
	}
	plot_end(&plot);
}

/* ---- latency over time ---- */

/*
 * The heat map's columns. Cells are drawn in whole numbers of a grid that one transformation stretches to the picture:
 * two neighbours have the very same edge, so there is no seam between them whatever the width of the page.
 */
struct map {
	unsigned n;
	double unit_s; /* of the grid */
	uint32_t most;
};

struct map_column {
	const uint32_t *heat;
	unsigned x, width; /* of the grid */
};

/* What was measured in pieces of a second if that is known; of a file that was read, its intervals. */
static struct map_column map_column(const struct result *r, const struct map *map, unsigned i)
{
	const struct column *c = &r->columns[i];
	unsigned x, end;

	if (r->slices.count)
		return (struct map_column){.heat = r->slices.heat[i], .x = i, .width = 1};
	x = (unsigned)lround(c->at_s / map->unit_s);
	end = (unsigned)lround((c->at_s + c->seconds) / map->unit_s);
	return (struct map_column){.heat = c->heat, .x = x, .width = end > x ? end - x : 1};
}

static struct map map_of(const struct result *r, double length)
{
	struct map map = {.n = r->slices.count ? r->slices.count : r->ncolumns, .unit_s = length / WIDTH, .most = 1};

	if (r->slices.count)
		map.unit_s = (double)r->slices.width_ns / 1e9;
	for (unsigned i = 0; i < map.n; i++)
		for (unsigned row = 0; row < HEAT_ROWS; row++) {
			uint32_t count = map_column(r, &map, i).heat[row];

			map.most = count > map.most ? count : map.most;
		}
	return map;
}

/* On a logarithmic scale: a few slow messages must be visible next to a million quick ones. */
static double strength(double count, double most)
{
	return most > 1 ? FAINTEST + (1 - FAINTEST) * log(count) / log(most) : 1;
}

static void heat_column(struct text *text, const struct map_column *c, const struct map *map, unsigned first)
{
	char low[32], high[32];

	for (unsigned row = first; row < HEAT_ROWS; row++)
		if (c->heat[row])
			text_add(text,
				 "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"1\" opacity=\"%.2f\"><title>%.4g s: %u "
				 "of %s to %s</title></rect>\n",
				 c->x, row, c->width, strength(c->heat[row], map->most), c->x * map->unit_s,
				 c->heat[row], human_us(heat_row_us(row), low, sizeof(low)),
				 human_us(heat_row_us(row + 1), high, sizeof(high)));
}

static void key_cell(struct text *text, double count, double most)
{
	char label[32];

	if (count < 1000)
		snprintf(label, sizeof(label), "%.0f", count);
	else
		human_count(count, label, sizeof(label));
	text_add(text, "<span class=\"key\"><i class=\"cell\" style=\"opacity:%.2f\"></i>%s</span>",
		 strength(count, most), label);
}

static void heat_key(struct text *text, double most)
{
	unsigned step = most > 1e5 ? 100 : 10;

	text_add(text, "<p>Messages in a cell: ");
	key_cell(text, 1, most);
	for (uint64_t count = step; (double)count < most * 0.7; count *= step)
		key_cell(text, (double)count, most);
	if (most > 1)
		key_cell(text, most, most);
	text_add(text, "</p>\n");
}

static void heat_map(const struct result *r, struct text *text)
{
	struct scale scale = scale_of(r);
	double length = length_s(r), row = log10(2) / HEAT_STEPS / (scale.high - scale.low) * HEIGHT;
	struct map map = map_of(r, length);
	struct plot plot;

	text_add(text, "<h2>Latency over time</h2>\n<p>The stronger the colour, the more messages took so long in that "
		       "stretch of time (by the logarithm, so that a few slow ones show).</p>\n");
	heat_key(text, map.most);
	plot_begin(&plot, text, "heatmap", "latency", "time");
	time_axis(&plot, length);
	latency_axis(&plot, &scale);
	/* Row 0 begins at 1 us, each is a quarter of an octave; the lowest has all that was quicker */
	text_add(text, "<g class=\"heat\" transform=\"matrix(%.6f 0 0 %.6f 0 %.6f)\">\n", map.unit_s / length * WIDTH,
		 -row, HEIGHT * (1 - scale_at(&scale, heat_row_us(0))));
	for (unsigned i = 0; i < map.n; i++) {
		struct map_column c = map_column(r, &map, i);

		heat_column(text, &c, &map, 0);
	}
	text_add(text, "</g>\n");
	plot_end(&plot);
}

/* ---- throughput over time ---- */

/* What is drawn: stretches of time with so many messages. */
struct stretches {
	unsigned n, slices; /* of each; 0: they are the result's columns */
};

#define STRETCHES 100    /* about so many, if the run was short */
#define STRETCH_LEAST 20 /* messages in each: with fewer, a slow run would look like a comb */

static uint64_t slice_messages(const struct slices *slices, unsigned i)
{
	uint64_t n = 0;

	for (unsigned row = 0; row < HEAT_ROWS; row++)
		n += slices->heat[i][row];
	return n;
}

static struct stretches stretches_of(const struct result *r, double length)
{
	double slice_s = (double)r->slices.width_ns / 1e9, rate = result_rate(r);
	double least_s = fmax(length / STRETCHES, rate > 0 ? STRETCH_LEAST / rate : 1);
	unsigned slices = r->slices.count ? (unsigned)ceil(least_s / slice_s - 1e-9) : 0;

	if (!slices || slices * slice_s >= 1)
		return (struct stretches){.n = r->ncolumns};
	return (struct stretches){.n = (r->slices.count + slices - 1) / slices, .slices = slices};
}

/* Messages a second, and where it begins and ends. */
static double stretch(const struct result *r, const struct stretches *s, unsigned i, double *begin, double *end)
{
	const struct column *c = &r->columns[i];
	uint64_t messages = 0;

	if (!s->slices) {
		*begin = c->at_s;
		*end = c->at_s + c->seconds;
		return c->seconds > 0 ? (double)c->messages / c->seconds : 0;
	}
	for (unsigned n = i * s->slices; n < (i + 1) * s->slices && n < r->slices.count; n++)
		messages += slice_messages(&r->slices, n);
	*begin = i * s->slices * (double)r->slices.width_ns / 1e9;
	*end = fmin((i + 1) * s->slices * (double)r->slices.width_ns / 1e9, fmax(r->duration_s, *begin + 1e-9));
	/* The last stretch may be very short: then its rate says nothing */
	return *end - *begin > 0.3 * s->slices * (double)r->slices.width_ns / 1e9 ? (double)messages / (*end - *begin)
										  : -1;
}

static void throughput_curve(const struct result *r, const struct stretches *s, double length, double top,
			     struct text *text)
{
	struct text points = {0};
	double begin, end = 0, last = 0;

	for (unsigned i = 0; i < s->n; i++) {
		double rate = stretch(r, s, i, &begin, &end), y = at_y((rate < 0 ? last : rate) / top);

		last = rate < 0 ? last : rate;
		if (end > begin)
			text_add(&points, "%.1f,%.1f %.1f,%.1f ", at_x(begin / length), y, at_x(end / length), y);
	}
	text_add(text, "<polygon class=\"area\" points=\"%.1f,%.1f %.*s%.1f,%.1f\"/>\n", at_x(0), at_y(0),
		 (int)points.len, points.len ? points.data : "", at_x(end / length), at_y(0));
	text_add(text, "<polyline class=\"curve a\" points=\"%.*s\"/>\n", (int)points.len,
		 points.len ? points.data : "");
	text_free(&points);
}

static void throughput(const struct result *r, struct text *text)
{
	double length = length_s(r), top = 1, step, begin, end;
	struct stretches stretches = stretches_of(r, length);
	const char *what = strcmp(r->mode, "connect") == 0 ? "connections" : "messages";
	struct plot plot;
	char label[32];

	for (unsigned i = 0; i < stretches.n; i++)
		top = fmax(top, stretch(r, &stretches, i, &begin, &end));
	step = round_step(top, 5);
	top = ceil(top * 1.02 / step) * step; /* the axis ends at a round number */
	text_add(text, "<h2>Throughput over time</h2>\n<p>%s a second.%s</p>\n",
		 strcmp(r->mode, "connect") == 0 ? "Connections" : "Messages",
		 r->errors.total ? " Stretches with errors are marked at the foot." : "");
	snprintf(label, sizeof(label), "%s/s", what);
	plot_begin(&plot, text, "throughput", label, "time");
	time_axis(&plot, length);
	for (int i = 0; i * step <= top * 1.0001; i++)
		tick_y(&plot, i * step / top, i ? human_count(i * step, label, sizeof(label)) : "0");
	throughput_curve(r, &stretches, length, top, text);
	for (unsigned i = 0; i < r->ncolumns; i++) {
		const struct column *c = &r->columns[i];

		if (c->errors)
			text_add(text,
				 "<rect class=\"err\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"6\"><title>%.4g s: "
				 "%llu errors</title></rect>\n",
				 at_x(c->at_s / length), HEIGHT - 6, fmax(WIDTH * c->seconds / length, 2), c->at_s,
				 (unsigned long long)c->errors);
	}
	plot_end(&plot);
}

/* ---- words and numbers ---- */

static void card(struct text *text, const char *class, const char *value, const char *label)
{
	text_add(text, "<div class=\"card %s\"><b>%s</b><span>%s</span></div>\n", class, value, label);
}

static void cards(const struct result *r, struct text *text)
{
	const struct tn_hist *latency = result_latency(r);
	char n[32];

	text_add(text, "<div class=\"cards\">\n");
	card(text, "", human_count(result_rate(r), n, sizeof(n)),
	     strcmp(r->mode, "connect") == 0 ? "connections a second" : "messages a second");
	if (r->bytes)
		card(text, "", human_bytes(result_bytes_rate(r), n, sizeof(n)), "payload a second");
	if (tn_hist_count(latency)) {
		card(text, "", human_us((double)tn_hist_quantile(latency, 0.5) / 1e3, n, sizeof(n)), "p50");
		card(text, "", human_us((double)tn_hist_quantile(latency, 0.99) / 1e3, n, sizeof(n)), "p99");
		card(text, "", human_us((double)tn_hist_quantile(latency, 0.999) / 1e3, n, sizeof(n)), "p99.9");
	}
	if (r->may_lose) {
		snprintf(n, sizeof(n), "%llu", (unsigned long long)r->counts.lost);
		card(text, r->counts.lost ? "bad" : "", n, "lost");
	}
	snprintf(n, sizeof(n), "%llu", (unsigned long long)r->errors.total);
	card(text, r->errors.total ? "bad" : "", n, "errors");
	text_add(text, "</div>\n");
	for (unsigned i = 0; i < r->nwarnings; i++) {
		text_add(text, "<p class=\"warn\">Warning: ");
		escape(text, r->warnings[i]);
		text_add(text, "</p>\n");
	}
}

static void ladder(const struct result *r, struct text *text)
{
	static const double marks[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
	bool scheduled = r->rate_wanted > 0;
	char us[32];

	text_add(text, "<h2>Figures</h2>\n<table><tr><th>latency</th>%s<th>service</th></tr>\n",
		 scheduled ? "<th>response</th>" : "");
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		if (marks[i] < 1)
			text_add(text, "<tr><th>p%g</th>", marks[i] * 100);
		else
			text_add(text, "<tr><th>max</th>");
		if (scheduled)
			text_add(text, "<td class=\"n\">%s</td>",
				 human_us((double)tn_hist_quantile(r->hists.response, marks[i]) / 1e3, us, sizeof(us)));
		text_add(text, "<td class=\"n\">%s</td></tr>\n",
			 human_us((double)tn_hist_quantile(r->hists.service, marks[i]) / 1e3, us, sizeof(us)));
	}
	text_add(text, "</table>\n");
}

static void row(struct text *text, const char *name, const char *value)
{
	text_add(text, "<tr><th>%s</th><td>", name);
	escape(text, value);
	text_add(text, "</td></tr>\n");
}

static void row_number(struct text *text, const char *name, double value, const char *unit)
{
	char out[64];

	snprintf(out, sizeof(out), "%.10g%s", value, unit);
	row(text, name, out);
}

static void setup(const struct result *r, struct text *text)
{
	text_add(text, "<h2>Set-up</h2>\n<table>\n");
	row(text, "endpoint", r->url);
	row(text, "mode", r->mode);
	row_number(text, "connections", r->conns, "");
	if (r->rate_wanted > 0)
		row_number(text, "rate by schedule", r->rate_wanted, " messages/s");
	if (r->depth)
		row_number(text, "in flight on each", r->depth, "");
	row(text, "message size", r->size);
	row_number(text, "measured", r->duration_s, " s");
	row_number(text, "warm-up", r->warmup_s, " s");
	row_number(text, "messages", (double)r->messages, "");
	row_number(text, "threads", r->threads, "");
	row(text, "engine", r->engine);
	row_number(text, "generator's CPU time", floor(r->cpu_s * 1000) / 1000, " s");
	row_number(text, "generator busy", floor(r->busy * 1000) / 10, " %");
	row(text, "host", r->host);
	row(text, "processor", r->cpu);
	row(text, "kernel", r->kernel);
	row(text, "started", r->started);
	row(text, "tenon", r->version);
	for (unsigned i = 0; i < r->errors.n; i++)
		row_number(text, r->errors.list[i].text, (double)r->errors.list[i].count, " errors");
	text_add(text, "</table>\n");
}

void result_html(const struct result *r, struct text *text)
{
	text_add(text, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>tenon bench: ");
	escape(text, r->url);
	text_add(text, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
	escape(text, r->url);
	text_add(text, "</h1>\n<p>tenon bench, ");
	escape(text, r->started);
	text_add(text, "</p>\n");
	cards(r, text);
	if (result_has_latency(r)) {
		percentiles(r, text);
		heat_map(r, text);
	}
	throughput(r, text);
	if (result_has_latency(r))
		ladder(r, text);
	setup(r, text);
	text_add(text, "</body>\n</html>\n");
}
