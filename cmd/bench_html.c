/*
 * The result as a page: one file that needs nothing else, no script and no network. Pictures are SVG whose colours are
 * the page's own variables, so they follow the reader's light or dark.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "output.h"

/* The place for drawing inside each picture. */
#define LEFT 74.0
#define TOP 14.0
#define WIDTH 800.0
#define HEIGHT 250.0
#define CURVE_POINTS 400

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1c2024;--soft:#5d6670;--line:#dfe3e8;--card:#f6f8fa;--a:#0b62c4;"
	"--b:#c2570c;--bad:#c8202f}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e7eaee;--soft:#9aa4af;--line:#31373f;--card:#1c2026;"
	"--a:#6db3ff;--b:#ffa057;--bad:#ff6b76}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;padding:28px 20px 60px;max-width:980px;background:var(--bg);color:var(--fg);"
	"font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:22px;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:16px;margin:34px 0 4px}\n"
	"p{margin:2px 0 10px;color:var(--soft)}\n"
	".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:20px 0}\n"
	".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 16px}\n"
	".card b{display:block;font-size:22px;font-weight:600;white-space:nowrap}.card span{color:var(--soft);font-size:13px}\n"
	".bad b,.warn{color:var(--bad)}\n"
	"svg{width:100%;height:auto;display:block;background:var(--card);border:1px solid var(--line);border-radius:8px}\n"
	"svg text{fill:var(--soft);font:12px system-ui,sans-serif}\n"
	".grid{stroke:var(--line);stroke-width:1}.a{stroke:var(--a)}.b{stroke:var(--b)}\n"
	".curve{fill:none;stroke-width:2;stroke-linejoin:round}.area{fill:var(--a);opacity:.15}\n"
	".heat rect{fill:var(--a);shape-rendering:crispEdges}.err{fill:var(--bad)}\n"
	".key{display:inline-block;margin-right:16px}\n"
	".key i{display:inline-block;width:14px;height:3px;vertical-align:middle;margin-right:5px}\n"
	"table{border-collapse:collapse;margin:6px 0;font-variant-numeric:tabular-nums}\n"
	"td,th{padding:3px 18px 3px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;"
	"overflow-wrap:anywhere}\n"
	"th{font-weight:500;color:var(--soft);white-space:nowrap}td.n{text-align:right}\n";

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

static double clamp(double value)
{
	return value < 0 ? 0 : value > 1 ? 1 : value;
}

static double at_x(double share)
{
	return LEFT + clamp(share) * WIDTH;
}

static double at_y(double share)
{
	return TOP + (1 - clamp(share)) * HEIGHT;
}

static void svg_begin(struct text *text, const char *id, const char *label)
{
	text_add(text, "<svg id=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", id,
		 LEFT + WIDTH + 46, TOP + HEIGHT + 34, label);
}

static void tick_x(struct text *text, double share, const char *label)
{
	text_add(text,
		 "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
		 "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
		 at_x(share), TOP, at_x(share), TOP + HEIGHT, at_x(share), TOP + HEIGHT + 20, label);
}

static void tick_y(struct text *text, double share, const char *label)
{
	text_add(text,
		 "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
		 "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
		 LEFT, at_y(share), LEFT + WIDTH, at_y(share), LEFT - 8, at_y(share) + 4, label);
}

