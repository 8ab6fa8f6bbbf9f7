/* Numbers of all sorts: switches, integers, words that stand for one, sizes, durations. */
#include "net/sockopt_type.h"

#include "base/clock.h"
#include "base/units.h"
#include "tenon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tni_opt_say(char *out, size_t cap, const char *fmt, ...)
{
	size_t used = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + used, cap - used, fmt, ap);
	va_end(ap);
}

/* ---- values with a name ------------------------------------------------------------------------------------------ */

static const struct tni_opt_word *word_by_name(const struct tni_opt_word *word, const char *name)
{
	for (; word && word->name; word++)
		if (!strcmp(word->name, name))
			return word;
	return NULL;
}

static const struct tni_opt_word *word_by_value(const struct tni_opt_word *word, int64_t value)
{
	for (; word && word->name; word++)
		if (word->value == value)
			return word;
	return NULL;
}

bool tni_opt_parse_word(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const struct tni_opt_word *word = word_by_name(opt->words, text);

	if (word)
		val->number = word->value;
	return word;
}

bool tni_opt_format_word(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	const struct tni_opt_word *word = word_by_value(opt->words, val->number);

	if (word)
		snprintf(out, cap, "%s", word->name);
	return word;
}

static void say_words(const struct tni_sockopt *opt, const char *before, char *out, size_t cap)
{
	for (const struct tni_opt_word *word = opt->words; word && word->name; word++)
		tni_opt_say(out, cap, "%s%s", word == opt->words ? before : ", ", word->name);
}

static int in_range(const struct tni_sockopt *opt, uint64_t number, struct tni_optval *val)
{
	if (opt->min > opt->max || number > INT64_MAX || (int64_t)number < opt->min || (int64_t)number > opt->max)
		return -EINVAL;
	val->number = (int64_t)number;
	return 0;
}

/* ---- whole numbers of four or eight bytes: what most options are inside ------------------------------------------ */

void tni_opt_encode_number(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			   struct tni_opt_raw *raw)
{
	(void)family;
	raw->len = opt->width;
	if (opt->width == sizeof(raw->i64))
		raw->i64 = val->number;
	else
		raw->i32 = (int32_t)(uint32_t)val->number;
}

void tni_opt_decode_number(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			   struct tni_optval *val)
{
	(void)family;
	if (raw->len == sizeof(raw->i64))
		val->number = raw->i64;
	else if (opt->max > INT32_MAX)
		val->number = (uint32_t)raw->i32;
	else
		val->number = raw->i32;
	if (opt->flags & TNI_OPT_DOUBLED)
		val->number /= 2;
}

/* ---- on|off ------------------------------------------------------------------------------------------------------ */

static int parse_switch(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	int on = tni_parse_switch(text);

	(void)opt;
	if (on < 0)
		return -EINVAL;
	val->number = on;
	return 0;
}

static void expects_switch(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "on or off");
}

static void format_switch(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	(void)opt;
	snprintf(out, cap, "%s", val->number ? "on" : "off");
}

const struct tni_opt_type tni_opt_switch = {
	.parse = parse_switch,
	.expects = expects_switch,
	.encode = tni_opt_encode_number,
	.decode = tni_opt_decode_number,
	.format = format_switch,
};

/* ---- integers and words ------------------------------------------------------------------------------------------ */

/* Decimal, or hexadecimal with 0x; nothing before it, nothing after it. */
int tni_opt_parse_digits(const char *text, uint64_t *number)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end;

	if (!*digits || strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
		return -EINVAL;
	errno = 0;
	*number = strtoull(digits, &end, hex ? 16 : 10);
	return errno ? -EINVAL : 0;
}

static int parse_integer(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t number;

	if (tni_opt_parse_word(opt, text, val))
		return 0;
	return tni_opt_parse_digits(text, &number) < 0 ? -EINVAL : in_range(opt, number, val);
}

static void expects_integer(const struct tni_sockopt *opt, char *out, size_t cap)
{
	if (opt->min > opt->max) {
		say_words(opt, "one of ", out, cap);
		return;
	}
	tni_opt_say(out, cap, "a whole number from %" PRId64 " to %" PRId64, opt->min, opt->max);
	say_words(opt, " or ", out, cap);
}

static void format_integer(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!tni_opt_format_word(opt, val, out, cap))
		snprintf(out, cap, "%" PRId64, val->number);
}

const struct tni_opt_type tni_opt_integer = {
	.parse = parse_integer,
	.expects = expects_integer,
	.encode = tni_opt_encode_number,
	.decode = tni_opt_decode_number,
	.format = format_integer,
};

/* The kernel adds flags of its own to the one that was set. */
static void decode_preference(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			      struct tni_optval *val)
{
	tni_opt_decode_number(opt, family, raw, val);
	val->number &= PREFER_SRC_TMP | PREFER_SRC_PUBLIC | PREFER_SRC_PUBTMP_DEFAULT;
}

