#include "listen.h"

#include <errno.h>
#include <stdlib.h>

#include "common/complain.h"
#include "common/report.h"
#include "common/settings.h"
#include "tenon.h"

#define WAITING_MAX 128 /* clients that have connected while another is talked to; more are closed at once */

/* A client that waits for its turn. It is not read from. */
struct waiting {
	struct waiting *next;
	struct tn_conn *conn;
};

static struct {
	struct listen_use use;
	struct tn_server *server;
	struct waiting *first, **last;
	bool taken; /* a client is talked to, or has been and is the only one */
} state = {.last = &state.first};

static void take(struct tn_conn *conn)
{
	int err = tn_conn_set_handler(conn, state.use.peer, NULL);

	if (err < 0) {
		tn_abort(conn, err);
		return;
	}
	state.taken = true;
	tn_resume(conn);
	state.use.come(conn);
}

static void put_off(struct tn_conn *conn)
{
	struct waiting *one = malloc(sizeof(*one));

	if (!one) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	*one = (struct waiting){.conn = conn};
	*state.last = one;
	state.last = &one->next;
	tn_pause(conn);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	if (state.taken && !state.use.keep) {
		tn_abort(conn, -ECONNREFUSED); /* it came together with the one that was taken */
	} else if (state.taken) {
		put_off(conn);
	} else {
		if (!state.use.keep)
			tn_server_stop(state.server);
		take(conn);
	}
}

/* One that has not been talked to. */
static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	for (struct waiting **at = &state.first; *at; at = &(*at)->next) {
		struct waiting *one = *at;

		if (one->conn != conn)
			continue;
		*at = one->next;
		if (!*at)
			state.last = at;
		free(one);
		return;
	}
}

void listen_next(void)
{
	struct waiting *one = state.first;

	state.taken = false;
	if (!one)
		return;
	state.first = one->next;
	if (!one->next)
		state.last = &state.first;
	take(one->conn);
	free(one);
}

/* What befalls clients before they are clients: a handshake that fails, an address that may not connect. */
static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)arg;
	report_trouble(server, NULL, err, text);
}

int listen_open(struct tn_loop *loop, const char *url, const struct listen_use *use)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	const struct tn_handler clients = {.on_open = on_open, .on_close = on_close};
	int kind = tn_url_kind(url), err;
	bool datagrams = kind >= 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);

	state.use = *use;
	err = tn_serve(loop, url, datagrams ? use->datagram : &clients, NULL, &state.server);
	if (err < 0)
		return err;
	tn_server_limit(state.server, WAITING_MAX);
	err = tn_server_watch(state.server, &watch, NULL);
	for (int i = 0; i < tn_server_nurls(state.server) && !settings.quiet; i++)
		complain("listening on %s", tn_server_url(state.server, i));
	return err;
}

void listen_close(void)
{
	if (state.server)
		tn_server_close(state.server, 0, NULL, NULL);
}
