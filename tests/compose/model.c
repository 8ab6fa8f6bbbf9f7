/*
 * What each side may have seen. Of each direction of a connection, X to Y:
 *
 * - What Y received is the beginning of what X's tn_send() accepted: whole messages, in order, unchanged, none twice.
 *   (Datagrams: each is one of those, and none comes twice.)
 * - Y's on_end says that all has been handed over. A Unix socket has no reset: a cut looks like an end there.
 * - If X ended in good order and Y's own program neither closed nor aborted, Y has received everything.
 * - Of two that are joined nobody sees what goes from one to the other: what Y received was sent by who stands beyond
 *   them, and may be missing where anything happened to either. An error of one, or of the path, ends the other too,
 *   behind what it has to send.
 * - A connection that is dialled again (key reconnect) is one after the other: each holds for what was sent until it
 *   was lost, and for what is sent from on_lost on. An attempt that fails loses nothing.
 * - An error has a cause: somebody aborted, a message was refused, a server had no time to drain, a loop was freed.
 */
#include "compose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned traits_of(const struct side *s)
{
	return s->node->scheme->traits;
}

static bool has_reset(const struct side *s)
{
	return traits_of(s) & (TCP | SECURE);
}

/* Of nothing there may be no bytes at all. */
static bool is_same(const void *a, const void *b, size_t len)
{
	return len == 0 || !memcmp(a, b, len);
}

static bool is_cut_off(const struct side *s);
static bool stops(const struct side *s);

/* ---- paths ---- */

/* Who sends what comes to a side: its other end, or who stands beyond a path. NULL: not known. */
static const struct side *source_of(const struct side *y)
{
	const struct side *x = y->pair;

	while (x && x->joined)
		x = x->mate->pair;
	return x;
}

static bool is_disturbed(const struct side *s)
{
	return is_cut_off(s) || s->closed || s->finished || s->passed || stops(s) || s->node->limit ||
	       world.served[s->node_nth].stopped;
}

/* Something happened to a path between a side and its source. */
static bool is_path_disturbed(const struct side *y)
{
	for (const struct side *x = y->pair; x && x->joined; x = x->mate->pair)
		if (is_disturbed(x) || is_disturbed(x->mate) || (x->mate->pair && is_disturbed(x->mate->pair)))
			return true;
	return false;
}

/* ---- whose other end is whose ---- */

static bool may_be_pair(const struct side *x, const struct side *y)
{
	return x->dialled && !x->pair && x->node == y->node && x->out.len >= 4 && !memcmp(x->out.bytes, y->in.bytes, 4);
}

static bool is_stranger(const struct side *y)
{
	return !y->dialled && !y->pair && world.served[y->node_nth].strangers;
}

/* The first bytes name who composed them, and of each origin one side at most dials a server. */
void model_pair(struct side *y)
{
	if (y->pair || y->in.len < 4 || traits_of(y) & DGRAM)
		return;
	for (unsigned i = 0; i < world.nsides; i++) {
		struct side *x = world.sides[i];

		if (!may_be_pair(x, y))
			continue;
		x->pair = y;
		y->pair = x;
		return;
	}
	if (!is_stranger(y))
		wrong("%s: what came first was sent by nobody", y->name);
}

/* ---- one direction ---- */

/* Of a stream whose peer was cut off, a last piece may be a part of a message: delimiters end with the stream. */
static bool may_be_cut(const struct side *x, const struct side *y, size_t i)
{
	return i + 1 == y->in.n && i < x->out.n && y->in.lens[i] < x->out.lens[i] && y->node->frame->letters &&
	       !has_reset(y) && x->err;
}

static void check_prefix(const struct side *x, const struct side *y)
{
	if (y->in.len > x->out.len || !is_same(x->out.bytes, y->in.bytes, y->in.len)) {
		wrong("%s: received %zu bytes that are not the beginning of the %zu that %s sent", y->name, y->in.len,
		      x->out.len, x->name);
		return;
	}
	for (size_t i = 0; i < y->in.n && y->framed; i++)
		if ((i >= x->out.n || x->out.lens[i] != y->in.lens[i]) && !may_be_cut(x, y, i)) {
			wrong("%s: message %zu is not as long as %s sent it: %u bytes", y->name, i, x->name,
			      y->in.lens[i]);
			return;
		}
}

static bool has_all(const struct side *x, const struct side *y)
{
	return y->in.len == x->out.len && (!y->framed || y->in.n == x->out.n);
}

static bool is_too_long(const struct side *x, const struct side *y)
{
	return y->framed && y->in.n < x->out.n && x->out.lens[y->in.n] > y->max;
}

static bool stops(const struct side *s)
{
	return !s->dialled && world.served[s->node_nth].stopped;
}

/* Ended by something other than the will of both to end. */
static bool is_cut_off(const struct side *s)
{
	return s->aborted || s->freed || s->err || s->bare;
}

