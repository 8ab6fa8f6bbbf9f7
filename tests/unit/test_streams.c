/*
 * TCP put together again: whatever the order in which segments are seen, however they overlap, and wherever sequence
 * numbers wrap, the same bytes come out; and what never came is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/packet/packet.h"
#include "capture/packet/streams.h"

struct heard {
	char text[2][4096]; /* what each side has said; a gap of n bytes is [n] */
	unsigned opened, ended[2], closed;
	enum stream_end why;
	bool joined;
	struct streams *streams;
	size_t hold;
};

static void on_open(void *arg, struct stream *s, uint64_t ns)
{
	struct heard *h = arg;

	(void)ns;
	h->opened++;
	h->joined = s->joined;
	if (h->hold)
		streams_hold(h->streams, s, h->hold);
}

static void say(struct heard *h, int from, const char *text, size_t len)
{
	size_t at = strlen(h->text[from]);

	assert_true(at + len < sizeof(h->text[0]));
	memcpy(h->text[from] + at, text, len);
}

static void on_data(void *arg, struct stream *s, int from, uint64_t ns, const void *data, uint32_t len)
{
	(void)s, (void)ns;
	assert_true(len > 0);
	say(arg, from, data, len);
}

static void on_gap(void *arg, struct stream *s, int from, uint64_t ns, uint32_t missing)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "[%u]", missing);

	(void)s, (void)ns;
	assert_true(missing > 0);
	say(arg, from, text, (size_t)len);
}

static void on_end(void *arg, struct stream *s, int from, uint64_t ns)
{
	(void)s, (void)ns;
	((struct heard *)arg)->ended[from]++;
}

static void on_empty(void *arg, struct stream *s, int from, uint64_t ns)
{
	(void)s, (void)ns;
	say(arg, from, "()", 2);
}

static void on_close(void *arg, struct stream *s, uint64_t ns, enum stream_end why)
{
	(void)s, (void)ns;
	((struct heard *)arg)->closed++;
	((struct heard *)arg)->why = why;
}

static const struct stream_ops ops = {on_open, on_data, on_gap, on_end, on_close, on_empty};

static void begin(struct heard *h, size_t memory)
{
	*h = (struct heard){0};
	assert_int_equal(streams_new(&h->streams, &ops, h, memory, 42), 0);
}

/* Side 0 is 10.0.0.1:1000, side 1 10.0.0.2:80. */
static void segment_at(struct heard *h, int from, uint32_t seq, unsigned flags, uint32_t ack, const char *text,
		       uint32_t cap, uint64_t ns)
{
	static const unsigned char addr[2][4] = {{10, 0, 0, 1}, {10, 0, 0, 2}};
	static const uint16_t port[2] = {1000, 80};
	uint32_t len = (uint32_t)strlen(text);
	struct packet p = {.kind = PACKET_TCP,
			   .ip = 4,
			   .src = addr[from],
			   .dst = addr[!from],
			   .sport = port[from],
			   .dport = port[!from],
			   .ports = true,
			   .seq = seq,
			   .ack = ack,
			   .flags = (uint8_t)flags,
			   .payload_len = len,
			   .payload_cap = cap < len ? cap : len};
	unsigned char *copy = malloc((size_t)p.payload_cap + 1); /* a copy of its own: the sanitizer watches */

	memcpy(copy, text, p.payload_cap);
	p.payload = copy;
	assert_int_equal(streams_packet(h->streams, &p, ns), 0);
	free(copy);
}

static void segment(struct heard *h, int from, uint32_t seq, unsigned flags, uint32_t ack, const char *text)
{
	segment_at(h, from, seq, flags, ack, text, UINT32_MAX, 1);
}

static void over(struct heard *h)
{
	streams_over(h->streams, 1);
	assert_int_equal(h->opened, h->closed);
	streams_free(h->streams);
}

struct piece {
	unsigned at, len;
};

static const char whole[] = "abcdefghijkl";

