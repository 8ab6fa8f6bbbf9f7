#include "conn/server.h"

#include "base/err.h"
#include "base/log.h"
#include "conn/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Out of descriptors or memory: the pause before accepting is tried again. */
#define ACCEPT_PAUSE_NS (50 * TNI_NS_PER_MS)

#define DRAIN_TICK_NS (10 * TNI_NS_PER_MS)

/* A pause that the key accept-rate wants is at least so long, and what was saved up for so long may come at once. */
#define RATE_PAUSE_NS (10 * TNI_NS_PER_MS)
#define RATE_BURST_NS (100 * TNI_NS_PER_MS)

/* While so many handshakes of a loop wait for their turn, further clients wait to be accepted:
 * there they cost nothing. */
#define SHAKING_MAX 64
#define SHAKING_PAUSE_NS TNI_NS_PER_MS

/* So many refused clients are closed with patience at a time; further ones at once. */
#define REFUSED_MAX 64

/* How often certificate files are looked at. */
#define FILES_LOOK_NS TNI_NS_PER_S

static void part_check_end(struct tni_part *part);

/* ---- accepting ---- */

static void hand_round(struct tn_server *server, int fd);

static bool is_accepting(const struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++)
		if (tni_op_busy(&part->listeners[i].io.rd))
			return true;
	return false;
}

static void stop_accepting(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++)
		if (part->listeners[i].io.fd >= 0)
			tni_cancel(part->loop, &part->listeners[i].io, &part->listeners[i].io.rd);
}

/* Time until further clients may be accepted. 0: now. */
static uint64_t accept_wait(const struct tni_part *part)
{
	uint64_t wait_ns = tni_part_rate_wait(part);

	if (wait_ns)
		return wait_ns > RATE_PAUSE_NS ? wait_ns : RATE_PAUSE_NS;
	return part->ep->scheme->secure && part->loop->ncostly >= SHAKING_MAX ? SHAKING_PAUSE_NS : 0;
}

static void start_accepting(struct tni_part *part)
{
	uint64_t wait_ns = accept_wait(part);

	if (wait_ns) {
		tni_loop_timer(part->loop, &part->timer, wait_ns);
		return;
	}
	for (int i = 0; i < part->nlisteners; i++) {
		struct tni_fd *io = &part->listeners[i].io;

		if (io->fd >= 0 && io->rd.state == TNI_IDLE && tni_submit(part->loop, io, &io->rd, TNI_OP_ACCEPT) < 0)
			tni_loop_timer(part->loop, &part->timer, ACCEPT_PAUSE_NS);
	}
}

static const char *url_of(const struct tni_part *part)
{
	return part->nlisteners ? part->listeners[0].url : part->ep->url;
}

static void note_accept_trouble(struct tni_part *part, int err)
{
	tni_err(err, "%s: accept: %s", url_of(part), tn_strerror(err));
	tni_trouble_note(part, err);
}

static const char *crowd_text(const struct tn_addr *peer, char *out, size_t cap)
{
	struct tn_addr addr = *peer;

	if (tni_addr_family(&addr) != AF_INET && tni_addr_family(&addr) != AF_INET6)
		return "one user";
	tni_addr_set_port(&addr, 0);
	return tn_addr_text(&addr, out, cap);
}

static void note_crowd(struct tni_part *part, const struct tn_addr *peer, bool one_source)
{
	char who[80];

	if (one_source)
		tni_err(TN_ELIMIT, "%s: a connection was refused: too many from %s (key per-source)", url_of(part),
			crowd_text(peer, who, sizeof(who)));
	else
		tni_err(TN_ELIMIT, "%s: a connection was refused: %s", url_of(part), tn_strerror(TN_ELIMIT));
	tni_trouble_note(part, TN_ELIMIT);
}

/* Tested and counted in one step: other parts admit at the same time. */
static bool count_in(struct tn_server *server)
{
	unsigned max = atomic_load(&server->max_conns), n = atomic_load(&server->nconns);

	do {
		if (max && n >= max)
			return false;
	} while (!atomic_compare_exchange_weak(&server->nconns, &n, n + 1));
	return true;
}