/* Whether Y, which misses something that X sent, may. */
static const char *why_it_may_not(const struct side *x, const struct side *y)
{
	if (y->ends && !is_cut_off(x))
		return "on_end was told";
	if (y->ends && has_reset(y))
		return "on_end was told, and a reset would have been seen";
	if (y->ends && x->bare)
		return "on_end was told, and it ended without a close_notify";
	if (y->err == TN_EIDLE || (y->bads && y->node->bad_closes))
		return NULL;
	if (y->freed || y->aborted || y->closed_before_end || y->err == -ECANCELED || is_too_long(x, y))
		return NULL;
	if (y->passed || (y->passed_close && !y->ends)) /* what still came was dropped */
		return NULL;
	if (stops(y) && !x->err)
		return y->in.len < x->sent_before_stop ? "it was sent before the server was told to stop" : NULL;
	if (!is_cut_off(x))
		return y->err ? "the other end ended in good order" : "both ended in good order";
	if (x->passed && x->err == x->passed && !x->aborted && !x->freed && !y->closed && !(traits_of(y) & MPTCP) &&
	    !x->node->hurry && !world.served[x->node_nth].hurried)
		return "the error was passed on behind it";
	/* Of what an MPTCP socket has not read when a reset comes, its kernel drops a part, although it has
	 * acknowledged it. */
	if (x->err == TN_ETOOBIG && !x->aborted && !x->freed && !y->closed && !(traits_of(y) & MPTCP) &&
	    !x->node->hurry)
		return "it is a reply to what came before a message that was refused";
	if (has_reset(y) && !y->err)
		return "it was told of an end in good order";
	return NULL;
}

static void check_complete(const struct side *x, const struct side *y)
{
	const char *why = has_all(x, y) ? NULL : why_it_may_not(x, y);

	if (why)
		wrong("%s: received %zu of %zu bytes (%zu of %zu messages) of %s, though %s", y->name, y->in.len,
		      x->out.len, y->in.n, x->out.n, x->name, why);
}

/* ---- reasons ---- */

/*
 * Too long is what comes next, be it from beyond a path; or, if nothing has told whose other end is whose, what comes
 * next of one of them.
 */
static bool was_sent_too_long(const struct side *s)
{
	const struct side *source = source_of(s);
	bool was = source && is_too_long(source, s);

	for (unsigned i = 0; i < world.nsides && !s->pair; i++) {
		const struct side *x = world.sides[i];

		was = was || (x->node == s->node && x->dialled != s->dialled && !x->pair && is_too_long(x, s));
	}
	return was;
}

/* Longer than one of the two that are joined may carry; or of a stranger, and not what the other's frame carries. */
static bool is_refused_by_path(const struct side *s)
{
	if (s->err == TN_EFORMAT)
		return world.served[s->node_nth].strangers || world.served[s->mate->node_nth].strangers;
	return s->err == TN_ETOOBIG || s->err == -EMSGSIZE;
}

static bool is_known_cause(const struct side *s)
{
	if (s->passed && s->err == s->passed)
		return true;
	if (s->joined && is_refused_by_path(s))
		return true;
	if (s->aborted && s->err == s->abort_err)
		return true;
	if (s->freed && s->err == -ECANCELED)
		return true;
	if (s->bads && s->node->bad_closes && s->err <= TN_EFORMAT)
		return true;
	if (s->err == TN_EIDLE)
		return s->client ? s->client->idle_ms : s->node->idle_ms;
	if (s->err == TN_EDRAIN)
		return s->client ? s->client->hurry : s->node->hurry;
	if (s->err == -ECANCELED)
		return !s->dialled && world.served[s->node_nth].hurried;
	return s->err == TN_ETOOBIG && was_sent_too_long(s);
}

static bool may_disturb(const struct side *s)
{
	return is_cut_off(s) || s->closed || stops(s);
}

/* The other end, or what became of it, may have been the cause. If nothing has told which it is: any that it may be. */
static bool may_come_from(const struct side *s)
{
	if (s->pair)
		return may_disturb(s->pair) || (s->dialled && world.served[s->node_nth].stopped);
	if (world.plan->freed || (s->dialled && (world.served[s->node_nth].stopped || s->node->limit)))
		return true;
	for (unsigned i = 0; i < world.nsides; i++) {
		const struct side *p = world.sides[i];

		if (p->node == s->node && p->dialled != s->dialled && !p->pair && may_disturb(p))
			return true;
	}
	return false;
}

/* What one sees whose other end has gone, be it in the handshake or before. */
static bool is_end(const struct side *s)
{
	if (s->err == TN_ETRUNC)
		return !has_reset(s);
	return s->err == -ECONNRESET || s->err == -EPIPE || s->err == TN_ECUT || s->err == -ECONNABORTED ||
	       (!s->opens && (s->err == -ECONNREFUSED || s->err == -ENOENT || s->err == TN_ETLS));
}

static void check_reason(const struct side *s)
{
	if (!s->err || is_known_cause(s) || is_stranger(s))
		return;
	if (!is_end(s))
		wrong("%s: ended by %d (%s), of which there was no cause", s->name, s->err, s->words);
	else if (!may_come_from(s))
		wrong("%s: ended by %d (%s), though nobody cut it off", s->name, s->err, s->words);
}

