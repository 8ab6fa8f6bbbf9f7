/* What a subcommand is. */
#ifndef TENON_COMMAND_H
#define TENON_COMMAND_H

#include <stdbool.h>

struct option_spec;

struct command {
	const char *name;
	const char *meaning; /* one line */
	const char *help;    /* examples first; help_command() says what stands for lists */
	const char *(*list_at)(int index, const char **meaning); /* the table that {list} stands for; NULL: none does */
	const char *list_key;                                    /* a key of its URLs, that takes one of these; NULL */
	const struct option_spec *options;                       /* its own, up to one without a name */
	int (*run)(char **operands, int count);
	bool takes_place;  /* its operand is a URL, for which HOST PORT may stand in two operands */
	bool takes_others; /* and others follow */
};

#endif
