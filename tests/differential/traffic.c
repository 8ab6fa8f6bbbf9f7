/* Connections: they talk in rounds, stall, half-close, and end in one of the ways in which connections do. */
#include "world.h"

#include <stdio.h>

#define DUOS_MAX 3

struct duo {
	struct side *side[2]; /* the dialled, the served */
	bool ended;
};

static bool is_deaf(const struct side *s)
{
	return s->world->deaf[s->served];
}

static bool is_alive(const struct duo *d)
{
	return !d->ended;
}

/* ---- how much is said ---- */

static size_t draw_len(struct world *w)
{
	const struct frame *f = w->frame;
	uint64_t kind = below(w, 100);
	size_t len = 1 + below(w, kind < 65 ? 60 : kind < 88 ? 2000 : kind < 97 ? 20000 : 100000);

	if (f->fixed)
		return f->fixed;
	if (f->empty && kind < 3)
		return 0;
	if (f->max && len > f->max)
		len = 1 + len % f->max;
	return w->stack->traits & LOSSY ? 1 + len % 1200 : len;
}

/* Not more than the queue takes at once. */
static void say_some(struct side *s)
{
	for (uint64_t n = 1 + below(s->world, 4); n && !s->owes_drain; n--)
		side_say(s, draw_len(s->world));
}

static void say_until_full(struct side *s)
{
	size_t len = s->world->frame->fixed ? s->world->frame->fixed : 200 + draw_len(s->world);
	const struct frame *f = s->world->frame;

	if (f->max && len > f->max)
		len = f->max;
	for (int i = 0; i < 400 && !s->owes_drain; i++)
		side_say(s, len);
}

/* ---- rounds ---- */

static void echo(struct duo *d)
{
	struct world *w = d->side[0]->world;
	unsigned who = (unsigned)below(w, 2);

	d->side[!who]->at_msg = FORWARD + (enum deed)below(w, 3);
	say_some(d->side[who]);
}

static void stall(struct duo *d)
{
	struct world *w = d->side[0]->world;
	unsigned who = (unsigned)below(w, 2);

	side_pause(d->side[!who]);
	say_some(d->side[who]);
	if (one_in(w, 3))
		say_some(d->side[!who]); /* who does not listen may speak */
	turn(w, 1 + (unsigned)below(w, 6));
	side_resume(d->side[!who]);
}

static void stall_by_itself(struct duo *d)
{
	struct world *w = d->side[0]->world;
	unsigned who = (unsigned)below(w, 2);

	d->side[!who]->at_msg = PAUSE;
	d->side[!who]->pauses = 1 + (unsigned)below(w, 2);
	say_some(d->side[who]);
}

static void talk(struct duo *d)
{
	struct world *w = d->side[0]->world;

	switch (below(w, 8)) {
	case 0:
	case 1:
		echo(d);
		break;
	case 2:
		stall(d);
		break;
	case 3:
		stall_by_itself(d);
		break;
	case 4:
		if (!(w->stack->traits & LOSSY)) { /* a flood of datagrams may be lost */
			say_until_full(d->side[below(w, 2)]);
			break;
		}
		/* fall through */
	default:
		if (!one_in(w, 4))
			say_some(d->side[0]);
		if (!one_in(w, 4))
			say_some(d->side[1]);
	}
}

static void play_round(struct world *w, struct duo *duos, int n)
{
	for (int i = 0; i < n; i++) {
		if (is_alive(&duos[i]))
			talk(&duos[i]);
		turn(w, (unsigned)below(w, 3));
	}
	settle(w, "round");
	for (int i = 0; i < n; i++)
		duos[i].side[0]->at_msg = duos[i].side[1]->at_msg = NOTHING;
}

/* ---- ends ---- */

static void will_end_well(struct duo *d)
{
	will_close(d->side[0], 0);
	will_close(d->side[1], 0);
}

/* `s` is told that its peer has ended, and does `deed`; one without on_end closes. */
static void will_hear_end(struct side *s, enum deed deed)
{
	s->at_end = deed;
	s->ends_due = !is_deaf(s);
	s->say_len = draw_len(s->world);
}

/* One finishes; the other may talk on before it does. */
static void end_by_finish(struct duo *d, struct side *x, struct side *y)
{
	static const enum deed deeds[] = {NOTHING, FINISH, CLOSE, SAY_AND_CLOSE};
	struct world *w = x->world;

	will_hear_end(y, deeds[below(w, 4)]);
	if (one_in(w, 2))
		say_some(x);
	if (y->at_end == NOTHING && !is_deaf(y)) {
		side_finish(x);
		settle(w, "half-closed");
		for (uint64_t rounds = below(w, 3); rounds; rounds--) {
			say_some(y);
			settle(w, "what was said after the other's end");
		}
		if (one_in(w, 2))
			side_finish(y);
		else
			side_close(y);
	} else {
		side_finish(x);
	}
	x->ends_due = !is_deaf(x);
	will_end_well(d);
}

