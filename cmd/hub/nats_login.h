/*
 * Who a client says it is to a NATS server, from a file: the credentials of a NATS user (.creds), the seed of an nkey,
 * "user: password", or a token.
 */
#ifndef TENON_HUB_NATS_LOGIN_H
#define TENON_HUB_NATS_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "door.h"

struct text;

#define NATS_LOGIN_MAX 65536 /* bytes of the file */

/* Reads a file, which is closed, into `text`, which has room for NATS_LOGIN_MAX and a zero. Returns the length, or a
 * negative code. */
ssize_t nats_login_load(int fd, char *text);
/* Leaves nothing of it in memory, and frees it; NULL: nothing. */
void nats_login_forget(char *text);

/* Texts lie in the file's; what has none is of length 0. */
struct nats_login {
	struct span user, password, token, jwt, seed;
};

/* Reads a file's text, which must stay. Returns why not, or NULL. */
const char *nats_login_read(struct nats_login *login, const char *text, size_t len);

/*
 * Adds members of CONNECT to an object: those that prove who it is, and by a seed the server's nonce, signed. Returns
 * why not, or NULL.
 */
const char *nats_login_write(struct text *object, const struct nats_login *login, struct span nonce);

#endif
