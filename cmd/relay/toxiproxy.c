#include "toxiproxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chaos/toxic.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "common/text.h"
#include "common/workers.h"
#include "http/http.h"
#include "http/place.h"
#include "proxies.h"
#include "tenon.h"
#include "tenon_value.h"

#define CONNS_MAX 256
#define KEYS "max=1MiB&request=10s&idle=1m&queue=16MiB"
#define SEGMENTS_MAX 4

/* Whose API it is, as client libraries ask; then what answers. */
#define API_VERSION "2.12.0"

/* Who asks. All wait while something is being changed. */
struct asker {
	struct asker *next, **link;
	struct tn_conn *conn;
};

static struct {
	const char *url;
	char *full; /* with the keys that it has always; it outlives the sandbox */
	struct tn_server *server;
	struct asker *askers;
	bool changing, draining;
} api;

/* A request that is being answered. */
struct question {
	struct http_request request;
	const char *segments[SEGMENTS_MAX]; /* of its path */
	int nsegments;
	struct tn_value *body;
	struct toxic_error error;
};

/* The one that is answered when its steps are done. */
static struct {
	struct tn_conn *conn; /* NULL: it has gone meanwhile */
	bool last;
	int status;
	struct proxy *proxy; /* whom it is about */
	char *name;          /* of its toxic, or NULL */
	bool created;        /* the request has made the proxy */
	char **names;        /* of all proxies that it is about */
	size_t nnames;
} pending;

const char *toxiproxy_set(const char *value, void *to)
{
	char *full = NULL;
	const char *why = http_place(value, KEYS, &full);

	(void)to;
	if (why)
		return why;
	free(api.full);
	api.full = full;
	api.url = value;
	return NULL;
}

bool toxiproxy_is_wanted(void)
{
	return api.full != NULL;
}

/* ---- what is told ---- */

static void toxic_json(struct text *out, const struct toxic *toxic)
{
	json_object(out, NULL);
	json_object(out, "attributes");
	for (int i = 0; i < TOXIC_ATTRIBUTES_MAX && toxic->type->attributes[i]; i++)
		json_number(out, toxic->type->attributes[i], toxic->values[i]);
	json_object_end(out);
	json_text(out, "name", toxic->name);
	json_text(out, "type", toxic->type->name);
	json_text(out, "stream", toxic_stream(toxic));
	json_real(out, "toxicity", toxic->toxicity);
	json_object_end(out);
}

/* Those of the client first. */
static void toxics_json(struct text *out, const char *key, const struct proxy *proxy)
{
	json_list(out, key);
	for (int direction = CHAOS_UP; direction <= CHAOS_DOWN; direction++)
		for (int i = 0; i < proxy->ntoxics; i++)
			if (proxy->toxics[i].direction == direction)
				toxic_json(out, &proxy->toxics[i]);
	json_list_end(out);
}

static void proxy_json(struct text *out, const char *key, const struct proxy *proxy)
{
	json_object(out, key);
	json_text(out, "name", proxy->name);
	json_text(out, "listen", proxy->listen);
	json_text(out, "upstream", proxy->upstream);
	json_bool(out, "enabled", proxy->enabled);
	toxics_json(out, "toxics", proxy);
	json_object_end(out);
}

static void error_json(struct text *out, const struct toxic_error *error)
{
	json_text(out, "error", error->words);
	json_number(out, "status", (uint64_t)error->status);
}

/* Sends a body, which is freed. NULL: there is none. */
static void answer(struct tn_conn *conn, const struct http_request *request, int status, struct text *body)
{
	struct http_response response = {.status = status, .type = "application/json"};

	if (body)
		text_add(body, "\n");
	if (body && body->failed) {
		(void)http_words(conn, request, 503, "out of memory");
	} else {
		response.type = body ? response.type : NULL;
		response.body = body ? body->data : NULL;
		response.len = body ? body->len : 0;
		response.fields = status == 405 ? "Allow: GET, POST, PATCH, DELETE\r\n" : NULL;
		(void)http_answer(conn, request, &response);
	}
	if (body)
		text_free(body);
}

static void answer_error(struct tn_conn *conn, const struct http_request *request, const struct toxic_error *error)
{
	struct text body = {0};

	json_begin(&body, NULL);
	error_json(&body, error);
	text_add(&body, "}");
	answer(conn, request, error->status, &body);
}

/* ---- changes ---- */

