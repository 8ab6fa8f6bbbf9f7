#include "pass.h"

#include <errno.h>
#include <string.h>

#include "serve/handlers/answer.h"
#include "tenon_value.h"

bool pass_is_plain(const struct tn_conn *a, const struct tn_conn *b)
{
	const char *of_a = tn_conn_format(a), *of_b = tn_conn_format(b);

	/* Without a format on one side, what the other allows goes through as it is. */
	return !of_a || !of_b || strcmp(of_a, of_b) == 0;
}

static int transcode(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, const struct tn_msg *to_msg)
{
	struct tn_value *value = NULL;
	int err = tn_msg_value(from, msg, &value);

	if (err == 0)
		err = tn_reply_value(to, to_msg, value);
	tn_value_free(value);
	return err;
}

int pass_message(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, const struct tn_msg *to_msg)
{
	if (!pass_is_plain(from, to))
		return transcode(from, msg, to, to_msg);
	return to_msg ? tn_reply(to, to_msg, msg->data, msg->len) : tn_forward(to, msg);
}

/* The message, not the connection, is what is wrong. */
static bool is_refusal(int err)
{
	return (err <= TN_EFORMAT && err >= TN_EREPR) || err == -EMSGSIZE;
}

bool pass_closes_at_bad(const char *url)
{
	static const char key[] = "bad=close";

	return tn_url_has_key(url, "bad") > 0 && strstr(url, key) != NULL;
}

void pass_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	handler_refuse(conn, msg, err, arg);
}

int pass_later(struct tn_conn *to, const struct tn_msg *msg)
{
	int err = tn_send_as(to, msg->kind, msg->data, msg->len);

	return err == TN_EUTF8 ? tn_send_as(to, TN_MSG_BINARY, msg->data, msg->len) : err; /* it was damaged */
}

/* Hands it to whoever passes it on later. */
static int take(struct path *path, struct tn_conn *from, const struct tn_msg *msg, const struct tn_conn *to)
{
	struct tn_value *value = NULL;
	struct tn_bytes bytes = {0};
	struct tn_msg made;
	int err;

	if (pass_is_plain(from, to)) {
		path->rules->take(path, from, msg);
		return 0;
	}
	err = tn_msg_value(from, msg, &value);
	if (err == 0)
		err = tn_encode(tn_conn_format(to), value, 0, &bytes);
	made = (struct tn_msg){.data = bytes.data, .len = bytes.len};
	if (err == 0)
		path->rules->take(path, from, &made);
	tn_value_free(value);
	tn_bytes_free(&bytes);
	return err;
}

/* What one side may hear of the other does not name it: its URL, with all keys, is ours. */
static const char *without_place(const char *why)
{
	static const char send[] = ": send: ";
	const char *at = strstr(why, send);

	return at ? at + sizeof(send) - 1 : why;
}

/* Of a sender without a format it is an error of the path: there is no answer that it would understand. */
static int on_message(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	struct path *path = arg;
	int err = path->rules->take ? take(path, from, msg, to) : pass_message(from, msg, to, NULL);

	if (err >= 0 && path->rules->passed)
		path->rules->passed(path, from, msg);
	if (!is_refusal(err) || !tn_conn_format(from))
		return err;
	handler_refuse_as(from, msg, without_place(tn_errmsg()));
	return path->rules->closes(path, from) ? err : 0;
}

/* What needs no function of ours may not come into this process at all. Where there is a format it may: what the other
 * side cannot carry is answered. */
static int flow(struct path *path, struct tn_conn *from, struct tn_conn *to, struct tn_pass pass)
{
	const struct path_rules *rules = path->rules;
	bool told = rules->passed && !(rules->passed_by_client && from == path->target);
	bool ours = told || rules->take || tn_conn_format(from) || !pass_is_plain(from, to);
	int err = ours ? -EINVAL : tn_flow(from, to, &pass, path);

	pass.msg = on_message;
	return err == -EINVAL ? tn_flow(from, to, &pass, path) : err;
}

int pass_join(struct path *path)
{
	const struct tn_pass pass = {.end = path->rules->end};
	int err = flow(path, path->client, path->target, pass);

	return err < 0 ? err : flow(path, path->target, path->client, pass);
}
