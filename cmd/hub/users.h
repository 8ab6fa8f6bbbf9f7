/* Who may come in, and what each may do: a file of users (tenon-hub(1), USERS). */
#ifndef TENON_HUB_USERS_H
#define TENON_HUB_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"

struct user;

/* Reads users from a descriptor, which is closed; they replace those that were there, which stay in memory until the
 * end, as clients refer to them. Returns NULL, or why not: then nothing has changed. */
const char *users_read(int fd);
void users_free(void);

/* Whether a file was read. */
bool users_any(void);

/* By a name and its password, or a token, which is NAME:PASSWORD. NULL: not known. Takes as long as the hash wants. */
const struct user *users_login(const struct login *login);
/* By what a certificate says. NULL: not known. */
const struct user *users_by_cert(const char *identity);
/* The same user after the file was read again. NULL: gone. */
const struct user *users_again(const struct user *user);
const char *user_name(const struct user *user);

bool user_may_publish(const struct user *user, struct span topic);
bool user_may_subscribe(const struct user *user, struct span pattern);

#endif
