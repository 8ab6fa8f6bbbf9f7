/* The chain of layers without any connection: every sort of layer, alone and three high, also one byte at a time. */
#include "../support/layers.h"
#include "base/err.h"
#include "conn/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct tni_mem mem;
static uint64_t now_ns;

struct end {
	struct tni_chain chain;
	struct tn_buf down, up; /* what is sent, what has come */
	bool eof;               /* the other side's bytes have ended */
	int err;
};

static struct end ends[2];

static void push(struct end *e, const enum layer_sort *sorts, int count)
{
	tni_chain_init(&e->chain, &mem);
	tni_buf_init(&e->down, &mem, SIZE_MAX);
	tni_buf_init(&e->up, &mem, SIZE_MAX);
	for (int i = 0; i < count; i++) {
		struct tni_layer *layer = layer_make(sorts[i], e == &ends[0]);

		assert_non_null(layer);
		tni_chain_push(&e->chain, layer);
	}
	e->eof = false;
	e->err = tni_chain_open(&e->chain);
}

static void open_ends(const enum layer_sort *sorts, int count)
{
	push(&ends[0], sorts, count);
	push(&ends[1], sorts, count);
}

static void close_ends(void)
{
	for (int i = 0; i < 2; i++) {
		tni_chain_free(&ends[i].chain);
		tni_buf_clear(&ends[i].down);
		tni_buf_clear(&ends[i].up);
	}
}

static void note(struct end *e, int rc)
{
	if (rc < 0 && e->err == 0)
		e->err = rc;
}

/*
 * One turn of an end: what it has is sent as far as it may, at most `step` bytes reach the other. True: something
 * moved.
 */
static bool turn(struct end *from, struct end *to, size_t step)
{
	struct tn_buf *wire, *in;
	size_t before = from->down.len, came = from->up.len;
	long moved = 0;

	if (from->err < 0)
		return false;
	if (from->chain.bottom)
		note(from, tni_chain_up(&from->chain, &from->up));
	note(from, tni_chain_tick(&from->chain, now_ns));
	if (from->err == 0 && from->chain.bottom)
		note(from, tni_chain_down(&from->chain, &from->down, 64 * 1024));
	wire = from->chain.bottom ? tni_chain_wire(&from->chain) : &from->down;
	in = to->chain.bottom ? tni_chain_in(&to->chain) : &to->up;
	assert_non_null(in);
	if (wire->head)
		moved = tni_buf_move(in, wire, step);
	assert_true(moved >= 0);
	tni_chain_leave(&from->chain);
	return moved > 0 || from->down.len != before || from->up.len != came || from->chain.more;
}

/* Until nothing moves any more, in both directions. */
static void settle(size_t step)
{
	bool moved = true;

	for (int i = 0; moved && i < 3000000; i++) {
		now_ns += step == 1 ? 10000 : 100000; /* a byte at a time, the beats must not fill the wire */
		moved = turn(&ends[0], &ends[1], step);
		moved = turn(&ends[1], &ends[0], step) || moved;
	}
}

static void expect(struct end *e, const unsigned char *data, size_t len)
{
	const unsigned char *got;

	assert_int_equal(e->err, 0);
	assert_int_equal(e->up.len, len);
	got = tni_buf_pullup(&e->up, len);
	assert_true(len == 0 || (got && memcmp(got, data, len) == 0));
	tni_buf_consume(&e->up, len);
}

static bool top_makes_messages(const struct end *e)
{
	return e->chain.top && e->chain.top->ops->messages;
}

