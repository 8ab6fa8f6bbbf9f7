/* Who pub, sub, request and reply say they are to the hub: --login, --password-file, --token-file, --login-file. */
#ifndef TENON_PUBSUB_SECRETS_H
#define TENON_PUBSUB_SECRETS_H

#include <stdbool.h>

#include "hub/nats_login.h"

struct login_given {
	const char *name, *password_file, *token_file, *file;
};

/* What was read. Its texts lie in `text`. */
struct secrets {
	struct nats_login login;
	char *text;
};

/* Reads the files. `nats`: the hub is reached by NATS' protocol, which has more ways. Returns an exit status; not
 * STATUS_DONE: an error has been printed. */
int secrets_read(struct secrets *read, const struct login_given *given, bool nats);
/* Leaves nothing of it in memory. */
void secrets_forget(struct secrets *read);

#endif