bool tni_part_admit(struct tni_part *part, const struct tn_addr *peer, uint64_t source)
{
	struct tn_server *server = part->server;
	bool counted = count_in(server);

	if (!counted || (server->sources && !tni_sources_enter(server->sources, source))) {
		if (counted)
			atomic_fetch_sub(&server->nconns, 1);
		note_crowd(part, peer, counted);
		return false;
	}
	part->nconns++;
	return true;
}

void tni_part_unadmit(struct tni_part *part, uint64_t source)
{
	if (part->server->sources)
		tni_sources_leave(part->server->sources, source);
	atomic_fetch_sub(&part->server->nconns, 1);
	part->nconns--;
}

static uint64_t rate_interval_ns(const struct tni_part *part)
{
	return TNI_NS_PER_S / (unsigned)part->ep->accept_rate;
}

uint64_t tni_part_rate_wait(const struct tni_part *part)
{
	uint64_t due, at;

	if (!part->ep->accept_rate)
		return 0;
	due = atomic_load(&part->server->accept_due_ns);
	at = part->loop->now_ns + RATE_BURST_NS;
	if (rate_interval_ns(part) >= RATE_BURST_NS)
		at = part->loop->now_ns;
	return due > at ? due - at : 0;
}

/*
 * Each connection puts the time at which the next is due further on. All parts share it, so that the rate is that of
 * the server. What other parts accept before they look is let in, and paid for by the pause that follows.
 */
void tni_part_rate_note(const struct tni_part *part)
{
	_Atomic(uint64_t) *at = &part->server->accept_due_ns;
	uint64_t due, now = part->loop->now_ns;

	if (!part->ep->accept_rate)
		return;
	due = atomic_load(at);
	while (!atomic_compare_exchange_weak(at, &due, (due > now ? due : now) + rate_interval_ns(part)))
		;
}

/* With a reset: an end in good order would tell the client that it was served and there was nothing to say. */
static void turn_away(struct tni_part *part, int fd, int err)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	note_accept_trouble(part, err);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Closed with patience, so that the client reads an end instead of an error; those beyond a number at once. */
static void refuse(struct tni_part *part, int fd, const struct tn_addr *peer)
{
	if (part->refused >= REFUSED_MAX || !tni_conn_accept(part, fd, peer, 0, TNI_UNTOLD))
		close(fd);
	else
		part->refused++;
}

