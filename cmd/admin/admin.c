#include "admin.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "common/text.h"
#include "common/workers.h"
#include "http/http.h"
#include "http/place.h"
#include "told.h"

#define PLACES_MAX 8
#define CONNS_MAX 256 /* of all who ask, at each place */

struct admin admin;

static struct {
	const char *urls[PLACES_MAX];
	char *full[PLACES_MAX]; /* with the keys that every place has; they outlive the sandbox */
	struct tn_server *servers[PLACES_MAX];
	int count;
} places;

/* ---- where ---- */

/* Bytes that a browser can do nothing with but ask, and that are far longer than a request which is answered. */
#define KEYS "max=8KiB&request=10s&idle=1m&queue=1MiB"

const char *admin_set(const char *value, void *to)
{
	const char *why;

	(void)to;
	if (places.count == PLACES_MAX)
		return "is one too many";
	why = http_place(value, KEYS, &places.full[places.count]);
	if (!why)
		places.urls[places.count++] = value;
	return why;
}

bool admin_is_wanted(void)
{
	return places.count > 0;
}

/* ---- what is told of ---- */

const struct tn_counts *told_count(struct told *told)
{
	if (told->server)
		tn_server_count(told->server, &told->last);
	return &told->last;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)err;
	told_note(arg, conn);
	connections_closed(conn);
}

static bool has_room(void)
{
	int room = admin.room ? 2 * admin.room : 16;
	struct told **grown =
		admin.count < admin.room ? admin.list : realloc(admin.list, (size_t)room * sizeof(struct told *));

	if (!grown)
		return false;
	if (grown != admin.list || admin.count == admin.room)
		admin.room = room;
	admin.list = grown;
	return true;
}

void admin_add(struct tn_server *server, const char *handler)
{
	static const struct tn_watch watch = {.on_close = on_close};
	struct told *told;
	int kind;

	if (!places.count)
		return;
	told = has_room() ? calloc(1, sizeof(*told)) : NULL;
	if (!told) {
		complain_warning("--admin: out of memory: one server is not told of");
		return;
	}
	pthread_mutex_init(&told->lock, NULL);
	told->server = server;
	told->handler = handler;
	kind = tn_server_nurls(server) ? tn_url_kind(tn_server_url(server, 0)) : 0;
	told->is_one = kind >= 0 && (kind & (TN_URL_DATAGRAMS | TN_URL_SECURE)) == TN_URL_DATAGRAMS;
	snprintf(told->url, sizeof(told->url), "%s", tn_server_nurls(server) ? tn_server_url(server, 0) : "fd");
	(void)tn_server_watch(server, &watch, told);
	admin.list[admin.count++] = told;
}

void admin_closed(const struct tn_server *server)
{
	for (int i = 0; i < admin.count; i++) {
		struct told *told = admin.list[i];

		if (told->server != server)
			continue;
		(void)told_count(told);
		pthread_mutex_lock(&told->lock); /* a loop may be reading its connections */
		told->server = NULL;
		pthread_mutex_unlock(&told->lock);
		told->last.closed = told->last.accepted;
		told->last.open = 0;
	}
}

/* ---- answers ---- */

static void answer_text(struct tn_conn *conn, const struct http_request *request, const char *type, const char *fields,
			struct text *body)
{
	const struct http_response response = {
		.status = 200, .type = type, .fields = fields, .body = body->data, .len = body->len};

	if (body->failed)
		(void)http_words(conn, request, 503, "out of memory");
	else
		(void)http_answer(conn, request, &response);
	text_free(body);
}

static void metrics(struct tn_conn *conn, const struct http_request *request)
{
	struct http_text accept;
	bool open = http_field(request, "Accept", &accept) &&
		    memmem(accept.at, accept.len, "application/openmetrics-text", 28);
	struct text body = {0};

	metrics_write(&body, open);
	answer_text(conn, request,
		    open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
			 : "text/plain; version=0.0.4; charset=utf-8",
		    NULL, &body);
}

