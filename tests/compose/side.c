/* The program: what a user of the library would write, on tenon.h alone. It tells the model what it did and saw. */
#include "compose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ABORTED (-ECANCELED - 1000) /* what the program aborts with: no code of anybody's */
#define QUEUE_DEFAULT (128 << 10)
#define MAX_DEFAULT (1 << 20)
#define LOSSY_MAX 1200 /* bytes of a datagram */

static size_t own_key(unsigned value, size_t otherwise)
{
	return value ? value : otherwise;
}

struct side *side_new(unsigned node, const struct client *client, bool dialled)
{
	struct side *s = calloc(1, sizeof(*s));
	const struct node *n = &world.plan->nodes[node];

	if (!s || world.nsides == SIDES_MAX)
		abort();
	s->nth = world.nsides;
	s->node = n;
	s->node_nth = node;
	s->client = client;
	s->dialled = dialled;
	s->framed = *n->frame->name || n->scheme->traits & PACKETS;
	s->max = own_key(client ? client->max : n->max, MAX_DEFAULT);
	if (!strcmp(n->frame->name, "u16") && s->max > UINT16_MAX)
		s->max = UINT16_MAX;
	s->queue = own_key(client ? client->queue : n->queue, QUEUE_DEFAULT);
	/* A frame may double a message; what is sealed waits beside it. */
	s->room = s->queue + 2 * own_key(client ? client->max : n->max, MAX_DEFAULT) + 64 +
		  (n->scheme->traits & SECURE ? 131072 : 0);
	s->deaf = client ? client->deaf : !dialled && n->deaf;
	s->on_cut = client ? client->on_cut : n->on_cut;
	s->hasty = client && client->hasty;
	s->redials = client ? client->redials : 0;
	if (client)
		snprintf(s->name, sizeof(s->name), "client %u", (unsigned)(client - world.plan->clients));
	else
		snprintf(s->name, sizeof(s->name), "%s %u.%u", dialled ? "relay to" : "server", node, s->nth);
	world.sides[world.nsides++] = s;
	return s;
}

static bool is_lossy(const struct side *s)
{
	return s->node->scheme->traits & LOSSY;
}

static void log_add(struct log *l, const void *data, size_t len)
{
	l->bytes = seeded_grown(l->bytes, &l->cap, l->len + len + 1, 1);
	l->lens = seeded_grown(l->lens, &l->cap_n, l->n + 1, sizeof(*l->lens));
	if (len)
		memcpy(l->bytes + l->len, data, len);
	l->len += len;
	l->lens[l->n++] = (uint32_t)len;
}

static bool can_send(const struct side *s)
{
	return s->conn && !s->finished && !s->closed && !s->aborted;
}

/* ---- sending ---- */

/* No room, though the kernel has plenty: little is on its way, and nobody bends its calls. */
static bool is_full_for_nothing(const struct side *s, size_t len)
{
	size_t read = s->pair ? s->pair->in.len : 0, msgs = s->pair && s->framed ? s->pair->in.n : 0;

	return world.real && s->opens && !(s->node->scheme->traits & (SECURE | DGRAM | MPTCP)) && !s->node->small &&
	       s->out.len - read + len < 16384 && s->out.n - msgs < 16;
}

static void note_accepted(struct side *s, const void *data, size_t len)
{
	log_add(&s->out, data, len);
	if (s->refused_act == world.act)
		wrong("%s: tn_send() of %zu bytes is accepted right after one was refused", s->name, len);
	if (s->finished || s->closed || s->aborted)
		wrong("%s: tn_send() accepts after our end", s->name);
	if (s->framed && len > s->max)
		wrong("%s: a message of %zu bytes is accepted, longer than max=%zu", s->name, len, s->max);
	if (s->framed && !is_lossy(s) && s->opens && tn_conn_queued(s->conn) > s->room)
		wrong("%s: %zu bytes are queued, the mark is %zu", s->name, tn_conn_queued(s->conn), s->queue);
}

