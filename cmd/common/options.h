/*
 * Parsing of options, the same for every command: --name VALUE or --name=VALUE, -n VALUE or -nVALUE, letters without a
 * value may stand together (-qv), -h stands anywhere, -- ends options. An option with a value may be given once. Its
 * value is no other option's name, unless both are one argument (--name=--help).
 */
#ifndef TENON_OPTIONS_H
#define TENON_OPTIONS_H

#include <stdbool.h>

struct tn_loop;

enum option_takes {
	OPTION_ALONE,
	OPTION_VALUE,
	OPTION_VALUES, /* may be given several times */
	OPTION_MAYBE,  /* only as --name=VALUE */
};

struct option_spec {
	const char *name; /* of a row that has only a letter: "" */
	char letter;      /* 0: none */
	enum option_takes takes;
	const char *(*set)(const char *value, void *to); /* returns why not, or NULL */
	void *to;
	const char *value; /* for --help: what the value is called; NULL: there is none */
	const char *help;  /* and what the option does; NULL: it is told together with the next row */
};

/* The options that every command has, up to one without a name. */
extern const struct option_spec options_common[];

/* Setters: `to` is a bool, const char *, const char * (a file that is written), unsigned (a number from 1 up),
 * uint64_t (a duration of at most 1000 h, in ns), uint64_t (a size from 1 to 1 TiB: bytes a second). */
const char *option_set_flag(const char *value, void *to);
const char *option_set_text(const char *value, void *to);
const char *option_set_file(const char *value, void *to);
const char *option_set_number(const char *value, void *to);
const char *option_set_duration(const char *value, void *to);
const char *option_set_rate(const char *value, void *to);
/* For options of other tools that ask for what is always done here: accepted, without effect. `to` is not used. */
const char *option_set_nothing(const char *value, void *to);

enum parse_result { PARSED_FINE, PARSED_HELP, PARSED_VERSION, PARSED_WRONG /* and an error has been printed */ };

/*
 * Parses the NULL-terminated `args`: the options every command has and those of `own` (which may be NULL). What is not
 * an option is moved to the front of `args`, NULL-terminated, and counted. `leading`: stops at the first such, and
 * leaves all from there on. `command` is for messages and may be NULL.
 */
enum parse_result options_parse(const struct option_spec *own, const char *command, char **args, bool leading,
				int *count);

/*
 * Makes a loop with the engine asked for, or else `preferred` (NULL: the library's choice). Returns 0, or a code after
 * printing an error.
 */
int options_loop_new(struct tn_loop **loop, const char *preferred);

#endif
