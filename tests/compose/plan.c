/* A scenario, drawn from its seed; and what is left of it when parts are cut out. */
#include "compose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct scheme schemes[] = {
	{"tcp://", "127.0.0.1:0", TCP, 24},
	{"unix:", "%s/%d.%u", LOCAL, 16},
	{"unix-seqpacket:", "%s/%d.%u", LOCAL | PACKETS, 8},
	{"fd:", "", LOCAL | PAIR, 5},
	{"udp://", "127.0.0.1:0", DGRAM | PACKETS | LOSSY, 6},
	{"unix-dgram:", "%s/%d.%u", DGRAM | PACKETS | LOSSY | LOCAL, 4},
	{"mptcp://", "127.0.0.1:0", TCP | MPTCP, 4},
#ifdef TNI_HAVE_TLS
	{"tls://", "127.0.0.1:0", SECURE | TCP, 16},
	{"tls+unix:", "%s/%d.%u", SECURE | LOCAL, 10},
	{"dtls://", "127.0.0.1:0", SECURE | PACKETS | LOSSY, 4},
#endif
};

static const struct frame frames[] = {{"", false},   {"line", true},    {"u16", false},       {"u32", false},
				      {"nul", true}, {"varint", false}, {"netstring", false}, {"cobs", true}};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const char *const behaviours[] = {"discard", "echo", "forward", "late", "worker", "publish", "relay", "once"};

static const char *const ways[] = {"by hand", "flows", "flows that keep back", "joined"};

static const char *const deeds[] = {
	[DIAL] = "dial",
	[SEND] = "send",
	[SEND_BIG] = "send-too-long",
	[PAUSE] = "pause",
	[RESUME] = "resume",
	[FINISH] = "finish",
	[CLOSE] = "close",
	[ABORT] = "abort",
	[SERVED_PAUSE] = "served-pause",
	[SERVED_RESUME] = "served-resume",
	[SERVED_HOLD] = "served-hold",
	[SERVED_RELEASE] = "served-release",
	[SERVED_SEND] = "served-send",
	[SERVED_FINISH] = "served-finish",
	[SERVED_CLOSE] = "served-close",
	[SERVED_ABORT] = "served-abort",
	[STOP] = "stop",
	[STOP_NOW] = "stop-now",
	[WAIT] = "wait",
	[RUN] = "run",
	[LEAVE] = "abort-and-leave",
	[POLLS] = "polls",
	[WATCH] = "watch",
	[RELOAD] = "reload",
	[STRANGER] = "stranger",
	[CALL] = "call",
	[BARE_FIN] = "bare-fin",
};

/* Of what deeds are drawn. */
static const unsigned weights[NDEEDS] = {
	[DIAL] = 0,         [SEND] = 34,          [SEND_BIG] = 5,    [PAUSE] = 6,         [RESUME] = 5,
	[FINISH] = 6,       [CLOSE] = 3,          [ABORT] = 2,       [SERVED_PAUSE] = 6,  [SERVED_RESUME] = 4,
	[SERVED_HOLD] = 2,  [SERVED_RELEASE] = 2, [SERVED_SEND] = 8, [SERVED_FINISH] = 2, [SERVED_CLOSE] = 2,
	[SERVED_ABORT] = 2, [STOP] = 3,           [STOP_NOW] = 1,    [WAIT] = 16,         [RUN] = 2,
	[LEAVE] = 1,        [POLLS] = 1,          [WATCH] = 2,       [RELOAD] = 1,        [STRANGER] = 3,
	[CALL] = 3,         [BARE_FIN] = 2,
};

/* What the system does not have is TCP: the same seed is a like scenario there. */
void plan_probe(void)
{
	for (size_t i = 0; i < COUNT(schemes); i++) {
		struct tn_loop *loop;
		char url[64];

		if (!(schemes[i].traits & MPTCP) || tn_loop_new(&loop, "epoll") < 0)
			continue;
		snprintf(url, sizeof(url), "%s%s", schemes[i].name, schemes[i].place);
		if (tn_serve(loop, url, &(struct tn_handler){0}, NULL, NULL) < 0) {
			printf("passed over: %s\n", tn_errmsg());
			schemes[i].name = "tcp://";
		}
		tn_loop_free(loop);
	}
}

struct draw {
	uint64_t state;
};