static void note_refused(struct side *s, size_t len, int rc)
{
	bool too_long = s->framed ? len > s->max : len > s->queue + s->max;

	if (rc == TN_ESTATE)
		s->estate = s->estate || can_send(s);
	else if (rc == TN_EFORMAT && s->mate && s->node->frame->letters)
		return; /* a relay's message from a stranger */
	else if (rc == -EMSGSIZE ? !(s->node->scheme->traits & PACKETS) || len <= LOSSY_MAX
				 : rc != TN_ETOOBIG || !too_long)
		wrong("%s: tn_send() of %zu bytes: %d, %s", s->name, len, rc, tn_errmsg());
}

static void note_sent(struct side *s, const void *data, size_t len, int rc)
{
	trace("%s: sends %zu bytes: %d", s->name, len, rc);
	if (rc >= 0)
		note_accepted(s, data, len);
	if (rc == 1 || rc == TN_EFULL)
		s->owes_drain = s->full = true;
	if (rc == TN_EFULL) {
		s->refused_act = world.act;
		if (is_full_for_nothing(s, len))
			wrong("%s: TN_EFULL for %zu bytes, %zu bytes in %zu messages have been sent, %zu in %zu read",
			      s->name, len, s->out.len, s->out.n, s->pair ? s->pair->in.len : 0,
			      s->pair ? s->pair->in.n : 0);
	} else if (rc < 0) {
		note_refused(s, len, rc);
	}
}

/* A message says who has made it, and which it is. */
static void compose(const struct side *s, unsigned seq, unsigned char *out, size_t len)
{
	unsigned char head[8] = {(unsigned char)('a' + s->nth / 26), (unsigned char)('a' + s->nth % 26)};

	for (int i = 2; i < 8; i++, seq /= 26)
		head[i] = (unsigned char)('a' + seq % 26);
	for (size_t i = 0; i < len; i++) {
		size_t byte = i * 31 + i / 251 + s->nth * 17 + s->seq * 7;

		out[i] = (unsigned char)(i < 8 ? head[i] : world.plan->letters ? 'a' + byte % 26 : byte);
	}
	if (s->client && s->node->text && s->seq % 5 == 3 && len > 8)
		out[8] = 0xff; /* no text: the server refuses it */
}

/* Returns tn_send()'s answer; what is refused for want of room keeps its number. */
static int send_next(struct side *s, size_t len)
{
	unsigned char *data = malloc(len);
	int rc;

	if (!data)
		abort();
	compose(s, s->seq, data, len);
	rc = tn_send(s->conn, data, len);
	note_sent(s, data, len, rc);
	if (rc != TN_EFULL || s->hasty)
		s->seq++;
	free(data);
	return rc;
}

void side_send_one(struct side *s, unsigned len)
{
	if (can_send(s))
		(void)send_next(s, is_lossy(s) && len > LOSSY_MAX ? LOSSY_MAX : len);
}

static bool is_bad(const struct tn_msg *msg)
{
	return msg->len && memchr(msg->data, 0xff, msg->len);
}

static void try_to_end(struct side *s)
{
	if (s->to_send || s->answers)
		return;
	if (s->close_wanted)
		side_close(s);
	else if (s->finish_wanted)
		side_finish(s);
}

/* The lengths differ, down to the shortest that says who sent it. */
static size_t next_len(const struct side *s)
{
	uint64_t chance = s->seq * 77 + s->nth;
	size_t len = 8 + seeded_next(&chance) % (s->send_len - 7);

	if (len > s->max && s->framed)
		len = s->max;
	return is_lossy(s) && len > LOSSY_MAX ? LOSSY_MAX : len;
}

static void go_on_sending(struct side *s)
{
	while (s->to_send && can_send(s) && (s->hasty || !s->full)) {
		int rc = send_next(s, next_len(s));

		s->to_send -= s->hasty || rc != TN_EFULL;
	}
	if (!can_send(s))
		s->to_send = 0;
	try_to_end(s);
}

void side_send(struct side *s, unsigned count, unsigned len)
{
	s->to_send += count;
	s->send_len = len;
	go_on_sending(s);
}

/* ---- what else a program does ---- */

void side_finish(struct side *s)
{
	if (!can_send(s))
		return;
	if (is_lossy(s)) {
		side_close(s);
		return;
	}
	trace("%s: tn_finish()", s->name);
	s->finished = true;
	if (tn_finish(s->conn) == 0)
		return;
	s->estate = true;
}

