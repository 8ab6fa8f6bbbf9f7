/*
 * /events: what happens, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). An
 * event is the JSON object that --json prints; once a second comes one named "status", as /status has it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/text.h"
#include "common/workers.h"
#include "told.h"

#define BEHIND_MAX (1U << 20)  /* bytes that may wait for a slow reader */
#define WAITING_MAX (4U << 20) /* and for the first loop, from all others */
#define STATUS_MS 1000

struct reader {
	struct tn_conn *conn;
	struct reader *next;
	bool cut; /* it is told of its end in a later turn */
};

static struct {
	struct reader *readers; /* of the first loop */
	struct tn_timer *timer;
	/* What the loops have to tell, until the first one sends it. */
	pthread_mutex_t lock;
	struct text waiting;
	bool posted;
} stream = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void send_to(struct reader *reader, const struct text *text)
{
	int err = 0;

	if (reader->cut)
		return;
	if (tn_conn_queued(reader->conn) + text->len <= BEHIND_MAX)
		err = tn_send(reader->conn, text->data, text->len);
	else
		err = TN_EFULL;
	if (err >= 0 || err == TN_ESTATE) /* it is leaving */
		return;
	reader->cut = true;
	admin.slow++;
	tn_abort(reader->conn, TN_EFULL);
}

static void send_all(struct text *text)
{
	struct reader *next;

	for (struct reader *reader = stream.readers; text->len && !text->failed && reader; reader = next) {
		next = reader->next;
		send_to(reader, text);
	}
	text_free(text);
}

static void flush(void *arg)
{
	struct text text;

	(void)arg;
	pthread_mutex_lock(&stream.lock);
	text = stream.waiting;
	stream.waiting = (struct text){0};
	stream.posted = false;
	pthread_mutex_unlock(&stream.lock);
	send_all(&text);
}

/* An event of any loop. */
static void on_event(const char *line, size_t len)
{
	bool post;

	pthread_mutex_lock(&stream.lock);
	if (stream.waiting.len < WAITING_MAX) {
		text_add(&stream.waiting, "data: ");
		text_bytes(&stream.waiting, line, len);
		text_add(&stream.waiting, "\n\n");
	}
	post = !stream.posted;
	stream.posted = true;
	pthread_mutex_unlock(&stream.lock);
	if (post && !workers_post(flush, NULL)) {
		pthread_mutex_lock(&stream.lock);
		stream.posted = false;
		pthread_mutex_unlock(&stream.lock);
	}
}

static void status(struct text *text)
{
	text_add(text, "event: status\ndata: ");
	json_begin(text, NULL);
	status_write(text);
	text_add(text, "}\n\n");
}

static void tick(void *arg);

static void again(void)
{
	if (tn_timer_start(workers_loops()[0], STATUS_MS, tick, NULL, &stream.timer) < 0)
		complain_warning("--admin: /events tells no more of the status: %s", tn_errmsg());
}

static void tick(void *arg)
{
	struct text text = {0};

	(void)arg;
	stream.timer = NULL;
	if (!stream.readers)
		return;
	status(&text);
	send_all(&text);
	again();
}

void stream_begin(struct tn_conn *conn)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	struct text text = {0};

	if (!reader || http_begin(conn, "text/event-stream", NULL) < 0) {
		free(reader);
		tn_close(conn);
		return;
	}
	reader->conn = conn;
	reader->next = stream.readers;
	stream.readers = reader;
	tn_pause(conn); /* nothing that comes is read: it would have to be answered */
	json_tap(JSON_TAP_ADMIN, on_event);
	status(&text);
	send_to(reader, &text);
	text_free(&text);
	if (!stream.timer)
		again();
}

void stream_forget(const struct tn_conn *conn)
{
	for (struct reader **at = &stream.readers; *at; at = &(*at)->next)
		if ((*at)->conn == conn) {
			struct reader *reader = *at;

			*at = reader->next;
			free(reader);
			break;
		}
	if (!stream.readers)
		json_tap(JSON_TAP_ADMIN, NULL);
}

void stream_stop(void)
{
	json_tap(JSON_TAP_ADMIN, NULL);
	tn_timer_stop(stream.timer);
	stream.timer = NULL;
	text_free(&stream.waiting);
}