static unsigned below(struct draw *d, unsigned n)
{
	return (unsigned)(seeded_next(&d->state) % n);
}

static bool one_in(struct draw *d, unsigned n)
{
	return below(d, n) == 0;
}

static unsigned weighted(struct draw *d, unsigned all, unsigned (*weight)(unsigned))
{
	unsigned at = below(d, all), i = 0;

	while (at >= weight(i))
		at -= weight(i++);
	return i;
}

static unsigned scheme_weight(unsigned i)
{
	return schemes[i].weight;
}

static unsigned deed_weight(unsigned i)
{
	return weights[i];
}

static unsigned sum(unsigned n, unsigned (*weight)(unsigned))
{
	unsigned all = 0;

	for (unsigned i = 0; i < n; i++)
		all += weight(i);
	return all;
}

static unsigned draw_len(struct draw *d)
{
	unsigned kind = below(d, 100);

	return 8 + below(d, kind < 60 ? 60 : kind < 85 ? 2000 : kind < 97 ? 20000 : 100000);
}

static struct trick draw_trick(struct draw *d, unsigned n)
{
	struct trick t = {.what = one_in(d, 5) ? 1 + (enum at_msg)below(d, n) : MSG_NOTHING};

	t.nth = 1 + below(d, one_in(d, 3) ? 20 : 3);
	return t;
}

static void draw_node(struct draw *d, struct plan *p, unsigned i)
{
	static const unsigned maxes[] = {0, 0, 0, 4096, 1000}, queues[] = {0, 0, 0, 1024, 16384, 65536};
	struct node *n = &p->nodes[i];
	bool framed = !one_in(d, 3);

	*n = (struct node){.on = true,
			   .scheme = &schemes[weighted(d, sum(COUNT(schemes), scheme_weight), scheme_weight)]};
	n->frame = &frames[framed ? 1 + below(d, COUNT(frames) - 1) : 0];
	n->behaviour = (enum behaviour)below(d, NBEHAVIOURS);
	n->target = below(d, i ? i : 1);
	n->loop = below(d, p->nloops);
	n->spread = one_in(d, 3);
	n->deaf = one_in(d, 4);
	n->on_cut = one_in(d, 2);
	n->at_end = one_in(d, 3) ? END_CLOSE : END_FINISH;
	n->max = maxes[below(d, COUNT(maxes))];
	n->queue = queues[below(d, COUNT(queues))];
	n->small = one_in(d, 3) ? 8192 : 0;
	n->delay_ms = below(d, 8);
	if (one_in(d, 12))
		n->delay_ms = 150; /* longer than a connection must be silent to be quiet */
	n->greets = one_in(d, 5) ? 1 + below(d, 3) : 0;
	n->len = draw_len(d);
	n->trick = draw_trick(d, MSG_STOP_NOW);
	n->limit = one_in(d, 10) ? 1 + below(d, 2) : 0;
	n->hurry = one_in(d, 12);
	n->old_tls = one_in(d, 3);
	n->way = (enum way)below(d, NWAYS);
	if (one_in(d, 4))
		n->behaviour = RELAY;
	n->text = one_in(d, 4);
	n->bad_closes = one_in(d, 3);
	n->idle_ms = one_in(d, 8) ? 20 + below(d, 100) : 0;
}

/* What cannot be is made what can. */
static void mend_node(struct plan *p, unsigned i)
{
	struct node *n = &p->nodes[i];
	unsigned traits = n->scheme->traits;

	if (traits & PACKETS)
		n->frame = &frames[0];
	/* Nothing may tell that a client of DTLS has gone: what it is joined with would wait for it. */
	if (n->behaviour == RELAY && (i == 0 || traits & LOSSY))
		n->behaviour = ECHO;
	if (n->behaviour == RELAY)
		n->deaf = false;
	if (n->behaviour == RELAY && (n->way == BY_HAND || n->way == JOIN))
		n->on_cut = true; /* it holds its client: nothing else tells that it has gone */
	if (!HAVE_JOIN)
		n->way = BY_HAND;
	if (traits & DGRAM && n->behaviour != FORWARD)
		n->behaviour = n->behaviour == DISCARD ? DISCARD : ECHO;
	if (traits & (PAIR | DGRAM))
		n->limit = 0;
	if (traits & LOSSY || n->behaviour == RELAY || !(*n->frame->name || traits & PACKETS))
		n->text = false;
	if (traits & DGRAM) {
		n->idle_ms = 0;
		n->trick.what = MSG_NOTHING;
		n->hurry = false;
	}
	if (traits & (PAIR | DGRAM) || p->nloops == 1)
		n->spread = false;
	if (n->spread)
		n->loop = 0;
	if (traits & (LOCAL | LOSSY))
		n->small = 0;
	p->letters = p->letters || n->frame->letters || n->text;
}

