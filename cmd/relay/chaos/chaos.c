#include "chaos.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define HELD_NS (NS_PER_S / 10) /* for what is to be overtaken, when nothing comes */

/* Of a direction: more is not to be taken. Each item costs memory, with bytes or without. */
#define BYTES_MAX (1U << 20)
#define ITEMS_MAX (1U << 15)

/* ---- chance ---- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* From 0 to below 1. */
static double fraction(uint64_t *state)
{
	return (double)(draw(state) >> 11) * 0x1p-53;
}

static bool happens(uint64_t *state, double probability)
{
	return probability > 0 && fraction(state) < probability;
}

/* `middle`, more or less by up to `by`. */
static uint64_t around(uint64_t *state, uint64_t middle, uint64_t by)
{
	double value = (double)middle + (fraction(state) * 2 - 1) * (double)by;

	return !by ? middle : value >= 0x1p64 ? CHAOS_NEVER : value > 0 ? (uint64_t)value : 0;
}

/* Never so late that it would be early again. */
static uint64_t later(uint64_t at, uint64_t by)
{
	return by < CHAOS_NEVER - 1 - at ? at + by : CHAOS_NEVER - 1;
}

/* Of the i-th spec. `what`: a direction, or 2 for the session. */
static uint64_t seed_of(const struct chaos_set *set, int i, uint64_t number, uint64_t what)
{
	uint64_t state = set->specs[i].seed, which = set->live ? set->specs[i].id : (uint64_t)i;

	state = draw(&state) ^ number;
	state = draw(&state) ^ (which * 4 + what);
	return draw(&state);
}

uint64_t chaos_draw(const struct chaos_set *set, uint64_t number)
{
	uint64_t active = 0, state;

	for (int i = 0; set && i < set->count; i++) {
		const struct chaos_spec *spec = &set->specs[i];

		state = seed_of(set, i, number, 2);
		if (number < spec->first && (spec->probability >= 1 || happens(&state, spec->probability)))
			active |= UINT64_C(1) << i;
	}
	return active;
}

bool chaos_refuses(const struct chaos_set *set, uint64_t active)
{
	for (int i = 0; set && i < set->count; i++)
		if (active >> i & 1 && set->specs[i].refuse)
			return true;
	return false;
}

/* ---- what waits ---- */

static struct chaos_item *item_new(enum chaos_what what, const void *data, size_t len, uint64_t due)
{
	struct chaos_item *item = malloc(sizeof(*item) + len);

	if (!item)
		return NULL;
	*item = (struct chaos_item){.what = what, .due_ns = due, .len = len};
	if (len)
		memcpy(item->data, data, len);
	return item;
}

/* Behind `before`; NULL: it is the first. */
static void link_behind(struct chaos_pipe *pipe, struct chaos_list *list, struct chaos_item *before,
			struct chaos_item *item)
{
	item->before = before;
	item->next = before ? before->next : list->first;
	*(before ? &before->next : &list->first) = item;
	*(item->next ? &item->next->before : &list->last) = item;
	pipe->bytes += item->len;
	pipe->items++;
	pipe->held += item->held;
}

/* From behind: nearly all are due later than those that wait. */
static void insert(struct chaos_pipe *pipe, struct chaos_item *item)
{
	struct chaos_item *before = pipe->queue.last;

	while (before && before->due_ns > item->due_ns)
		before = before->before;
	link_behind(pipe, &pipe->queue, before, item);
}

static void take_out(struct chaos_pipe *pipe, struct chaos_list *list, struct chaos_item *item)
{
	*(item->before ? &item->before->next : &list->first) = item->next;
	*(item->next ? &item->next->before : &list->last) = item->before;
	pipe->bytes -= item->len;
	pipe->items--;
	pipe->held -= item->held;
}

/* The one that is to be overtaken goes right behind this. */
static void release_held(struct chaos_pipe *pipe, uint64_t due)
{
	struct chaos_item *held = pipe->queue.first;

	if (!pipe->held)
		return;
	while (!held->held)
		held = held->next;
	take_out(pipe, &pipe->queue, held);
	held->held = false;
	held->due_ns = due;
	insert(pipe, held);
	pipe->counts.reordered++;
}

/* `timed`: by a key of the set, whatever passes. */
static int put_event(struct chaos_pipe *pipe, enum chaos_what what, uint64_t due, bool timed)
{
	struct chaos_item *item = item_new(what, NULL, 0, due);

	if (!item)
		return -ENOMEM;
	item->timed = timed;
	insert(pipe, item);
	return 0;
}

