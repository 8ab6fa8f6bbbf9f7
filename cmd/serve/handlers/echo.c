#include "answer.h"
#include "http/http.h"
#include "handler.h"

/* A full queue stops reading by itself: on a stream, an error here means that there is no memory. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = handler_may_answer(conn, msg) ? tn_forward(conn, msg) : 0;

	(void)arg;
	if (err < 0)
		handler_unanswered(conn, msg, err);
}

/* The request is the body of its response, so that a client sees what it has sent. */
static void on_request(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	const struct http_response response = {
		.status = 200, .type = "text/plain; charset=utf-8", .body = msg->data, .len = msg->len};
	struct http_request request;
	int err;

	(void)arg;
	http_read(msg, &request);
	err = http_answer(conn, &request, &response);
	if (err < 0)
		handler_unanswered(conn, msg, err);
}

const struct handler_spec handler_echo = {
	.name = "echo",
	.meaning = "sends back what comes, unchanged (RFC 862)",
	.stream = {.on_msg = on_msg, .on_bad = handler_refuse},
	.requests = {.on_msg = on_request},
	.datagrams = {.on_open = handler_on_datagrams_open, .on_msg = on_msg, .on_bad = handler_refuse},
};