void side_close(struct side *s)
{
	if (!s->conn || s->closed || s->aborted)
		return;
	trace("%s: tn_close()", s->name);
	s->closed = true;
	s->closed_before_end = !s->ends;
	tn_close(s->conn);
}

void side_abort(struct side *s, int err)
{
	if (!s->conn || s->aborted)
		return;
	trace("%s: tn_abort(%d)", s->name, err);
	s->aborted = true;
	s->abort_err = err ? err : ABORTED;
	tn_abort(s->conn, s->abort_err);
}

void side_pause(struct side *s, enum pause why)
{
	if (!s->conn || s->closed || s->aborted)
		return;
	if (!s->paused) {
		trace("%s: tn_pause()", s->name);
		tn_pause(s->conn);
	}
	s->paused |= why;
}

void side_resume(struct side *s, enum pause why)
{
	if (!s->conn || !(s->paused & why))
		return;
	s->paused &= ~why;
	if (!s->paused) {
		trace("%s: tn_resume()", s->name);
		tn_resume(s->conn);
	}
}

void side_hold(struct side *s)
{
	if (!HAVE_HOLD || !s->conn)
		return;
	trace("%s: tn_conn_hold()", s->name);
	s->holds++;
	tn_conn_hold(s->conn);
}

void side_release(struct side *s)
{
	if (!s->holds || !s->conn)
		return;
	trace("%s: tn_conn_release()", s->name);
	s->holds--;
	tn_conn_release(s->conn);
}

static void readable(void *arg)
{
	const struct side *s = arg;

	lock();
	if (s->closes)
		wrong("%s: a poll that was stopped in on_close is called", s->name);
	unlock();
}

/* Its own descriptor, which another part of a program may want to watch. */
void side_watch(struct side *s)
{
	struct tn_conn_info info;

	if (!s->conn || s->watch)
		return;
	tn_conn_info(s->conn, &info);
	if (info.fd >= 0 && tn_poll_start(world.loops[s->loop], info.fd, readable, s, &s->watch) < 0)
		wrong("%s: a poll of its descriptor: %s", s->name, tn_errmsg());
}

/* As a careless program ends TLS: what its socket has sent may have been cut short. */
void side_end_barely(struct side *s)
{
	struct tn_conn_info info;

	if (!can_send(s) || !s->opens || !(s->node->scheme->traits & SECURE) || is_lossy(s))
		return;
	tn_conn_info(s->conn, &info);
	trace("%s: shutdown(2)", s->name);
	s->bare = info.fd >= 0 && shutdown(info.fd, SHUT_WR) == 0;
}

/* The end of a scenario: nothing that keeps a side from its end is left. */
void side_wind_up(struct side *s)
{
	bool relay = s->node->behaviour == RELAY && !s->dialled;

	side_resume(s, PAUSED_BY_STEP);
	while (s->holds > s->nanswers + relay && s->conn)
		side_release(s);
	if (!s->client)
		return;
	if (s->client->closes || is_lossy(s))
		s->close_wanted = true;
	s->finish_wanted = true;
	try_to_end(s);
}

/* ---- answers that come later ---- */

static struct answer *take_answer(struct side *s)
{
	struct answer *a = s->answers;

	s->answers = a->next;
	s->nanswers--;
	return a;
}

static void send_answers(struct side *s)
{
	struct answer *a;

	while ((a = s->answers) && a->due && (!s->full || !can_send(s))) {
		int rc = TN_ESTATE;

		if (can_send(s)) {
			rc = tn_send(s->conn, a->data, a->len);
			note_sent(s, a->data, a->len, rc);
		}
		if (rc == TN_EFULL)
			break;
		free(take_answer(s));
		side_release(s);
	}
	try_to_end(s);
}

static void due(void *arg)
{
	struct answer *a = arg;

	lock();
	a->timer = NULL;
	a->due = true;
	send_answers(a->side);
	unlock();
}

static void worked_out(void *arg)
{
	struct answer *a = arg;

	if (!a->side) {
		free(a);
		return;
	}
	a->due = true;
	send_answers(a->side);
}

/* On another loop. What it makes of it goes back to the connection's own. */
static void work(void *arg)
{
	struct answer *a = arg;

	if (a->side)
		world_post(a->side->loop, worked_out, a);
	else
		free(a);
}

