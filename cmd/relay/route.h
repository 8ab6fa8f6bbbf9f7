/* Which targets a session gets, by what its client's first bytes say. */
#ifndef TENON_RELAY_ROUTE_H
#define TENON_RELAY_ROUTE_H

#include <stdbool.h>

#include "first/first.h"

#define RULES_MAX 256

struct targets;

enum rule_kind { RULE_SNI, RULE_ALPN, RULE_PROTOCOL };

/* Adds a target for sessions that fit, which people know as `given`. Those for the same pattern are one group. NULL, or
 * why not. */
const char *route_add(enum rule_kind kind, const char *pattern, const char *url, const char *given);

/* How many targets rules have, and each of their groups, or NULL past the end. */
bool route_any(void);
struct targets *route_group(int index);

/*
 * The targets of a session: those of the rule that fits best. A server's name counts most, one without a wildcard more
 * than one with, and a longer one more than a shorter; then the application protocol, then the protocol. NULL: none
 * fits.
 */
struct targets *route_find(const struct first *first);

void route_free(void);

#endif