static void draw_client(struct draw *d, struct plan *p, unsigned i)
{
	static const unsigned queues[] = {0, 0, 0, 1024, 16384};
	struct draw own = {p->seed ^ (i + 1) * UINT64_C(0x9e3779b97f4a7c15)}; /* what was drawn before stays the same */
	struct client *c = &p->clients[i];

	*c = (struct client){.on = true, .node = below(d, p->nnodes), .loop = below(d, p->nloops)};
	c->deaf = one_in(d, 4);
	c->on_cut = one_in(d, 2);
	c->hasty = one_in(d, 3);
	c->at_end = (enum at_end)below(d, 3);
	c->closes = one_in(d, 4);
	c->max = one_in(d, 4) ? 2048 : 0;
	c->queue = queues[below(d, COUNT(queues))];
	c->first = one_in(d, 3) ? below(d, 5) : 0;
	c->len = draw_len(d);
	c->trick = draw_trick(d, MSG_ABORT);
	c->redials = one_in(d, 6) ? 1 + below(d, 2) : 0;
	c->hurry = one_in(d, 16);
	c->idle_ms = one_in(d, 12) ? 20 + below(d, 100) : 0;
	c->then = one_in(d, 4) ? END_FINISH : one_in(d, 8) ? END_CLOSE : END_NOTHING;
	c->prepared = one_in(d, 3);
	c->reconnects = one_in(&own, 3);
	if (c->reconnects)
		c->redials = 1 + below(&own, 4);
}

static bool is_of_node(enum deed deed)
{
	return (deed >= SERVED_PAUSE && deed <= STOP_NOW) || deed == RELOAD || deed == STRANGER || deed == CALL;
}

static void draw_step(struct draw *d, struct plan *p, unsigned i)
{
	struct step *s = &p->steps[i];
	unsigned who = below(d, 1000);

	*s = (struct step){.on = true, .deed = (enum deed)weighted(d, sum(NDEEDS, deed_weight), deed_weight)};
	s->count = 1 + below(d, one_in(d, 4) ? 60 : 6);
	s->len = draw_len(d);
	s->ms = below(d, one_in(d, 12) ? 30 : 4);
	s->posted = one_in(d, 2);
	if (i < p->nclients) {
		s->deed = DIAL;
		who = i;
	}
	if (s->deed == WAIT || s->deed == RUN || s->deed == POLLS)
		s->who = who % p->nloops;
	else
		s->who = who % (is_of_node(s->deed) ? p->nnodes : p->nclients);
	if (s->deed == SEND && one_in(d, 12))
		s->count = 300; /* more than a peer that does not read has room for */
	while ((uint64_t)s->count * s->len > 1500000)
		s->count = 1 + s->count / 2;
	if (s->deed == STOP && one_in(d, 2))
		s->ms = 150; /* who is quiet is closed before anything else happens */
}

/* Right before it is told to stop, a server pauses or holds its connections, and a client of it sends: chance alone
 * does this too rarely. */
static void draw_stops(struct draw *d, struct plan *p)
{
	for (unsigned i = p->nclients + 2; i < p->nsteps; i++) {
		unsigned node = p->steps[i].who, client = below(d, p->nclients);

		if (p->steps[i].deed != STOP || p->steps[i].ms < 150 || one_in(d, 3))
			continue;
		p->steps[i - 2].deed = one_in(d, 2) ? SERVED_PAUSE : SERVED_HOLD;
		p->steps[i - 2].who = node;
		if (p->steps[i - 2].deed == SERVED_PAUSE && one_in(d, 4))
			p->steps[i].ms = 1200; /* where a peer is held back, quiet takes a second */
		p->steps[i - 1].deed = one_in(d, 2) ? SEND : WAIT;
		p->steps[i - 1].who = client;
		p->steps[i].posted = false;
		p->clients[client].node = node;
	}
}

