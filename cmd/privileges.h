/* Giving up what a program needed only to open something. */
#ifndef TENON_PRIVILEGES_H
#define TENON_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Somebody to become. */
struct privileges_user {
	const char *name; /* as it was given, the caller's */
	uid_t uid;
	gid_t gid;
	bool known; /* the system knows the user as `login`, whose further groups come with it */
	char login[64];
};

/* Gives up, for good, every capability but those whose bits are set in `kept`, and what a program that is executed
 * could bring. The user stays. Returns 0 or a negative errno. */
int privileges_keep(uint32_t kept);

/* A name or number, or USER:GROUP of those. A number needs no entry. False: the system has no such user or group. */
bool privileges_find(const char *name, struct privileges_user *user);

/*
 * For a server that has its sockets: becomes `user` (NULL: who called sudo, or nobody, if it is root), and gives up
 * every capability and what a program that is executed could bring. `kept`: the bits of those that root keeps all the
 * same, which something else then has to bound. Returns 0 or a negative errno, and then it must not go on.
 */
int privileges_leave(const struct privileges_user *user, uint32_t kept);

/* The same for one that runs commands: they keep the user and the capabilities of this process unless a user is named
 * that is not root. */
int privileges_leave_to_children(const struct privileges_user *user);

/*
 * For good: becomes who called sudo, or nobody, if it is root; gives up every capability, and what a program that is
 * executed could bring. Returns 0 or a negative errno, and then it must not go on.
 */
int privileges_drop(void);

/*
 * This process holds keys now, which no core file may: core(5). Children inherit that. What a debugger and tenon
 * inspect may do is as before.
 */
void privileges_hold_keys(void);

struct tn_conn;

/* The same, if the connection is secured. */
void privileges_hold_keys_of(const struct tn_conn *conn);

#endif