/* Asked once: a peer that has gone in the meantime has no address any more. */
static uint64_t source_of(const struct tni_part *part, int fd, const struct tn_addr *peer)
{
	struct ucred who = {0};
	socklen_t len = sizeof(who);

	if (!part->server->sources)
		return 0;
	if (tni_addr_family(peer) != AF_UNIX)
		return tni_source_of(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? who.uid : 0;
}

static void take(struct tni_part *part, int fd)
{
	struct tn_addr peer = {0};
	uint64_t source;

	if (part->loop->ending) { /* what a handler began now, nobody would end */
		close(fd);
		return;
	}
	if (tni_addr_peer(fd, &peer) < 0)
		peer.len = 0;
	source = source_of(part, fd, &peer);
	if (!tni_part_admit(part, &peer, source)) {
		refuse(part, fd, &peer);
	} else if (!tni_conn_accept(part, fd, &peer, source, TNI_ACCEPTED)) {
		tni_part_unadmit(part, source);
		turn_away(part, fd, -ENOMEM);
	}
}

/* Those who may not be accepted yet wait in the listener's queue. */
static void keep_pace(struct tni_part *part)
{
	tni_part_rate_note(part);
	if (part->draining || !accept_wait(part))
		return;
	stop_accepting(part);
	for (int i = 0; i < part->nlisteners; i++) /* nor is anybody told of them: each would wake the loop */
		if (part->listeners[i].io.fd >= 0 && !tni_op_busy(&part->listeners[i].io.rd))
			tni_fd_release(part->loop, &part->listeners[i].io);
	start_accepting(part); /* later, that is */
}

static void accept_done(struct tni_op *op, int res)
{
	struct tni_fd *io = tni_container_of(op, struct tni_fd, rd);
	struct tni_part *part = tni_container_of(io, struct tni_listener, io)->part;

	if (res >= 0) {
		/* Not while draining: the other parts may be gone. Before that, posts come in order. */
		if (part->server->nparts > 1 && part->ep->scheme->place != TNI_AT_HOST && !part->draining)
			hand_round(part->server, res);
		else
			take(part, res);
		keep_pace(part);
	} else if (res != -ECANCELED) {
		note_accept_trouble(part, res);
		tni_loop_timer(part->loop, &part->timer, ACCEPT_PAUSE_NS);
	}
	if (part->draining)
		tni_loop_ready(part->loop, &part->task);
}

/* ---- one acceptor for all loops ---- */

struct handed {
	struct tni_part *part;
	int fd;
};

static void take_handed(void *arg)
{
	struct handed *h = arg;

	take(h->part, h->fd);
	free(h);
}

static void hand_round(struct tn_server *server, int fd)
{
	struct tni_part *part = &server->parts[server->next_part++ % (unsigned)server->nparts];
	struct handed *h;

	if (part == &server->parts[0] || atomic_load(&part->ended)) {
		part = &server->parts[0];
		take(part, fd);
		return;
	}
	h = malloc(sizeof(*h));
	if (h)
		*h = (struct handed){.part = part, .fd = fd};
	if (!h || tn_loop_post(part->loop, take_handed, h) < 0) {
		free(h);
		turn_away(&server->parts[0], fd, -ENOMEM);
	}
}

static void part_run(struct tni_task *task)
{
	struct tni_part *part = tni_container_of(task, struct tni_part, task);

	tni_trouble_tell(part, false);
	part_check_end(part);
}

static void trouble_is_due(struct tni_timer *timer)
{
	struct tni_part *part = tni_container_of(timer, struct tni_part, trouble_timer);

	tni_loop_ready(part->loop, &part->task);
}

/* ---- opening ---- */

/* Accepted sockets inherit what was set; those options that they do not are set one by one. */
static int add_listener(struct tni_part *part, int fd, const struct tn_addr *addr)
{
	struct tni_listener *l = &part->listeners[part->nlisteners];
	char url[TNI_URL_TEXT];

	if (part->nlisteners == TNI_LISTENERS_MAX) {
		close(fd);
		return tni_err(-E2BIG, "%s: the name has more addresses than can be served", part->ep->url);
	}
	l->url = strdup(tni_endpoint_url_of(part->ep, addr, url, sizeof(url)));
	if (!l->url) {
		close(fd);
		return tni_err(-ENOMEM, "%s: out of memory", part->ep->url);
	}
	l->part = part;
	l->addr = *addr;
	tni_fd_init(&l->io, -1, 0);
	part->nlisteners++;
	if (part->ep->scheme->type == SOCK_DGRAM)
		return tni_conn_serve_dgram(part, fd) ? 0 : tni_err(-ENOMEM, "%s: out of memory", part->ep->url);
	/* A ring accepts all there are before it can be told to stop. */
	tni_fd_init(&l->io, fd, part->ep->accept_rate || part->ep->scheme->secure ? TNI_FD_POLLED : 0);
	l->io.rd.done = accept_done;
	return 0;
}

static int open_listener(struct tni_part *part, struct tn_addr *addr, bool join)
{
	struct tni_listen_spec spec = {.type = part->ep->scheme->type,
				       .protocol = part->ep->scheme->protocol,
				       .backlog = part->ep->backlog,
				       .shared = part->server->nparts > 1 && part->ep->scheme->place == TNI_AT_HOST,
				       .mode = part->ep->mode,
				       .user = part->ep->user,
				       .group = part->ep->group,
				       .join = join,
				       .open = tni_scheme_raw(part->ep->scheme) ? tni_endpoint_open : NULL,
				       .prepare = tni_endpoint_prepare,
				       .prepare_listen = tni_endpoint_prepare_listen,
				       .arg = part->ep};
	char url[TNI_URL_TEXT];
	struct tni_unix_file file = {0};
	int fd = tni_listen_open(&spec, addr), rc;

	if (fd < 0) {
		tni_endpoint_url_of(part->ep, addr, url, sizeof(url));
		return tni_err_prefix(fd, "%s%s", url,
				      part->ep->scheme->place == TNI_AT_HOST && !tni_addr_port(addr) ? ":0" : "");
	}
	if (part->ep->scheme->place == TNI_AT_PATH)
		tni_unix_file_note(&file, addr);
	rc = add_listener(part, fd, addr);
	if (rc == 0)
		part->listeners[part->nlisteners - 1].file = file;
	else
		tni_unix_file_remove(&file, addr);
	return rc;
}

static void close_listeners(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++) {
		tni_fd_close(part->loop, &part->listeners[i].io);
		tni_unix_file_remove(&part->listeners[i].file, &part->listeners[i].addr);
		free(part->listeners[i].url);
	}
	part->nlisteners = 0;
}