/* To and fro, then both ends in turn. */
static void talk(size_t size, size_t step)
{
	unsigned char *data = malloc(size);

	assert_non_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)(i / 300);
	for (int side = 0; side < 2; side++) {
		struct end *from = &ends[side], *to = &ends[!side];

		settle(step);
		for (size_t at = 0; at < size;) {
			size_t len = size - at < 700 ? size - at : 700;

			assert_int_equal(tni_buf_append(&from->down, data + at, len, top_makes_messages(from)), 0);
			at += len;
		}
		settle(step);
		expect(to, data, size);
		assert_false(from->chain.bottom && tni_chain_queued(&from->chain) > 0 &&
			     !tni_chain_is_timed(&from->chain));
	}
	free(data);
	for (int side = 0; side < 2; side++) {
		struct end *from = &ends[side], *to = &ends[!side];

		if (!from->chain.bottom)
			continue;
		assert_true(tni_chain_is_open(&from->chain));
		for (int i = 0; i < 10 && !tni_chain_is_shut(&from->chain); i++)
			assert_int_equal(tni_chain_shut(&from->chain), 0);
		assert_true(tni_chain_is_shut(&from->chain));
		settle(step);
		to->chain.bottom->eof = true;
		note(to, tni_chain_up(&to->chain, &to->up));
		assert_int_equal(tni_chain_cut(&to->chain), 0);
		assert_true(tni_chain_has_ended(&to->chain));
		assert_int_equal(to->err, 0);
	}
}

static void run(const enum layer_sort *sorts, int count)
{
	static const size_t steps[] = {1, 13, SIZE_MAX};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		print_message("%s%s%s%s%s, %zu bytes at a time\n", layer_names[sorts[0]], count > 1 ? " + " : "",
			      count > 1 ? layer_names[sorts[1]] : "", count > 2 ? " + " : "",
			      count > 2 ? layer_names[sorts[2]] : "", steps[i]);
		open_ends(sorts, count);
		talk(steps[i] == 1 ? 3000 : 300000, steps[i]);
		close_ends();
	}
}

static void test_alone(void **state)
{
	(void)state;
	for (enum layer_sort sort = 0; sort < LAYER_GOOD; sort++)
		run(&sort, 1);
}

/* Messages are made by the highest only. */
static void test_three_high(void **state)
{
	enum layer_sort sorts[3];

	(void)state;
	for (sorts[0] = 0; sorts[0] < LAYER_MESSAGES; sorts[0]++)
		for (sorts[1] = 0; sorts[1] < LAYER_MESSAGES; sorts[1]++)
			for (sorts[2] = 0; sorts[2] < LAYER_GOOD; sorts[2]++)
				run(sorts, 3);
}