static void hold_all(bool hold)
{
	api.changing = hold;
	for (struct asker *asker = api.askers; asker; asker = asker->next)
		if (hold)
			tn_pause(asker->conn);
		else
			tn_resume(asker->conn);
}

static void forget_pending(void)
{
	free(pending.name);
	for (size_t i = 0; i < pending.nnames; i++)
		free(pending.names[i]);
	free(pending.names);
	memset(&pending, 0, sizeof(pending));
}

/* Of several: those that there are, in the order they were asked for. */
static void populated_json(struct text *body, const struct toxic_error *error)
{
	json_begin(body, NULL);
	if (error)
		error_json(body, error);
	json_list(body, "proxies");
	for (size_t i = 0; i < pending.nnames; i++) {
		const struct proxy *proxy = proxies_find(pending.names[i]);

		if (proxy)
			proxy_json(body, NULL, proxy);
	}
	json_list_end(body);
	text_add(body, "}");
}

static void answer_pending(const struct toxic_error *error)
{
	const struct http_request request = {.method = {"GET", 3}, .last = pending.last};
	struct toxic *toxic;
	struct text body = {0};

	if (pending.names) {
		populated_json(&body, error);
		answer(pending.conn, &request, error ? error->status : pending.status, &body);
	} else if (error) {
		answer_error(pending.conn, &request, error);
	} else if (pending.status == 204) {
		answer(pending.conn, &request, 204, NULL);
	} else {
		toxic = pending.name ? proxy_toxic(pending.proxy, pending.name) : NULL;
		if (toxic)
			toxic_json(&body, toxic);
		else
			proxy_json(&body, NULL, pending.proxy);
		answer(pending.conn, &request, pending.status, &body);
	}
}

static void on_changed(const struct toxic_error *error)
{
	hold_all(false);
	if (pending.conn)
		answer_pending(error);
	forget_pending();
}

static void on_deleted(const struct toxic_error *error)
{
	if (!error)
		proxies_remove(pending.proxy);
	on_changed(error);
}

/* The answer follows when the steps are done. */
static bool change(struct tn_conn *conn, const struct question *q, int status, struct proxy *proxy)
{
	pending.conn = conn;
	pending.last = q->request.last;
	pending.status = status;
	pending.proxy = proxy;
	hold_all(true);
	proxies_run(on_changed);
	return true;
}

static bool no_memory(struct question *q)
{
	return toxic_fail(&q->error, 500, "out of memory");
}

/* ---- requests: each returns false with its error set ---- */

static bool read_body(struct question *q)
{
	if (!q->request.body.len)
		return toxic_fail(&q->error, 400, "bad request body: EOF");
	if (tn_decode("json", q->request.body.at, q->request.body.len, 0, &q->body) < 0)
		return toxic_fail(&q->error, 400, "bad request body: %s", tn_errmsg());
	return true;
}

static bool read_object(struct question *q)
{
	return read_body(q) &&
	       (tn_value_kind(q->body) == TN_MAP || toxic_fail(&q->error, 400, "bad request body: it is no object"));
}

static struct proxy *proxy_asked(struct question *q)
{
	struct proxy *proxy = proxies_find(q->segments[1]);

	if (!proxy)
		toxic_fail(&q->error, 404, "proxy not found");
	return proxy;
}

/* What is asked for of a proxy. */
struct wish {
	const char *name, *listen, *upstream;
	bool enabled;
};

static bool read_wish(const struct tn_value *value, struct wish *wish, struct toxic_error *error)
{
	return toxic_take_text(value, "name", &wish->name, error) &&
	       toxic_take_text(value, "listen", &wish->listen, error) &&
	       toxic_take_text(value, "upstream", &wish->upstream, error) &&
	       toxic_take_bool(value, "enabled", &wish->enabled, error);
}

static bool version(struct tn_conn *conn, struct question *q)
{
	struct text body = {0};

	text_add(&body, "{\"version\": \"" API_VERSION "+tenon.%s\"}", tn_version());
	answer(conn, &q->request, 200, &body);
	return true;
}

static bool list_proxies(struct tn_conn *conn, struct question *q)
{
	struct text body = {0};

	json_begin(&body, NULL);
	for (const struct proxy *proxy = proxies_first(); proxy; proxy = proxy->next)
		proxy_json(&body, proxy->name, proxy);
	text_add(&body, "}");
	answer(conn, &q->request, 200, &body);
	return true;
}