static void drop_conns(struct tni_part *part)
{
	struct tni_list *node;

	for (node = part->conns.next; node != &part->conns; node = node->next)
		tni_conn_kill(tni_container_of(node, struct tn_conn, owned.node), -ECANCELED);
}

/* Before start(), when nothing is in flight: at once, and without a turn of the loop, in which others would be called
 * back from inside tn_serve(). */
static void undo_conns(struct tni_part *part)
{
	struct tni_list *node;

	drop_conns(part);
	while ((node = tni_list_pop(&part->conns))) {
		struct tni_task *task = &tni_container_of(node, struct tn_conn, owned.node)->task;

		tni_list_del(&task->node);
		task->run(task);
	}
}

static bool is_missing_family(int rc)
{
	return rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT;
}

/* With port 0 all addresses take the port that the first was given; if another has that one taken, all start again. */
static int open_addrs(struct tni_part *part)
{
	struct tn_addr addrs[TNI_LISTENERS_MAX];
	bool optional;
	int n = tni_endpoint_addrs(part->ep, addrs, TNI_LISTENERS_MAX, &optional), rc = 0, port = part->ep->port;

	for (int tries = 0; n > 0 && tries < 16; tries++) {
		for (int i = 0; i < n; i++) {
			tni_addr_set_port(&addrs[i], port);
			rc = open_listener(part, &addrs[i], false);
			if (rc < 0 && !(optional && is_missing_family(rc) && (part->nlisteners || i + 1 < n)))
				break;
			if (rc == 0)
				port = tni_addr_port(&addrs[i]);
			rc = 0;
		}
		if (rc != -EADDRINUSE || part->ep->port != 0 || n == 1)
			break;
		undo_conns(part);
		close_listeners(part);
		port = 0;
	}
	return n < 0 ? n : rc;
}

/* What a descriptor can be served as: thing, place, remedy for everything else. */
static int check_inherited(const struct tni_part *part, int *type, int *listening)
{
	const char *url = part->ep->url;
	int fd = part->ep->fd;
	socklen_t len = sizeof(*type);
	struct tn_addr peer;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, type, &len) < 0) {
		if (errno == EBADF)
			return tni_err(-EBADF, "%s: no descriptor with this number was handed over", url);
		if (errno == ENOTSOCK)
			return tni_err(-ENOTSOCK,
				       "%s: this descriptor is no socket, and only sockets are served; "
				       "anything else is dialled, as in: tenon connect %s",
				       url, url);
		return tni_err(-errno, "%s: %s", url, tn_strerror(-errno));
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, listening, &len) < 0)
		return tni_err(-errno, "%s: %s", url, tn_strerror(-errno));
	if (!*listening && (*type == SOCK_STREAM || *type == SOCK_SEQPACKET) && tni_addr_peer(fd, &peer) == -ENOTCONN)
		return tni_err(-ENOTCONN,
			       "%s: this socket neither listens nor is connected: call listen() "
			       "on it before it is handed over",
			       url);
	return 0;
}

