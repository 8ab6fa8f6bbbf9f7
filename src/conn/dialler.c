#include "conn/dialler.h"

#include "base/err.h"
#include "conn/extra.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(offsetof(struct tni_role, handler) == 0, "a role is known by its handler");

/* So many endpoints and so many roles are kept for the next connection that wants the same. */
#define KEPT 8
#define ROLES_KEPT 16

const struct tn_handler tni_no_handler;

struct tni_dialler {
	struct tni_owned owned;
	struct tni_list conns;
	struct tni_endpoint *endpoints[KEPT];
	struct tni_role *roles[ROLES_KEPT];
	unsigned next_endpoint, next_role; /* whose place the next new one takes */
};

static void role_unref(struct tni_role *role)
{
	if (role && role->refs && --role->refs == 0)
		free(role);
}

static void dialler_free(struct tni_dialler *d)
{
	for (int i = 0; i < KEPT; i++)
		tni_endpoint_unref(d->endpoints[i]);
	for (int i = 0; i < ROLES_KEPT; i++)
		role_unref(d->roles[i]);
	tni_list_del(&d->owned.node);
	free(d);
}

/* The loop is being freed. Called again, a turn later, until the last connection has gone. */
static void dialler_destroy(struct tni_owned *owned)
{
	struct tni_dialler *d = tni_container_of(owned, struct tni_dialler, owned);

	for (struct tni_list *node = d->conns.next; node != &d->conns; node = node->next)
		tni_conn_kill(tni_container_of(node, struct tn_conn, siblings), -ECANCELED);
	if (!tni_list_empty(&d->conns))
		return;
	dialler_free(d);
}

struct tni_dialler *tni_dialler_of(struct tn_loop *loop)
{
	struct tni_dialler *d = loop->dialler ? loop->dialler : calloc(1, sizeof(*d));

	if (!d || loop->dialler)
		return d;
	d->owned.destroy = dialler_destroy;
	tni_list_init(&d->conns);
	tni_list_add_tail(&loop->owned, &d->owned.node);
	loop->dialler = d;
	return d;
}

int tni_dialler_endpoint(struct tni_dialler *d, const char *url, struct tni_endpoint **ep)
{
	unsigned place = d->next_endpoint;
	int rc;

	for (int i = 0; i < KEPT && d->endpoints[i]; i++)
		if (!strcmp(d->endpoints[i]->url, url)) {
			*ep = tni_endpoint_ref(d->endpoints[i]);
			return 0;
		}
	rc = tni_endpoint_new(url, TN_DIAL, ep);
	if (rc < 0 || !(*ep)->lasting)
		return rc;
	tni_endpoint_unref(d->endpoints[place]);
	d->endpoints[place] = tni_endpoint_ref(*ep);
	d->next_endpoint = (place + 1) % KEPT;
	return 0;
}

const struct tni_role *tni_dialler_role(struct tni_dialler *d, const struct tni_role *wanted)
{
	unsigned place = d->next_role;
	struct tni_role *role;

	for (int i = 0; i < ROLES_KEPT && d->roles[i]; i++)
		if (!memcmp(d->roles[i], wanted, offsetof(struct tni_role, refs))) {
			d->roles[i]->refs++;
			return d->roles[i];
		}
	role = malloc(sizeof(*role));
	if (!role)
		return NULL;
	*role = *wanted;
	role->refs = 2; /* ours and the caller's */
	role_unref(d->roles[place]);
	d->roles[place] = role;
	d->next_role = (place + 1) % ROLES_KEPT;
	return role;
}

const struct tn_handler *tni_dialler_handler(struct tni_dialler *d, const struct tn_handler *handler)
{
	const struct tni_role *role = tni_dialler_role(d, &(struct tni_role){.handler = *handler});

	return role ? &role->handler : NULL;
}

void tni_dialler_unref(const struct tn_handler *handler)
{
	if (handler && handler != &tni_no_handler)
		role_unref(tni_container_of(handler, struct tni_role, handler));
}

void tni_dialler_add(struct tni_dialler *d, struct tn_conn *c)
{
	tni_list_add_tail(&d->conns, &c->siblings);
}
