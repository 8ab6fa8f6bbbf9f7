/* Which sockets are wanted: --state, --kind, --port, --process. */
#ifndef TENON_INSPECT_SELECT_H
#define TENON_INSPECT_SELECT_H

#include "sock.h"

/* NULL and 0: any. All that are given must hold. */
struct selection {
	const char *state, *kind, *process;
	unsigned port; /* of either end */
};

/* Setters of options: why not, or NULL. */
const char *select_set_state(const char *value, void *to); /* `to`: its text */
const char *select_set_port(const char *value, void *to);  /* `to`: an unsigned */

/* Whether anything is asked for. */
bool select_is_any(const struct selection *wanted);

/* Takes all others away. */
void select_from(struct socks *socks, const struct selection *wanted);

#endif
