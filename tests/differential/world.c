#include "world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

char world_dir[64];

/* ---- chance, words ---- */

uint64_t below(struct world *w, uint64_t n)
{
	return seeded_next(&w->random) % n;
}

bool one_in(struct world *w, unsigned n)
{
	return below(w, n) == 0;
}

void trace(const struct world *w, const char *format, ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("  %-16s ", w->engine);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

void record(struct world *w, const char *format, ...)
{
	size_t room = sizeof(w->account) - w->account_len;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(w->account + w->account_len, room, format, ap);
	va_end(ap);
	w->account_len += n < 0 || (size_t)n >= room ? room - 1 : (size_t)n;
}

void wrong(struct world *w, const char *format, ...)
{
	char text[sizeof(w->wrong)];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	trace(w, "WRONG: %s", text);
	if (!*w->wrong)
		snprintf(w->wrong, sizeof(w->wrong), "%s", text);
}

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ULL;
	return hash;
}

/* ---- streams ---- */

static void stream_add(struct stream *st, const void *data, size_t len)
{
	st->bytes = seeded_grown(st->bytes, &st->cap, st->len + len + 1, 1);
	st->lens = seeded_grown(st->lens, &st->cap_msgs, st->nmsgs + 1, sizeof(*st->lens));
	if (len)
		memcpy(st->bytes + st->len, data, len);
	st->len += len;
	st->lens[st->nmsgs++] = (uint32_t)len;
}

/* The bytes that a side says next: no two sides say the same, and the period is no power of two. */
static void compose(const struct side *s, unsigned char *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = s->out.len + i, byte = at * 31 + at / 251 + (uint64_t)(s - s->world->sides) * 17;

		out[i] = (unsigned char)(s->world->frame->letters ? 'a' + byte % 26 : byte);
	}
}

/* ---- what sides do ---- */

static void said(struct side *s, const void *data, size_t len, int rc)
{
	if (!s->ending) /* otherwise the queue may be anything but empty */
		s->answers = mix(s->answers, &rc, sizeof(rc));
	if (rc >= 0)
		stream_add(&s->out, data, len);
	if (rc == 1 || rc == TN_EFULL)
		s->owes_drain = s->world->filled = true;
	else if (rc < 0)
		wrong(s->world, "%s: tn_send() of %zu: %s", s->name, len, tn_errmsg());
}

void side_say(struct side *s, size_t len)
{
	unsigned char *data = malloc(len + 1);
	int rc;

	if (!data)
		abort();
	compose(s, data, len);
	rc = tn_send(s->conn, data, len);
	trace(s->world, "%s: says %zu bytes (%d)", s->name, len, rc);
	said(s, data, len, rc);
	free(data);
}

void side_finish(struct side *s)
{
	int rc = tn_finish(s->conn);

	trace(s->world, "%s: finishes", s->name);
	s->out.finished = true;
	if (rc < 0)
		wrong(s->world, "%s: tn_finish(): %s", s->name, tn_strerror(rc));
}

/* Nobody tells those who leave that their queue has drained. */
static void leave(struct side *s)
{
	s->over = true;
	s->drains_loose = s->drains_loose || s->owes_drain;
}

void side_close(struct side *s)
{
	trace(s->world, "%s: closes", s->name);
	leave(s);
	tn_close(s->conn);
}

void side_abort(struct side *s, int err)
{
	trace(s->world, "%s: aborts", s->name);
	leave(s);
	tn_abort(s->conn, err);
}

void side_pause(struct side *s)
{
	trace(s->world, "%s: pauses", s->name);
	s->paused = true;
	tn_pause(s->conn);
}

void side_resume(struct side *s)
{
	trace(s->world, "%s: goes on", s->name);
	s->paused = false;
	tn_resume(s->conn);
}

void side_will_close(struct side *s, const int *errs)
{
	s->closes_due = true;
	for (s->nerrs = 0; errs[s->nerrs] != 1; s->nerrs++)
		s->errs[s->nerrs] = errs[s->nerrs];
}

/* ---- what is told ---- */

static void resume_again(void *arg)
{
	struct side *s = arg;

	s->resume = NULL;
	side_resume(s);
}

static void pause_a_while(struct side *s)
{
	if (!s->pauses)
		return;
	s->pauses--;
	side_pause(s);
	if (tn_timer_start(s->world->loop, 1, resume_again, s, &s->resume) < 0)
		wrong(s->world, "timer: %s", tn_errmsg());
}

