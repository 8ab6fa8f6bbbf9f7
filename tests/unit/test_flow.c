/* One-way tests (cmd/flow): the head of a message, questions and answers, and what a receiver counts. */
#include "flow/message.h"
#include "flow/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLOW 0x123456789abc
#define MS 1000000

static struct flow_facts facts_of(const struct tally *tally)
{
	struct flow_facts facts;

	tally_facts(tally, 0, &facts);
	return facts;
}

static void take(struct tally *tally, uint64_t number, uint64_t sent_ns, uint64_t now_ns)
{
	struct flow_head head = {.kind = FLOW_DATA, .size = 100, .flow = FLOW, .number = number, .sent_ns = sent_ns};

	tally_take(tally, &head, now_ns);
}

/* ---- what is written is read ---- */

static void test_head(void **state)
{
	struct flow_head head = {.kind = FLOW_WARMUP,
				 .size = FLOW_SIZE_MAX,
				 .flow = FLOW_ID_MASK,
				 .number = 63,
				 .sent_ns = (UINT64_C(1) << 60) - 1};
	struct flow_head back;
	char text[FLOW_HEAD + 1] = "";

	(void)state;
	flow_head_write(text, &head);
	assert_string_equal(text, "tnb1w__________"
				  "___"
				  "AAAAAAA_"
				  "__________");
	assert_true(flow_head_read(text, FLOW_HEAD, &back));
	assert_int_equal(back.kind, FLOW_WARMUP);
	assert_int_equal(back.size, FLOW_SIZE_MAX);
	assert_int_equal(back.flow, FLOW_ID_MASK);
	assert_int_equal(back.number, 63);
	assert_int_equal(back.sent_ns, (UINT64_C(1) << 60) - 1);
	assert_false(flow_head_read(text, FLOW_HEAD - 1, &back));
}

static void test_heads_that_are_none(void **state)
{
	struct flow_head head = {.kind = FLOW_DATA, .size = 64, .flow = FLOW}, back;
	char text[FLOW_HEAD];

	(void)state;
	for (size_t i = 0; i < FLOW_HEAD; i++) {
		flow_head_write(text, &head);
		text[i] = '.';
		assert_false(flow_head_read(text, FLOW_HEAD, &back));
	}
	head.size = FLOW_HEAD - 1;
	flow_head_write(text, &head);
	assert_false(flow_head_read(text, FLOW_HEAD, &back));
	head.size = FLOW_ASK - 1;
	head.kind = FLOW_QUESTION; /* which is of one size */
	flow_head_write(text, &head);
	assert_false(flow_head_read(text, FLOW_HEAD, &back));
	memcpy(text, "tnb2", 4); /* another version */
	assert_false(flow_head_read(text, FLOW_HEAD, &back));
}

static void test_facts(void **state)
{
	struct flow_head head = {.kind = FLOW_ANSWER, .size = FLOW_ASK, .flow = FLOW, .number = 3};
	struct flow_facts facts, back;
	char text[FLOW_ASK];

	(void)state;
	memset(&facts, 0xff, sizeof(facts)); /* the longest of all */
	flow_facts_write(text, &head, &facts);
	assert_true(flow_facts_read(text, sizeof(text), &back));
	assert_memory_equal(&back, &facts, sizeof(back));
	assert_false(flow_facts_read(text, sizeof(text) - 1, &back));
}