/* What the other says meanwhile is not wanted any more; what was said before arrives. */
static void end_by_close(struct duo *d, struct side *x, struct side *y)
{
	static const enum deed deeds[] = {FINISH, CLOSE, SAY_AND_CLOSE, ABORT};
	struct world *w = x->world;
	bool crossing = one_in(w, 3);

	will_hear_end(y, deeds[below(w, crossing ? 3 : 4)]); /* an abort would cut off what is crossing */
	if (!one_in(w, 3))
		say_some(x);
	if (crossing)
		say_some(y);
	x->loose = crossing || y->at_end == SAY_AND_CLOSE;
	will_end_well(d);
	if (y->at_end == ABORT && !is_deaf(y))
		will_close(y, ABORTED);
	side_close(x);
}

static void end_by_both(struct duo *d, struct side *x, struct side *y)
{
	say_some(x);
	say_some(y);
	side_close(x);
	side_close(y);
	x->loose = y->loose = true; /* who is closing hears no more */
	will_end_well(d);
}

/* What one hears whose peer was cut off when nothing was on its way. */
static void will_hear_cut(struct side *y)
{
	unsigned traits = y->world->stack->traits;

	if (traits & RESETS) {
		will_close(y, -ECONNRESET);
	} else if (traits & SECURE && !(traits & LOSSY)) {
		will_close(y, TN_ECUT, -ECONNRESET); /* the latter if the other had tickets of ours to read yet */
	} else {
		will_hear_end(y, CLOSE);
		will_close(y, 0);
	}
}

/* The same while something was. */
static void may_hear_anything(struct side *y)
{
	y->loose = true;
	y->drains_loose = true;
	y->at_end = CLOSE;
	if ((y->world->stack->traits & (UNIX | SECURE)) ==
	    UNIX) /* a cut looks like an end there, in a message perhaps */
		will_close(y, 0, -ECONNRESET, -EPIPE, TN_ETRUNC);
	else
		will_close(y, 0, -ECONNRESET, -EPIPE, TN_ECUT);
}

static void end_by_abort(struct world *w, struct side *x, struct side *y)
{
	if (one_in(w, 2)) {
		will_hear_cut(y);
	} else {
		may_hear_anything(y);
		x->loose = true;
		say_some(x);
		say_some(y);
		turn(w, (unsigned)below(w, 5));
	}
	will_close(x, ABORTED);
	side_abort(x, ABORTED);
}

/* In the midst of what it is told. */
static void end_in_message(struct world *w, struct side *x, struct side *y)
{
	x->at_msg = one_in(w, 2) ? CLOSE : ABORT;
	x->loose = true;
	if (x->at_msg == CLOSE) {
		will_hear_end(y, CLOSE);
		will_close(y, 0);
		will_close(x, 0);
	} else {
		may_hear_anything(y);
		will_close(x, ABORTED);
	}
	side_say(y, w->frame->fixed ? w->frame->fixed : 1 + draw_len(w) / 2);
	say_some(y);
}

static void end(struct world *w, struct duo *d)
{
	unsigned who = (unsigned)below(w, 2);
	struct side *x = d->side[who], *y = d->side[!who];

	switch (below(w, 9)) {
	case 0:
	case 1:
	case 2:
		end_by_finish(d, x, y);
		break;
	case 3:
	case 4:
		end_by_close(d, x, y);
		break;
	case 5:
		end_by_both(d, x, y);
		break;
	case 6:
		end_in_message(w, x, y);
		break;
	default:
		end_by_abort(w, x, y);
	}
	d->ended = true;
}

/* ---- the end of the server, or of the loop ---- */

static void end_server(struct world *w, struct duo *duos, int n)
{
	bool orderly = one_in(w, 20); /* which takes until they have been quiet for a while */

	for (int i = 0; i < n; i++) {
		if (!is_alive(&duos[i]))
			continue;
		if (orderly) {
			will_hear_end(duos[i].side[0], one_in(w, 2) ? FINISH : CLOSE);
			will_end_well(&duos[i]);
		} else {
			will_hear_cut(duos[i].side[0]);
			will_close(duos[i].side[1], -ECANCELED);
		}
		duos[i].side[1]->over = true;
		duos[i].ended = true;
	}
	world_close_server(w, orderly ? PATIENCE_MS : 0);
	settle(w, "the server's end");
	wait_for(w, w->server_done);
}

