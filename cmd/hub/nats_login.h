/*
 * Who a client says it is to a NATS server, from a file: the credentials of a NATS user (.creds), the seed of an nkey,
 * "user: password", or a token. Pure.
 */
#ifndef TENON_HUB_NATS_LOGIN_H
#define TENON_HUB_NATS_LOGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"

struct text;

#define NATS_LOGIN_MAX 65536 /* bytes of the file */

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