static void answer_later(struct side *s, const struct tn_msg *msg)
{
	struct answer *a = malloc(sizeof(*a) + msg->len), **last = &s->answers;

	if (!a)
		abort();
	*a = (struct answer){.side = s, .len = msg->len};
	if (msg->len)
		memcpy(a->data, msg->data, msg->len);
	while (*last)
		last = &(*last)->next;
	*last = a;
	s->nanswers++;
	side_hold(s);
	if (s->node->behaviour == WORKER)
		world_post((s->loop + 1) % world.plan->nloops, work, a);
	else if (tn_timer_start(world.loops[s->loop], s->node->delay_ms, due, a, &a->timer) < 0)
		wrong("tn_timer_start(): %s", tn_errmsg());
}

/* A worker has some of them still. */
static void drop_answers(struct side *s)
{
	while (s->answers) {
		struct answer *a = take_answer(s);

		tn_timer_stop(a->timer);
		a->side = NULL;
		if (a->due || s->node->behaviour != WORKER)
			free(a);
	}
}

/* ---- behaviours ---- */

static void publish(struct side *from, const struct tn_msg *msg)
{
	for (unsigned i = 0; i < world.nsides; i++) {
		struct side *s = world.sides[i];

		if (s->node == from->node && !s->dialled && s->loop == from->loop && s->opens && can_send(s))
			note_sent(s, msg->data, msg->len, tn_send(s->conn, msg->data, msg->len));
	}
}

/* It stops reading while the other side is full, so nothing can be refused for want of room. */
static int pass_on(struct side *s, const struct tn_msg *msg)
{
	struct side *to = s->mate;
	int rc = tn_forward(to->conn, msg);

	note_sent(to, msg->data, msg->len, rc);
	if (rc == TN_EFULL)
		wrong("%s: a relay that waits for room is told TN_EFULL", to->name);
	return rc;
}

static void relay(struct side *s, const struct tn_msg *msg)
{
	struct side *to = s->mate;
	int rc;

	if (!to || !can_send(to))
		return;
	rc = pass_on(s, msg);
	if (rc == 1)
		side_pause(s, PAUSED_BY_RELAY);
	if (rc < 0) {
		side_abort(to, rc);
		side_abort(s, rc);
	}
}

static void answer(struct side *s, const struct tn_msg *msg)
{
	switch (s->node->behaviour) {
	case ECHO:
		note_sent(s, msg->data, msg->len, tn_reply(s->conn, msg, msg->data, msg->len));
		break;
	case FORWARD:
		note_sent(s, msg->data, msg->len, tn_forward(s->conn, msg));
		break;
	case LATE:
	case WORKER:
		answer_later(s, msg);
		break;
	case PUBLISH:
		publish(s, msg);
		break;
	case ONCE:
		side_send_one(s, s->node->len);
		side_close(s);
		break;
	default:
		break;
	}
}

static void mate_ended(struct side *s, int err)
{
	struct side *to = s->mate;

	if (!to)
		return;
	if (s->closes && s->dialled)
		side_release(to);
	if (err)
		side_abort(to, err);
	else
		side_finish(to);
}

/* ---- callbacks ---- */

static void do_trick(struct side *s)
{
	struct trick t = s->client ? s->client->trick : s->node->trick;

	if (!t.what || s->in.n != t.nth || (s->dialled && !s->client))
		return;
	if (t.what == MSG_PAUSE && !world.winding_up)
		side_pause(s, PAUSED_BY_STEP);
	else if (t.what == MSG_FINISH)
		side_finish(s);
	else if (t.what == MSG_CLOSE)
		side_close(s);
	else if (t.what == MSG_ABORT)
		side_abort(s, 0);
	else if (s->loop == s->node->loop)
		world_stop(s->node_nth, t.what == MSG_STOP_NOW);
}

static void enter(const struct side *s, const char *what)
{
	world.act++;
	trace("%s: %s", s->name, what);
	if (s->closes)
		wrong("%s: %s after on_close", s->name, what);
	if (!s->opens && strcmp(what, "on_open") != 0)
		wrong("%s: %s before on_open", s->name, what);
	if (s->aborted ||
	    ((s->closed || s->passed_close) && strcmp(what, "on_drain") != 0 && strcmp(what, "on_open") != 0))
		wrong("%s: %s after tn_%s()", s->name, what, s->aborted ? "abort" : "close");
}

