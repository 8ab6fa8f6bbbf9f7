/* Blocking request and reply. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "conn/conn.h"
#include "tenon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A reply without framing ends with the stream; somebody has to say how much is too much. */
#define REPLY_MAX (1U << 30)

struct call {
	const void *request;
	size_t len;
	unsigned char *reply;
	size_t reply_len, reply_cap;
	bool whole; /* messages have bounds: the first one is the reply */
	bool got, ended;
	int err;
	char detail[512];
};

static void fail(struct tn_conn *conn, struct call *call, int err)
{
	call->err = err;
	tn_abort(conn, err);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct call *call = arg;
	int rc = tn_send(conn, call->request, call->len);

	if (rc < 0)
		fail(conn, call, rc);
	else if (!call->whole)
		tn_finish(conn);
}

static int append(struct call *call, const void *data, size_t len)
{
	if (call->reply_len + len > REPLY_MAX)
		return TN_ETOOBIG;
	if (call->reply_len + len + 1 > call->reply_cap) {
		size_t cap = (call->reply_len + len + 1) * 2;
		unsigned char *reply = realloc(call->reply, cap);

		if (!reply)
			return -ENOMEM;
		call->reply = reply;
		call->reply_cap = cap;
	}
	memcpy(call->reply + call->reply_len, data, len);
	call->reply_len += len;
	call->reply[call->reply_len] = '\0';
	return 0;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct call *call = arg;
	int rc = append(call, msg->data, msg->len);

	if (rc < 0) {
		fail(conn, call, rc);
	} else if (call->whole) {
		call->got = true;
		tn_close(conn);
	}
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct call *call = arg;

	if (call->whole)
		call->err = -ECONNRESET; /* the peer left without a reply */
	else
		call->got = true;
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct call *call = arg;
	size_t len = strlen(tn_errmsg());

	(void)conn;
	call->ended = true;
	if (!call->err && !call->got)
		call->err = err;
	if (len >= sizeof(call->detail))
		len = sizeof(call->detail) - 1;
	memcpy(call->detail, tn_errmsg(), len);
}

static int wait_for(struct tn_loop *loop, struct tn_conn *conn, struct call *call, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? TNI_NEVER : tni_clock_ns() + (uint64_t)timeout_ms * TNI_NS_PER_MS, now;
	int rc = 1;

	while (!call->ended && !call->got && rc >= 0) {
		now = tni_clock_ns();
		if (now >= deadline)
			break;
		rc = tn_loop_step(loop, timeout_ms < 0 ? -1 : (int)((deadline - now) / TNI_NS_PER_MS) + 1);
	}
	if (!call->ended && !call->got)
		fail(conn, call, rc < 0 ? rc : -ETIMEDOUT);
	/* What is over is closed before we return; a close that has to wait for the peer need not be. */
	for (int i = 0; !call->ended && i < 1000; i++) {
		if (i == 1) /* not tn_abort(): a peer that replied is owed an end, not a reset */
			tni_conn_fail(conn, 0, NULL);
		(void)tn_loop_step(loop, i ? 1 : 0);
	}
	return call->err;
}

int tn_call(struct tn_loop *loop, const char *url, const void *request, size_t len, void **reply, size_t *reply_len,
	    int timeout_ms)
{
	static const struct tn_handler handler = {
		.on_open = on_open, .on_msg = on_msg, .on_end = on_end, .on_close = on_close};
	struct call call = {.request = request, .len = len};
	struct tn_loop *own = NULL;
	struct tn_conn *conn;
	int rc = tn_url_keeps_messages(url);

	if (rc < 0)
		return rc;
	call.whole = rc;
	if (!loop) {
		rc = tn_loop_new(&own, "epoll"); /* a ring would cost more to set up than one exchange */
		if (rc < 0)
			return rc;
		loop = own;
	}
	/* Before anything is dialled that could not be waited for: the caller may be one of this loop's callbacks. */
	rc = tn_loop_step(loop, 0);
	if (rc >= 0)
		rc = append(&call, "", 0);
	if (rc == 0)
		rc = tn_dial(loop, url, &handler, &call, &conn);
	if (rc == 0)
		rc = wait_for(loop, conn, &call, timeout_ms);
	tn_loop_free(own);
	if (rc < 0) {
		free(call.reply);
		if (rc == -ETIMEDOUT && !strcmp(call.detail, "ended"))
			call.detail[0] = '\0';
		return call.detail[0] ? tni_err(rc, "%s", call.detail) : tni_err(rc, "%s: %s", url, tn_strerror(rc));
	}
	*reply = call.reply;
	*reply_len = call.reply_len;
	return 0;
}