/* What waits behind a slow peer is data: a question that must be answered meanwhile is no flood of them. */
static void test_answer_behind_much_data(void **state)
{
	static const enum layer_sort sorts[2] = {LAYER_TALKS, LAYER_TALKS};
	static unsigned char data[1 << 20], asks[700];
	struct end *slow = &ends[1];

	(void)state;
	open_ends(sorts, 2);
	settle(SIZE_MAX);
	assert_int_equal(tni_buf_append(&slow->down, data, sizeof(data), false), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(tni_chain_down(&slow->chain, &slow->down, 64 * 1024), 0);
	assert_true(slow->chain.top->net->len > 200 * 1024);
	assert_int_equal(tni_buf_append(&ends[0].down, asks, sizeof(asks), false), 0); /* the seventh piece asks */
	turn(&ends[0], slow, SIZE_MAX);
	assert_int_equal(tni_chain_up(&slow->chain, &slow->up), 0);
	expect(slow, asks, sizeof(asks));
	settle(SIZE_MAX);
	expect(&ends[0], data, sizeof(data));
	close_ends();
}

static void test_done_layers_leave(void **state)
{
	enum layer_sort sorts[3] = {LAYER_LEAVES, LAYER_TALKS, LAYER_LEAVES};

	(void)state;
	open_ends(sorts, 3);
	talk(1000, 1);
	for (int i = 0; i < 2; i++) {
		assert_ptr_equal(ends[i].chain.bottom, ends[i].chain.top);
		assert_string_equal(ends[i].chain.top->ops->name, "test");
	}
	close_ends();
	open_ends(sorts, 1);
	talk(1000, 1);
	assert_null(ends[0].chain.bottom);
	assert_null(ends[1].chain.bottom);
	close_ends();
}

static void test_ticks(void **state)
{
	enum layer_sort sort = LAYER_BEATS;

	(void)state;
	layer_ticks = 0;
	open_ends(&sort, 1);
	for (int i = 0; i < 1000; i++) {
		now_ns += 1000000;
		settle(SIZE_MAX);
	}
	assert_in_range(layer_ticks, 800, 1002); /* both sides, every 2 ms */
	assert_int_equal(ends[0].err, 0);
	assert_int_equal(ends[1].err, 0);
	close_ends();
}

/*
 * Ends that are none: where the layer below has ended in order, where the bytes end in the midst, and before it is
 * open.
 */
static void test_cut(void **state)
{
	static const struct {
		enum layer_sort sorts[2];
		int count, err;
	} cases[] = {
		{{LAYER_TALKS}, 1, TN_ECUT},
		{{LAYER_EXPANDS}, 1, 0},
		{{LAYER_EXPANDS, LAYER_TALKS}, 2, TN_ECUT},
		{{LAYER_TALKS, LAYER_EXPANDS}, 2, TN_ECUT},
		{{LAYER_EXPANDS, LAYER_EXPANDS}, 2, 0},
		{{LAYER_TALKS, LAYER_MESSAGES}, 2, TN_ECUT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		open_ends(cases[i].sorts, cases[i].count);
		settle(SIZE_MAX);
		assert_int_equal(tni_buf_append(&ends[0].down, "hello", 5, true), 0);
		settle(SIZE_MAX);
		ends[1].chain.bottom->eof = true;
		assert_int_equal(tni_chain_up(&ends[1].chain, &ends[1].up), 0);
		assert_int_equal(tni_chain_cut(&ends[1].chain), cases[i].err);
		assert_true(tni_chain_has_ended(&ends[1].chain));
		assert_int_equal(ends[1].up.len, 5);
		assert_int_equal(tni_chain_cut(&ends[1].chain), 0); /* told once */
		close_ends();
	}
}

/* The lower one has said its last word, the upper one has not. */
static void test_a_layer_ends_below_another(void **state)
{
	enum layer_sort sorts[2] = {LAYER_TALKS, LAYER_MESSAGES};

	(void)state;
	open_ends(sorts, 2);
	settle(SIZE_MAX);
	assert_int_equal(tni_buf_append(tni_chain_in(&ends[1].chain), "E", 1, false), 0);
	assert_int_equal(tni_chain_up(&ends[1].chain, &ends[1].up), 0);
	assert_false(tni_chain_has_ended(&ends[1].chain));
	assert_int_equal(tni_chain_cut(&ends[1].chain), TN_ECUT);
	assert_true(tni_chain_has_ended(&ends[1].chain));
	close_ends();
}

/* ---- what must be cut ---- */

static void test_bytes_without_end(void **state)
{
	enum layer_sort sorts[2] = {LAYER_EXPANDS, LAYER_ENDLESS};
	size_t most = 0;

	(void)state;
	open_ends(sorts, 2);
	settle(SIZE_MAX);
	assert_int_equal(tni_buf_append(&ends[0].down, "x", 1, false), 0);
	for (int i = 0; i < 10000 && ends[1].err == 0; i++) {
		turn(&ends[0], &ends[1], SIZE_MAX);
		turn(&ends[1], &ends[0], SIZE_MAX);
		most = ends[1].up.len > most ? ends[1].up.len : most;
		assert_true(ends[1].err < 0 || ends[1].chain.more);
		tni_buf_clear(&ends[1].up); /* whoever reads it reads on */
	}
	assert_int_equal(ends[1].err, TN_ETOOBIG);
	assert_in_range(most, 1, 300000);
	close_ends();
}

static void test_answers_without_end(void **state)
{
	enum layer_sort sorts[2] = {LAYER_EXPANDS, LAYER_ASKS};

	(void)state;
	open_ends(sorts, 2);
	for (int i = 0; i < 1000 && ends[1].err == 0; i++) {
		assert_int_equal(tni_buf_append(&ends[0].down, "abcd", 4, false), 0);
		turn(&ends[0], &ends[1], SIZE_MAX);
		note(&ends[1], tni_chain_up(&ends[1].chain, &ends[1].up)); /* its answers are not taken */
	}
	assert_int_equal(ends[1].err, TN_EFORMAT);
	assert_in_range(tni_chain_queued(&ends[1].chain), 1, 600000);
	close_ends();
}

/* The same through a layer that is done, and cannot leave while something waits in it. */
static void test_answers_through_a_done_layer(void **state)
{
	enum layer_sort sorts[2] = {LAYER_LEAVES, LAYER_ASKS};
	struct tni_chain *chain = &ends[1].chain;

	(void)state;
	open_ends(sorts, 2);
	for (int i = 0; i < 1000 && ends[1].err == 0; i++) {
		assert_int_equal(tni_buf_append(&ends[0].down, "abcd", 4, false), 0);
		turn(&ends[0], &ends[1], SIZE_MAX);
		note(&ends[1], tni_chain_up(chain, &ends[1].up));
		note(&ends[1], tni_chain_down(chain, &ends[1].down, 64 * 1024));
		tni_chain_leave(chain); /* its answers are not taken */
	}
	assert_int_equal(ends[1].err, TN_EFORMAT);
	assert_true(chain->bottom != chain->top && chain->bottom->done);
	assert_in_range(tni_chain_queued(chain), 1, 1200000);
	close_ends();
}

static void test_ticks_without_end(void **state)
{
	enum layer_sort sorts[2] = {LAYER_ALWAYS, LAYER_EXPANDS};
	int calls = 0;

	(void)state;
	layer_ticks = 0;
	open_ends(sorts, 2);
	for (; calls < 100000 && ends[0].err == 0; calls++) {
		uint64_t due = tni_chain_due_ns(&ends[0].chain, now_ns);

		assert_true(calls == 0 || due >= now_ns + 1000000); /* not in every turn */
		now_ns = due > now_ns ? due : now_ns;
		note(&ends[0], tni_chain_tick(&ends[0].chain, now_ns));
	}
	assert_int_equal(ends[0].err, TN_ESTATE);
	assert_in_range(layer_ticks, 100, 2000);
	close_ends();
}

/* What came before the failure has been handed up. */
static void test_each_step_fails(void **state)
{
	enum layer_sort sorts[3] = {LAYER_TALKS, LAYER_FAILS, LAYER_EXPANDS};

	(void)state;
	for (layer_failing_step = 0; layer_failing_step < 5; layer_failing_step++) {
		open_ends(sorts, 3);
		settle(SIZE_MAX);
		note(&ends[0], tni_buf_append(&ends[0].down, "hello", 5, false));
		now_ns += 10000000;
		settle(SIZE_MAX);
		if (layer_failing_step == 3)
			for (int i = 0; i < 3 && ends[0].err == 0; i++)
				note(&ends[0], tni_chain_shut(&ends[0].chain));
		assert_true(ends[0].err == TN_EFORMAT || ends[1].err == TN_EFORMAT);
		close_ends();
	}
	layer_failing_step = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_three_high),
		cmocka_unit_test(test_answer_behind_much_data),
		cmocka_unit_test(test_done_layers_leave),
		cmocka_unit_test(test_ticks),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_a_layer_ends_below_another),
		cmocka_unit_test(test_bytes_without_end),
		cmocka_unit_test(test_answers_without_end),
		cmocka_unit_test(test_answers_through_a_done_layer),
		cmocka_unit_test(test_ticks_without_end),
		cmocka_unit_test(test_each_step_fails),
	};
	int failed;

	tni_mem_init(&mem);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tni_mem_free(&mem);
	return failed;
}