/* Every order of `n` pieces, from every sequence number near the place where they wrap. */
static void permute(const struct piece *pieces, unsigned n, const char *wanted)
{
	unsigned order[8], count[8] = {0}, i = 0;
	char text[32];

	for (unsigned k = 0; k < n; k++)
		order[k] = k;
	for (;;) {
		for (uint32_t first = UINT32_MAX - 14; first != 3; first++) {
			struct heard h;

			begin(&h, 1 << 20);
			segment(&h, 0, first - 1, TCP_SYN, 0, "");
			for (unsigned k = 0; k < n; k++) {
				const struct piece *piece = &pieces[order[k]];

				snprintf(text, sizeof(text), "%.*s", (int)piece->len, whole + piece->at);
				segment(&h, 0, first + piece->at, TCP_ACK, 1, text);
			}
			segment(&h, 0, first + 12, TCP_FIN | TCP_ACK, 1, "");
			over(&h);
			assert_string_equal(h.text[0], wanted);
			assert_int_equal(h.ended[0], 1);
			assert_int_equal(h.opened, 1);
		}
		/* Heap's algorithm, without recursion */
		while (i < n && count[i] >= i)
			count[i++] = 0;
		if (i == n)
			return;
		unsigned other = i % 2 ? count[i] : 0, keep = order[other];

		order[other] = order[i];
		order[i] = keep;
		count[i]++;
		i = 0;
	}
}

static void test_every_order(void **state)
{
	(void)state;
	permute((struct piece[]){{0, 2}, {2, 2}, {4, 2}, {6, 3}, {9, 2}, {11, 1}}, 6, whole);
	permute((struct piece[]){{0, 4}, {4, 4}, {8, 4}}, 3, whole);
}

static void test_every_order_overlapping(void **state)
{
	(void)state;
	permute((struct piece[]){{0, 5}, {3, 5}, {6, 6}, {2, 3}, {0, 1}}, 5, whole);
	permute((struct piece[]){{0, 12}, {4, 4}, {3, 1}, {8, 4}}, 4, whole);
	permute((struct piece[]){{1, 10}, {0, 3}, {2, 2}, {5, 2}, {10, 2}}, 5, whole);
	permute((struct piece[]){{0, 3}, {0, 3}, {3, 9}, {3, 9}, {6, 1}}, 5, whole);
}

static void test_every_order_with_a_hole(void **state)
{
	(void)state;
	permute((struct piece[]){{0, 2}, {4, 2}, {6, 3}, {9, 3}}, 4, "ab[2]efghijkl");
	permute((struct piece[]){{2, 2}, {4, 4}, {10, 2}}, 3, "[2]cdefgh[2]kl");
	permute((struct piece[]){{0, 4}, {2, 4}}, 2, "abcdef[6]");
}

/* Every set of four pieces that together cover the whole, in every order: what comes is what was sent. */
static void test_every_cover(void **state)
{
	(void)state;
	for (unsigned a = 1; a < 4; a++)
		for (unsigned b = a; b < 8; b += 2)
			for (unsigned back = 0; back <= a; back++)
				for (unsigned more = 0; more <= 12 - b; more += 3)
					permute((struct piece[]){{0, a}, {a - back, b - a + back + more}, {b, 12 - b}},
						3, whole);
}

/* What overlaps and differs: the first one heard counts, whatever the length of either. */
static void test_conflicts(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	segment(&h, 0, 99, TCP_SYN, 0, "");
	segment(&h, 0, 102, TCP_ACK, 1, "CD");
	segment(&h, 0, 101, TCP_ACK, 1, "bxxe");
	segment(&h, 0, 100, TCP_ACK, 1, "ayyyyf");
	assert_string_equal(h.text[0], "abCDef");
	assert_int_equal(streams_counted(h.streams)->conflicting, 4);
	segment(&h, 0, 100, TCP_ACK, 1, "zzzzzzg"); /* nothing of what was handed over changes */
	over(&h);
	assert_string_equal(h.text[0], "abCDefg");
}

static void handshake(struct heard *h)
{
	segment(h, 0, 999, TCP_SYN, 0, "");
	segment(h, 1, 4999, TCP_SYN | TCP_ACK, 1000, "");
	segment(h, 0, 1000, TCP_ACK, 5000, "");
}

static void test_both_directions(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 0, 1000, TCP_ACK, 5000, "ask");
	segment(&h, 1, 5000, TCP_ACK, 1003, "answer");
	segment(&h, 0, 1003, TCP_ACK | TCP_FIN, 5006, "");
	segment(&h, 1, 5006, TCP_ACK | TCP_FIN, 1004, "!");
	assert_int_equal(h.closed, 1);
	assert_int_equal(h.why, STREAM_FINISHED);
	segment(&h, 0, 1004, TCP_ACK, 5008, "");
	segment(&h, 1, 5006, TCP_ACK | TCP_FIN, 1004, "!"); /* once more: no new connection */
	over(&h);
	assert_int_equal(h.opened, 1);
	assert_false(h.joined);
	assert_string_equal(h.text[0], "ask");
	assert_string_equal(h.text[1], "answer!");
	assert_int_equal(h.ended[0] + h.ended[1], 2);
}