static bool create_proxy(struct tn_conn *conn, struct question *q)
{
	struct wish wish = {"", "", "", true};
	struct proxy *proxy;

	if (!read_object(q) || !read_wish(q->body, &wish, &q->error))
		return false;
	if (!*wish.name || !*wish.upstream)
		return toxic_fail(&q->error, 400, "missing required field: %s", *wish.name ? "upstream" : "name");
	proxy = proxies_add(wish.name, wish.listen, wish.upstream, &q->error);
	if (!proxy)
		return false;
	if (!wish.enabled)
		proxy->fresh = false;
	else if (!proxies_step(proxy, PROXY_START))
		return no_memory(q);
	return change(conn, q, 201, proxy);
}

static bool show_proxy(struct tn_conn *conn, struct question *q)
{
	const struct proxy *proxy = proxy_asked(q);
	struct text body = {0};

	if (!proxy)
		return false;
	proxy_json(&body, NULL, proxy);
	answer(conn, &q->request, 200, &body);
	return true;
}

/* Moves a proxy to other places, if it is not there yet, and switches it on or off. */
static bool move_proxy(struct proxy *proxy, const struct wish *wish, struct toxic_error *error)
{
	bool moves = !proxy_is_at(proxy, wish->listen, wish->upstream);

	if (moves && !proxy_change(proxy, wish->listen, wish->upstream, error))
		return false;
	if (((moves || !wish->enabled) && !proxies_step(proxy, PROXY_STOP)) ||
	    (wish->enabled && !proxies_step(proxy, PROXY_START)))
		return toxic_fail(error, 500, "out of memory");
	return true;
}

static bool update_proxy(struct tn_conn *conn, struct question *q)
{
	struct proxy *proxy = proxy_asked(q);
	struct wish wish;

	if (!proxy || !read_object(q))
		return false;
	wish = (struct wish){"", proxy->listen, proxy->upstream, proxy->enabled};
	if (!read_wish(q->body, &wish, &q->error) || !move_proxy(proxy, &wish, &q->error))
		return false;
	return change(conn, q, 200, proxy);
}

static bool delete_proxy(struct tn_conn *conn, struct question *q)
{
	struct proxy *proxy = proxy_asked(q);

	if (!proxy)
		return false;
	if (!proxies_step(proxy, PROXY_STOP))
		return no_memory(q);
	pending.conn = conn;
	pending.last = q->request.last;
	pending.status = 204;
	pending.proxy = proxy;
	hold_all(true);
	proxies_run(on_deleted);
	return true;
}

/* ---- many proxies ---- */

/* All of it has to be right before anything is changed. */
static bool check_wishes(struct question *q)
{
	int number = 0;

	for (const struct tn_value *item = tn_value_first(q->body); item; item = tn_value_next(q->body, item)) {
		struct wish wish = {"", "", "", true};

		number++;
		if (tn_value_kind(item) != TN_MAP)
			return toxic_fail(&q->error, 400, "bad request body: proxy %d is no object", number);
		if (!read_wish(item, &wish, &q->error))
			return false;
		if (!*wish.name || !*wish.upstream)
			return toxic_fail(&q->error, 400, "missing required field: %s at proxy %d",
					  *wish.name ? "upstream" : "name", number);
		if (!proxy_check(wish.listen, wish.upstream, &q->error))
			return false;
		for (size_t i = 0; i < pending.nnames; i++)
			if (strcmp(pending.names[i], wish.name) == 0)
				return toxic_fail(&q->error, 400, "bad request body: duplicate proxy name '%.100s'",
						  wish.name);
		pending.names[pending.nnames] = strdup(wish.name);
		if (!pending.names[pending.nnames++])
			return no_memory(q);
	}
	return true;
}

/* One that is there already, at the same places, stays as it is. */
static bool populate_one(const struct tn_value *item, struct toxic_error *error)
{
	struct wish wish = {"", "", "", true};
	struct proxy *proxy;

	if (!read_wish(item, &wish, error))
		return false;
	proxy = proxies_find(wish.name);
	if (proxy && proxy_is_at(proxy, wish.listen, wish.upstream))
		return true;
	if (proxy) {
		if (!move_proxy(proxy, &wish, error))
			return false;
		proxy_remove_toxics(proxy);
		return true;
	}
	proxy = proxies_add(wish.name, wish.listen, wish.upstream, error);
	if (!proxy)
		return false;
	proxy->fresh = wish.enabled;
	return !wish.enabled || proxies_step(proxy, PROXY_START) || toxic_fail(error, 500, "out of memory");
}