static void status(struct tn_conn *conn, const struct http_request *request)
{
	struct text body = {0};

	json_begin(&body, NULL);
	status_write(&body);
	text_add(&body, "}\n");
	answer_text(conn, request, "application/json", NULL, &body);
}

static void health(struct tn_conn *conn, const struct http_request *request)
{
	(void)http_words(conn, request, 200, "ok");
}

static void readiness(struct tn_conn *conn, const struct http_request *request)
{
	bool fine = admin.ready && !admin.draining;

	(void)http_words(conn, request, fine ? 200 : 503, admin.draining ? "draining" : fine ? "ready" : "starting");
}

static void events(struct tn_conn *conn, const struct http_request *request)
{
	if (!http_is(request->method, "HEAD")) {
		stream_begin(conn);
		return;
	}
	(void)http_begin(conn, "text/event-stream", request->last ? "Connection: close\r\n" : NULL);
	if (request->last)
		tn_close(conn);
}

static const struct {
	const char *path;
	void (*answer)(struct tn_conn *conn, const struct http_request *request);
} pages[] = {
	{"/", page_answer},  {"/metrics", metrics}, {"/status", status},    {"/connections", connections_answer},
	{"/events", events}, {"/healthz", health},  {"/readyz", readiness},
};

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct http_request request;

	(void)arg;
	http_read(msg, &request);
	if (!http_is(request.method, "GET") && !http_is(request.method, "HEAD")) {
		(void)http_words(conn, &request, 405, "nothing can be changed here: GET and HEAD");
		return;
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (http_is(request.path, pages[i].path)) {
			pages[i].answer(conn, &request);
			return;
		}
	(void)http_words(conn, &request, 404,
			 "there are /, /metrics, /status, /connections, /events, /healthz and /readyz");
}

static void on_conn_close(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	connections_forget(conn);
	stream_forget(conn);
}

/* ---- life ---- */

int admin_open(const char *command, const struct admin_more *more)
{
	static const struct tn_handler handler = {.on_msg = on_msg, .on_close = on_conn_close};
	struct tn_loop *loop = workers_loops()[0];

	admin.command = command;
	admin.more = more;
	admin.started_ns = tn_loop_now(loop);
	admin.started_utc_ns = clock_utc_ns();
	for (int i = 0; i < places.count; i++) {
		int err;

		if (http_is_open_to_others(places.full[i])) {
			complain("--admin %s: others could reach it: say who may, by the key allow (allow=10.0.0.0/8)",
				 places.urls[i]);
			return STATUS_USAGE;
		}
		err = tn_serve(loop, places.full[i], &handler, NULL, &places.servers[i]);
		if (err < 0)
			return complain_library(err, places.urls[i]);
		tn_server_limit(places.servers[i], CONNS_MAX);
	}
	return STATUS_DONE;
}

void admin_allow(struct sandbox *box)
{
	enum tn_file_use use;
	const char *path;

	for (int i = 0; i < places.count; i++)
		for (int n = 0; places.servers[i] && tn_server_file(places.servers[i], n, &path, &use) == 0; n++)
			sandbox_allow(box, path, use);
}

void admin_ready(void)
{
	admin.ready = true;
	for (int i = 0; i < places.count; i++)
		for (int n = 0; n < tn_server_nurls(places.servers[i]); n++)
			complain_notice("admin: %s", tn_server_url(places.servers[i], n));
}

void admin_draining(void)
{
	admin.draining = true;
}

void admin_close(void)
{
	stream_stop();
	connections_stop();
	for (int i = 0; i < places.count; i++) {
		places.servers[i] = NULL; /* goes with its loop */
		free(places.full[i]);
	}
	places.count = 0;
	for (int i = 0; i < admin.count; i++)
		admin.list[i]->server = NULL;
}