const struct tni_opt_type tni_opt_preference = {
	.parse = parse_integer,
	.expects = expects_integer,
	.encode = tni_opt_encode_number,
	.decode = decode_preference,
	.format = format_integer,
};

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static int parse_size(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t bytes;

	if (tni_opt_parse_word(opt, text, val))
		return 0;
	return tn_parse_size(text, &bytes) < 0 ? -EINVAL : in_range(opt, bytes, val);
}

static void expects_size(const struct tni_sockopt *opt, char *out, size_t cap)
{
	tni_opt_say(out, cap, "a size from %" PRId64 " to %" PRId64 " bytes, such as 64KiB", opt->min, opt->max);
	say_words(opt, ", or ", out, cap);
}

static void format_size(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!tni_opt_format_word(opt, val, out, cap))
		tni_format_size((uint64_t)val->number, out, cap);
}

const struct tni_opt_type tni_opt_size = {
	.parse = parse_size,
	.expects = expects_size,
	.encode = tni_opt_encode_number,
	.decode = tni_opt_decode_number,
	.format = format_size,
};

/* ---- durations --------------------------------------------------------------------------------------------------- */

static const struct {
	uint64_t ns;
	const char *name, *plural;
} time_units[] = {
	{TNI_NS_PER_US, "us", "microseconds"},
	{TNI_NS_PER_MS, "ms", "milliseconds"},
	{TNI_NS_PER_S, "s", "seconds"},
};

static size_t unit_of(const struct tni_sockopt *opt)
{
	size_t i = 0;

	while (time_units[i].ns != opt->unit_ns)
		i++;
	return i;
}

/*
 * Everywhere in tenon a bare number is a number of seconds. Where the kernel counts in something finer, whoever writes
 * one may well mean that: better refused than a thousand times too long.
 */
static bool unit_is_missing(const struct tni_sockopt *opt, const char *text, uint64_t ns)
{
	char last = *text ? text[strlen(text) - 1] : '\0';

	return opt->unit_ns < TNI_NS_PER_S && ns && ((last >= '0' && last <= '9') || last == '.');
}

static int parse_duration(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t ns;

	if (tni_opt_parse_word(opt, text, val))
		return 0;
	if (tn_parse_duration(text, &ns) < 0 || ns % opt->unit_ns || unit_is_missing(opt, text, ns))
		return -EINVAL;
	return in_range(opt, ns / opt->unit_ns, val);
}

static void format_in_unit(const struct tni_sockopt *opt, int64_t number, char *out, size_t cap)
{
	size_t unit = unit_of(opt);

	for (; unit + 1 < sizeof(time_units) / sizeof(time_units[0]) && number % 1000 == 0; unit++)
		number /= 1000;
	snprintf(out, cap, "%" PRId64 "%s", number, time_units[unit].name);
}

static void format_duration(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!tni_opt_format_word(opt, val, out, cap))
		format_in_unit(opt, val->number, out, cap);
}

static void expects_duration(const struct tni_sockopt *opt, char *out, size_t cap)
{
	char low[32], high[32];

	format_in_unit(opt, opt->min, low, sizeof(low));
	format_in_unit(opt, opt->max, high, sizeof(high));
	say_words(opt, "", out, cap);
	tni_opt_say(out, cap, "%sa duration in whole %s from %s to %s", opt->words ? " or " : "",
		    time_units[unit_of(opt)].plural, low, high);
	if (opt->unit_ns < TNI_NS_PER_S)
		tni_opt_say(out, cap, ", written with its unit");
}

const struct tni_opt_type tni_opt_duration = {
	.parse = parse_duration,
	.expects = expects_duration,
	.encode = tni_opt_encode_number,
	.decode = tni_opt_decode_number,
	.format = format_duration,
};

static void encode_timeval(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			   struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->tv);
	raw->tv = (struct timeval){.tv_sec = (time_t)(val->number / 1000000), .tv_usec = (int)(val->number % 1000000)};
}

static void decode_timeval(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			   struct tni_optval *val)
{
	(void)opt, (void)family;
	val->number = (int64_t)raw->tv.tv_sec * 1000000 + raw->tv.tv_usec;
}

const struct tni_opt_type tni_opt_timeval = {
	.parse = parse_duration,
	.expects = expects_duration,
	.encode = encode_timeval,
	.decode = decode_timeval,
	.format = format_duration,
};

/* Off is -1. */
static void encode_linger(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			  struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->linger);
	raw->linger = (struct linger){.l_onoff = val->number >= 0, .l_linger = val->number < 0 ? 0 : (int)val->number};
}

static void decode_linger(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			  struct tni_optval *val)
{
	(void)opt, (void)family;
	val->number = raw->linger.l_onoff ? raw->linger.l_linger : -1;
}

const struct tni_opt_type tni_opt_linger = {
	.parse = parse_duration,
	.expects = expects_duration,
	.encode = encode_linger,
	.decode = decode_linger,
	.format = format_duration,
};