/* ---- the stages ---- */

static const struct chaos_rule *rule_of(const struct chaos_pipe *pipe, int i)
{
	return pipe->active >> i & 1 ? &pipe->set->specs[i].rules[pipe->direction] : NULL;
}

static struct chaos_stage stage_new(const struct chaos_pipe *pipe, int i, uint64_t now)
{
	return (struct chaos_stage){.rng = seed_of(pipe->set, i, pipe->number, (uint64_t)pipe->direction),
				    .began_ns = now};
}

/* What happens by the keys of the i-th spec, whatever passes. */
static void begin_events(struct chaos_pipe *pipe, int i)
{
	const struct chaos_rule *rule = rule_of(pipe, i);
	uint64_t began = pipe->stages[i].began_ns;

	if (rule && rule->reset_ns != CHAOS_NEVER && !rule->when_said)
		(void)put_event(pipe, CHAOS_RESET, later(began, rule->reset_ns), true);
	if (rule && rule->silent_ns != CHAOS_NEVER && rule->silent_ns)
		(void)put_event(pipe, CHAOS_CLOSE, later(began, rule->silent_ns), true);
}

static void begin_stages(struct chaos_pipe *pipe, uint64_t now)
{
	for (int i = 0; pipe->set && i < pipe->set->count; i++) {
		pipe->stages[i] = stage_new(pipe, i, now);
		begin_events(pipe, i);
	}
}

void chaos_pipe_begin(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t number, int direction,
		      enum chaos_carries carries, uint64_t now)
{
	*pipe = (struct chaos_pipe){.set = set,
				    .number = number,
				    .active = chaos_draw(set, number),
				    .direction = direction,
				    .carries = carries,
				    .began_ns = now};
	begin_stages(pipe, now);
}

/* ---- live sets ---- */

static bool is_live(const struct chaos_pipe *pipe)
{
	return pipe->set && pipe->set->live;
}

static int index_of(const struct chaos_set *set, uint64_t id)
{
	for (int i = 0; i < set->count; i++)
		if (set->specs[i].id == id)
			return i;
	return -1;
}

/* A stage that was there under the set before goes on where it was; what has been changed of it begins anew. */
static struct chaos_stage stage_follows(const struct chaos_pipe *pipe, const struct chaos_pipe *before, int i,
					uint64_t now)
{
	const struct chaos_spec *spec = &pipe->set->specs[i];
	struct chaos_stage stage = stage_new(pipe, i, now);
	int was = index_of(before->set, spec->id);

	if (was < 0)
		return stage;
	if (before->set->specs[was].version == spec->version)
		return before->stages[was];
	stage.bytes = before->stages[was].bytes;
	stage.closed = before->stages[was].closed;
	return stage;
}

/*
 * What waits to leave a stage still does, or goes on now if that is no more what it was. Where the stage is gone, it
 * waits in front of what waits to leave the one before.
 */
static void waits_follow(struct chaos_pipe *pipe, const struct chaos_pipe *before, int i, uint64_t now)
{
	const struct chaos_list *list = &before->waits[i];
	int at = i ? index_of(pipe->set, before->set->specs[i - 1].id) : -1;
	bool waits = !i || (at >= 0 && pipe->set->specs[at].version == before->set->specs[i - 1].version);
	struct chaos_list *to;

	for (int n = i - 1; at < 0 && n > 0; n--)
		at = index_of(pipe->set, before->set->specs[n - 1].id);
	to = &pipe->waits[at + 1];
	for (struct chaos_item *item = list->first; item && !waits; item = item->next)
		item->due_ns = item->due_ns < now ? item->due_ns : now;
	if (!list->first)
		return;
	list->last->next = to->first;
	*(to->first ? &to->first->before : &to->last) = list->last;
	to->first = list->first;
}

/* A spec that has lost what was said is gone. */
static bool lacks_something(const struct chaos_pipe *pipe, const struct chaos_pipe *before)
{
	for (int i = 0; i < before->set->count; i++) {
		const struct chaos_rule *rule = rule_of(before, i);

		if (rule && rule->silent_ns != CHAOS_NEVER && index_of(pipe->set, before->set->specs[i].id) < 0)
			return true;
	}
	return false;
}

static void forget_timed(struct chaos_pipe *pipe)
{
	for (struct chaos_item *item = pipe->queue.first, *next; item; item = next) {
		next = item->next;
		if (!item->timed)
			continue;
		take_out(pipe, &pipe->queue, item);
		free(item);
	}
}