/* Some clients come late: the dials, which stand first, change places with later steps. */
static void shuffle(struct draw *d, struct plan *p)
{
	for (unsigned i = 1; i < p->nclients; i++) {
		unsigned j = one_in(d, 3) ? below(d, p->nsteps) : i;
		struct step s = p->steps[i];

		p->steps[i] = p->steps[j];
		p->steps[j] = s;
	}
}

/* ---- what is cut out ---- */

enum {
	CUT_LOOPS,
	CUT_THREADS,
	CUT_FREED,
	CUT_EMBEDDED,
	CUT_CLIENT = 10,
	CUT_NODE = 20,
	CUT_STEP = 30,
	CUT_CLIENT_KEYS = 100, /* twelve for each */
	CUT_NODE_KEYS = 180,   /* nineteen for each */
	CUT_STEP_COUNT = 280,
	CUT_STEP_LEN = 320,
	CUT_STEP_MS = 360,
	CUT_STEP_POSTED = 400,
};

static void cut_client(struct client *c, const bool *all, const bool *keys)
{
	c->on = c->on && !all[0];
	c->deaf = c->deaf && !keys[0];
	c->hasty = c->hasty && !keys[1];
	c->closes = c->closes && !keys[2];
	c->max = keys[3] ? 0 : c->max;
	c->queue = keys[4] ? 0 : c->queue;
	c->at_end = keys[5] ? END_FINISH : c->at_end;
	c->on_cut = c->on_cut && !keys[5];
	c->first = keys[6] ? 0 : keys[7] && c->first ? 1 : c->first;
	c->len = keys[7] ? 8 : c->len;
	c->then = keys[8] ? END_NOTHING : c->then;
	c->trick.what = keys[9] ? MSG_NOTHING : c->trick.what;
	c->redials = keys[10] ? 0 : c->redials;
	c->hurry = c->hurry && !keys[11];
	c->prepared = c->prepared && !keys[11];
	c->idle_ms = keys[11] ? 0 : c->idle_ms;
}

static void cut_node(struct node *n, const bool *all, const bool *keys)
{
	n->on = n->on && !all[0];
	n->deaf = n->deaf && !keys[0];
	n->max = keys[1] ? 0 : n->max;
	n->queue = keys[2] ? 0 : n->queue;
	n->small = keys[3] ? 0 : n->small;
	n->delay_ms = keys[4] ? 1 : n->delay_ms;
	n->spread = n->spread && !keys[5];
	n->at_end = keys[6] ? END_FINISH : n->at_end;
	n->on_cut = n->on_cut && !keys[7];
	n->frame = keys[8] ? &frames[0] : n->frame;
	n->behaviour = keys[9] ? DISCARD : keys[10] ? ECHO : n->behaviour;
	n->scheme = keys[11] ? &schemes[0] : n->scheme;
	n->greets = keys[12] ? 0 : n->greets;
	n->len = keys[13] ? 8 : n->len;
	n->trick.what = keys[14] ? MSG_NOTHING : n->trick.what;
	n->limit = keys[15] ? 0 : n->limit;
	n->hurry = n->hurry && !keys[16];
	n->idle_ms = keys[16] ? 0 : n->idle_ms;
	n->text = n->text && !keys[16];
	n->old_tls = n->old_tls && !keys[17];
	n->way = keys[18] ? BY_HAND : n->way;
}

static void cut_step(struct step *s, const struct cuts *cuts, unsigned i)
{
	s->on = s->on && !cuts->cut[CUT_STEP + i];
	s->count = cuts->cut[CUT_STEP_COUNT + i] ? 1 : s->count;
	s->len = cuts->cut[CUT_STEP_LEN + i] ? 8 : s->len;
	s->ms = cuts->cut[CUT_STEP_MS + i] ? 0 : s->ms;
	s->posted = s->posted && !cuts->cut[CUT_STEP_POSTED + i];
}

