#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "answer.h"
#include "handler.h"
#include "tenon_value.h"

static bool is_reply_value(const struct tn_value *value)
{
	return tn_value_kind(value) == TN_MAP && tn_value_count(value) == 1 &&
	       (tn_value_get(value, "ack") || tn_value_get(value, "error"));
}

/* In the endpoint's own format: {"ack": what came}. */
static int ack_value(struct tn_conn *conn, const struct tn_msg *msg)
{
	struct tn_value *value = NULL, *map;
	int rc = tn_msg_value(conn, msg, &value);

	if (rc == 0 && (!msg->peer || !is_reply_value(value))) {
		map = tn_value_new_map(value);
		rc = map ? tn_value_put(map, "ack", value) : -ENOMEM;
		if (rc == 0 && handler_reply_fits(conn, msg, map))
			rc = tn_reply_value(conn, msg, map);
	}
	tn_value_free(value);
	return rc;
}

static int ack(struct tn_conn *conn, const struct tn_msg *msg)
{
	static const char prefix[] = "ack: ";
	const struct iovec reply[] = {
		{(void *)prefix, sizeof(prefix) - 1},
		{(void *)msg->data, msg->len},
	};

	const char *format = tn_conn_format(conn); /* NULL: raw */

	if (format && tn_format_kind(format) & TN_FORMAT_VALUES)
		return ack_value(conn, msg);
	return tn_replyv(conn, msg, reply, 2);
}

/*
 * A frame may have no room for the longer reply (fixed:16, u8, max). A peer that counts its replies must not wait for
 * it: the connection is closed.
 */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = ack(conn, msg);

	(void)arg;
	if (err < 0)
		handler_unanswered(conn, msg, err);
}

/* What does not fit is dropped, as networks drop it. */
static void on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	if (handler_may_answer(conn, msg) && !handler_is_reply(msg))
		ack(conn, msg);
}

const struct handler_spec handler_ack = {
	.name = "ack",
	.meaning = "replies 'ack: ' and the data",
	.stream = {.on_msg = on_msg, .on_bad = handler_refuse},
	.datagrams = {.on_open = handler_on_datagrams_open, .on_msg = on_datagram, .on_bad = handler_refuse},
};
