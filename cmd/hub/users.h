/* Who may come in, and what each may do: a file of users (tenon-hub(1), USERS). */
#ifndef TENON_HUB_USERS_H
#define TENON_HUB_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"

struct user;

/* Reads users from a descriptor, which is closed; they replace those that were there, which stay in memory, as clients
 * refer to them, until users_forget(). Returns NULL, or why not: then nothing has changed. */
const char *users_read(int fd);
/* Nobody refers any more to those that were replaced. */
void users_forget(void);
void users_free(void);

/* Whether a file was read; whether somebody in it signs a nonce. From any thread. */
bool users_any(void);
bool users_sign(void);

/* Who says that it is somebody with a password (a token is NAME:PASSWORD), which is yet to be checked: the password is
 * written into `password`, without bytes where none can be. NULL: not known. */
struct user *users_named(const struct login *login, struct span *password);
/* Somebody with a password, whose hash takes as long to check; NULL: nobody has one. */
const struct user *users_decoy(void);
/* What is to be checked. */
const char *user_hash(const struct user *user);
/* Whether this is the password. Takes as long as the hash wants: tens of milliseconds. From any thread. */
bool user_has_password(const char *hash, const char *password);
/* By a key, and the nonce that was signed with it. NULL: not known. */
struct user *users_by_nkey(const struct login *login, struct span nonce);
/* By what a certificate says. NULL: not known. */
struct user *users_by_cert(const char *identity);
/* The same user after the file was read again. NULL: gone. */
struct user *users_again(const struct user *user);
const char *user_name(const struct user *user);

/* What a user has of what its limits are about. From any thread. */

/* One more connection. False: too many, unless it is there already (`there`). */
bool user_enter(struct user *user, bool there);
void user_leave(struct user *user);
/* One more subscription, or so many that are there already. False: too many. */
bool user_may_add(struct user *user);
void user_add(struct user *user, unsigned count);
void user_remove(struct user *user, unsigned count);
/* So many bytes were published. Returns until when nothing more is taken, on the clock of `now_ns`; 0: it may go on. */
uint64_t user_spend(struct user *user, size_t bytes, uint64_t now_ns);
/* The longest message. */
uint32_t user_payload(const struct user *user, uint32_t otherwise);

bool user_may_publish(const struct user *user, struct span topic);
/* Of a pattern that takes something that is denied too, user_may_get() tells for each topic. */
bool user_may_subscribe(const struct user *user, struct span pattern);
bool user_may_get(const struct user *user, struct span topic);

#endif