/* fd:N: a listening socket, a datagram socket, or one connection that is there already. */
static int open_inherited(struct tni_part *part)
{
	int fd = part->ep->fd, type = 0, listening = 0, flags, rc = check_inherited(part, &type, &listening);
	struct tni_scheme *scheme = &part->own_scheme;
	struct tn_addr addr;

	if (rc < 0)
		return rc;
	if (tni_addr_local(fd, &addr) < 0)
		return tni_err(-errno, "%s: %s", part->ep->url, tn_strerror(-errno));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	*scheme = *part->ep->scheme;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* as far as the pump is concerned */
	scheme->type = type;
	if (type == SOCK_DGRAM && tni_addr_family(&addr) == AF_UNIX)
		scheme->kinds = TNI_SK_UNIX_DGRAM;
	else if (type == SOCK_STREAM && tni_addr_family(&addr) == AF_UNIX)
		scheme->kinds = TNI_SK_UNIX_STREAM;
	part->ep->scheme = scheme;
	if (tni_endpoint_prepare(fd, tni_addr_family(&addr), part->ep) < 0 ||
	    (listening && tni_endpoint_prepare_listen(fd, tni_addr_family(&addr), part->ep) < 0))
		return tni_err_prefix(-EINVAL, "%s", part->ep->url);
	if (listening || type == SOCK_DGRAM) {
		flags = fcntl(fd, F_GETFL);
		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return tni_err(-errno, "%s: %s", part->ep->url, tn_strerror(-errno));
		return add_listener(part, fd, &addr);
	}
	take(part, fd); /* the server stays when it has gone */
	return tni_list_empty(&part->conns) ? tni_err(-ENOMEM, "%s: out of memory", part->ep->url) : 0;
}

/* ---- credentials ---- */

struct tni_creds *tni_server_creds(struct tn_server *server)
{
	struct tni_creds *creds;

	pthread_mutex_lock(&server->creds_lock);
	creds = tni_creds_ref(server->creds);
	pthread_mutex_unlock(&server->creds_lock);
	return creds;
}

int tn_server_reload(struct tn_server *server)
{
	struct tni_creds *creds, *old;
	int rc;

	if (!server->creds)
		return tni_err(-EOPNOTSUPP, "%s: it has no certificates", server->parts[0].ep->url);
	rc = tni_endpoint_creds(server->parts[0].ep, &creds);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&server->creds_lock);
	old = server->creds;
	server->creds = creds;
	pthread_mutex_unlock(&server->creds_lock);
	tni_creds_unref(old);
	return 0;
}

/* That the old ones stay in use is trouble, not news: a certificate may be about to expire. */
static void tell_failed_reload(struct tn_server *server, int err)
{
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	tni_err(err, "%s; the old certificates stay in use", why);
	if (server->watch.on_trouble)
		tni_trouble_note(&server->parts[0], err);
	else
		tni_log(true, "%s", tn_errmsg());
}

/* Files are replaced one after the other: they are read once they have not changed for a while. What cannot be used now
 * is looked at again when it changes again. */
static void look_at_files(struct tni_timer *timer)
{
	struct tn_server *server = tni_container_of(timer, struct tn_server, creds_timer);
	int err;

	tni_loop_timer(server->parts[0].loop, timer, FILES_LOOK_NS);
	if (!tni_creds_changed(server->creds))
		return;
	err = tn_server_reload(server);
	if (err == 0) {
		tni_log(true, "%s: the certificate files have changed and are in use", server->parts[0].ep->url);
		return;
	}
	tni_creds_accept_files(server->creds);
	tell_failed_reload(server, err);
}

