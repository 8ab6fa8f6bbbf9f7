/*
 * Datagrams put together again: whatever the order of their fragments, the same bytes; and nothing out of those that
 * lack, contradict each other or are made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/packet/fragments.h"
#include "capture/packet/packet.h"

#define LEN 36 /* of a UDP datagram: five pieces, the last of them short */
#define SECOND UINT64_C(1000000000)

static struct fragments *fragments;
static struct packet whole;
static unsigned char datagram[LEN];

static int set_up(void **state)
{
	static const unsigned char head[8] = {0x1b, 0x58, 0x1b, 0x59, 0, LEN, 0, 0};

	(void)state;
	memcpy(datagram, head, sizeof(head));
	for (int i = 8; i < LEN; i++)
		datagram[i] = (unsigned char)('a' + i - 8);
	return fragments_new(&fragments, 1 << 20);
}

static int tear_down(void **state)
{
	(void)state;
	fragments_free(fragments);
	return 0;
}

/* Bytes from..to of the datagram, or of others at their place. */
struct piece {
	unsigned ip, id, from, to;
	bool more;
	const unsigned char *data;
	uint64_t ns;
	unsigned missing; /* bytes that were not captured */
};

static unsigned write_ip(const struct piece *p, unsigned char *out)
{
	unsigned len = p->to - p->from;

	memset(out, 0, 48);
	if (p->ip == 4) {
		out[0] = 0x45;
		out[3] = (unsigned char)(20 + len);
		out[5] = (unsigned char)p->id;
		out[6] = (unsigned char)((p->more ? 0x20 : 0) | p->from >> 11);
		out[7] = (unsigned char)(p->from >> 3);
		out[8] = 64;
		out[9] = PROTO_UDP;
		memcpy(out + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	} else {
		out[0] = 0x60;
		out[5] = (unsigned char)(8 + len);
		out[6] = 44;
		out[23] = 1;
		out[39] = 2;
		out[40] = PROTO_UDP;
		out[42] = (unsigned char)(p->from >> 8);
		out[43] = (unsigned char)(p->from | p->more);
		out[47] = (unsigned char)p->id;
	}
	memcpy(out + (p->ip == 4 ? 20 : 48), p->data ? p->data : datagram + p->from, len);
	return (p->ip == 4 ? 20 : 48) + len;
}

static int take(struct piece p)
{
	unsigned char bytes[256];
	unsigned len = write_ip(&p, bytes);
	struct packet packet;

	packet_decode_ip(&packet, bytes, len - p.missing, len);
	assert_true(packet.fragment);
	return fragments_take(fragments, &packet, p.ns, &whole);
}

static struct piece piece(unsigned ip, unsigned n)
{
	return (struct piece){.ip = ip, .id = 7, .from = n * 8, .to = n * 8 + 8 < LEN ? n * 8 + 8 : LEN, .more = n < 4};
}

static void assert_whole(unsigned ip)
{
	assert_int_equal(whole.ip, ip);
	assert_int_equal(whole.kind, PACKET_UDP);
	assert_false(whole.fragment);
	assert_int_equal(whole.sport, 7000);
	assert_int_equal(whole.dport, 7001);
	assert_int_equal(whole.payload_cap, LEN - 8);
	assert_int_equal(whole.payload_len, LEN - 8);
	assert_memory_equal(whole.payload, datagram + 8, LEN - 8);
	assert_null(whole.bad);
	assert_int_equal(whole.src[ip == 4 ? 3 : 15], 1);
	assert_int_equal(whole.dst[ip == 4 ? 3 : 15], 2);
}

/* All 120 orders of five pieces, each with each of them twice as well. */
static void every_order(unsigned ip, unsigned *order, unsigned n)
{
	if (n == 5) {
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(take(piece(ip, order[i])), i == 4);
			if (i < 4)
				assert_int_equal(take(piece(ip, order[i])), 0);
		}
		assert_whole(ip);
		return;
	}
	for (unsigned i = n; i < 5; i++) {
		unsigned swap = order[n];

		order[n] = order[i];
		order[i] = swap;
		every_order(ip, order, n + 1);
		order[i] = order[n];
		order[n] = swap;
	}
}