/* What is pushed without bytes is told in its place, and nowhere else. */
static void test_empty(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 0, 1000, TCP_ACK | TCP_PSH, 5000, "");
	segment(&h, 0, 1000, TCP_ACK | TCP_PSH, 5000, "ask");
	segment(&h, 0, 1003, TCP_ACK | TCP_PSH, 5000, "");
	segment(&h, 0, 1003, TCP_ACK, 5000, "");
	segment(&h, 0, 1002, TCP_ACK | TCP_PSH, 5000, ""); /* keeps the connection alive */
	segment(&h, 0, 1005, TCP_ACK, 5000, "z");
	segment(&h, 0, 1003, TCP_ACK | TCP_PSH, 5000, ""); /* others wait for what is missing here */
	over(&h);
	assert_string_equal(h.text[0], "()ask()[2]z");
}

/* The answer to a SYN that nobody saw, or anything else first: who is who, and from where. */
static void test_joined_late(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	segment(&h, 1, 4999, TCP_SYN | TCP_ACK, 1000, "");
	segment(&h, 0, 1000, TCP_ACK, 5000, "ask");
	over(&h);
	assert_string_equal(h.text[0], "ask");
	begin(&h, 1 << 20);
	segment(&h, 1, 4999, TCP_SYN | TCP_ACK, 1000, "");
	segment(&h, 0, 999, TCP_SYN, 0, ""); /* seen behind its answer: it is of the same connection */
	segment(&h, 0, 1000, TCP_ACK, 5000, "ask");
	assert_int_equal(h.opened, 1);
	assert_int_equal(h.closed, 0);
	segment(&h, 0, 999, TCP_SYN, 0, "");
	segment(&h, 1, 7000, TCP_SYN, 0, ""); /* the other side's, and not the one that it had */
	assert_int_equal(h.opened, 2);
	assert_int_equal(h.why, STREAM_REUSED);
	over(&h);
	assert_string_equal(h.text[0], "ask");
	begin(&h, 1 << 20);
	segment(&h, 1, 5000, TCP_ACK, 1003, "answer"); /* side 0 of this stream is who was heard first */
	segment(&h, 0, 1000, TCP_ACK, 5006, "old");    /* acknowledged before: not part of what is heard */
	segment(&h, 0, 1003, TCP_ACK, 5006, "new");
	over(&h);
	assert_true(h.joined);
	assert_string_equal(h.text[0], "answer");
	assert_string_equal(h.text[1], "new");
	begin(&h, 1 << 20);
	segment(&h, 0, 7, TCP_ACK, 9, "");
	segment(&h, 0, 7, TCP_RST, 9, "");
	over(&h);
	assert_int_equal(h.opened, 0);
}

/* What the other side has acknowledged was sent: a hole there is given up while the connection goes on. */
static void test_acknowledged_hole(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 0, 1003, TCP_ACK, 5000, "def");
	segment(&h, 1, 5000, TCP_ACK, 1006, "");
	assert_string_equal(h.text[0], ""); /* it may only be late */
	for (int i = 0; i < 20; i++)
		segment(&h, 1, 5000, TCP_ACK, 1006, "");
	assert_string_equal(h.text[0], "[3]def");
	segment(&h, 0, 1000, TCP_ACK, 5000, "abc");
	assert_string_equal(h.text[0], "[3]def");
	segment(&h, 0, 1009, TCP_ACK, 5000, "jkl");
	segment_at(&h, 1, 5000, TCP_ACK, 1012, "", UINT32_MAX, 2);
	segment_at(&h, 1, 5000, TCP_ACK, 1012, "", UINT32_MAX, 2000000000);
	assert_string_equal(h.text[0], "[3]def[3]jkl");
	over(&h);
	assert_string_equal(h.text[0], "[3]def[3]jkl");
}

