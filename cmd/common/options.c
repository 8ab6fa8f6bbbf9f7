#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "hints.h"
#include "paint.h"
#include "settings.h"
#include "tenon.h"

#define NAMES_MAX 64
#define GIVEN_MAX 64
#define DURATION_MAX_NS (1000ULL * 3600 * 1000000000) /* the same as for the keys of URLs */
#define RATE_MAX (UINT64_C(1) << 40)

static bool help_wanted, version_wanted;

const char *option_set_flag(const char *value, void *to)
{
	(void)value;
	*(bool *)to = true;
	return NULL;
}

const char *option_set_text(const char *value, void *to)
{
	*(const char **)to = value;
	return NULL;
}

const char *option_set_file(const char *value, void *to)
{
	if (!*value || strcmp(value, "-") == 0) /* which is a standard stream elsewhere */
		return "is no file (./- is one)";
	return option_set_text(value, to);
}

const char *option_set_number(const char *value, void *to)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end)
		return "is not a number";
	if (errno || number < 1 || number > INT32_MAX)
		return "is out of range (1 to 2147483647)";
	*(unsigned *)to = (unsigned)number;
	return NULL;
}

const char *option_set_duration(const char *value, void *to)
{
	uint64_t ns = 0;
	int err = tn_parse_duration(value, &ns);

	if (err == -ERANGE || ns > DURATION_MAX_NS)
		return "is out of range (0 to 1000h)";
	if (err < 0)
		return "is not a duration (20ms, 1.5s, 2m; without a unit, seconds)";
	*(uint64_t *)to = ns;
	return NULL;
}

const char *option_set_rate(const char *value, void *to)
{
	uint64_t rate;
	int err = tn_parse_size(value, &rate);

	if (err == -EINVAL)
		return "is not a size (4096, 64KiB, 1MiB)";
	if (err < 0 || !rate || rate > RATE_MAX)
		return "is out of range (1 to 1TiB)";
	*(uint64_t *)to = rate;
	return NULL;
}

const char *option_set_nothing(const char *value, void *to)
{
	(void)value, (void)to;
	return NULL;
}

static const char *set_verbose(const char *value, void *to)
{
	(void)value;
	++*(int *)to;
	return NULL;
}

static const char *set_colour(const char *value, void *to)
{
	static const char *const words[] = {"auto", "always", "never"};

	(void)to;
	for (int i = 0; i < 3; i++)
		if (strcmp(value ? value : "always", words[i]) == 0) {
			paint_when((enum colour)i);
			return NULL;
		}
	return "is none of auto, always, never";
}

static const char *set_engine(const char *value, void *to)
{
	static const char *const words[] = {"auto", "uring", "epoll"};

	for (int i = 0; i < 3; i++)
		if (strcmp(value, words[i]) == 0)
			return option_set_text(value, to);
	if (strncmp(value, "sim", 3) == 0 && (!value[3] || value[3] == ':')) /* tests/tenon-test has it */
		return option_set_text(value, to);
	return "is none of auto, uring, epoll";
}

const struct option_spec options_common[] = {
	{"help", 'h', OPTION_ALONE, option_set_flag, &help_wanted, NULL, "help for the command"},
	{"version", 'V', OPTION_ALONE, option_set_flag, &version_wanted, NULL, "what this build and system can do"},
	{"verbose", 'v', OPTION_ALONE, set_verbose, &settings.verbose, NULL, "say more about what happens"},
	{"quiet", 'q', OPTION_ALONE, option_set_flag, &settings.quiet, NULL, "say less"},
	{"color", 0, OPTION_MAYBE, set_colour, NULL, "WHEN", "auto, always or never; auto honours NO_COLOR"},
	{"engine", 0, OPTION_VALUE, set_engine, &settings.engine, "ENGINE", "auto, uring or epoll"},
	{0},
};

struct arguments {
	const struct option_spec *own;
	const char *command;
	char **args;
	int at;   /* the argument being looked at */
	int kept; /* arguments that are no options; they have been moved to the front */
};

/*
 * Options with a value that have been given, with that value. Of the whole command line, since some options stand
 * before the command.
 */
static struct {
	const struct option_spec *spec;
	const char *value;
} given[GIVEN_MAX];
static size_t ngiven;