/* 1, 2 or 5 times a power of ten, about `n` of them up to `top`. */
static double round_step(double top, double n)
{
	double raw = top / n, power = pow(10, floor(log10(raw > 0 ? raw : 1)));
	double share = raw / power;

	return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

/* Latency axes are logarithmic: microseconds and seconds stand in one picture. */
struct scale {
	double low, high; /* log10 of microseconds */
};

static struct scale scale_of(const struct result *r)
{
	const struct tn_hist *latency = result_latency(r);
	double min = fmin((double)tn_hist_min(latency), (double)tn_hist_min(r->hists.service)) / 1e3;
	double max = fmax((double)tn_hist_max(latency), (double)tn_hist_max(r->hists.service)) / 1e3;
	struct scale scale = {log10(fmax(min, 0.1)) - 0.05, log10(fmax(max, 1)) + 0.05};

	if (scale.high - scale.low < 0.5) {
		scale.low -= 0.25;
		scale.high += 0.25;
	}
	return scale;
}

static double scale_at(const struct scale *scale, double us)
{
	return (log10(fmax(us, 0.001)) - scale->low) / (scale->high - scale->low);
}

static void latency_axis(struct text *text, const struct scale *scale)
{
	static const double steps[] = {1, 2, 5};
	bool wide = scale->high - scale->low > 2.5;
	char label[32];

	for (int power = -1; power < 10; power++)
		for (int i = 0; i < (wide ? 1 : 3); i++) {
			double us = steps[i] * pow(10, power), share = scale_at(scale, us);

			if (share >= 0 && share <= 1)
				tick_y(text, share, people_us(us, label, sizeof(label)));
		}
}

static double length_s(const struct result *r)
{
	double end = r->duration_s;

	for (unsigned i = 0; i < r->ncolumns; i++)
		end = fmax(end, r->columns[i].at_s + r->columns[i].seconds);
	return end > 0 ? end : 1;
}

static void time_axis(struct text *text, double length)
{
	double step = round_step(length, 10);
	char label[32];

	for (int i = 0; i * step <= length * 1.0001; i++) {
		snprintf(label, sizeof(label), "%g s", i * step);
		tick_x(text, i * step / length, label);
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

static void percentile_points(struct text *text, const struct tn_hist *hist, const struct scale *scale, double nines,
			      const char *color)
{
	static const double marks[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
	char label[32];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		double n = -log10(1 - marks[i]), us = (double)tn_hist_quantile(hist, marks[i]) / 1e3;

		if (n <= nines && tn_hist_count(hist))
			text_add(text,
				 "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"var(--%s)\"><title>p%g: %s</title>"
				 "</circle>\n",
				 at_x(n / nines), at_y(scale_at(scale, us)), color, marks[i] * 100,
				 people_us(us, label, sizeof(label)));
	}
}

static void percentiles(const struct result *r, struct text *text)
{
	static const char *const labels[] = {"0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"};
	struct scale scale = scale_of(r);
	double nines = fmax(1, fmin(6, ceil(log10((double)tn_hist_count(r->hists.service)))));
	bool scheduled = r->rate_wanted > 0;

	text_add(text, "<h2>Latency by percentile</h2>\n<p>So many messages took at most so long.");
	if (scheduled)
		text_add(text, "<br><span class=\"key\"><i style=\"background:var(--a)\"></i>response: from when the "
			       "schedule wanted it sent, what a user would wait for</span>");
	text_add(text, "<br><span class=\"key\"><i style=\"background:var(--%s)\"></i>service: %s</span></p>\n",
		 scheduled ? "b" : "a", result_service_means(r));
	svg_begin(text, "percentiles", "latency by percentile");
	for (int i = 0; i <= (int)nines; i++)
		tick_x(text, i / nines, labels[i]);
	tick_x(text, 0.30103 / nines, "50 %");
	latency_axis(text, &scale);
	percentile_curve(text, r->hists.service, &scale, nines, scheduled ? "b" : "a");
	percentile_points(text, r->hists.service, &scale, nines, scheduled ? "b" : "a");
	if (scheduled) {
		percentile_curve(text, r->hists.response, &scale, nines, "a");
		percentile_points(text, r->hists.response, &scale, nines, "a");
	}
	text_add(text, "</svg>\n");
}

/* ---- latency over time ---- */

static uint32_t hottest(const struct result *r)
{
	uint32_t most = 1;

	for (unsigned i = 0; i < r->ncolumns; i++)
		for (unsigned row = 0; row < HEAT_ROWS; row++)
			most = r->columns[i].heat[row] > most ? r->columns[i].heat[row] : most;
	return most;
}

static void heat_column(struct text *text, const struct column *c, const struct scale *scale, double length,
			double most)
{
	double x = at_x(c->at_s / length), width = at_x((c->at_s + c->seconds) / length) - x;
	char low[32], high[32];

	for (unsigned row = 0; row < HEAT_ROWS; row++) {
		double bottom = at_y(scale_at(scale, heat_row_us(row))),
		       top = at_y(scale_at(scale, heat_row_us(row + 1)));

		/* By the logarithm: a few slow ones must be seen beside a million quick ones. */
		if (c->heat[row] && bottom - top > 0.05)
			text_add(
				text,
				"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" opacity=\"%.2f\"><title>%.4g s: "
				"%u of %s to %s</title></rect>\n",
				x, top, fmax(width - (width > 6 ? 0.6 : 0), 0.8), bottom - top,
				0.06 + 0.94 * log1p(c->heat[row]) / log1p(most), c->at_s, c->heat[row],
				people_us(heat_row_us(row), low, sizeof(low)),
				people_us(heat_row_us(row + 1), high, sizeof(high)));
	}
}

static void heat_map(const struct result *r, struct text *text)
{
	struct scale scale = scale_of(r);
	double length = length_s(r);
	uint32_t most = hottest(r);

	text_add(
		text,
		"<h2>Latency over time</h2>\n<p>The stronger the colour, the more messages took so long in that stretch of time "
		"(by the logarithm, so that a few slow ones show).</p>\n");
	svg_begin(text, "heatmap", "latency over time");
	time_axis(text, length);
	latency_axis(text, &scale);
	text_add(text, "<g class=\"heat\">\n");
	for (unsigned i = 0; i < r->ncolumns; i++)
		heat_column(text, &r->columns[i], &scale, length, most);
	text_add(text, "</g>\n</svg>\n");
}

/* ---- throughput over time ---- */

static double rate_of(const struct column *c)
{
	return c->seconds > 0 ? (double)c->messages / c->seconds : 0;
}

static void throughput_curve(const struct result *r, double length, double top, struct text *text)
{
	struct text points = {0};

	for (unsigned i = 0; i < r->ncolumns; i++) {
		const struct column *c = &r->columns[i];
		double y = at_y(rate_of(c) / top);

		if (c->seconds > 0)
			text_add(&points, "%.1f,%.1f %.1f,%.1f ", at_x(c->at_s / length), y,
				 at_x((c->at_s + c->seconds) / length), y);
	}
	text_add(text, "<polygon class=\"area\" points=\"%.1f,%.1f %.*s%.1f,%.1f\"/>\n", at_x(0), at_y(0),
		 (int)points.len, points.len ? points.data : "", at_x(1), at_y(0));
	text_add(text, "<polyline class=\"curve a\" points=\"%.*s\"/>\n", (int)points.len,
		 points.len ? points.data : "");
	text_free(&points);
}

static void throughput(const struct result *r, struct text *text)
{
	double length = length_s(r), top = 1, step;
	char label[32];

	for (unsigned i = 0; i < r->ncolumns; i++)
		top = fmax(top, rate_of(&r->columns[i]) * 1.1);
	step = round_step(top, 5);
	text_add(text, "<h2>Throughput over time</h2>\n<p>%s a second.%s</p>\n",
		 strcmp(r->mode, "connect") == 0 ? "Connections" : "Messages",
		 r->errors.total ? " Stretches with errors are marked at the foot." : "");
	svg_begin(text, "throughput", "throughput over time");
	time_axis(text, length);
	for (int i = 0; i * step <= top; i++)
		tick_y(text, i * step / top, i ? people_count(i * step, label, sizeof(label)) : "0");
	throughput_curve(r, length, top, text);
	for (unsigned i = 0; i < r->ncolumns; i++) {
		const struct column *c = &r->columns[i];

		if (c->errors)
			text_add(
				text,
				"<rect class=\"err\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"6\"><title>%.4g s: %llu "
				"errors</title></rect>\n",
				at_x(c->at_s / length), TOP + HEIGHT - 6, fmax(WIDTH * c->seconds / length, 2), c->at_s,
				(unsigned long long)c->errors);
	}
	text_add(text, "</svg>\n");
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
	card(text, "", people_count(result_rate(r), n, sizeof(n)),
	     strcmp(r->mode, "connect") == 0 ? "connections a second" : "messages a second");
	if (r->bytes)
		card(text, "", people_bytes(result_bytes_rate(r), n, sizeof(n)), "payload a second");
	if (tn_hist_count(latency)) {
		card(text, "", people_us((double)tn_hist_quantile(latency, 0.5) / 1e3, n, sizeof(n)), "p50");
		card(text, "", people_us((double)tn_hist_quantile(latency, 0.99) / 1e3, n, sizeof(n)), "p99");
		card(text, "", people_us((double)tn_hist_quantile(latency, 0.999) / 1e3, n, sizeof(n)), "p99.9");
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
			text_add(
				text, "<td class=\"n\">%s</td>",
				people_us((double)tn_hist_quantile(r->hists.response, marks[i]) / 1e3, us, sizeof(us)));
		text_add(text, "<td class=\"n\">%s</td></tr>\n",
			 people_us((double)tn_hist_quantile(r->hists.service, marks[i]) / 1e3, us, sizeof(us)));
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

static void page(const struct result *r, struct text *text)
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

int result_html(const struct result *result, const char *path)
{
	struct text text = {0};

	page(result, &text);
	return write_file(path, &text);
}