/* An acknowledgement that comes behind a later one takes nothing back. */
static void test_acknowledged_out_of_order(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 1, 5000, TCP_ACK, 1012, "");
	segment(&h, 1, 5000, TCP_ACK, 1006, "");
	over(&h);
	assert_string_equal(h.text[0], "[12]");
}

static void test_cut_by_snaplen(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment_at(&h, 0, 1000, TCP_ACK, 5000, "abcdef", 2, 1);
	segment_at(&h, 0, 1006, TCP_ACK, 5000, "ghi", UINT32_MAX, 1);
	over(&h);
	assert_string_equal(h.text[0], "ab[4]ghi");
}

static void test_reset_and_reuse(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 0, 1002, TCP_ACK, 5000, "cd");
	segment(&h, 1, 5000, TCP_RST | TCP_ACK, 1000, "");
	assert_int_equal(h.why, STREAM_RESET);
	assert_string_equal(h.text[0], "[2]cd");
	segment(&h, 0, 77777, TCP_SYN, 0, "");
	assert_int_equal(h.opened, 2);
	segment(&h, 0, 77777, TCP_SYN, 0, ""); /* once more: the same */
	assert_int_equal(h.opened, 2);
	segment(&h, 0, 77778, TCP_ACK, 0, "new");
	segment(&h, 0, 88888, TCP_SYN, 0, "");
	assert_int_equal(h.opened, 3);
	assert_int_equal(h.why, STREAM_REUSED);
	over(&h);
	assert_string_equal(h.text[0], "[2]cdnew");
}

/* Segments and resets from nowhere near are not believed; probes of old bytes change nothing. */
static void test_outside(void **state)
{
	struct heard h;

	(void)state;
	begin(&h, 1 << 20);
	handshake(&h);
	segment(&h, 0, 1000 + (1U << 31) - 5, TCP_ACK, 5000, "far");
	segment(&h, 0, 1000 + (1U << 31) - 5, TCP_RST, 5000, "");
	segment(&h, 0, 999, TCP_ACK, 5000, "?");
	segment(&h, 0, 1000, TCP_ACK, 5000, "near");
	assert_int_equal(streams_counted(h.streams)->outside, 1);
	over(&h);
	assert_string_equal(h.text[0], "near");
}

/* What waits for a hole is bounded: then the stream is let go, with all that is there. */
static void test_memory(void **state)
{
	struct heard h;
	char text[11] = "0123456789";

	(void)state;
	begin(&h, 4096);
	handshake(&h);
	for (uint32_t i = 0; i < 200 && h.closed == 0; i++) {
		segment(&h, 0, 2000 + 20 * i, TCP_ACK, 5000, text);
		assert_true(streams_memory(h.streams) <= 4096);
	}
	assert_int_equal(h.closed, 1);
	assert_int_equal(h.why, STREAM_LET_GO);
	assert_int_equal(streams_counted(h.streams)->let_go, 1);
	assert_memory_equal(h.text[0], "[1000]0123456789[10]", 20);
	over(&h);
	begin(&h, 4096);
	h.hold = 5000; /* what the caller keeps counts too */
	segment(&h, 0, 999, TCP_SYN, 0, "");
	assert_int_equal(h.closed, 1);
	over(&h);
}

/* More connections than memory: the oldest is let go. */
static void test_many(void **state)
{
	struct heard h;
	struct packet p = {.kind = PACKET_TCP, .ip = 6, .dport = 80, .flags = TCP_SYN};
	unsigned char addr[2][16] = {{0xfd}, {0xfe}};

	(void)state;
	begin(&h, 1 << 20);
	p.src = addr[0];
	p.dst = addr[1];
	for (uint32_t i = 0; i < 20000; i++) {
		p.sport = (uint16_t)i;
		p.seq = i;
		assert_int_equal(streams_packet(h.streams, &p, i), 0);
		assert_true(streams_memory(h.streams) <= 1 << 20);
	}
	assert_int_equal(h.opened, 20000);
	assert_true(h.closed > 10000);
	over(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_every_order_overlapping),
		cmocka_unit_test(test_every_order_with_a_hole),
		cmocka_unit_test(test_every_cover),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_both_directions),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_joined_late),
		cmocka_unit_test(test_acknowledged_hole),
		cmocka_unit_test(test_acknowledged_out_of_order),
		cmocka_unit_test(test_cut_by_snaplen),
		cmocka_unit_test(test_reset_and_reuse),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
