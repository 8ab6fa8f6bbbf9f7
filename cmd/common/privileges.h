/* Giving up privileges that were needed only to open something. */
#ifndef TENON_PRIVILEGES_H
#define TENON_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A user to become. */
struct privileges_user {
	const char *name; /* as it was given, the caller's */
	uid_t uid;
	gid_t gid;
	bool known; /* the system knows the user as `login`; the user's further groups are taken too */
	char login[64];
};

/*
 * Gives up for good: every capability but those whose bits are set in `kept`, and what executing a program could give.
 * The user stays. Returns 0 or a negative errno.
 */
int privileges_keep(uint32_t kept);

/* A name or number, or USER:GROUP of those. A number needs no entry. False: the system has no such user or group. */
bool privileges_find(const char *name, struct privileges_user *user);

/* The same as the setter of option --user. `to`: a struct privileges_user. */
const char *privileges_set(const char *value, void *to);

/*
 * For a server that has its sockets. Becomes `user` (NULL: if root, the user who called sudo, or nobody). Gives up
 * every capability, and what executing a program could give. `kept`: bits of capabilities that root keeps; something
 * else then has to limit them. Returns 0 or a negative errno, and then the process must not go on.
 */
int privileges_leave(const struct privileges_user *user, uint32_t kept);

/*
 * The same for a server that runs commands: they keep the user and the capabilities of this process, unless a user
 * other than root is named.
 */
int privileges_leave_to_children(const struct privileges_user *user);

/*
 * For good: if root, becomes the user who called sudo, or nobody. Gives up every capability, and what executing a
 * program could give. Returns 0 or a negative errno, and then the process must not go on.
 */
int privileges_drop(void);

/*
 * This process holds keys now, so it must not leave a core file: core(5). Children inherit that. What a debugger and
 * tenon inspect may do does not change.
 */
void privileges_hold_keys(void);

struct tn_conn;

/* The same, if the connection is secured. */
void privileges_hold_keys_of(const struct tn_conn *conn);

#endif
