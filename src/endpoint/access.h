/*
 * Who may connect, and who may say for whom: the keys allow, deny and trust of a served endpoint, with the files that
 * they name. Where a dialled connection, or a client of a served proxy, may go to: allow-to, deny-to, ports; and who
 * such clients are: users. Made once, never changed, and shared by the loops of a server; it is made anew when a file
 * changes.
 */
#ifndef TNI_ENDPOINT_ACCESS_H
#define TNI_ENDPOINT_ACCESS_H

#include "base/files.h"
#include "endpoint/endpoint.h"
#include "endpoint/reach.h"
#include "net/cidr.h"

#include <stdatomic.h>

struct tni_access {
	_Atomic(unsigned) refs;
	bool only_allowed; /* there is a key allow */
	struct tni_cidrs allow, deny, trust, allow_to, deny_to;
	struct tni_ports ports;
	struct tni_users users;
	struct tni_files files;
};

#ifdef TNI_HAVE_ACCESS

/* Whether a list of the endpoint has to be asked at all. */
static inline bool tni_endpoint_has_access(const struct tni_endpoint *ep)
{
	return ep->role == TN_SERVE && (ep->access || ep->proxy || ep->scheme->gate);
}

/* NULL is allowed. */
void tni_access_spec_free(struct tni_access_spec *spec);

/* Reads the files. 0; TN_EURL, which names key, file and line; -ENOMEM. */
int tni_access_new(const struct tni_endpoint *ep, struct tni_access **access);

/* From any thread. NULL may be let go of. */
struct tni_access *tni_access_ref(struct tni_access *access);
void tni_access_unref(struct tni_access *access);

/* Keys deny and allow: false: it is in the first, or there is the second and it is not in it. `fd`: its connection, for
 * the users and groups of Unix sockets; -1: it has none. */
bool tni_access_lets_in(const struct tni_access *access, const struct tn_addr *client, int fd);

/* Keys deny-to and allow-to: whether an address may be connected to. */
bool tni_access_reaches(const struct tni_access *access, const struct tn_addr *target);

/* Key trust: whether it may send PROXY headers. */
bool tni_access_trusts(const struct tni_access *access, const struct tn_addr *sender);

/* An item of a list: whether it names a file, and not an address. */
bool tni_access_is_file(const char *item);

#else /* no endpoint has any */

static inline bool tni_endpoint_has_access(const struct tni_endpoint *ep)
{
	(void)ep;
	return false;
}

static inline void tni_access_spec_free(struct tni_access_spec *spec)
{
	(void)spec;
}

static inline int tni_access_new(const struct tni_endpoint *ep, struct tni_access **access)
{
	(void)ep;
	*access = NULL;
	return 0;
}

static inline struct tni_access *tni_access_ref(struct tni_access *access)
{
	return access;
}

static inline void tni_access_unref(struct tni_access *access)
{
	(void)access;
}

static inline bool tni_access_lets_in(const struct tni_access *access, const struct tn_addr *client, int fd)
{
	(void)access, (void)client, (void)fd;
	return true;
}

static inline bool tni_access_reaches(const struct tni_access *access, const struct tn_addr *target)
{
	(void)access, (void)target;
	return true;
}

static inline bool tni_access_trusts(const struct tni_access *access, const struct tn_addr *sender)
{
	(void)access, (void)sender;
	return false;
}

#endif

#endif
