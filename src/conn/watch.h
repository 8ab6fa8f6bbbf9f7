/* The observers of a server (tn_server_watch()). The list only grows until the server goes, so that the threads of all
 * its loops walk it without a lock; one that was taken away stays in it and is passed over. */
#ifndef TNI_CONN_WATCH_H
#define TNI_CONN_WATCH_H

#include "tenon.h"

#include <stdatomic.h>

struct tni_watching {
	struct tn_watch on;
	void *arg;
	_Atomic(bool) ended;
	struct tni_watching *_Atomic next;
};

static inline const struct tni_watching *tni_watch_in_force(const struct tni_watching *watching)
{
	while (watching && atomic_load_explicit(&watching->ended, memory_order_acquire))
		watching = atomic_load_explicit(&watching->next, memory_order_acquire);
	return watching;
}

/* Walks those in force: NULL past the last. */
static inline const struct tni_watching *tni_watch_first(struct tni_watching *const _Atomic *head)
{
	return tni_watch_in_force(atomic_load_explicit(head, memory_order_acquire));
}

static inline const struct tni_watching *tni_watch_next(const struct tni_watching *watching)
{
	return tni_watch_in_force(atomic_load_explicit(&watching->next, memory_order_acquire));
}

/* Whether anybody is told of trouble. */
bool tni_watch_wants_trouble(const struct tn_server *server);

/* Tell all. */
void tni_watch_open(struct tn_conn *conn);
void tni_watch_close(struct tn_conn *conn, int err);
void tni_watch_trouble(struct tn_server *server, int err, const char *text);

/* When the server goes. */
void tni_watch_free(struct tn_server *server);

#endif