static void answer(struct side *s, const struct tn_msg *msg)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)msg->data, msg->len / 3},
			       {(char *)(uintptr_t)msg->data + msg->len / 3, msg->len - msg->len / 3}};
	int rc = s->at_msg == FORWARD ? tn_forward(s->conn, msg)
		 : s->at_msg == REPLY ? tn_reply(s->conn, msg, msg->data, msg->len)
				      : tn_replyv(s->conn, msg, iov, 2);

	s->drains_loose = true; /* its queue empties while it fills */
	if (rc < 0)
		wrong(s->world, "%s: the answer to %zu bytes: %s", s->name, msg->len, tn_errmsg());
	else
		stream_add(&s->out, msg->data, msg->len);
}

static void act(struct side *s, enum deed deed, const struct tn_msg *msg)
{
	if (deed == SAY || deed == SAY_AND_CLOSE)
		side_say(s, s->say_len);
	if (deed == CLOSE || deed == SAY_AND_CLOSE)
		side_close(s);
	else if (deed == FINISH)
		side_finish(s);
	else if (deed == ABORT)
		side_abort(s, ABORTED);
	else if (deed == PAUSE)
		pause_a_while(s);
	else if (msg && deed >= FORWARD)
		answer(s, msg);
}

/* A connection of the server's that nobody awaits: its client has left before it was open. */
static struct side *stray(struct world *w)
{
	char name[24];
	struct side *s;

	snprintf(name, sizeof(name), "stray %d", w->strays++);
	s = side_new(w, name);
	s->loose = s->stray = true;
	s->at_end = CLOSE;
	return s;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	if (!s) {
		struct world *w = arg;

		s = w->awaited ? w->awaited : stray(w);
		w->awaited = NULL;
		s->conn = conn;
		tn_conn_set_data(conn, s);
	}
	trace(s->world, "%s: on_open", s->name);
	if (s->opens++ || s->in || s->ends || s->closes)
		wrong(s->world, "%s: on_open is not the first that is told", s->name);
	act(s, s->at_open, NULL);
}

/*
 * A Unix socket whose peer is cut off has ended as far as anybody can see, and what ends a stream behind the last
 * delimiter is a message.
 */
static bool may_be_cut(const struct side *s, size_t len)
{
	const struct world *w = s->world;

	return s->loose && w->frame->letters && (w->stack->traits & (UNIX | SECURE)) == UNIX &&
	       len < s->from->lens[s->msgs];
}

static void check_message(struct side *s, const struct tn_msg *msg)
{
	const struct stream *from = s->from;

	if (s->opens != 1 || s->ends || s->closes || s->over || s->paused || s->cut)
		wrong(s->world, "%s: on_msg out of its turn%s", s->name, s->paused ? ": it is paused" : "");
	if (!from)
		return;
	if (msg->len > from->len - s->in || memcmp(msg->data, from->bytes + s->in, msg->len) != 0)
		wrong(s->world, "%s: the %zu bytes from %zu on are not what was said", s->name, msg->len, s->in);
	else if (s->world->framed && s->msgs < from->nmsgs && may_be_cut(s, msg->len))
		s->cut = true;
	else if (s->world->framed && (s->msgs >= from->nmsgs || from->lens[s->msgs] != msg->len))
		wrong(s->world, "%s: message %u is not as long as it was: %zu", s->name, s->msgs, msg->len);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	trace(s->world, "%s: on_msg, %zu bytes", s->name, msg->len);
	if (!*s->world->wrong)
		check_message(s, msg);
	s->in += msg->len;
	s->msgs++;
	if (!*s->world->wrong && !s->over)
		act(s, s->at_msg, msg);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	trace(s->world, "%s: on_drain", s->name);
	if (s->opens != 1 || s->closes || s->over)
		wrong(s->world, "%s: on_drain out of its turn", s->name);
	s->drains++;
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	trace(s->world, "%s: on_end", s->name);
	if (s->opens != 1 || s->ends++ || s->closes || s->over || s->paused)
		wrong(s->world, "%s: on_end out of its turn", s->name);
	else if (s->from && !s->loose && s->in != s->from->len)
		wrong(s->world, "%s: on_end after %zu of %zu bytes", s->name, s->in, s->from->len);
	s->ending = true;
	s->drains_loose = s->drains_loose || s->at_end == SAY_AND_CLOSE; /* its queue may be at its mark, or not */
	act(s, s->at_end, NULL);
	s->ending = false;
}