/* Whoever is cut off where there is a reset is told so. An end that came before, or that both wanted, stays an end. */
static void check_told(const struct side *x, const struct side *y)
{
	bool cut = x->aborted || x->err == TN_ETOOBIG || (x->err == -ECANCELED && !x->freed) || x->err == TN_EDRAIN;

	if (cut && has_reset(y) && !x->finished && (!x->closed || x->err == TN_EDRAIN) && y->closes && !y->err &&
	    !y->closed && !stops(y) && !(x->aborted && stops(x))) /* which may have ended it before */
		wrong("%s: ended in good order, though %s was cut off (%d)", y->name, x->name, x->err);
}

/* ---- datagrams ---- */

static bool has_datagram(const struct side *x, const void *data, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < x->out.n; at += x->out.lens[i++])
		if (x->out.lens[i] == len && is_same(x->out.bytes + at, data, len))
			return true;
	return false;
}

static bool came_before(const struct side *s, const void *data, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < s->in.n; at += s->in.lens[i++])
		if (s->in.lens[i] == len && is_same(s->in.bytes + at, data, len))
			return true;
	return false;
}

/* Pieces of a stream may be alike. */
static bool is_near_relay(const struct side *y)
{
	bool near = y->node->behaviour == RELAY;

	for (unsigned i = 0; i < world.plan->nnodes; i++)
		near = near || (world.plan->nodes[i].behaviour == RELAY && world.plan->nodes[i].target == y->node_nth);
	return near;
}

static void check_datagram(const struct side *y, const void *data, size_t len)
{
	if (!is_near_relay(y) && came_before(y, data, len))
		wrong("%s: a datagram came twice", y->name);
	for (unsigned i = 0; i < world.nsides; i++) {
		const struct side *x = world.sides[i];

		if (x->node == y->node && x->dialled != y->dialled && has_datagram(x, data, len))
			return;
	}
	wrong("%s: a datagram of %zu bytes came that nobody sent", y->name, len);
}

/* ---- now ---- */

void model_message(struct side *s, const void *data, size_t len)
{
	const struct side *x = source_of(s);

	if (traits_of(s) & LOSSY)
		check_datagram(s, data, len);
	else if (x && (s->in.len + len > x->out.len || !is_same(x->out.bytes + s->in.len, data, len)))
		wrong("%s: the %zu bytes from %zu on are not what %s sent", s->name, len, s->in.len, x->name);
}

void model_end(struct side *s)
{
	const struct side *x = source_of(s);

	if (!x || (x != s->pair && (is_path_disturbed(s) || is_cut_off(x))))
		return;
	if (!(traits_of(s) & LOSSY) && (has_reset(s) || !x->aborted) && !has_all(x, s) && !x->err && !x->freed)
		wrong("%s: on_end, having received %zu of %zu bytes of %s", s->name, s->in.len, x->out.len, x->name);
}

/* ---- in the end ---- */

static void check_side(const struct side *s)
{
	if (s->closes != 1)
		wrong("%s: on_close came %u times", s->name, s->closes);
	if (!s->opens && !s->err && !s->closed && !s->passed_close)
		wrong("%s: never opened, and ended in good order", s->name);
	if (!(traits_of(s) & LOSSY))
		check_reason(s);
	if (s->lost_kept && (!s->mate->err || s->mate->err == s->mate->passed) && !s->mate->aborted &&
	    !s->mate->freed && !s->mate->closed && !s->mate->finished && !stops(s->mate))
		wrong("%s: what was kept back was never asked for", s->name);
	if (!s->pair || traits_of(s) & LOSSY)
		return;
	if (source_of(s))
		check_prefix(source_of(s), s);
	if (source_of(s) && !s->joined && (source_of(s) == s->pair || !is_path_disturbed(s)))
		check_complete(source_of(s), s);
	check_told(s->pair, s);
	if (s->estate && !s->err && !s->deaf && !s->bare && !s->pair->err && !s->pair->closed && !stops(s) &&
	    !stops(s->pair))
		wrong("%s: tn_send() said TN_ESTATE on a connection that nobody ended", s->name);
}

/* Who sent something and ended in good order, and of whom its server never heard. */
static void check_lost(const struct side *s)
{
	bool may = false;

	if (!s->dialled || s->pair || traits_of(s) & LOSSY || s->err || s->out.len < 4 || s->freed || s->bare ||
	    world.served[s->node_nth].stopped || s->node->limit)
		return;
	for (unsigned i = 0; i < world.nsides; i++) {
		const struct side *y = world.sides[i];

		may = may || (y->node == s->node && !y->dialled && !y->pair && (is_cut_off(y) || y->closed));
	}
	if (!may)
		wrong("%s: ended in good order, and nothing of its %zu bytes arrived", s->name, s->out.len);
}

void model_check(void)
{
	for (unsigned i = 0; i < world.nsides; i++) {
		check_side(world.sides[i]);
		check_lost(world.sides[i]);
	}
}
