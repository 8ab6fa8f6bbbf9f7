/* Which sockets are wanted: --state, --kind, --port, --peer, --process. */
#ifndef TENON_INSPECT_SELECT_H
#define TENON_INSPECT_SELECT_H

#include "sock.h"

/* A network: the first `bits` of an address. An IPv4 address stands as ::ffff:1.2.3.4, with 96 bits more. */
struct network {
	unsigned char address[16];
	unsigned bits;
	bool given;
};

/* NULL and 0: any. All that are given must hold. */
struct selection {
	const char *state, *kind, *process;
	unsigned port; /* of either end */
	struct network peer;
};

/* Setters of options: why not, or NULL. */
const char *select_set_state(const char *value, void *to); /* `to`: its text */
const char *select_set_port(const char *value, void *to);  /* `to`: an unsigned */

const char *select_set_peer(const char *value, void *to); /* `to`: a struct network */

/* Whether anything is asked for. */
bool select_is_any(const struct selection *wanted);

/* Takes all others away. */
void select_from(struct socks *socks, const struct selection *wanted);

#endif
