/* How a server ends: it accepts no more, waits for its connections, and goes part by part. */
#include "conn/handover.h"
#include "conn/kind.h"
#include "conn/layered.h"
#include "conn/sites.h"

#include <errno.h>
#include <stdlib.h>

#define DRAIN_TICK_NS (10 * TNI_NS_PER_MS)

static void drop_conns(struct tni_part *part)
{
	struct tni_list *node;

	for (node = part->conns.next; node != &part->conns; node = node->next)
		tni_conn_kill(tni_container_of(node, struct tn_conn, siblings), -ECANCELED);
}

/* Before start(), when nothing is in flight: at once, and without a turn of the loop, in which others would be called
 * back from inside tn_serve(). */
void tni_part_undo_conns(struct tni_part *part)
{
	struct tni_list *node;

	drop_conns(part);
	while ((node = tni_list_pop(&part->conns))) {
		struct tni_task *task = &tni_container_of(node, struct tn_conn, siblings)->task;

		tni_list_del(&task->node);
		task->run(task);
	}
}

/* The caller's last word comes first: until then others may hold on to the server (tn_server_each()). */
static void server_free(struct tn_server *server)
{
	tni_server_forget(server);
	if (server->done)
		server->done(server->done_arg);
	for (int i = 0; i < server->nparts; i++)
		tni_endpoint_unref(server->parts[i].ep);
	tni_watch_free(server);
	free(server);
}

static void last_part_gone(struct tn_server *server)
{
	if (!atomic_load(&server->home_freed))
		server->parts[0].loop->alive -= !server->background;
	tni_list_del(&server->parts[0].owned.node);
	server_free(server);
}

static void last_part_posted(struct tni_post *post)
{
	last_part_gone(tni_container_of(post, struct tni_part, drain_post)->server);
}

/* Has a part's loop run it. TN_ESTATE: that loop is being freed. */
static int post_part(struct tni_part *part, void (*run)(struct tni_post *post))
{
	part->drain_post.run = run;
	return tni_loop_put(part->loop, &part->drain_post);
}

static void part_gone(struct tni_part *part)
{
	struct tn_server *server = part->server;
	struct tn_loop *home = server->parts[0].loop;

	tni_trouble_tell(part, true);
	tni_sites_leave(part);
	tni_loop_untimer(part->loop, &part->timer);
	tni_loop_untimer(part->loop, &part->trouble_timer);
	if (part == &server->parts[0]) /* its loop may be freed before the last part ends */
		tni_loop_untimer(part->loop, &server->files_timer);
	if (part != &server->parts[0] || atomic_load(&server->home_freed))
		tni_list_del(&part->owned.node); /* otherwise the home loop still has to know of its server */
	tni_list_del(&part->task.node);
	tni_part_close_listeners(part);
	atomic_store(&part->ended, true);
	/* The home loop stays alive for its server until the last part has reported. */
	if (part->loop != home)
		part->loop->alive--;
	if (atomic_fetch_sub(&server->parts_left, 1) != 1)
		return;
	if (part->loop == home || atomic_load(&server->home_freed) ||
	    post_part(&server->parts[0], last_part_posted) < 0)
		last_part_gone(server);
}

/* Closing a listener resets clients that have connected and are not accepted yet: they are accepted first, and drained
 * as the others. No more than its queue holds: a crowd of newcomers cannot keep it open. An inherited one stays open
 * elsewhere, and they with it. */
static void take_waiting(struct tni_part *part, const struct tni_listener *l)
{
	int fd;

	if (part->ep->scheme->place == TNI_AT_FD || part->listeners_stay || !part->server->drain_ns)
		return;
	for (int n = part->ep->backlog; n > 0 && (fd = tni_listen_take(l->io.fd)) >= 0; n--)
		tni_part_take(part, fd);
}

/* The addresses are free for the next server at once, while connections still drain. Those that are handed over are
 * left together. */
static void close_idle_listeners(struct tni_part *part)
{
	if (part->handing_over && tni_part_is_accepting(part))
		return;
	for (int i = 0; i < part->nlisteners; i++) {
		struct tni_listener *l = &part->listeners[i];

		if (l->io.fd < 0 || tni_op_busy(&l->io.rd))
			continue;
		tni_unix_file_remove(&l->file, &l->addr);
		l->file = (struct tni_unix_file){0};
		tni_handover_end(part);
		take_waiting(part, l);
		tni_fd_close(part->loop, &l->io);
	}
}

void tni_part_check_end(struct tni_part *part)
{
	if (tni_handover_lingers(part))
		return;
	if (part->stopped)
		close_idle_listeners(part);
	if (part->draining && !atomic_load(&part->ended) && tni_list_empty(&part->conns) &&
	    !atomic_load(&part->nconns) && !tni_part_is_accepting(part))
		part_gone(part);
}

void tni_part_conn_gone(struct tni_part *part, struct tn_conn *conn)
{
	tni_conn_unadmit(conn);
	if (conn->flags & TNI_TURNED_AWAY)
		part->refused--;
	if (part->draining)
		tni_loop_ready(part->loop, &part->task);
}

