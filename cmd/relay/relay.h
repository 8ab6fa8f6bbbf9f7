/* `tenon relay` */
#ifndef TENON_RELAY_H
#define TENON_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/command.h"
#include "common/privileges.h"

extern const struct command relay_command;

/* What `tenon serve --handler relay:URL` says; all else is as by default. */
struct relay_options {
	unsigned threads, max_sessions;
	uint64_t drain_ns;
	const struct privileges_user *user;
	bool no_sandbox;
};

/* Relays the endpoints to a target, until it is told to end. Returns the exit status. */
int relay_serve(char **listen, int count, const char *target, const struct relay_options *how);

#endif
