#include "http/http.h"
#include "handler.h"

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg, (void)arg;
}

/* A client of HTTP waits for a response, even to what is thrown away. */
static void on_request(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	const struct http_response response = {.status = 204};
	struct http_request request;

	(void)arg;
	http_read(msg, &request);
	(void)http_answer(conn, &request, &response);
}

const struct handler_spec handler_discard = {
	.name = "discard",
	.meaning = "reads and throws away (RFC 863)",
	.stream = {.on_msg = on_msg},
	.datagrams = {.on_msg = on_msg},
	.requests = {.on_msg = on_request},
};