/* Ports are the kernel's choice. */
static void without_ports(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		*to++ = *from;
		if (*from++ == ':')
			from += strspn(from, "0123456789");
	}
	*to = '\0';
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	snprintf(s->words, sizeof(s->words), "%s", tn_errmsg());
	without_ports(s->words);
	trace(s->world, "%s: on_close, %d: %s", s->name, err, tn_errmsg());
	if (s->closes++ || s->conn != conn)
		wrong(s->world, "%s: a second on_close", s->name);
	s->err = err;
	tn_conn_info(conn, &s->info);
	tn_timer_stop(s->resume);
	s->resume = NULL;
	s->conn = NULL;
}

/* ---- sides, servers ---- */

struct side *side_new(struct world *w, const char *name)
{
	struct side *s = &w->sides[w->nsides++];

	if (w->nsides == SIDES_MAX) {
		fprintf(stderr, "more than %d sides\n", SIDES_MAX);
		abort();
	}
	s->world = w;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->opens_due = 1;
	return s;
}

static struct tn_handler handler_for(bool deaf)
{
	return (struct tn_handler){.on_open = on_open,
				   .on_msg = on_msg,
				   .on_drain = on_drain,
				   .on_end = deaf ? NULL : on_end,
				   .on_close = on_close};
}

void side_dial(struct side *s, const char *url)
{
	struct tn_handler handler = handler_for(s->world->deaf[0]);

	trace(s->world, "%s: dials %s", s->name, url);
	if (tn_dial(s->world->loop, url, &handler, s->world, &s->conn) < 0)
		wrong(s->world, "%s: %s", s->name, tn_errmsg());
	else
		tn_conn_set_data(s->conn, s);
}

void world_full_url(const struct world *w, const char *url, const char *keys, char *out, size_t cap)
{
	char credentials[256] = "";

	if (w->stack->traits & SECURE)
		snprintf(credentials, sizeof(credentials), "&cert=%1$s/peer.pem&key=%1$s/peer.key&ca=%1$s/ca.pem",
			 world_dir);
	snprintf(out, cap, "%s?spin=0%s%s%s", url, *keys ? "&" : "", keys, credentials);
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	struct world *w = arg;

	(void)server;
	trace(w, "server: on_trouble, %d: %s", err, text);
	if (err == TN_ETLS || err == -ETIMEDOUT)
		w->troubles[err == TN_ETLS]++;
}

bool world_serve(struct world *w, const char *keys)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	struct tn_handler handler = handler_for(w->deaf[1]);
	char place[128], url[512], full[1024];

	snprintf(place, sizeof(place), w->stack->place, world_dir);
	snprintf(url, sizeof(url), "%s%s", w->stack->scheme, place);
	world_full_url(w, url, keys, full, sizeof(full));
	trace(w, "serves %s", full);
	if (tn_serve(w->loop, full, &handler, w, &w->server) < 0) {
		wrong(w, "%s", tn_errmsg());
		return false;
	}
	tn_server_watch(w->server, &watch, w);
	snprintf(w->url, sizeof(w->url), "%s", tn_server_url(w->server, 0));
	return true;
}

static void server_done(void *arg)
{
	struct world *w = arg;

	trace(w, "server: done");
	if (w->server_done++)
		wrong(w, "the server's done() is called twice");
	w->server = NULL;
}

void world_close_server(struct world *w, uint64_t drain_ms)
{
	trace(w, "server: closes, for %ju ms", (uintmax_t)drain_ms);
	tn_server_close(w->server, drain_ms, server_done, w);
}

/* ---- waiting ---- */

static bool has_all(const struct side *s)
{
	if (!s->from || !s->conn || s->paused || s->over || s->loose)
		return true;
	return s->in == s->from->len && (!s->world->framed || s->msgs == s->from->nmsgs);
}

static const char *what_is_due(const struct side *s)
{
	if (s->stray)
		return NULL;
	if (s->closes_due)
		return s->closes ? NULL : "on_close";
	if (s->resume)
		return "the end of its pause";
	if (s->opens_due > s->opens)
		return "on_open";
	if (!has_all(s))
		return "what was said";
	if (!s->loose && s->ends < s->ends_due)
		return "on_end";
	if (s->conn && tn_conn_queued(s->conn))
		return "an empty queue";
	return s->owes_drain && !s->drains_loose && s->drains == s->drains_due ? "on_drain" : NULL;
}