/* Behind the head: names that are not known are passed over, what is no number is refused. */
static void test_facts_of_others(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t sent;
	} cases[] = {{"sent=7", true, 7},     {"later=1  sent=7", true, 7},
		     {"sent=", false, 0},     {"sent", false, 0},
		     {"=7", false, 0},        {"sent=-7", false, 0},
		     {"sent=7x", false, 0},   {"sent=18446744073709551615", true, UINT64_MAX},
		     {"sen=7 nt=8", true, 0}, {"sent=18446744073709551616", false, 0}};
	struct flow_head head = {.kind = FLOW_QUESTION, .size = FLOW_ASK};
	struct flow_facts facts = {0};
	char text[FLOW_ASK];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		flow_facts_write(text, &head, &(struct flow_facts){0});
		memcpy(text + FLOW_HEAD, cases[i].text, strlen(cases[i].text));
		assert_int_equal(flow_facts_read(text, sizeof(text), &facts), cases[i].good);
		assert_int_equal(facts.sent, cases[i].sent);
	}
	memset(text + FLOW_HEAD, '0', FLOW_ASK - FLOW_HEAD); /* up to the last byte */
	memcpy(text + FLOW_HEAD, "sent=", 5);
	text[FLOW_ASK - 1] = '7';
	assert_true(flow_facts_read(text, sizeof(text), &facts));
	assert_int_equal(facts.sent, 7);
}

/* ---- what is counted ---- */

static void test_order(void **state)
{
	static const uint64_t numbers[] = {0, 1, 3, 2, 2, 5, 1, 9};
	struct tally *tally = tally_new(FLOW);
	struct flow_facts facts;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		take(tally, numbers[i], 0, (i + 1) * MS);
	facts = facts_of(tally);
	assert_int_equal(facts.messages, 6);
	assert_int_equal(facts.bytes, 600);
	assert_int_equal(facts.duplicates, 2);
	assert_int_equal(facts.reordered, 1);
	assert_int_equal(facts.span_ns, 7 * MS);
	tally_free(tally);
}

/* Far ahead, and then far behind: the window moves and does not remember what stood in its place. */
static void test_window(void **state)
{
	struct tally *tally = tally_new(FLOW);
	struct flow_facts facts;

	(void)state;
	for (uint64_t i = 0; i < 3 * TALLY_WINDOW; i += 2)
		take(tally, i, 0, 0);
	take(tally, UINT64_C(1) << 47, 0, 0);
	for (uint64_t i = 1; i < 100; i += 2)
		take(tally, (UINT64_C(1) << 47) - i, 0, 0);
	take(tally, (UINT64_C(1) << 47) - 1, 0, 0);
	take(tally, 0, 0, 0); /* which cannot be known to be there */
	facts = facts_of(tally);
	assert_int_equal(facts.messages, 3 * TALLY_WINDOW / 2 + 1 + 50 + 1);
	assert_int_equal(facts.duplicates, 1);
	assert_int_equal(facts.reordered, 51);
	tally_free(tally);
}

/* RFC 3550 6.4.1, by hand: |D| is 0, 16, 16 and 0 ms; the clocks differ by an hour. */
static void test_jitter(void **state)
{
	static const uint64_t sent_ms[] = {100, 200, 300, 400, 500}, came_ms[] = {110, 210, 326, 410, 510};
	const uint64_t hour = UINT64_C(3600000) * MS;
	struct tally *tally = tally_new(FLOW);
	double wanted = 0;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		take(tally, i, sent_ms[i] * MS + hour, came_ms[i] * MS);
	wanted += (16.0 * MS - wanted) / 16;
	wanted += (16.0 * MS - wanted) / 16;
	wanted -= wanted / 16;
	assert_int_equal(facts_of(tally).jitter_ns, (uint64_t)wanted);
	assert_int_equal(facts_of(tally).timed, 0);
	tally_free(tally);
}