static void apply(struct plan *p, const struct cuts *cuts)
{
	if (cuts->cut[CUT_THREADS])
		p->threads = false;
	p->freed = p->freed && !cuts->cut[CUT_FREED];
	p->embedded = p->embedded && !cuts->cut[CUT_EMBEDDED];
	for (unsigned i = 0; i < p->nclients; i++)
		cut_client(&p->clients[i], &cuts->cut[CUT_CLIENT + i], &cuts->cut[CUT_CLIENT_KEYS + i * 12]);
	for (unsigned i = 0; i < p->nnodes; i++)
		cut_node(&p->nodes[i], &cuts->cut[CUT_NODE + i], &cuts->cut[CUT_NODE_KEYS + i * 19]);
	for (unsigned i = 0; i < p->nsteps; i++)
		cut_step(&p->steps[i], cuts, i);
	if (!cuts->cut[CUT_LOOPS])
		return;
	p->nloops = 1;
	p->threads = false;
	for (unsigned i = 0; i < p->nnodes; i++)
		p->nodes[i].loop = 0;
	for (unsigned i = 0; i < p->nclients; i++)
		p->clients[i].loop = 0;
}

/* A part that is gone takes with it what needs it. */
static void mend(struct plan *p)
{
	bool paired[NODES_MAX] = {false};

	for (unsigned i = 0; i < p->nnodes; i++) {
		struct node *n = &p->nodes[i];

		mend_node(p, i);
		if (n->behaviour == RELAY && (!p->nodes[n->target].on || p->nodes[n->target].scheme->traits & PAIR))
			n->behaviour = ECHO;
	}
	for (unsigned i = 0; i < p->nclients; i++) {
		struct client *c = &p->clients[i];

		c->on = c->on && p->nodes[c->node].on;
		if (p->nodes[c->node].scheme->traits & DGRAM)
			c->hurry = false;
		if (p->nodes[c->node].scheme->traits & DGRAM)
			c->idle_ms = 0;
		if (!HAVE_RECONNECT || !c->redials || p->nodes[c->node].scheme->traits & LOSSY)
			c->reconnects = false;
		if (c->on && p->nodes[c->node].scheme->traits & PAIR) {
			c->redials = 0;
			c->reconnects = false;
			c->on = !paired[c->node];
			paired[c->node] = true;
		}
	}
	for (unsigned i = 0; i < p->nnodes; i++) /* a pair of descriptors with nobody at its other end never ends */
		p->nodes[i].on = p->nodes[i].on && (paired[i] || !(p->nodes[i].scheme->traits & PAIR));
	for (unsigned i = 0; i < p->nsteps; i++) {
		struct step *s = &p->steps[i];

		if (s->deed == WAIT || s->deed == RUN || s->deed == POLLS)
			s->who %= p->nloops;
		else
			s->on = s->on && (is_of_node(s->deed) ? p->nodes[s->who].on : p->clients[s->who].on);
	}
}

void plan_draw(struct plan *p, uint64_t seed, const struct cuts *cuts)
{
	struct draw d = {.state = seed};

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->nloops = one_in(&d, 3) ? 2 + below(&d, 2) : 1;
	p->threads = one_in(&d, 2) && p->nloops > 1;
	p->freed = one_in(&d, 10);
	p->embedded = (seed * 0x9e3779b97f4a7c15ULL) >> 62 == 0; /* not drawn: all else stays as it was */
	p->nnodes = 1 + below(&d, one_in(&d, 3) ? NODES_MAX : 3);
	p->nclients = 1 + below(&d, one_in(&d, 3) ? CLIENTS_MAX : 3);
	p->nsteps = p->nclients + 3 + below(&d, STEPS_MAX - p->nclients - 3);
	for (unsigned i = 0; i < p->nnodes; i++)
		draw_node(&d, p, i);
	for (unsigned i = 0; i < p->nclients; i++)
		draw_client(&d, p, i);
	for (unsigned i = 0; i < p->nsteps; i++)
		draw_step(&d, p, i);
	draw_stops(&d, p);
	shuffle(&d, p);
	apply(p, cuts);
	mend(p);
}

/* ---- in words ---- */

static void print_trick(FILE *out, struct trick t)
{
	static const char *const tricks[] = {"", "pause", "finish", "close", "abort", "stop the server", "stop it now"};

	if (t.what)
		fprintf(out, "    at message %u: %s\n", t.nth, tricks[t.what]);
}