static void creds_open(struct tn_server *server)
{
	if (!server->creds)
		return;
	server->creds_timer.fire = look_at_files;
	tni_loop_timer(server->parts[0].loop, &server->creds_timer, FILES_LOOK_NS);
}

static void creds_close(struct tn_server *server)
{
	tni_creds_unref(server->creds);
	tni_sources_free(server->sources);
	pthread_mutex_destroy(&server->creds_lock);
	tni_troubles_free(&server->troubles);
}

/* ---- ending ---- */

static void server_free(struct tn_server *server)
{
	void (*done)(void *arg) = server->done;
	void *arg = server->done_arg;

	creds_close(server);
	for (int i = 0; i < server->nparts; i++)
		tni_endpoint_free(server->parts[i].ep);
	free(server);
	if (done)
		done(arg);
}

static void last_part_gone(void *arg)
{
	struct tn_server *server = arg;

	if (!atomic_load(&server->home_freed))
		server->parts[0].loop->alive--;
	tni_list_del(&server->parts[0].owned.node);
	server_free(server);
}

static void part_gone(struct tni_part *part)
{
	struct tn_server *server = part->server;
	struct tn_loop *home = server->parts[0].loop;

	tni_trouble_tell(part, true);
	tni_loop_untimer(part->loop, &part->timer);
	tni_loop_untimer(part->loop, &part->trouble_timer);
	if (part == &server->parts[0]) /* its loop may be freed before the last part ends */
		tni_loop_untimer(part->loop, &server->creds_timer);
	if (part != &server->parts[0] || atomic_load(&server->home_freed))
		tni_list_del(&part->owned.node); /* otherwise the home loop still has to know of its server */
	tni_list_del(&part->task.node);
	close_listeners(part);
	atomic_store(&part->ended, true);
	/* The home loop stays alive for its server until the last part has reported. */
	if (part->loop != home)
		part->loop->alive--;
	if (atomic_fetch_sub(&server->parts_left, 1) != 1)
		return;
	if (part->loop == home || atomic_load(&server->home_freed))
		last_part_gone(server);
	else
		tni_loop_post_kept(home, &server->parts[0].drain_post, last_part_gone, server);
}

/* Closing a listener resets those who have connected and not been accepted yet: they are let in first, and drained as
 * the others. No more than its queue holds: a crowd of newcomers cannot keep it open. An inherited one stays open
 * elsewhere, and they with it. */
static void take_waiting(struct tni_part *part, const struct tni_listener *l)
{
	int fd;

	if (part->ep->scheme->place == TNI_AT_FD || !part->server->drain_ns)
		return;
	for (int n = part->ep->backlog; n > 0 && (fd = tni_listen_take(l->io.fd)) >= 0; n--)
		take(part, fd);
}

/* The addresses are free for the next server at once, while connections still drain. */
static void close_idle_listeners(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++) {
		struct tni_listener *l = &part->listeners[i];

		if (l->io.fd < 0 || tni_op_busy(&l->io.rd))
			continue;
		tni_unix_file_remove(&l->file, &l->addr);
		l->file = (struct tni_unix_file){0};
		take_waiting(part, l);
		tni_fd_close(part->loop, &l->io);
	}
}

static void part_check_end(struct tni_part *part)
{
	if (part->draining)
		close_idle_listeners(part);
	if (part->draining && !atomic_load(&part->ended) && tni_list_empty(&part->conns) && !is_accepting(part))
		part_gone(part);
}

void tni_part_conn_gone(struct tni_part *part, const struct tn_conn *conn)
{
	if (conn->flags & TNI_ACCEPTED) {
		if (!(conn->flags & TNI_REPLACED))
			tni_part_unadmit(part, tni_conn_source(conn));
	} else if (conn->flags & TNI_UNTOLD) {
		part->refused--;
	}
	if (part->draining)
		tni_loop_ready(part->loop, &part->task);
}

/* The deadline has passed. */
static void cut_off(const struct tni_part *part)
{
	struct tni_list *node;

	for (node = part->conns.next; node != &part->conns; node = node->next)
		tni_conn_cut(tni_container_of(node, struct tn_conn, owned.node), -ECANCELED);
}

