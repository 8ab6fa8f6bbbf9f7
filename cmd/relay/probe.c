#include "probe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/transcode.h"
#include "plan.h"
#include "targets.h"
#include "tenon.h"
#include "tenon_value.h"

static struct probe {
	struct probe *next;
	struct tn_loop *loop;
	struct targets *targets;
	int index;
	struct tn_conn *conn; /* NULL: none is under way */
	struct tn_timer *timer;
	bool judged;
	size_t got; /* bytes of the reply that are as expected: of a stream without a frame */
} * probes;

static const char *url_of(const struct probe *p)
{
	return p->targets->list[p->index].url;
}

/* `err`: with which its connection failed, or 0. Without `why` it is told in tn_errmsg(). */
static void judge(struct probe *p, bool works, int err, const char *why)
{
	char words[512];

	if (p->judged)
		return;
	p->judged = true;
	targets_probed(p->targets, p->index, works, err,
		       why || works ? why : targets_why(p->targets, p->index, words, sizeof(words)));
}

/* ---- a message and its reply ---- */

static int send_message(struct tn_conn *conn)
{
	struct transcoder coder = {0};
	int err;

	transcoder_begin(&coder, conn);
	if (!coder.formatted)
		return tn_send(conn, plan.probe.send, strlen(plan.probe.send));
	err = transcoder_read(&coder, plan.probe.send, strlen(plan.probe.send));
	if (err == 0)
		err = tn_reply_value(conn, NULL, coder.value);
	tn_value_free(coder.value);
	tn_bytes_free(&coder.bytes);
	return err;
}

static bool is_expected_value(const struct tn_conn *conn, const struct tn_msg *msg)
{
	struct transcoder coder = {0};
	struct tn_value *came = NULL;
	bool equal;

	transcoder_begin(&coder, conn);
	equal = transcoder_read(&coder, plan.probe.expect, strlen(plan.probe.expect)) == 0 &&
		tn_msg_value(conn, msg, &came) == 0 && tn_value_equal(coder.value, came);
	tn_value_free(came);
	tn_value_free(coder.value);
	tn_bytes_free(&coder.bytes);
	return equal;
}

/* 1: it is; 0: so far; -1: it is not. */
static int look_at_reply(struct probe *p, const struct tn_msg *msg)
{
	size_t left = plan.probe.expect ? strlen(plan.probe.expect) - p->got : 0, n = msg->len < left ? msg->len : left;
	bool whole = tn_url_keeps_messages(url_of(p)) > 0;

	if (!plan.probe.expect)
		return 1;
	if (tn_conn_format(p->conn))
		return is_expected_value(p->conn, msg) ? 1 : -1;
	if (memcmp(msg->data, plan.probe.expect + p->got, n) != 0 || (whole && msg->len != left))
		return -1;
	p->got += n;
	return p->got == strlen(plan.probe.expect);
}

/* ---- one probe ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct probe *p = arg;

	if (!plan.probe.send && !plan.probe.expect) {
		judge(p, true, 0, NULL);
		tn_close(conn);
	} else if (plan.probe.send) {
		int err = send_message(conn);

		if (err >= 0)
			return;
		judge(p, false, err, NULL);
		tn_abort(conn, -ECANCELED);
	}
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct probe *p = arg;
	int is = p->judged ? 0 : look_at_reply(p, msg);

	if (is == 0)
		return;
	judge(p, is > 0, 0, "the reply to the probe is not the one that is expected");
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct probe *p = arg;

	(void)conn;
	p->conn = NULL;
	judge(p, false, err, err ? NULL : "it ended without a reply to the probe");
}

static void dial(struct probe *p)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	struct tn_conn *conn = NULL;
	int err;

	p->judged = false;
	p->got = 0;
	err = tn_dial(p->loop, url_of(p), &handler, p, &conn);
	if (err < 0)
		judge(p, false, err, NULL);
	else
		p->conn = conn;
}

/* The times differ by up to a tenth, so that not all relays ask at once. */
static uint64_t pause_ms(void)
{
	uint64_t chance = 0, ms = plan.probe.every_ns / NS_PER_MS + 1;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = clock_ns();
	return ms - ms / 20 + chance % (ms / 10 + 1);
}

static void on_due(void *arg)
{
	struct probe *p = arg;

	p->timer = NULL;
	if (p->conn) {
		judge(p, false, 0, "the probe was not over when the next one was due");
		tn_abort(p->conn, -ETIMEDOUT);
	} else {
		dial(p);
	}
	if (tn_timer_start(p->loop, pause_ms(), on_due, p, &p->timer) < 0)
		complain_warning("%s is not probed any more: %s", p->targets->list[p->index].given, tn_errmsg());
}

int probe_start(struct tn_loop *loop, struct targets *targets)
{
	for (int i = 0; plan.probe.every_ns && i < targets->count; i++) {
		struct probe *p = calloc(1, sizeof(*p));

		if (!p || tn_timer_start(loop, 0, on_due, p, &p->timer) < 0) {
			free(p);
			return -ENOMEM;
		}
		p->loop = loop;
		p->targets = targets;
		p->index = i;
		p->next = probes;
		probes = p;
	}
	return 0;
}

/* A connection that is under way still calls on_close. */
static void end(struct probe *p)
{
	tn_timer_stop(p->timer);
	p->timer = NULL;
	p->judged = true;
	if (p->conn)
		tn_abort(p->conn, -ECANCELED);
}

void probe_stop(void)
{
	for (struct probe *p = probes; p; p = p->next)
		end(p);
}

void probe_free(void)
{
	for (struct probe *p = probes, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	probes = NULL;
}