static void follow(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t now)
{
	const struct chaos_pipe before = *pipe;

	pipe->set = set;
	pipe->active = chaos_draw(set, pipe->number);
	memset(pipe->waits, 0, sizeof(pipe->waits));
	for (int i = 0; i < set->count; i++)
		pipe->stages[i] = stage_follows(pipe, &before, i, now);
	for (int i = 0; i <= before.set->count; i++)
		waits_follow(pipe, &before, i, now);
	forget_timed(pipe);
	for (int i = 0; i < set->count; i++)
		begin_events(pipe, i);
	if (lacks_something(pipe, &before)) {
		pipe->over = true;
		(void)put_event(pipe, CHAOS_CLOSE, now, false);
	}
}

void chaos_pipe_change(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t now)
{
	if (is_live(pipe)) {
		follow(pipe, set, now);
		return;
	}
	forget_timed(pipe); /* unless it follows what has passed already */
	pipe->set = set;
	pipe->active = chaos_draw(set, pipe->number);
	begin_stages(pipe, now);
}

/* Waits to enter a stage: nothing overtakes there. */
static void wait_for(struct chaos_pipe *pipe, int i, struct chaos_item *item, uint64_t at)
{
	struct chaos_item *last = pipe->waits[i].last;

	item->due_ns = last && last->due_ns > at ? last->due_ns : at;
	link_behind(pipe, &pipe->waits[i], last, item);
}

/* Says something, which waits for a stage. */
static int say(struct chaos_pipe *pipe, int i, enum chaos_what what, const void *data, size_t len, uint8_t kind,
	       uint64_t at)
{
	struct chaos_item *item = item_new(what, data, len, at);

	if (!item)
		return -ENOMEM;
	item->kind = kind;
	wait_for(pipe, i, item, at);
	return 0;
}

/* An end comes to a stage. */
static int end_in(struct chaos_pipe *pipe, int i, const struct chaos_rule *rule, struct chaos_item *item)
{
	uint64_t at = later(item->due_ns, later(rule->latency_ns, rule->slow_close_ns));

	if (!rule->when_said) {
		wait_for(pipe, i + 1, item, rule->stalled ? CHAOS_NEVER - 1 : at);
		return 0;
	}
	if (!pipe->stages[i].closed && put_event(pipe, CHAOS_RESET, later(item->due_ns, rule->reset_ns), false) < 0)
		return -ENOMEM;
	pipe->stages[i].closed = true;
	free(item);
	return 0;
}

static void list_free(struct chaos_list *list)
{
	for (struct chaos_item *item = list->first, *next; item; item = next) {
		next = item->next;
		free(item);
	}
	list->first = list->last = NULL;
}

void chaos_pipe_free(struct chaos_pipe *pipe)
{
	list_free(&pipe->queue);
	for (int i = 0; i <= CHAOS_SPECS_MAX; i++)
		list_free(&pipe->waits[i]);
	pipe->bytes = pipe->items = pipe->held = 0;
}

/* What comes out of a stage goes into the next one; `at`: when. */
static int pass(struct chaos_pipe *pipe, int stage, const unsigned char *data, size_t len, uint8_t kind, uint64_t at,
		bool hold);

static int deliver(struct chaos_pipe *pipe, const unsigned char *data, size_t len, uint8_t kind, uint64_t at, bool hold)
{
	struct chaos_item *item;

	if (at < pipe->last_ns)
		at = pipe->last_ns;
	item = item_new(CHAOS_DATA, data, len, hold ? later(at, HELD_NS) : at);
	if (!item)
		return -ENOMEM;
	item->kind = kind;
	item->held = hold;
	insert(pipe, item);
	if (!hold) {
		pipe->last_ns = at;
		release_held(pipe, at);
	}
	return 0;
}

/* When all of it has gone through at this rate. */
static uint64_t leave_at(struct chaos_stage *stage, uint64_t rate, size_t len, uint64_t at)
{
	if (!rate)
		return at;
	if (stage->free_ns > at)
		at = stage->free_ns;
	stage->free_ns = later(at, (uint64_t)((double)len * 1e9 / (double)rate));
	return stage->free_ns;
}

/*
 * Slices of bytes, or a tenth of a second's worth of them: all that a read has brought is not to come at once when the
 * last of it may, and in a live set the rate may change at any time.
 */
