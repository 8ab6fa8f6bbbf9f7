/* Remote procedure calls in 200 lines: JSON-RPC 2.0, a message a line. A method is a row of a table.
 * Run: rpc serve [URL]     then: rpc call METHOD [PARAMS [URL]]     as rpc call add '[1, 2, 3.5]' */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon_value.h>

#include "stop.h"

#define DEFAULT_URL "tcp://localhost:10007?frame=line&format=json"

/* What the standard calls errors. */
enum { BAD_REQUEST = -32600, NO_METHOD = -32601, BAD_PARAMS = -32602 };

/* ---- the methods: each makes a value in the tree of `in`, or returns NULL if it cannot take its parameters ---- */

static struct tn_value *method_add(struct tn_value *in, const struct tn_value *params)
{
	double number, sum = 0;

	if (tn_value_kind(params) != TN_ARRAY)
		return NULL;
	for (const struct tn_value *item = tn_value_first(params); item; item = tn_value_next(params, item)) {
		if (tn_value_float(item, &number) < 0)
			return NULL;
		sum += number;
	}
	return tn_value_new_float(in, sum);
}

static struct tn_value *method_length(struct tn_value *in, const struct tn_value *params)
{
	size_t len;

	return tn_value_text(tn_value_get(params, "text"), &len) ? tn_value_new_uint(in, len) : NULL;
}

static const struct method {
	const char *name;
	struct tn_value *(*call)(struct tn_value *in, const struct tn_value *params);
} methods[] = {
	{"add", method_add},
	{"length", method_length},
};

static const struct method *find_method(const struct tn_value *name)
{
	const char *text = tn_value_text(name, NULL);

	for (size_t i = 0; text && i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i].name, text) == 0)
			return &methods[i];
	return NULL;
}

/* ---- the server ---- */

static void put_text(struct tn_value *map, const char *key, const char *text)
{
	tn_value_put(map, key, tn_value_new_text(map, text, strlen(text)));
}

static void put_error(struct tn_value *reply, int code, const char *message)
{
	struct tn_value *error = tn_value_new_map(reply);

	tn_value_put(error, "code", tn_value_new_int(error, code));
	put_text(error, "message", message);
	tn_value_put(reply, "error", error);
}

/* The caller knows its calls by their ids: a number or a text. */
static void put_id(struct tn_value *reply, const struct tn_value *id)
{
	const char *text = tn_value_text(id, NULL);
	int64_t number;

	if (text)
		put_text(reply, "id", text);
	else if (tn_value_int(id, &number) == 0)
		tn_value_put(reply, "id", tn_value_new_int(reply, number));
	else
		tn_value_put(reply, "id", tn_value_new_null(reply));
}

/* Carries out one call; the reply is made in the tree of `in`. NULL: the call has no id, so that none is wanted. */
static struct tn_value *carry_out(struct tn_value *in, const struct tn_value *request)
{
	const struct tn_value *name = tn_value_get(request, "method"), *id = tn_value_get(request, "id");
	const struct method *method = find_method(name);
	struct tn_value *reply = tn_value_new_map(in), *result = NULL;

	if (method)
		result = method->call(reply, tn_value_get(request, "params"));
	if (!id && tn_value_text(name, NULL))
		return NULL;
	put_text(reply, "jsonrpc", "2.0");
	if (result)
		tn_value_put(reply, "result", result);
	else if (!tn_value_text(name, NULL))
		put_error(reply, BAD_REQUEST, "not a call");
	else
		put_error(reply, method ? BAD_PARAMS : NO_METHOD, method ? "wrong parameters" : "no such method");
	put_id(reply, id);
	return reply;
}

/* Several calls in one message are an array, and so are their replies. */
static const struct tn_value *carry_out_all(struct tn_value *replies, const struct tn_value *requests)
{
	const struct tn_value *one;

	for (one = tn_value_first(requests); one; one = tn_value_next(requests, one)) {
		struct tn_value *reply = carry_out(replies, one);

		if (reply)
			tn_value_append(replies, reply);
	}
	return tn_value_count(replies) > 0 ? replies : NULL;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct tn_value *request = NULL, *tree = tn_value_new_array(NULL);
	const struct tn_value *reply;
	int rc = tn_msg_value(conn, msg, &request);

	(void)arg;
	if (rc == 0) {
		reply = tn_value_kind(request) == TN_ARRAY ? carry_out_all(tree, request) : carry_out(tree, request);
		if (reply)
			rc = tn_reply_value(conn, msg, reply);
	}
	tn_value_free(request), tn_value_free(tree);
	if (rc < 0)
		tn_abort(conn, rc); /* the caller must not wait for a reply that cannot be sent */
}

static int serve(const char *url)
{
	static const struct tn_handler handler = {.on_msg = on_msg};
	static struct stop stop;
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &handler, NULL, &stop.server);
	if (rc == 0)
		rc = stop_on_signals(loop, &stop);
	for (int i = 0; rc == 0 && i < tn_server_nurls(stop.server); i++)
		printf("listening %s\n", tn_server_url(stop.server, i));
	fflush(stdout);
	if (rc == 0)
		rc = tn_loop_run(loop);
	tn_loop_free(loop);
	return rc;
}

/* ---- the caller ---- */

static int call(const char *url, const char *method, const char *params)
{
	struct tn_value *given = NULL, *request;
	struct tn_bytes text = {0};
	void *reply = NULL;
	size_t len;
	int rc = tn_decode("json", params, strlen(params), 0, &given);

	if (rc < 0)
		return rc;
	request = tn_value_new_map(given); /* in the same tree, so that what is given can stand in it */
	put_text(request, "jsonrpc", "2.0");
	put_text(request, "method", method);
	tn_value_put(request, "params", given);
	tn_value_put(request, "id", tn_value_new_int(request, 1));
	rc = tn_encode("json", request, 0, &text);
	if (rc == 0)
		rc = tn_call(NULL, url, text.data, text.len, &reply, &len, 5000);
	if (rc == 0)
		printf("%.*s\n", (int)len, (const char *)reply);
	free(reply);
	tn_bytes_free(&text);
	tn_value_free(request);
	return rc;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc > 1 && argc < 4 && strcmp(argv[1], "serve") == 0)
		rc = serve(argc > 2 ? argv[2] : DEFAULT_URL);
	else if (argc > 2 && argc < 6 && strcmp(argv[1], "call") == 0)
		rc = call(argc > 4 ? argv[4] : DEFAULT_URL, argv[2], argc > 3 ? argv[3] : "[]");
	else
		return fprintf(stderr, "usage: rpc serve [URL] | rpc call METHOD [PARAMS [URL]]\n"), 2;
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	return rc < 0;
}
