/*
 * The way of a dialled connection through proxies (key via): their layers, the names that are looked up here, and the
 * deadline of all of it, which is key connect's.
 */
#ifndef TNI_CONN_WAY_H
#define TNI_CONN_WAY_H

#include "conn/conn.h"
#include "conn/layered.h"

struct tni_way;

#ifdef TNI_HAVE_PROXY

/* Puts a layer for each proxy, with TLS below it where its URL says so, below a connection that is about to be dialled.
 * 0; TN_EURL with words; -ENOMEM. */
int tni_way_push(struct tn_conn *conn);

/*
 * Looks up what the proxies want to be told as an address, then calls dial(conn, proxy, began_ns), from a task or at
 * once: the first proxy, and when the deadline began. 0 or < 0, and then there is nothing under way.
 */
int tni_way_begin(struct tn_conn *conn,
		  int (*dial)(struct tn_conn *conn, const struct tni_endpoint *proxy, uint64_t began_ns));

/* Nothing of it goes on. NULL is allowed. */
void tni_way_free(struct tni_way *way);

/* So much time is left. */
uint64_t tni_way_left_ns(const struct tni_way *way);

/* The words for the proxy that a layer speaks to (struct tni_layer.hop). */
const char *tni_way_label(const struct tn_conn *conn, unsigned hop);

#else

static inline int tni_way_push(struct tn_conn *conn)
{
	(void)conn;
	return 0;
}

static inline int tni_way_begin(struct tn_conn *conn,
				int (*dial)(struct tn_conn *conn, const struct tni_endpoint *proxy, uint64_t began_ns))
{
	(void)conn, (void)dial;
	return 0;
}

static inline void tni_way_free(struct tni_way *way)
{
	(void)way;
}

static inline uint64_t tni_way_left_ns(const struct tni_way *way)
{
	(void)way;
	return 0;
}

static inline const char *tni_way_label(const struct tn_conn *conn, unsigned hop)
{
	(void)conn, (void)hop;
	return "";
}

#endif

/* NULL: there is none, or it lies behind us. */
static inline struct tni_way *tni_way_of(const struct tni_layered *layered)
{
#ifdef TNI_HAVE_PROXY
	return layered->busy ? layered->busy->way : NULL;
#else
	(void)layered;
	return NULL;
#endif
}

#endif
