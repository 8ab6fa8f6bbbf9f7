/*
 * Passwords are checked by a thread of its own, one after the other: a hash takes long on purpose, and loops go on.
 * Those who wait take turns by where they come from.
 */
#ifndef TENON_HUB_LOGIN_H
#define TENON_HUB_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"
#include "tenon.h"

struct attempt;

/* On which loop somebody is, by its number, and who shares turns with it. */
struct login_from {
	int loop;
	uint64_t source;
};

/* An IPv4 address, or an IPv6 network of 64 bits; all others are one. */
uint64_t login_source(const struct tn_addr *peer);

/* Has a password checked, which is copied as is the hash; done(arg, right) is called on the loop. NULL: its source has
 * too many that wait, or no memory. */
struct attempt *login_begin(const struct login_from *from, const char *hash, struct span password,
			    void (*done)(void *arg, bool right), void *arg);
/* done() is not called any more. On the loop's thread. */
void login_forget(struct attempt *attempt);
/* When no loop runs any more: ends the thread. */
void login_end(void);

#endif