static int slice(struct chaos_pipe *pipe, int i, const struct chaos_rule *rule, const unsigned char *data, size_t len,
		 uint8_t kind, uint64_t at)
{
	struct chaos_stage *stage = &pipe->stages[i];
	int err = 0;

	while (len && err == 0) {
		uint64_t size =
			rule->slice ? around(&stage->rng, rule->slice, rule->slice_jitter) : rule->bandwidth / 10;
		size_t piece = size < 1 ? 1 : size < len ? (size_t)size : len;

		err = pass(pipe, i + 1, data, piece, kind, leave_at(stage, rule->bandwidth, piece, at), false);
		data += piece;
		len -= piece;
		at = later(at, rule->slice_delay_ns);
	}
	return err;
}

static void damage(struct chaos_stage *stage, unsigned char *data, size_t len, uint64_t bits)
{
	for (uint64_t n = 0; n < bits && len; n++) {
		uint64_t bit = draw(&stage->rng) % (len * 8);

		data[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

/* Up to where bytes pass before the session ends; all of them if it does not. */
static size_t take_limits(struct chaos_pipe *pipe, struct chaos_stage *stage, const struct chaos_rule *rule, size_t len,
			  enum chaos_what *then)
{
	uint64_t most = rule->limit < rule->reset_after ? rule->limit : rule->reset_after;

	*then = CHAOS_DATA;
	stage->bytes += len;
	if (most == CHAOS_NEVER || stage->bytes < most)
		return len;
	*then = rule->limit < rule->reset_after ? CHAOS_CLOSE : CHAOS_RESET;
	len = stage->bytes - most < len ? len - (size_t)(stage->bytes - most) : 0;
	return pipe->carries == CHAOS_BYTES || stage->bytes == most ? len : 0; /* half a message is none */
}

static int run_stage(struct chaos_pipe *pipe, int i, const struct chaos_rule *rule, unsigned char *data, size_t len,
		     uint8_t kind, uint64_t at, bool hold)
{
	struct chaos_stage *stage = &pipe->stages[i];
	bool whole = pipe->carries != CHAOS_BYTES;
	int err = 0, copies = 1;
	enum chaos_what then;
	size_t left = len;

	if (rule->when_said) {
		stage->closed = pipe->over = true;
		return put_event(pipe, CHAOS_RESET, later(at, rule->reset_ns), false);
	}
	if (rule->silent_ns != CHAOS_NEVER || (whole && happens(&stage->rng, rule->loss))) {
		pipe->counts.lost++;
		return 0;
	}
	if (happens(&stage->rng, rule->corrupt)) {
		damage(stage, data, len, rule->corrupt_bits);
		pipe->counts.corrupted++;
	}
	if (whole && happens(&stage->rng, rule->duplicate)) {
		pipe->counts.duplicated++;
		copies = 2;
	}
	hold |= whole && copies == 1 && happens(&stage->rng, rule->reorder);
	if (rule->latency_ns || rule->jitter_ns)
		at = later(at, around(&stage->rng, rule->latency_ns, rule->jitter_ns));
	left = take_limits(pipe, stage, rule, len, &then);
	if (rule->stalled)
		at = CHAOS_NEVER - 1;
	if (!whole && (rule->slice || rule->bandwidth)) {
		err = slice(pipe, i, rule, data, left, kind, at);
		copies = 0;
	}
	at = leave_at(stage, rule->bandwidth, copies ? left : 0, at);
	for (; copies && (left || (whole && left == len)) && err == 0; copies--)
		err = pass(pipe, i + 1, data, left, kind, at, hold);
	if (then != CHAOS_DATA && err == 0) {
		pipe->over = stage->closed = true;
		if (is_live(pipe))
			return say(pipe, i + 1, then, NULL, 0, 0, at);
		err = put_event(pipe, then, at > pipe->last_ns ? at : pipe->last_ns, false);
	}
	return err;
}

static int pass(struct chaos_pipe *pipe, int i, const unsigned char *data, size_t len, uint8_t kind, uint64_t at,
		bool hold)
{
	const struct chaos_rule *rule;
	unsigned char *copy;
	int err;

	if (is_live(pipe))
		return say(pipe, i, CHAOS_DATA, data, len, kind, at);
	for (; pipe->set && i < pipe->set->count; i++) {
		rule = rule_of(pipe, i);
		if (!rule || pipe->stages[i].messages >= pipe->set->specs[i].messages)
			continue;
		pipe->stages[i].messages++;
		copy = rule->corrupt > 0 ? malloc(len ? len : 1) : NULL;
		if (rule->corrupt > 0 && !copy)
			return -ENOMEM;
		if (copy && len)
			memcpy(copy, data, len);
		err = run_stage(pipe, i, rule, copy ? copy : (unsigned char *)(uintptr_t)data, len, kind, at, hold);
		free(copy);
		return err;
	}
	return deliver(pipe, data, len, kind, at, hold);
}

int chaos_put(struct chaos_pipe *pipe, const void *data, size_t len, uint8_t kind, uint64_t now)
{
	if (pipe->over)
		return 0;
	return is_live(pipe) ? say(pipe, 0, CHAOS_DATA, data, len, kind, now)
			     : pass(pipe, 0, data, len, kind, now, false);
}

int chaos_end(struct chaos_pipe *pipe, uint64_t now)
{
	uint64_t due = now, slow = 0;
	const struct chaos_rule *rule;

	if (pipe->over)
		return 0;
	if (is_live(pipe)) {
		pipe->over = true;
		return say(pipe, 0, CHAOS_END, NULL, 0, 0, now);
	}
	for (int i = 0; pipe->set && i < pipe->set->count; i++) {
		rule = rule_of(pipe, i);
		if (rule && rule->silent_ns != CHAOS_NEVER) {
			pipe->over = pipe->unheard = true;
			return 0;
		}
		due = later(due, rule ? rule->latency_ns : 0);
		slow = later(slow, rule ? rule->slow_close_ns : 0);
	}
	pipe->over = true;
	for (const struct chaos_item *item = pipe->queue.first; item; item = item->next)
		if (item->what == CHAOS_DATA && item->due_ns > due)
			due = item->due_ns;
	return put_event(pipe, CHAOS_END, later(due, slow), false);
}

bool chaos_is_full(const struct chaos_pipe *pipe)
{
	return pipe->bytes > BYTES_MAX || pipe->items > ITEMS_MAX;
}

/*
 * Where what is due by now waits that comes first; NULL: nothing is. What was said first is not to be overtaken by what
 * is overdue behind it, when a stage between them goes. What happens whatever was said comes behind all that is due.
 */
static const struct chaos_list *next_of(const struct chaos_pipe *pipe, uint64_t now)
{
	for (int i = is_live(pipe) ? pipe->set->count : -1; i >= 0; i--)
		if (pipe->waits[i].first && pipe->waits[i].first->due_ns <= now)
			return &pipe->waits[i];
	return pipe->queue.first && pipe->queue.first->due_ns <= now ? &pipe->queue : NULL;
}

uint64_t chaos_due(const struct chaos_pipe *pipe)
{
	uint64_t due = pipe->queue.first ? pipe->queue.first->due_ns : CHAOS_NEVER;

	for (int i = is_live(pipe) ? pipe->set->count : -1; i >= 0; i--)
		if (pipe->waits[i].first && pipe->waits[i].first->due_ns < due)
			due = pipe->waits[i].first->due_ns;
	return due;
}

bool chaos_is_data(const struct chaos_pipe *pipe, uint64_t now)
{
	const struct chaos_list *next = next_of(pipe, now);

	return next && next->first->what == CHAOS_DATA;
}

/*
 * What has waited for a stage enters the next one that its session has, as of the time it was due. Returns it if there
 * is none; NULL: it waits again, or is no more.
 */
static struct chaos_item *enter_next(struct chaos_pipe *pipe, int i, struct chaos_item *item)
{
	const struct chaos_rule *rule = NULL;
	int err = 0;

	while (i < pipe->set->count && !(rule = rule_of(pipe, i)))
		i++;
	if (!rule)
		return item;
	if (item->what != CHAOS_DATA) {
		err = end_in(pipe, i, rule, item);
	} else {
		if (!pipe->stages[i].closed)
			err = run_stage(pipe, i, rule, item->data, item->len, item->kind, item->due_ns, false);
		if (err == 0)
			free(item);
	}
	if (err == 0)
		return NULL;
	item->what = CHAOS_RESET; /* there is no memory */
	return item;
}

struct chaos_item *chaos_take(struct chaos_pipe *pipe, uint64_t now)
{
	const struct chaos_list *next;
	struct chaos_item *item;

	while ((next = next_of(pipe, now))) {
		item = next->first;
		if (next == &pipe->queue) {
			take_out(pipe, &pipe->queue, item);
			return item;
		}
		take_out(pipe, &pipe->waits[next - pipe->waits], item);
		item = enter_next(pipe, (int)(next - pipe->waits), item);
		if (item)
			return item;
	}
	return NULL;
}
