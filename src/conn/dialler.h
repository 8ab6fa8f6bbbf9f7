/*
 * What the dialled connections of one loop share: the list that ends them with their loop, the endpoints that were
 * dialled last, and their handlers. So a URL is understood once and dialled many times, and an idle connection holds
 * two pointers in place of two copies.
 */
#ifndef TNI_CONN_DIALLER_H
#define TNI_CONN_DIALLER_H

#include "conn/conn.h"

struct tni_dialler;
struct tni_role;

/* The loop's, made on first use. NULL without memory. */
struct tni_dialler *tni_dialler_of(struct tn_loop *loop);

/* The endpoint of a URL, with a reference for the caller. 0, TN_EURL with detail or -ENOMEM. */
int tni_dialler_endpoint(struct tni_dialler *dialler, const char *url, struct tni_endpoint **ep);

/* A copy of a handler, or of a role, which others with the same callbacks have too. NULL without memory. */
const struct tn_handler *tni_dialler_handler(struct tni_dialler *dialler, const struct tn_handler *handler);
const struct tni_role *tni_dialler_role(struct tni_dialler *dialler, const struct tni_role *role);

/* Drops a reference to one of these; a role is known by its handler. NULL is allowed. */
void tni_dialler_unref(const struct tn_handler *handler);

/* One that is told nothing. It is nobody's: it has no references. */
extern const struct tn_handler tni_no_handler;

/* The connection ends with its loop, unless tni_list_del() takes it off the list before. */
void tni_dialler_add(struct tni_dialler *dialler, struct tn_conn *conn);

#endif