static void print_node(FILE *out, const struct node *n, unsigned i)
{
	static const char *const ends[] = {"nothing", "finish", "close"};

	if (!n->on)
		return;
	fprintf(out, "  server %u: %s frame=%s, %s", i, n->scheme->name, *n->frame->name ? n->frame->name : "none",
		behaviours[n->behaviour]);
	if (n->behaviour == RELAY)
		fprintf(out, " to server %u, %s", n->target, ways[n->way]);
	if (n->behaviour == LATE || n->behaviour == WORKER)
		fprintf(out, " %u ms", n->delay_ms);
	if (n->behaviour == ONCE)
		fprintf(out, " (%u bytes)", n->len);
	if (n->greets)
		fprintf(out, ", greets with %u x %u bytes at most", n->greets, n->len);
	fprintf(out, n->spread ? ", all loops" : ", loop %u", n->loop);
	fprintf(out, ", at the end: %s", n->deaf ? "no on_end" : ends[n->at_end]);
	fprintf(out, ", max=%u queue=%u bufs=%u%s\n", n->max, n->queue, n->small, n->on_cut ? ", on_cut" : "");
	if (n->limit || n->hurry || (n->old_tls && n->scheme->traits & SECURE))
		fprintf(out, "    limit %u%s%s\n", n->limit, n->hurry ? ", drain=5ms" : "",
			n->old_tls ? ", TLS 1.2" : "");
	if (n->idle_ms)
		fprintf(out, "    idle %u ms\n", n->idle_ms);
	if (n->text)
		fprintf(out, "    format=text%s\n", n->bad_closes ? ", bad=close" : "");
	print_trick(out, n->trick);
}

static void print_client(FILE *out, const struct client *c, unsigned i)
{
	static const char *const ends[] = {"nothing", "finish", "close"};

	if (!c->on)
		return;
	fprintf(out, "  client %u: of server %u, loop %u, %s%s, at the end: %s, in the end: %s, max=%u queue=%u%s\n", i,
		c->node, c->loop, c->hasty ? "hasty" : "patient", c->prepared ? ", endpoint" : "",
		c->deaf ? "no on_end" : ends[c->at_end], c->closes ? "close" : "finish", c->max, c->queue,
		c->on_cut ? ", on_cut" : "");
	if (c->first)
		fprintf(out, "    when it dials: %u x %u bytes at most\n", c->first, c->len);
	if (c->then)
		fprintf(out, "    then at once: %s\n", ends[c->then]);
	if (c->redials || c->hurry)
		fprintf(out, "    dials %u times more%s%s\n", c->redials, c->reconnects ? ", by reconnect" : "",
			c->hurry ? ", drain=5ms" : "");
	if (c->idle_ms)
		fprintf(out, "    idle %u ms\n", c->idle_ms);
	print_trick(out, c->trick);
}

static void print_step(FILE *out, const struct step *s, unsigned i)
{
	if (!s->on)
		return;
	fprintf(out, "  step %u: %s", i, deeds[s->deed]);
	if (s->deed == WAIT || s->deed == RUN || s->deed == POLLS)
		fprintf(out, " (loop %u)", s->who);
	else
		fprintf(out, " %s %u", is_of_node(s->deed) ? "server" : "client", s->who);
	if (s->deed == SEND || s->deed == SERVED_SEND)
		fprintf(out, ", %u x %u bytes at most", s->count, s->len);
	fprintf(out, ", then %u ms%s\n", s->ms, s->posted ? ", posted" : "");
}

static void print(FILE *out, const struct plan *p)
{
	fprintf(out, "  %u loop%s%s%s%s\n", p->nloops, p->nloops > 1 ? "s" : "", p->threads ? ", a thread each" : "",
		p->embedded ? ", embedded" : "", p->freed ? ", freed while all lives" : "");
	for (unsigned i = 0; i < p->nnodes; i++)
		print_node(out, &p->nodes[i], i);
	for (unsigned i = 0; i < p->nclients; i++)
		print_client(out, &p->clients[i], i);
	for (unsigned i = 0; i < p->nsteps; i++)
		print_step(out, &p->steps[i], i);
}

void plan_print(const struct plan *p)
{
	print(stdout, p);
}

static char *text_of(const struct plan *p)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	print(out, p);
	fclose(out);
	return text;
}

/* Whether the same is played. */
bool plan_same(const struct plan *a, const struct plan *b)
{
	char *of_a = text_of(a), *of_b = text_of(b);
	bool same = !strcmp(of_a, of_b);

	free(of_a);
	free(of_b);
	return same;
}