static void close_quiet(const struct tni_part *part)
{
	struct tni_list *node;

	for (node = part->conns.next; node != &part->conns; node = node->next) {
		struct tn_conn *c = tni_container_of(node, struct tn_conn, owned.node);

		if (c->dgram && c->dgram->peers && tni_peers_count(c))
			continue; /* they still need it */
		if (tni_conn_is_quiet(c))
			tn_close(c);
	}
}

/* A tick that comes late, since the process or the machine had other things to do, knows of no silence: what has
 * arrived meanwhile is read first. Only once in a row: a loop that is late always still ends those that are quiet. */
static void drain_tick(struct tni_part *part)
{
	uint64_t now = part->loop->now_ns;
	bool late = now - part->timer.when_ns >= TNI_QUIET_NS / 2 && !part->met_late;

	stop_accepting(part); /* where the engine had no room to be told so before */
	if (now >= part->deadline_ns) {
		cut_off(part);
		if (is_accepting(part))
			tni_loop_timer(part->loop, &part->timer, DRAIN_TICK_NS);
		return;
	}
	part->met_late = late;
	if (!late)
		close_quiet(part);
	tni_loop_timer(part->loop, &part->timer, DRAIN_TICK_NS);
}

static void part_timer(struct tni_timer *timer)
{
	struct tni_part *part = tni_container_of(timer, struct tni_part, timer);

	if (part->draining)
		drain_tick(part);
	else
		start_accepting(part);
}

static void start_drain(struct tni_part *part, uint64_t drain_ns)
{
	if (part->draining)
		return;
	part->draining = true;
	part->deadline_ns = tni_ns_add(tni_clock_ns(), drain_ns);
	stop_accepting(part);
	/* The first look is after a turn: what has arrived by now is read and counts as traffic. */
	tni_loop_timer(part->loop, &part->timer, DRAIN_TICK_NS);
	tni_loop_ready(part->loop, &part->task);
}

static void drain_posted(void *arg)
{
	struct tni_part *part = arg;

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
			tni_loop_post_kept(server->parts[i].loop, &server->parts[i].drain_post, drain_posted,
					   &server->parts[i]);
	start_drain(&server->parts[0], server->drain_ns);
}

/* The loop is being freed: everything at once. */
static void part_destroy(struct tni_owned *owned)
{
	struct tni_part *part = tni_container_of(owned, struct tni_part, owned);

	if (part == &part->server->parts[0])
		atomic_store(&part->server->home_freed, true);
	if (atomic_load(&part->ended)) {
		tni_list_del(&part->owned.node);
		return;
	}
	part->draining = true;
	stop_accepting(part);
	drop_conns(part);
	tni_loop_ready(part->loop, &part->task);
}

/* ---- starting ---- */

static int part_init(struct tni_part *part, struct tn_server *server, struct tn_loop *loop, const char *url)
{
	part->server = server;
	part->loop = loop;
	part->task.run = part_run;
	part->timer.fire = part_timer;
	part->trouble_timer.fire = trouble_is_due;
	part->owned.destroy = part_destroy;
	tni_list_init(&part->task.node);
	tni_list_init(&part->owned.node);
	tni_list_init(&part->conns);
	return tni_endpoint_new(url, TN_SERVE, &part->ep);
}

static int open_first(struct tni_part *part)
{
	struct tn_addr addr;

	if (part->ep->scheme->place == TNI_AT_FD)
		return open_inherited(part);
	if (part->ep->scheme->place == TNI_AT_HOST || part->ep->scheme->place == TNI_AT_ADDR)
		return open_addrs(part);
	if (part->ep->scheme->place == TNI_AT_LINK) {
		int rc = tni_raw_interface(&addr, part->ep->host, part->ep->protocol);

		return rc < 0 ? tni_err_prefix(rc, "%s", part->ep->url) : open_listener(part, &addr, false);
	}
	if (tni_addr_unix(&addr, part->ep->host, part->ep->host_len) < 0)
		return tni_err(TN_EURL, "%s: the path is too long", part->ep->url);
	return open_listener(part, &addr, false);
}