static void test_every_order(void **state)
{
	unsigned order[] = {0, 1, 2, 3, 4};

	(void)state;
	every_order(4, order, 0);
	every_order(6, order, 0);
	assert_int_equal(fragments_over(fragments)->unfinished, 0);
}

static void test_others_between(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 4; n++)
		for (unsigned id = 0; id < 30; id++) {
			struct piece p = piece(n % 2 ? 4 : 6, n);

			p.ip = id % 2 ? 4 : 6;
			p.id = id;
			assert_int_equal(take(p), 0);
		}
	for (unsigned id = 0; id < 30; id++) {
		struct piece p = piece(id % 2 ? 4 : 6, 4);

		p.id = id;
		assert_int_equal(take(p), 1);
		assert_whole(p.ip);
	}
}

static void test_pieces_that_overlap_and_agree(void **state)
{
	(void)state;
	assert_int_equal(take((struct piece){.ip = 4, .from = 0, .to = 24, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 4, .from = 8, .to = 32, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 4, .from = 16, .to = LEN}), 1);
	assert_whole(4);
}

static void test_contradictions(void **state)
{
	static const unsigned char other[24] = "other bytes, other bytes";

	(void)state;
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(take(piece(4, n)), 0);
	assert_int_equal(take((struct piece){.ip = 4, .id = 7, .from = 8, .to = 32, .more = true, .data = other}), 0);
	assert_int_equal(take(piece(4, 4)), 0);
	/* Two ends; and a piece behind the end */
	assert_int_equal(take((struct piece){.ip = 6, .id = 1, .from = 0, .to = 8, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 6, .id = 1, .from = 16, .to = 20}), 0);
	assert_int_equal(take((struct piece){.ip = 6, .id = 1, .from = 8, .to = 12}), 0);
	assert_int_equal(take((struct piece){.ip = 6, .id = 2, .from = 0, .to = 8, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 6, .id = 2, .from = 24, .to = 32, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 6, .id = 2, .from = 8, .to = 16}), 0);
	assert_int_equal(fragments_over(fragments)->conflicting, 3);
}

static void test_what_is_of_no_use(void **state)
{
	struct piece p = piece(4, 0);

	(void)state;
	/* Not captured as a whole; of a length that only a last one may have; longer than IP's lengths */
	p.missing = 1;
	assert_int_equal(take(p), 0);
	assert_int_equal(take((struct piece){.ip = 4, .id = 9, .from = 8, .to = 15, .more = true}), 0);
	assert_int_equal(take((struct piece){.ip = 4, .id = 9, .from = 65512, .to = 65520, .data = datagram}), 0);
	assert_int_equal(fragments_memory(fragments), 0);
	assert_int_equal(fragments_over(fragments)->unfinished, 1);
}

static void test_what_lacks(void **state)
{
	struct piece late = piece(4, 4);

	(void)state;
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(take(piece(4, n)), 0);
	late.ns = 31 * SECOND; /* by then the identifier is another's */
	assert_int_equal(take(late), 0);
	assert_int_equal(take(piece(6, 1)), 0); /* without a first one it may have been no business of ours */
	assert_int_equal(fragments_over(fragments)->unfinished, 1);
	assert_int_equal(fragments_memory(fragments), 0);
}

static void test_memory_is_bounded(void **state)
{
	(void)state;
	fragments_free(fragments);
	assert_int_equal(fragments_new(&fragments, 200000), 0);
	for (unsigned id = 0; id < 1000; id++) {
		assert_int_equal(take((struct piece){
					 .ip = 4, .id = id % 256, .to = 8, .more = true, .ns = id / 256 * 31 * SECOND}),
				 0);
		assert_int_equal(take((struct piece){.ip = 4,
						     .id = id % 256,
						     .from = 64800,
						     .to = 64808,
						     .more = true,
						     .data = datagram,
						     .ns = id / 256 * 31 * SECOND}),
				 0);
		assert_true(fragments_memory(fragments) <= 200000);
	}
	assert_int_equal(fragments_over(fragments)->unfinished, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_others_between, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pieces_that_overlap_and_agree, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_contradictions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_of_no_use, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_lacks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memory_is_bounded, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