static bool populate(struct tn_conn *conn, struct question *q)
{
	if (!read_body(q))
		return false;
	if (tn_value_kind(q->body) != TN_ARRAY)
		return toxic_fail(&q->error, 400, "bad request body: it is no array");
	pending.names = calloc(tn_value_count(q->body) + 1, sizeof(char *));
	if (!pending.names)
		return no_memory(q);
	if (!check_wishes(q)) {
		forget_pending();
		return false;
	}
	for (const struct tn_value *item = tn_value_first(q->body); item; item = tn_value_next(q->body, item))
		if (!populate_one(item, &q->error))
			break; /* what is there so far is begun and told */
	if (q->error.status)
		proxies_fail(&q->error);
	return change(conn, q, 201, NULL);
}

/* A proxy that cannot listen keeps no other from losing its toxics. */
static bool reset(struct tn_conn *conn, struct question *q)
{
	static const enum proxy_step order[] = {PROXY_CHANGE, PROXY_START};

	for (int i = 0; i < 2; i++)
		for (struct proxy *proxy = proxies_first(); proxy; proxy = proxy->next)
			if (!proxies_step(proxy, order[i]))
				return no_memory(q);
	for (struct proxy *proxy = proxies_first(); proxy; proxy = proxy->next)
		proxy_remove_toxics(proxy);
	return change(conn, q, 204, NULL);
}

/* ---- toxics ---- */

static bool list_toxics(struct tn_conn *conn, struct question *q)
{
	const struct proxy *proxy = proxy_asked(q);
	struct text body = {0};

	if (!proxy)
		return false;
	toxics_json(&body, NULL, proxy);
	answer(conn, &q->request, 200, &body);
	return true;
}

static struct toxic *toxic_asked(struct question *q, struct proxy *proxy)
{
	struct toxic *toxic = proxy ? proxy_toxic(proxy, q->segments[3]) : NULL;

	if (proxy && !toxic)
		toxic_fail(&q->error, 404, "toxic not found");
	return toxic;
}

/* The answer is the toxic, by its name. */
static bool change_toxic(struct tn_conn *conn, struct question *q, struct proxy *proxy, const struct toxic *toxic)
{
	pending.name = strdup(toxic->name);
	if (!pending.name || !proxies_step(proxy, PROXY_CHANGE))
		return no_memory(q);
	return change(conn, q, 200, proxy);
}

static bool create_toxic(struct tn_conn *conn, struct question *q)
{
	struct proxy *proxy = proxy_asked(q);
	struct toxic toxic, *added;

	if (!proxy || !read_body(q) || !toxic_read(q->body, &toxic, &q->error))
		return false;
	added = proxy_add_toxic(proxy, &toxic, &q->error);
	if (added)
		return change_toxic(conn, q, proxy, added);
	free(toxic.name);
	return false;
}

static bool show_toxic(struct tn_conn *conn, struct question *q)
{
	const struct toxic *toxic = toxic_asked(q, proxy_asked(q));
	struct text body = {0};

	if (!toxic)
		return false;
	toxic_json(&body, toxic);
	answer(conn, &q->request, 200, &body);
	return true;
}

static bool update_toxic(struct tn_conn *conn, struct question *q)
{
	struct proxy *proxy = proxy_asked(q);
	struct toxic *toxic = toxic_asked(q, proxy);

	return toxic && read_body(q) && toxic_change(q->body, toxic, &q->error) && change_toxic(conn, q, proxy, toxic);
}

static bool delete_toxic(struct tn_conn *conn, struct question *q)
{
	struct proxy *proxy = proxy_asked(q);
	struct toxic *toxic = toxic_asked(q, proxy);

	if (!toxic)
		return false;
	if (!proxies_step(proxy, PROXY_CHANGE))
		return no_memory(q);
	proxy_remove_toxic(proxy, toxic);
	return change(conn, q, 204, proxy);
}

/* ---- all requests ---- */