static const struct side *first_due(const struct world *w)
{
	for (int i = 0; i < w->nsides; i++)
		if (what_is_due(&w->sides[i]))
			return &w->sides[i];
	return NULL;
}

void settle(struct world *w, const char *what)
{
	uint64_t end = seeded_now_ms() + PATIENCE_MS;
	const struct side *due;

	while ((due = first_due(w)) && !*w->wrong)
		if (tn_loop_step(w->loop, 5) < 0 || seeded_now_ms() > end)
			wrong(w, "%s: %s waits in vain for %s (%zu of %zu bytes, %u messages)", what, due->name,
			      what_is_due(due), due->in, due->from ? due->from->len : 0, due->msgs);
	for (int i = 0; i < w->nsides; i++) {
		struct side *s = &w->sides[i];

		s->drains_loose = s->drains_loose || (s->owes_drain && s->closes);
		s->drains_due += s->owes_drain;
		s->owes_drain = false;
	}
	trace(w, "- %s: settled -", what);
}

void turn(struct world *w, unsigned times)
{
	while (times-- && !*w->wrong)
		if (tn_loop_step(w->loop, 0) < 0)
			wrong(w, "the loop: %s", tn_errmsg());
}

/* ---- beginning and end ---- */

bool world_open(struct world *w)
{
	if (tn_loop_new(&w->loop, w->engine) == 0)
		return true;
	wrong(w, "%s", tn_errmsg());
	return false;
}

static bool is_expected(const struct side *s)
{
	for (int i = 0; i < s->nerrs; i++)
		if (s->err == s->errs[i])
			return true;
	return false;
}

static void check_side(const struct side *s)
{
	struct world *w = s->world;

	if (s->stray || (s->opens_due < 0 && !s->opens && !s->closes))
		return;
	if (s->closes != 1)
		wrong(w, "%s: on_close came %d times", s->name, s->closes);
	if (!is_expected(s))
		wrong(w, "%s: ended by %d: %s", s->name, s->err, s->words);
	if (s->opens_due >= 0 && s->opens != s->opens_due)
		wrong(w, "%s: on_open came %d times", s->name, s->opens);
	if (s->loose)
		return;
	if (s->from && (s->in != s->from->len || (w->framed && s->msgs != s->from->nmsgs)))
		wrong(w, "%s: got %zu of %zu bytes", s->name, s->in, s->from->len);
	if (s->ends != s->ends_due)
		wrong(w, "%s: on_end came %d times", s->name, s->ends);
	if (!s->drains_loose && s->drains != s->drains_due)
		wrong(w, "%s: on_drain came %d times, not %d", s->name, s->drains, s->drains_due);
}

static void record_side(const struct side *s)
{
	struct world *w = s->world;

	if (s->stray)
		return;
	record(w, "%s: tn_send %jx", s->name, (uintmax_t)s->answers);
	if (s->nerrs == 1)
		record(w, ", on_close %d (%s)", s->err, s->words);
	if (s->opens_due >= 0)
		record(w, ", on_open x%d", s->opens);
	if (!s->drains_loose)
		record(w, ", on_drain x%d", s->drains);
	if (!s->loose)
		record(w, ", on_end x%d, %zu bytes (%jx), %ju in and %ju out", s->ends, s->in,
		       s->from ? (uintmax_t)mix(0, s->from->bytes, s->in) : 0, (uintmax_t)s->info.bytes_in,
		       (uintmax_t)s->info.bytes_out);
	if (!s->loose && w->framed)
		record(w, ", %u messages, %ju in and %ju out", s->msgs, (uintmax_t)s->info.msgs_in,
		       (uintmax_t)s->info.msgs_out);
	record(w, "\n");
}

void world_end(struct world *w)
{
	trace(w, "the loop is freed");
	tn_loop_free(w->loop);
	for (int i = 0; i < w->nsides; i++) {
		check_side(&w->sides[i]);
		record_side(&w->sides[i]);
	}
	for (int i = 0; i < w->nsides; i++) {
		free(w->sides[i].out.bytes);
		free(w->sides[i].out.lens);
	}
}
