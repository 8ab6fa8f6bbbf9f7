/*
 * Who we are to a server or to a proxy: a user and a password, or a token. What a file says of it, and what HTTP is
 * told (Authorization, Proxy-Authorization). No socket, no file.
 */
#ifndef TNI_WEB_LOGIN_H
#define TNI_WEB_LOGIN_H

#include <stddef.h>

/* All zero: nobody. */
struct tni_login {
	char *user, *password; /* malloc'ed; without a user, the password is a token */
};

#if defined(TNI_HAVE_PROXY) || defined(TNI_HAVE_TLS)

/*
 * Reads what a file holds: lines of user:password, or of a token, which has no colon. Blank lines and those that begin
 * with # are left out. The first line counts; with `user`, the first of this user's. `file` stands in messages, nothing
 * of what is in it does. 0; TN_EFORMAT with words; -ENOMEM.
 */
int tni_login_read(struct tni_login *login, const char *user, const char *file, const char *text, size_t len);

/* "Basic ..." (RFC 7617), or of a token "Bearer ..." (RFC 6750); malloc'ed. NULL without memory. */
char *tni_login_authorization(const struct tni_login *login);

/* Wipes and frees. */
void tni_login_free(struct tni_login *login);

/* The same of one text, which may be NULL. */
void tni_login_wipe(char *text);

#else

static inline char *tni_login_authorization(const struct tni_login *login)
{
	(void)login;
	return NULL;
}

static inline void tni_login_free(struct tni_login *login)
{
	(void)login;
}

#endif

#endif