static void end_loop(struct duo *duos, int n)
{
	for (int i = 0; i < n; i++) {
		if (!is_alive(&duos[i]))
			continue;
		will_close(duos[i].side[0], -ECANCELED);
		will_close(duos[i].side[1], -ECANCELED);
	}
}

/* ---- beginnings ---- */

static void draw_keys(struct world *w, char *keys, size_t cap)
{
	static const char *const queues[] = {"", "&queue=1KiB", "&queue=16KiB"};
	static const char *const bufs[] = {"", "", "", "&sndbuf=8KiB", "&rcvbuf=8KiB", "&sndbuf=16KiB&rcvbuf=16KiB"};
	const char *buf = bufs[below(w, 6)];

	const char *queue = queues[below(w, 3)];

	/* A Unix socket has no buffer for what comes; a packet must fit that for what goes. */
	if (w->stack->traits & (UNIX | LOSSY))
		buf = "";
	/* What of its handshake waits in a small queue when it is open is chance. */
	if (w->stack->traits & SECURE)
		queue = "";
	snprintf(keys, cap, "drain=30s%s%s%s%s", queue, buf, *w->frame->name ? "&frame=" : "", w->frame->name);
}

static void begin(struct world *w, struct duo *d, int nth)
{
	char name[24];

	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%d %s", nth, i ? "served" : "dialled");
		d->side[i] = side_new(w, name);
		d->side[i]->served = i;
	}
	for (int i = 0; i < 2; i++) {
		d->side[i]->from = &d->side[!i]->out;
		if (!one_in(w, 4))
			continue;
		d->side[i]->at_open = SAY;
		d->side[i]->say_len = draw_len(w);
	}
	w->awaited = d->side[1];
}

/* What is sent before on_open goes out first; who closes right behind it is served as well. */
static void begin_and_leave(struct world *w, struct duo *d)
{
	will_hear_end(d->side[1], CLOSE);
	d->side[0]->opens_due = -1; /* whether it is told that it is open depends on when its last byte has gone */
	d->side[0]->at_open = d->side[1]->at_open = NOTHING;
	say_some(d->side[0]);
	side_close(d->side[0]);
	will_end_well(d);
	settle(w, "sent and left");
	d->ended = true;
}

static void begin_all(struct world *w, struct duo *duos, int n, const char *url)
{
	for (int i = 0; i < n; i++) {
		begin(w, &duos[i], i);
		side_dial(duos[i].side[0], url);
		if (*w->wrong)
			return;
		if (one_in(w, 8)) {
			begin_and_leave(w, &duos[i]);
			continue;
		}
		if (duos[i].side[0]->at_open == NOTHING && one_in(w, 4))
			say_some(duos[i].side[0]);
		settle(w, "open");
	}
}

/* Dialled and ended at once: the server may have heard of it. */
static void dial_in_vain(struct world *w, const char *url)
{
	struct side *s = side_new(w, "in vain");

	side_dial(s, url);
	if (*w->wrong)
		return;
	s->opens_due = 0;
	switch (below(w, 4)) {
	case 0:
		side_close(s);
		will_close(s, 0);
		break;
	case 1:
		side_abort(s, ABORTED);
		will_close(s, ABORTED);
		break;
	case 2:
		s->opens_due = 1;
		s->at_open = CLOSE;
		will_close(s, 0);
		break;
	default:
		s->opens_due = 1;
		s->at_open = ABORT;
		will_close(s, ABORTED);
	}
	s->loose = true;
	settle(w, "dialled in vain");
}

void play_traffic(struct world *w)
{
	int n = 1 + (int)below(w, DUOS_MAX), rounds = 1 + (int)below(w, 4);
	struct duo duos[DUOS_MAX] = {0};
	char keys[160], url[1024];

	w->deaf[0] = one_in(w, 4);
	w->deaf[1] = one_in(w, 4);
	draw_keys(w, keys, sizeof(keys));
	if (!world_serve(w, keys))
		return;
	world_full_url(w, w->url, keys, url, sizeof(url));
	begin_all(w, duos, n, url);
	if (*w->wrong)
		return;
	for (int r = 0; r < rounds && !*w->wrong; r++) {
		play_round(w, duos, n);
		if (one_in(w, 12))
			dial_in_vain(w, url);
		for (int i = 0; i < n && r + 1 < rounds; i++) {
			if (is_alive(&duos[i]) && one_in(w, 4))
				end(w, &duos[i]);
		}
	}
	if (one_in(w, 8)) {
		end_loop(duos, n);
		return;
	}
	for (int i = 0; i < n && !*w->wrong; i++)
		if (is_alive(&duos[i]) && !one_in(w, 6))
			end(w, &duos[i]);
	settle(w, "ends");
	end_server(w, duos, n);
}