/* Only with the same clock; what is sent to warm up is not counted at all. */
static void test_latency(void **state)
{
	struct flow_head question = {.kind = FLOW_QUESTION, .size = FLOW_ASK, .flow = FLOW},
			 warm = {.kind = FLOW_WARMUP, .size = 64, .flow = FLOW};
	char text[FLOW_ASK], answer[FLOW_ASK];
	struct flow_facts facts;

	(void)state;
	for (uint64_t clock = 0; clock < 3; clock++) {
		struct tally *tally = tally_new(FLOW);

		flow_facts_write(text, &question, &(struct flow_facts){.clock = clock});
		assert_true(tally_ask(tally, text, &question, 2, 0, 0, answer));
		tally_take(tally, &warm, 50 * MS);
		for (uint64_t i = 0; i < 100; i++)
			take(tally, i, i * MS, i * MS + (i + 1) * 1000);
		assert_true(tally_ask(tally, text, &question, 2, 5, 0, answer));
		assert_true(flow_facts_read(answer, sizeof(answer), &facts));
		assert_int_equal(facts.messages, 100);
		assert_int_equal(facts.dropped, 5);
		assert_int_equal(facts.timed, clock == 2 ? 100 : 0);
		assert_int_equal(facts.max_ns, clock == 2 ? 100000 : 0);
		assert_true(clock != 2 || (facts.p50_ns > 49000 && facts.p50_ns < 51000));
		tally_free(tally);
	}
}

/* ---- streams ---- */

/* A question, messages of three sizes and a question again, cut in every way. */
static void test_stream(void **state)
{
	static const uint32_t sizes[] = {FLOW_HEAD, 100, 5000};
	struct flow_head question = {.kind = FLOW_QUESTION, .size = FLOW_ASK, .flow = FLOW};
	static char bytes[2 * FLOW_ASK + FLOW_HEAD + 100 + 5000];
	size_t len = 0;

	(void)state;
	flow_facts_write(bytes, &question, &(struct flow_facts){0});
	len += FLOW_ASK;
	for (unsigned i = 0; i < 3; i++) {
		flow_head_write(bytes + len, &(struct flow_head){FLOW_DATA, sizes[i], FLOW, i, 0});
		len += sizes[i];
	}
	flow_facts_write(bytes + len, &question, &(struct flow_facts){.sent = 3, .last = 1});
	len += FLOW_ASK;
	for (size_t piece = 1; piece <= len; piece += piece < 40 ? 1 : 997) {
		struct tally_stream *stream = calloc(1, sizeof(*stream));
		char answer[FLOW_ASK];
		unsigned answers = 0;
		size_t at = 0;
		bool asked;

		while (at < len) {
			at += tally_stream_take(stream, bytes + at, piece < len - at ? piece : len - at, 0, &asked);
			if (!asked)
				continue;
			if (!stream->tally)
				stream->tally = tally_new(FLOW);
			answers += tally_ask(stream->tally, stream->bytes, &stream->head, 0, 0, 0, answer);
		}
		assert_int_equal(answers, 2);
		assert_int_equal(facts_of(stream->tally).messages, 3);
		assert_int_equal(facts_of(stream->tally).bytes, FLOW_HEAD + 100 + 5000);
		assert_true(stream->tally->over && !stream->is_other);
		tally_stream_free(stream);
	}
}

/* Messages before any question, another flow's, and what is no message. */
static void test_other_streams(void **state)
{
	struct flow_head heads[] = {{FLOW_DATA, 64, FLOW, 0, 0},
				    {FLOW_ANSWER, FLOW_ASK, FLOW, 0, 0},
				    {FLOW_QUESTION, FLOW_ASK, FLOW, 0, 0}};
	char bytes[FLOW_ASK];
	bool asked;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct tally_stream *stream = calloc(1, sizeof(*stream));

		memset(bytes, ' ', sizeof(bytes));
		flow_head_write(bytes, &heads[i]);
		if (i == 2)
			stream->tally = tally_new(FLOW + 1);
		assert_int_equal(tally_stream_take(stream, bytes, sizeof(bytes), 0, &asked), sizeof(bytes));
		assert_true(stream->is_other && !asked);
		tally_stream_free(stream);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head),   cmocka_unit_test(test_heads_that_are_none),
		cmocka_unit_test(test_facts),  cmocka_unit_test(test_facts_of_others),
		cmocka_unit_test(test_order),  cmocka_unit_test(test_window),
		cmocka_unit_test(test_jitter), cmocka_unit_test(test_latency),
		cmocka_unit_test(test_stream), cmocka_unit_test(test_other_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
