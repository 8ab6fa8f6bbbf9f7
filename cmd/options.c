#include "options.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tenon.h"

#define NAMES_MAX 32

struct settings settings;

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
	int err = tn_parse_duration(value, to);

	if (err == -ERANGE)
		return "is out of range";
	return err < 0 ? "is not a duration (20ms, 1.5s, 2m; without a unit, seconds)" : NULL;
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
			out_colour((enum colour)i);
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
	if (strncmp(value, "sim", 3) == 0 && (!value[3] || value[3] == ':'))
		return option_set_text(value, to);
	return "is none of auto, uring, epoll";
}

static const struct option_spec common[] = {
	{"help", 'h', OPTION_ALONE, option_set_flag, &help_wanted},
	{"version", 0, OPTION_ALONE, option_set_flag, &version_wanted},
	{"quiet", 'q', OPTION_ALONE, option_set_flag, &settings.quiet},
	{"verbose", 'v', OPTION_ALONE, set_verbose, &settings.verbose},
	{"color", 0, OPTION_MAYBE, set_colour, NULL},
	{"engine", 0, OPTION_VALUE, set_engine, &settings.engine},
	{0},
};

struct parser {
	const struct option_spec *own;
	const char *command;
	char **args;
	int at; /* the argument being looked at */
};

static enum parsed complain_option(const struct parser *p, const char *fmt, const char *a, const char *b)
{
	char text[512];

	snprintf(text, sizeof(text), fmt, a, b);
	complain("%s%s%s", p->command ? p->command : "", p->command ? ": " : "", text);
	complain_hint("%s%s%s --help", settings.program, p->command ? " " : "", p->command ? p->command : "");
	return PARSED_WRONG;
}

static const struct option_spec *find(const struct option_spec *specs, const char *name, size_t len, char letter)
{
	for (; specs && specs->name; specs++) {
		if (letter && specs->letter == letter)
			return specs;
		if (!letter && strncmp(specs->name, name, len) == 0 && !specs->name[len])
			return specs;
	}
	return NULL;
}

static const struct option_spec *find_any(const struct parser *p, const char *name, size_t len, char letter)
{
	const struct option_spec *spec = find(p->own, name, len, letter);

	return spec ? spec : find(common, name, len, letter);
}

static enum parsed unknown(const struct parser *p, const char *name)
{
	const char *names[NAMES_MAX], *near;
	size_t n = 0;

	for (const struct option_spec *s = p->own; s && s->name && n < NAMES_MAX; s++)
		names[n++] = s->name;
	for (const struct option_spec *s = common; s->name && n < NAMES_MAX; s++)
		names[n++] = s->name;
	near = tn_nearest(name, names, n);
	if (near)
		return complain_option(p, "no option --%s (did you mean --%s?)", name, near);
	return complain_option(p, "no option --%s%s", name, "");
}

static enum parsed apply(const struct parser *p, const struct option_spec *spec, const char *value)
{
	const char *why = spec->set(value, spec->to);
	char option[300];

	if (!why)
		return PARSED_FINE;
	snprintf(option, sizeof(option), "--%s: '%.200s'", spec->name, value ? value : "");
	return complain_option(p, "%s %s", option, why);
}

static enum parsed parse_long(struct parser *p)
{
	char name[64];
	const char *text = p->args[p->at] + 2, *value;
	size_t len = strcspn(text, "=");
	const struct option_spec *spec = find_any(p, text, len, 0);

	value = text[len] ? text + len + 1 : NULL;
	snprintf(name, sizeof(name), "%.*s", len > 60 ? 60 : (int)len, text);
	if (!spec)
		return unknown(p, name);
	if (value && spec->takes == OPTION_ALONE)
		return complain_option(p, "--%s takes no value%s", name, "");
	if (!value && spec->takes == OPTION_VALUE) {
		value = p->args[p->at + 1];
		if (!value)
			return complain_option(p, "--%s needs a value%s", name, "");
		p->at++;
	}
	return apply(p, spec, value);
}

/* Letters are for what takes no value, so they may stand together: -qv */
static enum parsed parse_letters(struct parser *p)
{
	const char *text = p->args[p->at] + 1;
	enum parsed parsed = PARSED_FINE;

	for (; *text && parsed == PARSED_FINE; text++) {
		const struct option_spec *spec = find_any(p, NULL, 0, *text);
		const char name[] = {*text, 0};

		if (!spec)
			return complain_option(p, "no option -%s (put -- before an argument that begins with a dash)%s",
					       name, "");
		parsed = apply(p, spec, NULL);
	}
	return parsed;
}

static bool is_option(const char *arg)
{
	return arg[0] == '-' && arg[1];
}

enum parsed options_parse(const struct option_spec *own, const char *command, char **args, bool leading, int *count)
{
	struct parser p = {.own = own, .command = command, .args = args};
	enum parsed parsed = PARSED_FINE;
	bool operands_only = false;
	int kept = 0;

	for (; args[p.at] && parsed == PARSED_FINE; p.at++) {
		char *arg = args[p.at];

		if (operands_only || !is_option(arg)) {
			operands_only |= leading;
			args[kept++] = arg;
		} else if (strcmp(arg, "--") == 0) {
			operands_only = true;
		} else {
			parsed = arg[1] == '-' ? parse_long(&p) : parse_letters(&p);
			if (parsed == PARSED_FINE && (help_wanted || version_wanted))
				parsed = help_wanted ? PARSED_HELP : PARSED_VERSION;
		}
	}
	args[kept] = NULL;
	*count = kept;
	return parsed;
}

int options_loop_new(struct tn_loop **loop, const char *preferred)
{
	int err = tn_loop_new(loop, settings.engine ? settings.engine : getenv("TENON_ENGINE") ? NULL : preferred);

	if (err < 0)
		complain("%s", tn_errmsg());
	else if (settings.verbose)
		complain("engine: %s", tn_loop_engine(*loop));
	return err;
}
