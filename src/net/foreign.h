/*
 * Names that only getaddrinfo(3) can look up: nsswitch.conf names a service (mdns4_minimal, resolve, myhostname, sss,
 * ...) whose code glibc loads. It blocks, so it runs in a thread of its own.
 */
#ifndef TNI_NET_FOREIGN_H
#define TNI_NET_FOREIGN_H

#include "tenon.h"

struct tni_foreign; /* one call under way */

/* rc: 0, or getaddrinfo's EAI_ code. The addresses, at least one when rc is 0, are valid during the call. */
typedef void tni_foreign_done(void *arg, int rc, const struct tn_addr *addrs, int n);

/* Starts a call. done() is called once, by the engine, never from inside this function. 0 or -errno. */
int tni_foreign_start(struct tn_loop *loop, const char *host, int family, int port, tni_foreign_done *done, void *arg,
		      struct tni_foreign **out);

/* done() will not be called. The thread goes on until its call returns; what it brings is dropped. NULL is allowed. */
void tni_foreign_cancel(struct tni_foreign *foreign);

#endif