/* The deadline has passed. */
static void cut_off(struct tni_part *part)
{
	struct tni_list *node;

	tni_handover_end(part);
	for (node = part->conns.next; node != &part->conns; node = node->next)
		tni_conn_cut(tni_container_of(node, struct tn_conn, siblings), -ECANCELED);
}

/* Sockets of datagrams that are handed over are left together as well. */
static void close_quiet(struct tni_part *part)
{
	struct tni_list *node;
	bool all = tni_handover_is_quiet(part);

	if (all && part->ep->scheme->type == SOCK_DGRAM)
		tni_handover_end(part);
	for (node = part->conns.next; node != &part->conns; node = node->next) {
		struct tn_conn *c = tni_container_of(node, struct tn_conn, siblings);

		if (!tni_conn_is_quiet(c) || (!all && c->kind == &tni_kind_datagrams) ||
		    c->flags & (TNI_DEAD | TNI_CLOSING))
			continue;
		if (c->layered)
			(void)tni_chain_refuse(&c->layered->chain, -ECANCELED);
		tn_close(c);
	}
}

/* A tick that comes late, since the process or the machine had other things to do, knows of no silence: what has
 * arrived meanwhile is read first. Only once in a row: a loop that is late always still ends those that are quiet. */
void tni_part_drain_tick(struct tni_part *part)
{
	uint64_t now = part->loop->now_ns;
	bool late = now - part->timer.when_ns >= TNI_QUIET_NS / 2 && !part->met_late;

	tni_handover_tick(part);
	if (!tni_handover_lingers(part)) {
		tni_part_stop_accepting(part); /* also where the engine had no room to be told so before */
		tni_loop_ready(part->loop, &part->task);
	}
	/* Until part_gone(): of a client that another loop has counted and takes back (hand_over()), nobody tells. */
	tni_loop_timer(part->loop, &part->timer, DRAIN_TICK_NS);
	if (now >= part->deadline_ns) {
		cut_off(part);
		return;
	}
	part->met_late = late;
	if (!late)
		close_quiet(part);
}

static void stop_part(struct tni_part *part)
{
	if (part->stopped)
		return;
	part->stopped = true;
	tni_sites_close(part);
	tni_part_stop_accepting(part);
	tni_loop_ready(part->loop, &part->task);
}

static void stop_posted(struct tni_post *post)
{
	stop_part(tni_container_of(post, struct tni_part, stop_post));
}

void tn_server_stop(struct tn_server *server)
{
	if (server->closing || server->stopping)
		return;
	server->stopping = true;
	for (int i = 1; i < server->nparts; i++) {
		struct tni_part *part = &server->parts[i];

		part->stop_post.run = stop_posted;
		if (!atomic_load(&part->ended))
			(void)tni_loop_put(part->loop, &part->stop_post); /* a loop that is freed ends its part */
	}
	stop_part(&server->parts[0]);
}

static void start_drain(struct tni_part *part, uint64_t drain_ns)
{
	bool stopped = part->stopped;

	if (part->draining)
		return;
	part->draining = part->stopped = true; /* before others are asked who takes its clients */
	atomic_store(&part->closed, true);
	if (!stopped)
		tni_sites_close(part);
	part->deadline_ns = tni_ns_add(tni_clock_ns(), drain_ns);
	tni_handover_begin(part);
	if (!tni_handover_lingers(part))
		tni_part_stop_accepting(part);
	/* The first look is after a turn: what has arrived by now is read and counts as traffic. */
	tni_loop_timer(part->loop, &part->timer, DRAIN_TICK_NS);
	tni_loop_ready(part->loop, &part->task);
}

static void drain_posted(struct tni_post *post)
{
	struct tni_part *part = tni_container_of(post, struct tni_part, drain_post);

	start_drain(part, part->server->drain_ns);
}

void tn_server_close(struct tn_server *server, uint64_t drain_ms, void (*done)(void *arg), void *arg)
{
	if (server->closing)
		return;
	server->closing = true;
	server->done = done;
	server->done_arg = arg;
	server->drain_ns = tni_ns_of_ms(drain_ms);
	for (int i = 1; i < server->nparts; i++)
		if (!atomic_load(&server->parts[i].ended))
			(void)post_part(&server->parts[i], drain_posted); /* a loop that is freed ends its part */
	start_drain(&server->parts[0], server->drain_ns);
}

/* The loop is being freed: everything at once. */
void tni_part_destroy(struct tni_owned *owned)
{
	struct tni_part *part = tni_container_of(owned, struct tni_part, owned);

	if (part == &part->server->parts[0])
		atomic_store(&part->server->home_freed, true);
	if (atomic_load(&part->ended)) {
		tni_list_del(&part->owned.node);
		return;
	}
	part->draining = part->stopped = true;
	atomic_store(&part->closed, true);
	part->lingers_until_ns = 0;
	tni_handover_end(part);
	tni_sites_close(part);
	tni_part_stop_accepting(part);
	drop_conns(part);
	tni_loop_ready(part->loop, &part->task);
}
