/* The name servers of resolv.conf(5), asked by c-ares, which the loop drives. */
#ifndef TNI_NET_SERVERS_H
#define TNI_NET_SERVERS_H

#include "io/loop.h"
#include "net/names.h"

#include <ares.h>

/*
 * One of c-ares' channels. Each family has its own: a channel that finds a name server's port closed forgets the other
 * query that it has just sent there, until that times out.
 */
struct tni_channel {
	struct tn_loop *loop;
	ares_channel ares; /* NULL: it could not be opened */
	struct tni_timer timer;
	bool met_late; /* the timer has been put off once */
	struct tni_list fds;
};

/* The name servers, as resolv.conf had them at one time. */
struct tni_servers {
	struct tni_list node;           /* its owner's */
	struct tni_channel channels[2]; /* IPv6, IPv4 */
	unsigned asked;                 /* its owner's: queries that c-ares works on */
};

/* 0, -ENOMEM or TN_ERESOLVE with detail. */
int tni_servers_new(struct tn_loop *loop, const struct tni_names *names, struct tni_servers **out);

/* Queries that c-ares works on are answered as destroyed. NULL is allowed. */
void tni_servers_free(struct tni_servers *servers);

/* Others than resolv.conf's: "address[:port],...". 0, -EINVAL or -ENOMEM with detail. */
int tni_servers_set(struct tni_servers *servers, const char *text);

/* Asks for a name's addresses of one family. `answer` may be called from inside. */
void tni_servers_query(struct tni_servers *servers, const char *name, int family, ares_callback answer, void *arg);

/* Ends all queries, which closes the sockets; c-ares cannot cancel one. */
void tni_servers_cancel(struct tni_servers *servers);

#endif