/* NULL: any text. */
static const struct route {
	const char *segments[SEGMENTS_MAX];
	int nsegments;
	const char *method;
	bool changes;
	bool (*answer)(struct tn_conn *conn, struct question *q);
} routes[] = {
	{{"version"}, 1, "GET", false, version},
	{{"reset"}, 1, "POST", true, reset},
	{{"populate"}, 1, "POST", true, populate},
	{{"proxies"}, 1, "GET", false, list_proxies},
	{{"proxies"}, 1, "POST", true, create_proxy},
	{{"proxies", NULL}, 2, "GET", false, show_proxy},
	{{"proxies", NULL}, 2, "POST", true, update_proxy},
	{{"proxies", NULL}, 2, "PATCH", true, update_proxy},
	{{"proxies", NULL}, 2, "DELETE", true, delete_proxy},
	{{"proxies", NULL, "toxics"}, 3, "GET", false, list_toxics},
	{{"proxies", NULL, "toxics"}, 3, "POST", true, create_toxic},
	{{"proxies", NULL, "toxics", NULL}, 4, "GET", false, show_toxic},
	{{"proxies", NULL, "toxics", NULL}, 4, "POST", true, update_toxic},
	{{"proxies", NULL, "toxics", NULL}, 4, "PATCH", true, update_toxic},
	{{"proxies", NULL, "toxics", NULL}, 4, "DELETE", true, delete_toxic},
};

static bool fits(const struct route *route, const struct question *q)
{
	for (int i = 0; i < q->nsegments; i++)
		if (route->segments[i] && strcmp(route->segments[i], q->segments[i]) != 0)
			return false;
	return route->nsegments == q->nsegments;
}

static const struct route *route_of(struct question *q)
{
	bool found = false;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!fits(&routes[i], q))
			continue;
		found = true;
		if (http_is(q->request.method, routes[i].method))
			return &routes[i];
	}
	toxic_fail(&q->error, found ? 405 : 404, found ? "method not allowed" : "page not found");
	return NULL;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct question q = {0};
	const struct route *route;
	char path[1024];

	(void)arg;
	http_read(msg, &q.request);
	q.nsegments = http_segments(q.request.path, path, sizeof(path), q.segments, SEGMENTS_MAX);
	route = route_of(&q);
	if (route && route->changes && api.draining) {
		toxic_fail(&q.error, 503, "the relay is ending");
		route = NULL;
	}
	if (!route || !route->answer(conn, &q)) {
		proxies_forget_steps();
		forget_pending();
		answer_error(conn, &q.request, &q.error);
	}
	tn_value_free(q.body);
}

/* ---- connections ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct asker *asker = calloc(1, sizeof(*asker));

	(void)arg;
	if (!asker) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	asker->conn = conn;
	asker->next = api.askers;
	asker->link = &api.askers;
	if (api.askers)
		api.askers->link = &asker->next;
	api.askers = asker;
	tn_conn_set_data(conn, asker);
	if (api.changing)
		tn_pause(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct asker *asker = tn_conn_data(conn);

	(void)err, (void)arg;
	if (pending.conn == conn)
		pending.conn = NULL;
	if (!asker)
		return;
	*asker->link = asker->next;
	if (asker->next)
		asker->next->link = asker->link;
	free(asker);
}

/* ---- life ---- */

/* Whoever reaches it can have this machine connect to any other. */
int toxiproxy_open(void)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	struct tn_value *value = NULL;
	int err;

	if (!api.full)
		return STATUS_DONE;
	if (http_is_open_to_others(api.full)) {
		complain("--chaos-api %s: others could reach it: say who may, by the key allow (allow=10.0.0.0/8)",
			 api.url);
		return STATUS_USAGE;
	}
	err = tn_decode("json", "{}", 2, 0, &value);
	tn_value_free(value);
	if (err >= 0)
		err = tn_serve(workers_loops()[0], api.full, &handler, NULL, &api.server);
	if (err < 0)
		return complain_library(err, api.url);
	tn_server_limit(api.server, CONNS_MAX);
	return STATUS_DONE;
}

void toxiproxy_allow(struct sandbox *box)
{
	enum tn_file_use use;
	const char *path;

	if (!api.full)
		return;
	box->dials = box->listens = box->names = true;
	for (int n = 0; tn_server_file(api.server, n, &path, &use) == 0; n++)
		sandbox_allow(box, path, use);
}

void toxiproxy_ready(void)
{
	for (int n = 0; api.server && n < tn_server_nurls(api.server); n++)
		complain_notice("chaos-api: %s", tn_server_url(api.server, n));
}

void toxiproxy_draining(void)
{
	api.draining = true;
}

void toxiproxy_close(void)
{
	api.server = NULL; /* goes with its loop */
	free(api.full);
	api.full = NULL;
}
