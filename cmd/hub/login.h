/* Passwords are checked by a thread of its own, one after the other: a hash takes long on purpose, and loops go on. */
#ifndef TENON_HUB_LOGIN_H
#define TENON_HUB_LOGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"

struct attempt;
struct user;

/* Has a password checked, which is copied; done(arg, right) is called on the loop of this number. NULL: too many wait,
 * or no memory. */
struct attempt *login_begin(int loop, const struct user *user, struct span password,
			    void (*done)(void *arg, bool right), void *arg);
/* done() is not called any more. On the loop's thread. */
void login_forget(struct attempt *attempt);
/* When no loop runs any more: ends the thread. */
void login_end(void);

#endif