/* ---- a relay on paths ---- */

static const struct node *relay_of(const struct side *s)
{
	return s->dialled ? s->mate->node : s->node;
}

static void note_came(struct side *s, const struct tn_msg *msg)
{
	if (s->ends)
		wrong("%s: on_msg after on_end", s->name);
	if (s->paused)
		wrong("%s: on_msg while paused", s->name);
	model_message(s, msg->data, msg->len);
	log_add(&s->in, msg->data, msg->len);
	if (!s->dialled)
		model_pair(s);
}

static void check_ends_of_path(const struct side *s, const struct tn_conn *from, const struct tn_conn *to)
{
	if (s->conn != from || s->mate->conn != to)
		wrong("%s: a path of other connections", s->name);
}

/* An error of the path ends both; a message that the other side takes no more is lost with it. */
static int note_passed(struct side *s, int rc)
{
	if (rc < 0 && rc != TN_ESTATE && !(s->node->scheme->traits & DGRAM))
		s->passed = s->mate->passed = rc;
	return rc;
}

static void keep_back(struct side *s, const struct tn_msg *msg)
{
	if (s->kept)
		wrong("%s: a message comes while one is kept back", s->name);
	s->kept = malloc(msg->len + 1);
	if (!s->kept)
		abort();
	if (msg->len)
		memcpy(s->kept, msg->data, msg->len);
	s->kept_len = msg->len;
}

static int on_path_msg(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	struct side *s = arg;
	int rc;

	lock();
	enter(s, "on_msg of its path");
	check_ends_of_path(s, from, to);
	note_came(s, msg);
	if (relay_of(s)->way == HESITANT && can_send(s->mate) && !is_lossy(s->mate) && (s->in.n + s->nth) % 2 == 0) {
		keep_back(s, msg);
		rc = 1;
	} else {
		rc = note_passed(s, pass_on(s, msg));
	}
	do_trick(s);
	unlock();
	return rc;
}

/* The last call comes before on_close of the source: then there is always room. */
static int on_path_room(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	struct side *s = arg;
	int rc = 0;

	lock();
	world.act++;
	trace("%s: room on its path", s->name);
	check_ends_of_path(s, from, to);
	if (s->closes)
		wrong("%s: room on its path after on_close", s->name);
	if (s->kept) {
		rc = tn_send(to, s->kept, s->kept_len);
		note_sent(s->mate, s->kept, s->kept_len, rc);
		if (rc == TN_EFULL)
			wrong("%s: there is no room for what was kept back", s->name);
		free(s->kept);
		s->kept = NULL;
		(void)note_passed(s, rc);
	}
	unlock();
	return rc;
}

static void end_of_path(struct side *s, const struct tn_conn *from, const struct tn_conn *to, bool cut)
{
	enter(s, cut ? "on_cut of its path" : "on_end of its path");
	check_ends_of_path(s, from, to);
	if (s->ends + s->cuts)
		wrong("%s: its path ends twice", s->name);
	if (s->paused)
		wrong("%s: its path ends while it is paused", s->name);
	if (s->kept)
		wrong("%s: its path ends, and something is kept back", s->name);
	s->cuts += cut;
	s->ends += !cut;
	if (!cut)
		model_end(s);
	side_finish(s->mate);
}

static void on_path_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	lock();
	end_of_path(arg, from, to, false);
	unlock();
}

static void on_path_cut(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	lock();
	end_of_path(arg, from, to, true);
	unlock();
}

static void start_flows(struct side *s)
{
	const struct tn_pass pass = {.msg = on_path_msg,
				     .room = on_path_room,
				     .end = on_path_end,
				     .cut = relay_of(s)->on_cut ? on_path_cut : NULL};
	int rc = tn_flow(s->conn, s->mate->conn, &pass, s);

	if (rc == 0) {
		s->flows = true;
		rc = tn_flow(s->mate->conn, s->conn, &pass, s->mate);
	}
	trace("%s: tn_flow(): %d", s->name, rc);
	if (rc == 0) {
		s->mate->flows = true;
		return;
	}
	if (rc != TN_ESTATE)
		wrong("%s: tn_flow(): %s", s->name, tn_errmsg());
	side_abort(s->mate, -ECONNABORTED);
	side_abort(s, -ECONNABORTED);
}

