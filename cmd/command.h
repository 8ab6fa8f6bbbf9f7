/* What a subcommand is, and how it tells the shell how it went. */
#ifndef TENON_COMMAND_H
#define TENON_COMMAND_H

#include <stdbool.h>

struct option_spec;

/* Exit status: the same for every command, and documented in tenon(1). */
enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1, /* the network or the peer */
	STATUS_USAGE = 2,  /* the command line, bad URLs included */
	STATUS_TIMEOUT = 3,
	STATUS_REFUSED = 4, /* data that is malformed or too large */
};

struct command {
	const char *name;
	const char *meaning;               /* one line */
	const char *help;                  /* examples first */
	const struct option_spec *options; /* its own, up to one without a name */
	int (*run)(char **operands, int count);
	bool takes_place;  /* its operand is a URL, for which HOST PORT may stand in two operands */
	bool takes_others; /* and others follow */
};

extern const struct command serve_command, send_command, connect_command, convert_command, options_command,
	bench_command, inspect_command, ping_command, capture_command;
extern const struct command cert_command; /* where the library was built with OpenSSL */

/* What captures live here, in words: for --version. */
const char *live_library(void);

/* The exit status that stands for one of the library's codes. */
enum status status_of(int err);

#endif