static enum parse_result complain_option(const struct arguments *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static enum parse_result complain_option(const struct arguments *p, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	complain("%s%s%s", p->command ? p->command : "", p->command ? ": " : "", text);
	complain_hint("%s%s%s --help", settings.program, p->command ? " " : "", p->command ? p->command : "");
	return PARSED_WRONG;
}

static const struct option_spec *find(const struct option_spec *specs, const char *name, size_t len, char letter)
{
	for (; specs && specs->name; specs++) {
		if (letter && specs->letter == letter)
			return specs;
		if (!letter && len > 0 && strncmp(specs->name, name, len) == 0 && !specs->name[len])
			return specs;
	}
	return NULL;
}

static const struct option_spec *find_any(const struct arguments *p, const char *name, size_t len, char letter)
{
	const struct option_spec *spec = find(p->own, name, len, letter);

	return spec ? spec : find(options_common, name, len, letter);
}

/* The long option that was meant: the nearest one, or the only one with this beginning. NULL: none. */
static const char *meant(const struct arguments *p, const char *name)
{
	const struct option_spec *const tables[] = {p->own, options_common};
	const char *names[NAMES_MAX], *near, *begun = NULL;
	size_t n = 0, nbegun = 0;

	for (int i = 0; i < 2; i++)
		for (const struct option_spec *s = tables[i]; s && s->name && n < NAMES_MAX; s++) {
			if (!*s->name)
				continue;
			names[n++] = s->name;
			if (strncmp(s->name, name, strlen(name)) == 0) {
				begun = s->name;
				nbegun++;
			}
		}
	near = tn_nearest(name, names, n);
	return near ? near : nbegun == 1 ? begun : NULL;
}

/* No such option. Says what does the same here, if that is known. */
static enum parse_result unknown(const struct arguments *p, const char *option, const char *name)
{
	const char *near = strlen(name) > 1 ? meant(p, name) : NULL;

	if (hint_option(p->command, option, p->args, p->kept, p->args + p->at + 1))
		return PARSED_WRONG;
	if (near)
		return complain_option(p, "no option %s (did you mean --%s?)", option, near);
	if (p->command && strcmp(p->command, "send") == 0 && option[1] != '-')
		return complain_option(p, "no option %s (a message that begins with a dash comes after --)", option);
	return complain_option(p, "no option %s", option);
}

static bool takes_value(const struct option_spec *spec)
{
	return spec->takes == OPTION_VALUE || spec->takes == OPTION_VALUES;
}

/* Otherwise the last would win without a word, and the first would have no effect. */
static enum parse_result given_twice(const struct arguments *p, const struct option_spec *spec, const char *typed,
				     const char *value)
{
	for (size_t i = 0; i < ngiven; i++)
		if (given[i].spec == spec)
			return complain_option(p, "%s is given twice: '%.200s' and '%.200s'", typed,
					       given[i].value ? given[i].value : "", value ? value : "");
	if (ngiven < GIVEN_MAX) {
		given[ngiven].spec = spec;
		given[ngiven++].value = value;
	}
	return PARSED_FINE;
}

static enum parse_result apply(const struct arguments *p, const struct option_spec *spec, const char *typed,
			       const char *value)
{
	const char *why;

	if ((spec->takes == OPTION_VALUE || spec->takes == OPTION_MAYBE) &&
	    given_twice(p, spec, typed, value) != PARSED_FINE)
		return PARSED_WRONG;
	why = spec->set(value, spec->to);
	return why ? complain_option(p, "%s: '%.200s' %s", typed, value ? value : "", why) : PARSED_FINE;
}

static bool is_known_option(const struct arguments *p, const char *arg)
{
	if (arg[0] == '-' && arg[1] && arg[1] != '-')
		return !arg[2] && find_any(p, NULL, 0, arg[1]);
	return strncmp(arg, "--", 2) == 0 && find_any(p, arg + 2, strcspn(arg + 2, "="), 0);
}

/*
 * The value of an option that stands in the next argument. Where that is another option, the value was forgotten: a
 * file of that name would be made, say.
 */
static enum parse_result next_value(struct arguments *p, const char *typed, const char *glued, const char **value)
{
	const char *next = p->args[p->at + 1];

	if (!next)
		return complain_option(p, "%s needs a value", typed);
	if (is_known_option(p, next))
		return complain_option(p, "%s needs a value, and %.200s is an option (if it is the value: %s%.200s)",
				       typed, next, glued, next);
	p->at++;
	*value = next;
	return PARSED_FINE;
}

static enum parse_result parse_long(struct arguments *p)
{
	char typed[64], glued[66];
	const char *text = p->args[p->at] + 2, *value;
	size_t len = strcspn(text, "=");
	const struct option_spec *spec = find_any(p, text, len, 0);

	value = text[len] ? text + len + 1 : NULL;
	snprintf(typed, sizeof(typed), "--%.*s", len > 60 ? 60 : (int)len, text);
	if (!spec)
		return unknown(p, typed, typed + 2);
	if (value && spec->takes == OPTION_ALONE)
		return complain_option(p, "%s takes no value", typed);
	snprintf(glued, sizeof(glued), "%s=", typed);
	if (!value && takes_value(spec) && next_value(p, typed, glued, &value) != PARSED_FINE)
		return PARSED_WRONG;
	return apply(p, spec, typed, value);
}

/* The value of a letter: what stands behind it in the same argument, or else the next argument. */
static enum parse_result apply_letter(struct arguments *p, const struct option_spec *spec, const char *rest)
{
	const char glued[] = {'-', spec->letter, 0};
	char typed[80];

	if (*spec->name)
		snprintf(typed, sizeof(typed), "-%c (--%s)", spec->letter, spec->name);
	else
		snprintf(typed, sizeof(typed), "-%c", spec->letter);
	if (!*rest && next_value(p, typed, glued, &rest) != PARSED_FINE)
		return PARSED_WRONG;
	return apply(p, spec, typed, rest);
}

/* Letters that take no value may stand together (-qv), and the last of them may be one that does (-qc5). */
static enum parse_result parse_letters(struct arguments *p)
{
	const char *argument = p->args[p->at], *text = argument + 1;
	enum parse_result parsed = PARSED_FINE;

	for (; *text && parsed == PARSED_FINE; text++) {
		const struct option_spec *spec = find_any(p, NULL, 0, *text);
		const char typed[] = {'-', *text, 0};

		if (!spec && argument[2] && hint_option(p->command, argument, p->args, p->kept, p->args + p->at + 1))
			return PARSED_WRONG;
		if (!spec && argument[2] && find_any(p, argument + 1, strcspn(argument + 1, "="), 0))
			return complain_option(p, "no option %.64s (did you mean -%.64s?)", argument, argument);
		if (!spec)
			return unknown(p, typed, typed + 1);
		if (takes_value(spec))
			return apply_letter(p, spec, text + 1);
		parsed = apply(p, spec, typed, NULL);
	}
	return parsed;
}

static bool is_option(const char *arg)
{
	return arg[0] == '-' && arg[1];
}

enum parse_result options_parse(const struct option_spec *own, const char *command, char **args, bool leading,
				int *count)
{
	struct arguments p = {.own = own, .command = command, .args = args};
	enum parse_result parsed = PARSED_FINE;
	bool operands_only = false;

	for (; args[p.at] && parsed == PARSED_FINE; p.at++) {
		char *arg = args[p.at];

		if (operands_only || !is_option(arg)) {
			operands_only |= leading;
			args[p.kept++] = arg;
		} else if (strcmp(arg, "--") == 0) {
			operands_only = true;
		} else {
			parsed = arg[1] == '-' ? parse_long(&p) : parse_letters(&p);
			if (parsed == PARSED_FINE && (help_wanted || version_wanted))
				parsed = help_wanted ? PARSED_HELP : PARSED_VERSION;
		}
	}
	args[p.kept] = NULL;
	*count = p.kept;
	return parsed;
}

int options_loop_new(struct tn_loop **loop, const char *preferred)
{
	int err = tn_loop_new(loop, settings.engine ? settings.engine : getenv("TENON_ENGINE") ? NULL : preferred);

	if (err < 0)
		complain("%s", tn_errmsg());
	else if (settings.verbose)
		complain_notice("engine: %s", tn_loop_engine(*loop));
	return err;
}
