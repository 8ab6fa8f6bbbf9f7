/*
 * Servers of WebSocket at one address, each at a path of its own. Each has a descriptor of the same listener, so that
 * any may end first, and accepts from its queue. A client moves to the one whose path it asks for, before it is open.
 */
#ifndef TNI_CONN_SITES_H
#define TNI_CONN_SITES_H

#include "conn/server.h"

/*
 * A duplicate of the listener that a part of the same loop has at an address. -ENOENT: there is none that could be
 * shared; other negative codes, with words: there is one, but not for this endpoint.
 */
int tni_sites_listener(struct tni_part *part, const struct tn_addr *addr);

/* All listeners of the server are open: it joins those with whom it shares them. 0, or < 0 with words. */
int tni_sites_join(struct tn_server *server);

/* A part drains: nobody who comes is its own any more. Where others share its listeners, these stay open
 * (listeners_stay), and clients that have not asked for anything yet move to one of them that has room. */
void tni_sites_close(struct tni_part *part);

/* It has no connections any more, and is about to go. */
void tni_sites_leave(struct tni_part *part);

/* Which of those who share a listener takes a client before it is known what it asks for: one that has room. */
struct tni_part *tni_sites_taker(struct tni_part *part);

/* The next server at the same address: after the last of them the first, and one that is alone there is its own. From
 * loops[0]'s thread. */
struct tn_server *tni_sites_next(struct tn_server *server);

/* Whether it is still to be seen whose client it is: it is admitted when it has asked. */
bool tni_sites_undecided(const struct tn_conn *conn);

/* What a client gets that cannot be let in, where it can still be told in words: TN_ELIMIT or -EACCES. */
void tni_sites_turn_away(struct tn_conn *conn, int err);

#endif
