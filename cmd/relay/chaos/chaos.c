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
	uint64_t state = set->specs[i].seed;

	state = draw(&state) ^ number;
	state = draw(&state) ^ ((uint64_t)i * 4 + what);
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

/* From behind: nearly all are due later than those that wait. */
static void insert(struct chaos_pipe *pipe, struct chaos_item *item)
{
	struct chaos_item *before = pipe->last;

	while (before && before->due_ns > item->due_ns)
		before = before->before;
	item->before = before;
	item->next = before ? before->next : pipe->first;
	*(before ? &before->next : &pipe->first) = item;
	*(item->next ? &item->next->before : &pipe->last) = item;
	pipe->bytes += item->len;
	pipe->items++;
	pipe->held += item->held;
}

static void take_out(struct chaos_pipe *pipe, struct chaos_item *item)
{
	*(item->before ? &item->before->next : &pipe->first) = item->next;
	*(item->next ? &item->next->before : &pipe->last) = item->before;
	pipe->bytes -= item->len;
	pipe->items--;
	pipe->held -= item->held;
}

/* The one that is to be overtaken goes right behind this. */
static void release_held(struct chaos_pipe *pipe, uint64_t due)
{
	struct chaos_item *held = pipe->first;

	if (!pipe->held)
		return;
	while (!held->held)
		held = held->next;
	take_out(pipe, held);
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

static void begin_stages(struct chaos_pipe *pipe, uint64_t now)
{
	const struct chaos_rule *rule;

	for (int i = 0; pipe->set && i < pipe->set->count; i++) {
		pipe->stages[i] =
			(struct chaos_stage){.rng = seed_of(pipe->set, i, pipe->number, (uint64_t)pipe->direction)};
		rule = rule_of(pipe, i);
		if (rule && rule->reset_ns != CHAOS_NEVER)
			(void)put_event(pipe, CHAOS_RESET, later(now, rule->reset_ns), true);
		if (rule && rule->silent_ns != CHAOS_NEVER && rule->silent_ns)
			(void)put_event(pipe, CHAOS_CLOSE, later(now, rule->silent_ns), true);
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

void chaos_pipe_change(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t now)
{
	/* What was to happen by the earlier set does not, unless it follows what has passed already. */
	for (struct chaos_item *item = pipe->first, *next; item; item = next) {
		next = item->next;
		if (!item->timed)
			continue;
		take_out(pipe, item);
		free(item);
	}
	pipe->set = set;
	pipe->active = chaos_draw(set, pipe->number);
	begin_stages(pipe, now);
}

void chaos_pipe_free(struct chaos_pipe *pipe)
{
	for (struct chaos_item *item = pipe->first, *next; item; item = next) {
		next = item->next;
		free(item);
	}
	pipe->first = pipe->last = NULL;
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

static int slice(struct chaos_pipe *pipe, int i, const struct chaos_rule *rule, const unsigned char *data, size_t len,
		 uint8_t kind, uint64_t at)
{
	struct chaos_stage *stage = &pipe->stages[i];
	int err = 0;

	while (len && err == 0) {
		uint64_t size = around(&stage->rng, rule->slice, rule->slice_jitter);
		size_t piece = size < 1 ? 1 : size < len ? (size_t)size : len;

		err = pass(pipe, i + 1, data, piece, kind, at, false);
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
	len -= (size_t)(stage->bytes - most);
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
	at = leave_at(stage, rule->bandwidth, left, at);
	for (; copies && (left || (whole && left == len)) && err == 0; copies--)
		err = rule->slice && !whole ? slice(pipe, i, rule, data, left, kind, at)
					    : pass(pipe, i + 1, data, left, kind, at, hold);
	if (then != CHAOS_DATA && err == 0) {
		pipe->over = true;
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
	return pipe->over ? 0 : pass(pipe, 0, data, len, kind, now, false);
}

int chaos_end(struct chaos_pipe *pipe, uint64_t now)
{
	uint64_t due = now, slow = 0;
	const struct chaos_rule *rule;

	if (pipe->over)
		return 0;
	for (int i = 0; pipe->set && i < pipe->set->count; i++) {
		rule = rule_of(pipe, i);
		if (rule && rule->silent_ns != CHAOS_NEVER)
			return 0; /* nobody hears of it */
		due = later(due, rule ? rule->latency_ns : 0);
		slow = later(slow, rule ? rule->slow_close_ns : 0);
	}
	pipe->over = true;
	for (const struct chaos_item *item = pipe->first; item; item = item->next)
		if (item->what == CHAOS_DATA && item->due_ns > due)
			due = item->due_ns;
	return put_event(pipe, CHAOS_END, later(due, slow), false);
}

bool chaos_is_full(const struct chaos_pipe *pipe)
{
	return pipe->bytes > BYTES_MAX || pipe->items > ITEMS_MAX;
}

uint64_t chaos_due(const struct chaos_pipe *pipe)
{
	return pipe->first ? pipe->first->due_ns : CHAOS_NEVER;
}

struct chaos_item *chaos_take(struct chaos_pipe *pipe, uint64_t now)
{
	struct chaos_item *item = pipe->first;

	if (!item || item->due_ns > now)
		return NULL;
	take_out(pipe, item);
	return item;
}