/* The first message has gone by hand: it says who speaks. */
static void start_join(struct side *s)
{
	int rc;

	if (s->in.len < 4 || s->mate->out.len < 4 || !s->conn || !s->mate->conn || s->aborted || s->closed ||
	    s->mate->aborted || s->mate->closed || s->finished || s->mate->finished || s->ends || s->mate->ends ||
	    s->mate->cuts)
		return;
	/* A datagram that nobody has seen could be one that nobody has sent. */
	rc = is_lossy(s) || is_lossy(s->mate) ? -EINVAL : tn_join(s->conn, s->mate->conn);
	trace("%s: tn_join(): %d", s->name, rc);
	side_resume(s, PAUSED_BY_RELAY);
	side_resume(s->mate, PAUSED_BY_RELAY);
	side_release(s);
	if (rc == 0)
		s->joined = s->mate->joined = true;
	else if (rc == -EINVAL)
		start_flows(s);
	else if (rc == TN_ESTATE)
		side_abort(s, -ECONNABORTED);
	else
		wrong("%s: tn_join(): %s", s->name, tn_errmsg());
}

static void dial_mate(struct side *s)
{
	struct side *to = side_new(s->node->target, NULL, true);

	to->loop = s->loop;
	s->mate = to;
	to->mate = s;
	if (s->node->way == BY_HAND || s->node->way == JOIN)
		side_hold(s);
	side_dial(to);
	if (!to->conn)
		side_abort(s, -ECONNREFUSED);
	else if (s->node->way == FLOWS || s->node->way == HESITANT)
		start_flows(s);
}

static bool is_on_path(const struct side *s)
{
	return s->flows || s->joined;
}

/* Its path closes the other one as well, in good order or not. */
static void path_closed(struct side *s, int err)
{
	struct side *to = s->mate;

	s->lost_kept = s->kept && to->conn;
	free(s->kept);
	s->kept = NULL;
	if (!to->conn)
		return;
	if (err && !to->passed)
		to->passed = err;
	else if (!err)
		to->passed_close = true;
}

static struct side *served_side(struct tn_conn *conn, void *arg)
{
	struct side *s = side_new((unsigned)(uintptr_t)arg, NULL, false);

	while (world.loops[s->loop] != tn_conn_loop(conn))
		s->loop++;
	s->conn = conn;
	tn_conn_set_data(conn, s);
	return s;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct side *s;

	lock();
	s = tn_conn_data(conn);
	if (!s) {
		s = served_side(conn, arg);
		world_watched(s->node_nth, conn);
	}
	enter(s, "on_open");
	if (s->opens++)
		wrong("%s: on_open twice", s->name);
	if (s->dialled && s->closed)
		wrong("%s: on_open after tn_close()", s->name);
	if (!s->dialled && s->node->behaviour == RELAY)
		dial_mate(s);
	else if (!s->dialled && s->node->greets && !(s->node->scheme->traits & DGRAM))
		side_send(s, s->node->greets, s->node->len);
	unlock();
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	lock();
	enter(s, "on_msg");
	if (is_on_path(s))
		wrong("%s: on_msg, though it has a path", s->name);
	if (s->node->text && is_bad(msg))
		wrong("%s: on_msg of what is no text", s->name);
	note_came(s, msg);
	if (s->mate)
		relay(s, msg);
	else if (!s->dialled)
		answer(s, msg);
	if (s->mate && !s->dialled && s->node->way == JOIN)
		start_join(s);
	do_trick(s);
	unlock();
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	lock();
	enter(s, "on_bad");
	note_came(s, msg);
	s->bads++;
	if (!s->node->text || !is_bad(msg) || err >= 0)
		wrong("%s: on_bad(%d) of a message that is not: %s", s->name, err, tn_errmsg());
	unlock();
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	lock();
	enter(s, "on_drain");
	if (is_on_path(s))
		wrong("%s: on_drain, though it has a path", s->name);
	if (!s->owes_drain)
		wrong("%s: on_drain, though the queue was never at its mark", s->name);
	if (!is_lossy(s) && tn_conn_queued(s->conn) > s->queue / 2)
		wrong("%s: on_drain with %zu bytes queued, the mark is %zu", s->name, tn_conn_queued(s->conn),
		      s->queue);
	s->owes_drain = s->full = false;
	s->drains++;
	send_answers(s);
	go_on_sending(s);
	if (s->mate)
		side_resume(s->mate, PAUSED_BY_RELAY);
	unlock();
}

