/* A server: made of parts, one for each loop; started, asked and set. */
#include "conn/server.h"
#include "conn/sites.h"

#include "base/err.h"
#include "conn/kind.h"
#include "endpoint/access.h"
#include "io/inbox.h"
#include "net/netns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void part_run(struct tni_task *task)
{
	struct tni_part *part = tni_container_of(task, struct tni_part, task);

	tni_trouble_tell(part, false);
	tni_part_check_end(part);
}

static void trouble_is_due(struct tni_timer *timer)
{
	struct tni_part *part = tni_container_of(timer, struct tni_part, trouble_timer);

	tni_loop_ready(part->loop, &part->task);
}

static void part_timer(struct tni_timer *timer)
{
	struct tni_part *part = tni_container_of(timer, struct tni_part, timer);

	if (part->draining)
		tni_part_drain_tick(part);
	else
		tni_part_start_accepting(part);
}

static int part_init(struct tni_part *part, struct tn_server *server, struct tn_loop *loop, const char *url)
{
	part->server = server;
	part->loop = loop;
	part->task.run = part_run;
	part->timer.fire = part_timer;
	part->trouble_timer.fire = trouble_is_due;
	part->owned.destroy = tni_part_destroy;
	tni_list_init(&part->task.node);
	tni_list_init(&part->owned.node);
	tni_list_init(&part->conns);
	return tni_endpoint_new(url, TN_SERVE, &part->ep);
}

static void start(struct tni_part *part)
{
	tni_list_add_tail(&part->loop->owned, &part->owned.node);
	part->loop->alive++;
	if (part->ep->spin_ns != TNI_NEVER)
		part->loop->spin.max_ns = part->ep->spin_ns;
	tni_part_start_accepting(part);
}

void tni_server_forget(struct tn_server *server)
{
	for (int i = 0; i < server->nparts; i++)
		tni_access_unref(server->parts[i].access);
	tni_access_unref(server->access);
	tni_creds_unref(server->creds);
	tni_sources_free(server->sources);
	tni_rate_unref(server->rate);
	pthread_mutex_destroy(&server->creds_lock);
	tni_troubles_free(&server->troubles);
}

/* Before start(): nothing is in flight, and only datagram connections exist. */
static void undo(struct tn_server *server)
{
	char detail[512];

	snprintf(detail, sizeof(detail), "%s", tn_errmsg());
	for (int i = 0; i < server->nparts; i++) {
		struct tni_part *part = &server->parts[i];

		if (!part->loop)
			continue;
		tni_part_undo_conns(part);
		tni_list_del(&part->task.node);
		tni_loop_untimer(part->loop, &part->timer);
		tni_part_close_listeners(part);
		tni_endpoint_unref(part->ep);
	}
	tni_server_forget(server);
	tni_watch_free(server);
	free(server);
	tni_err(0, "%s", detail);
}

/* What all parts share. */
static int prepare(struct tn_server *server, const struct tni_endpoint *ep)
{
	int rc;

	if (ep->per_source && !(server->sources = tni_sources_new((uint32_t)ep->per_source)))
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	if (ep->accept_rate && tni_server_share_rate(server, NULL) < 0)
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	if (tni_endpoint_has_access(ep) && (rc = tni_access_new(ep, &server->access)) < 0)
		return rc;
	return ep->scheme->secure ? tni_endpoint_creds(ep, &server->creds) : 0;
}

/* In the network of key netns. */
static int open_parts(struct tn_server *server)
{
	const struct tni_endpoint *ep = server->parts[0].ep;
	int home = -1, rc = tni_netns_enter(tni_endpoint_netns(ep), &home);

	if (rc < 0)
		return tni_err_prefix(rc, "%s", ep->url);
	rc = tni_part_open(&server->parts[0]);
	for (int i = 1; i < server->nparts && rc == 0; i++)
		rc = tni_part_join(&server->parts[i], &server->parts[0]);
	tni_netns_leave(home);
	return rc;
}

int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url, const struct tn_handler *handler,
		   void *arg, struct tn_server **out)
{
	struct tn_server *server;
	int rc = 0;

	if (nloops < 1)
		return tni_err(-EINVAL, "%s: no loop to serve it", url);
	if (loops[0]->ending)
		return tni_err(TN_ESTATE, "%s: the loop is being freed", url);
	server = calloc(1, sizeof(*server) + (size_t)nloops * sizeof(server->parts[0]));
	if (!server)
		return tni_err(-ENOMEM, "%s: out of memory", url);
	server->handler = *handler;
	server->arg = arg;
	pthread_mutex_init(&server->creds_lock, NULL);
	tni_troubles_init(&server->troubles);
	server->nparts = nloops;
	for (int i = 0; i < nloops && rc == 0; i++)
		rc = part_init(&server->parts[i], server, loops[i], url);
	if (rc == 0)
		rc = prepare(server, server->parts[0].ep);
	if (rc == 0)
		rc = open_parts(server);
	if (rc == 0)
		rc = tni_sites_join(server);
	if (rc < 0) {
		long at = tn_errpos();

		undo(server);
		tni_err_at(at);
		return rc;
	}
	tni_server_watch_files(server);
	atomic_store(&server->parts_left, nloops);
	for (int i = 0; i < nloops; i++)
		start(&server->parts[i]);
	if (out)
		*out = server;
	return 0;
}

