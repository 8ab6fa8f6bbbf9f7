#include "conn/watch.h"

#include "base/err.h"
#include "conn/server.h"

#include <errno.h>
#include <stdlib.h>

int tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg)
{
	struct tni_watching *_Atomic *last = &server->watches;
	bool is_first = !atomic_load_explicit(last, memory_order_relaxed);
	struct tni_watching *watching = is_first ? &server->first_watch : calloc(1, sizeof(*watching));

	if (!watching)
		return tni_err(-ENOMEM, "%s: watch: out of memory", tni_part_url(&server->parts[0]));
	watching->on = *watch;
	watching->arg = arg;
	while (atomic_load_explicit(last, memory_order_relaxed))
		last = &atomic_load_explicit(last, memory_order_relaxed)->next;
	atomic_store_explicit(last, watching, memory_order_release);
	return 0;
}

void tn_server_unwatch(struct tn_server *server, void *arg)
{
	struct tni_watching *watching = atomic_load_explicit(&server->watches, memory_order_acquire);

	for (; watching; watching = atomic_load_explicit(&watching->next, memory_order_acquire))
		if (watching->arg == arg)
			atomic_store_explicit(&watching->ended, true, memory_order_release);
}

bool tni_watch_wants_trouble(const struct tn_server *server)
{
	for (const struct tni_watching *w = tni_watch_first(&server->watches); w; w = tni_watch_next(w))
		if (w->on.on_trouble)
			return true;
	return false;
}

void tni_watch_open(struct tn_conn *c)
{
	for (const struct tni_watching *w = tni_watch_first(&c->part->server->watches); w; w = tni_watch_next(w))
		if (w->on.on_open)
			w->on.on_open(c, w->arg);
}

void tni_watch_close(struct tn_conn *c, int err)
{
	for (const struct tni_watching *w = tni_watch_first(&c->part->server->watches); w; w = tni_watch_next(w))
		if (w->on.on_close)
			w->on.on_close(c, err, w->arg);
}

void tni_watch_trouble(struct tn_server *server, int err, const char *text)
{
	for (const struct tni_watching *w = tni_watch_first(&server->watches); w; w = tni_watch_next(w))
		if (w->on.on_trouble)
			w->on.on_trouble(server, err, text, w->arg);
}

void tni_watch_free(struct tn_server *server)
{
	struct tni_watching *watching = atomic_load_explicit(&server->watches, memory_order_acquire), *next;

	for (; watching; watching = next) {
		next = atomic_load_explicit(&watching->next, memory_order_acquire);
		if (watching != &server->first_watch)
			free(watching);
	}
}