static void at_end(struct side *s)
{
	enum at_end deed = s->client ? s->client->at_end : s->node->at_end;

	if (s->mate) {
		mate_ended(s, 0);
		return;
	}
	s->finish_wanted = s->finish_wanted || deed == END_FINISH;
	s->close_wanted = s->close_wanted || deed == END_CLOSE;
	try_to_end(s);
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	lock();
	enter(s, "on_end");
	if (is_on_path(s))
		wrong("%s: on_end, though it has a path", s->name);
	if (s->ends++ || s->cuts)
		wrong("%s: on_end twice, or after on_cut", s->name);
	if (s->paused)
		wrong("%s: on_end while paused", s->name);
	model_end(s);
	at_end(s);
	unlock();
}

static void on_cut(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	lock();
	enter(s, "on_cut");
	if (is_on_path(s))
		wrong("%s: on_cut, though it has a path", s->name);
	if (s->cuts++ || s->ends)
		wrong("%s: on_cut twice, or after on_end", s->name);
	at_end(s);
	unlock();
}

static void dial_again(const struct side *gone)
{
	struct side *s = side_new(gone->node_nth, gone->client, true);

	s->loop = gone->loop;
	s->redials = gone->redials - 1;
	world.by_client[gone->client - world.plan->clients] = s;
	side_dial(s);
}

static void note_end(struct side *s, const char *what, int err)
{
	world.act++;
	snprintf(s->words, sizeof(s->words), "%s", err ? tn_errmsg() : "");
	trace("%s: %s(%d) %s", s->name, what, err, s->words);
	s->err = err;
	if (s->closes++)
		wrong("%s: %s after its end", s->name, what);
	s->freed = world.freed[s->loop];
	if (!err && (s->nanswers || s->holds) && !s->closed && !s->finished && !s->freed && !is_on_path(s))
		wrong("%s: closed in good order while %u replies are owed", s->name, s->nanswers + s->holds);
	/* The end of one that is joined is not seen; it may have come before it was paused. */
	if (!err && s->paused && !s->ends && !s->deaf && !s->closed && !s->freed && !s->joined && !s->passed_close)
		wrong("%s: closed in good order while it is paused", s->name);
	drop_answers(s);
	tn_poll_stop(s->watch);
	s->conn = NULL;
}

#if HAVE_RECONNECT
/*
 * The same connection, but what is sent and received from now on is another life of it, with another server side: what
 * the model says of a direction holds for each.
 */
static struct side *next_life(struct side *gone, struct tn_conn *conn)
{
	struct side *s = side_new(gone->node_nth, gone->client, true);

	s->loop = gone->loop;
	s->redials = gone->redials ? gone->redials - 1 : 0;
	s->conn = conn;
	s->paused = gone->paused;
	s->full = gone->full;
	s->owes_drain = gone->owes_drain;
	s->to_send = gone->to_send;
	s->send_len = gone->send_len;
	s->finish_wanted = gone->finish_wanted;
	s->close_wanted = gone->close_wanted;
	tn_conn_set_data(conn, s);
	world.by_client[gone->client - world.plan->clients] = s;
	return s;
}

static void check_loss(const struct side *s, const struct tn_loss *loss)
{
	if (loss->was_open != (s->opens > 0))
		wrong("%s: on_lost says that it was %sopen", s->name, loss->was_open ? "" : "not ");
	if (s->finished || s->closed || s->aborted)
		wrong("%s: on_lost after our end", s->name);
	if (loss->msgs != s->out.n && (loss->was_open || loss->msgs))
		wrong("%s: on_lost tells of %llu messages, %zu were sent", s->name, (unsigned long long)loss->msgs,
		      s->out.n);
	if (loss->was_open && tn_conn_queued(s->conn))
		wrong("%s: on_lost, and %zu bytes are still queued", s->name, tn_conn_queued(s->conn));
}

