/* What the keys ports and users of a served proxy say: where its clients may go, and who they are. */
#ifndef TNI_ENDPOINT_REACH_H
#define TNI_ENDPOINT_REACH_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define TNI_PORT_RANGES_MAX 64
#define TNI_USERS_MAX 1024

/* All zero: every port. */
struct tni_ports {
	int count;
	struct {
		int first, last;
	} ranges[TNI_PORT_RANGES_MAX];
};

/* All zero: nobody. */
struct tni_users {
	struct tni_user *list;
	size_t count;
};

#ifdef TNI_HAVE_PROXY

/* Reads "443,8000-8999". 0, or TN_EURL with what is wrong. */
int tni_ports_read(struct tni_ports *ports, const char *text);
bool tni_ports_have(const struct tni_ports *ports, int port);

/*
 * Reads lines NAME:PASSWORD; blank ones and those that begin with # are left out. `file` stands in messages. 0;
 * TN_EFORMAT with the line's number; -ENOMEM.
 */
int tni_users_read(struct tni_users *users, const char *file, const char *text, size_t len);

/* Whether this is one of them. Takes as long for every name and password. */
bool tni_users_know(const struct tni_users *users, const char *name, size_t name_len, const char *password,
		    size_t password_len);

/* Wipes and frees. */
void tni_users_free(struct tni_users *users);

#else

static inline int tni_ports_read(struct tni_ports *ports, const char *text)
{
	(void)ports, (void)text;
	return 0;
}

static inline int tni_users_read(struct tni_users *users, const char *file, const char *text, size_t len)
{
	(void)users, (void)file, (void)text, (void)len;
	return 0;
}

static inline void tni_users_free(struct tni_users *users)
{
	(void)users;
}

#endif

#endif