int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg, struct tn_server **out)
{
	return tn_serve_loops(&loop, 1, url, handler, arg, out);
}

void tn_server_limit(struct tn_server *server, unsigned max_conns)
{
	atomic_store(&server->max_conns, max_conns);
}

/* A datagram socket is a connection of its server's, for as long as that lives. */
static bool is_socket_of_server(const struct tn_conn *c)
{
	return c->kind == &tni_kind_datagrams || c->kind == &tni_kind_shared;
}

int tn_server_keep_loop(struct tn_server *server, bool keep)
{
	struct tni_part *part = &server->parts[0];

	if (server->nparts > 1)
		return tni_err(-EOPNOTSUPP, "%s: a server over several loops keeps them running", tni_part_url(part));
	part->loop->alive += server->background;
	server->background = !keep;
	part->loop->alive -= server->background;
	for (struct tni_list *node = part->conns.next; node != &part->conns; node = node->next) {
		struct tn_conn *c = tni_container_of(node, struct tn_conn, siblings);

		if (is_socket_of_server(c))
			tn_conn_keep_loop(c, keep);
	}
	return 0;
}

int tn_server_nurls(const struct tn_server *server)
{
	return server->parts[0].nlisteners;
}

const char *tn_server_url(const struct tn_server *server, int index)
{
	return index >= 0 && index < server->parts[0].nlisteners ? server->parts[0].listeners[index].url : NULL;
}

unsigned tn_server_nconns(const struct tn_server *server)
{
	return atomic_load(&server->nconns);
}

static struct tni_part *part_of_caller(struct tn_server *server)
{
	if (server->nparts == 1)
		return &server->parts[0];
	for (int i = 0; i < server->nparts; i++) {
		struct tni_part *part = &server->parts[i];

		if (!atomic_load(&part->ended) && tni_inbox_is_mine(part->loop->inbox))
			return part;
	}
	return NULL;
}

int tn_server_each(struct tn_server *server, void (*fn)(struct tn_conn *conn, void *arg), void *arg)
{
	struct tni_part *part = part_of_caller(server);
	struct tni_list *node, *next;
	int count = 0;

	if (!part)
		return tni_err(TN_ESTATE, "%s: this is not the thread of one of the server's loops",
			       server->parts[0].ep->url);
	/* No connection is freed here: fn() only says what is to become of it. */
	for (node = part->conns.next; node != &part->conns; node = next) {
		struct tn_conn *c = tni_container_of(node, struct tn_conn, siblings);

		next = node->next;
		if ((c->flags & (TNI_OPEN | TNI_CLOSING | TNI_DEAD)) != TNI_OPEN)
			continue;
		fn(c, arg);
		count++;
	}
	return count;
}

static int place_file(const struct tn_server *server, const char **path, enum tn_file_use *use)
{
	const struct tni_endpoint *ep = server->parts[0].ep;

	*path = ep->host;
	*use = TN_FILE_REMOVE;
	return ep->scheme->place == TNI_AT_PATH && *path && **path != '@' ? 0 : -ENOENT;
}

/* In this order: the socket's own, the key log, what the certificates and the lists were read from. */
int tn_server_file(const struct tn_server *server, int index, const char **path, enum tn_file_use *use)
{
	const struct tni_creds_spec *tls = server->parts[0].ep->tls;
	const char *keylog = tls ? tls->keylog : NULL;
	int creds = 0;

	if (index < 0)
		return -ENOENT;
	if (place_file(server, path, use) == 0 && index-- == 0)
		return 0;
	*path = keylog;
	*use = TN_FILE_APPEND;
	if (keylog && index-- == 0)
		return 0;
	*use = TN_FILE_READ;
	for (*path = NULL; server->creds && (*path = tni_creds_file(server->creds, creds)) && creds < index; creds++)
		;
	if (!*path && server->access)
		*path = tni_files_path(&server->access->files, index - creds);
	return *path ? 0 : -ENOENT;
}

int tn_server_option(const struct tn_server *server, const char *key, char *value, size_t cap)
{
	const struct tni_part *part = &server->parts[0];
	int fd = part->nlisteners ? part->listeners[0].io.fd : -1;

	if (fd < 0 && !tni_list_empty(&part->conns))
		fd = tni_container_of(part->conns.next, struct tn_conn, siblings)->io.fd;
	return tni_endpoint_read_option(part->ep, fd, key, value, cap);
}