static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	struct side *s;
	bool last;

	(void)arg;
	lock();
	s = tn_conn_data(conn);
	check_loss(s, loss);
	if (!loss->was_open && !loss->msgs) { /* an attempt that fails loses nothing of what is kept */
		trace("%s: on_lost(%d)", s->name, err);
		unlock();
		return;
	}
	last = !s->redials || world.winding_up;
	s->to_send = last ? 0 : s->to_send;
	note_end(s, "on_lost", err);
	s = next_life(s, conn);
	if (last)
		side_close(s);
	else
		go_on_sending(s);
	unlock();
}
#endif

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *s;

	lock();
	s = tn_conn_data(conn);
	if (!s) {
		wrong("server %u: on_close without on_open (%d)", (unsigned)(uintptr_t)arg, err);
		unlock();
		return;
	}
	if (!s->dialled)
		world_watched(s->node_nth, conn);
	note_end(s, "on_close", err);
	if (is_on_path(s))
		path_closed(s, err);
	else
		mate_ended(s, err);
	if (s->client && s->redials && !s->client->reconnects && !world.winding_up && !s->freed)
		dial_again(s);
	unlock();
}

struct tn_handler side_handler(bool deaf, bool with_cut)
{
	struct tn_handler handler = {.on_open = on_open,
				     .on_msg = on_msg,
				     .on_drain = on_drain,
				     .on_bad = on_bad,
				     .on_end = deaf ? NULL : on_end,
				     .on_close = on_close};

	if (with_cut)
		SET_ON_CUT(&handler, on_cut);
	SET_ON_LOST(&handler, on_lost);
	return handler;
}

static int dial_prepared(struct side *s, const char *url, const struct tn_handler *handler)
{
	struct tn_endpoint *ep;
	int rc = tn_endpoint_new(url, &ep);

	if (rc == 0) {
		rc = tn_dial_endpoint(world.loops[s->loop], ep, handler, NULL, &s->conn);
		tn_endpoint_unref(ep);
	}
	return rc;
}

void side_dial(struct side *s)
{
	struct served *to = &world.served[s->node_nth];
	struct tn_handler handler = side_handler(s->deaf, s->on_cut);
	char url[1024], base[64];
	int rc;

	snprintf(base, sizeof(base), "fd:%d", to->pair[1]);
	world_url(to->pair[0] ? base : to->url, s->node, s->client, url, sizeof(url));
	trace("%s: dials %s", s->name, url);
	rc = s->client && s->client->prepared ? dial_prepared(s, url, &handler)
					      : tn_dial(world.loops[s->loop], url, &handler, NULL, &s->conn);
	if (rc < 0) {
		wrong("%s: tn_dial(): %s", s->name, tn_errmsg());
		return;
	}
	to->pair[1] = -1;
	tn_conn_set_data(s->conn, s);
	if (!s->client)
		return;
	if (s->client->first)
		side_send(s, s->client->first, s->client->len);
	s->finish_wanted = s->client->then == END_FINISH && !is_lossy(s);
	s->close_wanted = s->client->then == END_CLOSE || (s->client->then && is_lossy(s));
	try_to_end(s);
}

/* ---- in words ---- */

void side_print(const struct side *s)
{
	printf("  %s: loop %u, %s, sent %zu in %zu, received %zu in %zu", s->name, s->loop, s->conn ? "alive" : "gone",
	       s->out.len, s->out.n, s->in.len, s->in.n);
	printf(", on_open %u, on_end %u, on_cut %u, on_drain %u, on_close %u (%d %s)", s->opens, s->ends, s->cuts,
	       s->drains, s->closes, s->err, s->words);
	printf("%s%s%s%s%s", s->finished ? ", finished" : "", s->closed ? ", closed" : "",
	       s->aborted ? ", aborted" : "", s->paused ? ", paused" : "", s->full ? ", full" : "");
	printf(", %u holds, %u answers owed, %u to send", s->holds, s->nanswers, s->to_send);
	if (s->conn)
		printf(", %zu queued", tn_conn_queued(s->conn));
	printf(", other end: %s\n", s->pair ? s->pair->name : "not known");
}

void side_free(struct side *s)
{
	free(s->out.bytes);
	free(s->out.lens);
	free(s->in.bytes);
	free(s->in.lens);
	free(s);
}