/* The other loops bind the very addresses that the first was given. Unix and inherited sockets have one acceptor. */
static int open_joining(struct tni_part *part, const struct tni_part *first)
{
	int rc = 0;

	if (part->ep->scheme->place != TNI_AT_HOST)
		return 0;
	for (int i = 0; i < first->nlisteners && rc == 0; i++) {
		struct tn_addr addr = first->listeners[i].addr;

		rc = open_listener(part, &addr, true);
	}
	return rc;
}

static void start(struct tni_part *part)
{
	tni_list_add_tail(&part->loop->owned, &part->owned.node);
	part->loop->alive++;
	if (part->ep->spin_ns != TNI_NEVER)
		part->loop->spin.max_ns = part->ep->spin_ns;
	start_accepting(part);
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
		undo_conns(part);
		tni_list_del(&part->task.node);
		tni_loop_untimer(part->loop, &part->timer);
		close_listeners(part);
		tni_endpoint_free(part->ep);
	}
	creds_close(server);
	free(server);
	tni_err(0, "%s", detail);
}

/* What all parts share. */
static int prepare(struct tn_server *server, const struct tni_endpoint *ep)
{
	if (ep->per_source && !(server->sources = tni_sources_new((uint32_t)ep->per_source)))
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	return ep->scheme->secure ? tni_endpoint_creds(ep, &server->creds) : 0;
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
	server->user = (struct tni_user){.handler = *handler, .arg = arg};
	pthread_mutex_init(&server->creds_lock, NULL);
	tni_troubles_init(&server->troubles);
	server->nparts = nloops;
	for (int i = 0; i < nloops && rc == 0; i++) {
		struct tni_part *part = &server->parts[i];

		rc = part_init(part, server, loops[i], url);
		if (rc == 0 && i == 0)
			rc = prepare(server, part->ep);
		if (rc == 0)
			rc = i == 0 ? open_first(part) : open_joining(part, &server->parts[0]);
	}
	if (rc < 0) {
		long at = tn_errpos();

		undo(server);
		tni_err_at(at);
		return rc;
	}
	creds_open(server);
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

/* ---- asking and setting ---- */

void tn_server_limit(struct tn_server *server, unsigned max_conns)
{
	atomic_store(&server->max_conns, max_conns);
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

void tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg)
{
	server->watch = *watch;
	server->watch_arg = arg;
}

static int place_file(const struct tn_server *server, const char **path, enum tn_file_use *use)
{
	const struct tni_endpoint *ep = server->parts[0].ep;

	*path = ep->host;
	*use = TN_FILE_REMOVE;
	return ep->scheme->place == TNI_AT_PATH && *path && **path != '@' ? 0 : -ENOENT;
}

/* In this order: the socket's own, the key log, what the certificates were read from. */
int tn_server_file(const struct tn_server *server, int index, const char **path, enum tn_file_use *use)
{
	const char *keylog = server->parts[0].ep->tls.keylog;

	if (index < 0)
		return -ENOENT;
	if (place_file(server, path, use) == 0 && index-- == 0)
		return 0;
	*path = keylog;
	*use = TN_FILE_APPEND;
	if (keylog && index-- == 0)
		return 0;
	*path = server->creds ? tni_creds_file(server->creds, index) : NULL;
	*use = TN_FILE_READ;
	return *path ? 0 : -ENOENT;
}

int tn_server_option(const struct tn_server *server, const char *key, char *value, size_t cap)
{
	const struct tni_part *part = &server->parts[0];
	int fd = part->nlisteners ? part->listeners[0].io.fd : -1;

	if (fd < 0 && !tni_list_empty(&part->conns))
		fd = tni_container_of(part->conns.next, struct tn_conn, owned.node)->io.fd;
	return tni_endpoint_read_option(part->ep, fd, key, value, cap);
}
