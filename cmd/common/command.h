/* What a subcommand is. */
#ifndef TENON_COMMAND_H
#define TENON_COMMAND_H

#include <stdbool.h>

struct option_spec;

/* A key of a command's URLs that is its own and not the library's. */
struct command_key {
	const char *key, *meaning;
	bool of_list; /* it takes one of what list_at() has */
};

struct command {
	const char *name;
	const char *meaning; /* one line */
	const char *help;    /* examples first; help_command() says what stands for lists */
	const char *(*list_at)(int index, const char **meaning); /* the table that {list} stands for; NULL: none does */
	const struct command_key *keys;                          /* up to one without a name; NULL: it has none */
	const struct option_spec *options;                       /* its own, up to one without a name */
	int (*run)(char **operands, int count);
	bool takes_place;  /* its operand is a URL, for which HOST PORT may stand in two operands */
	bool takes_others; /* and others follow */
};

#endif
