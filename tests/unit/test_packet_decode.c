/* Packets taken apart: every link, headers built here byte by byte, cut at every place, and lengths that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/packet/packet.h"

struct bytes {
	unsigned char data[2048];
	uint32_t len;
};

static void add(struct bytes *b, const void *data, size_t len)
{
	memcpy(b->data + b->len, data, len);
	b->len += (uint32_t)len;
}

static void add_hex(struct bytes *b, const char *hex)
{
	for (unsigned value; *hex; hex += 2) {
		while (*hex == ' ')
			hex++;
		assert_int_equal(sscanf(hex, "%2x", &value), 1);
		b->data[b->len++] = (unsigned char)value;
	}
}

static const char ETH[] = "0202 0000 0002 0202 0000 0001";
/* 10.0.0.1 > 10.0.0.2, TCP, 54 bytes in all: 20 and 34 of TCP with 12 of options and 2 of data */
static const char IP_TCP[] = "4500 0036 1234 4000 4006 0000 0a000001 0a000002"
			     "9c40 0050 00000064 000000c8 8018 0200 0000 0000"
			     "0101 080a 0000 0001 0000 0002 6869";
static const char IP6_HEAD[] = "20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002";

static struct packet decoded(struct bytes *b, unsigned link)
{
	struct packet p;

	packet_decode(&p, link, b->data, b->len, b->len);
	return p;
}

static void check_tcp(const struct packet *p)
{
	assert_int_equal(p->kind, PACKET_TCP);
	assert_null(p->bad);
	assert_null(p->cut);
	assert_int_equal(p->ip, 4);
	assert_memory_equal(p->src, "\x0a\0\0\1", 4);
	assert_memory_equal(p->dst, "\x0a\0\0\2", 4);
	assert_int_equal(p->sport, 40000);
	assert_int_equal(p->dport, 80);
	assert_int_equal(p->seq, 100);
	assert_int_equal(p->ack, 200);
	assert_int_equal(p->flags, TCP_ACK | TCP_PSH);
	assert_int_equal(p->window, 512);
	assert_int_equal(p->options_len, 12);
	assert_int_equal(p->payload_len, 2);
	assert_int_equal(p->payload_cap, 2);
	assert_memory_equal(p->payload, "hi", 2);
	assert_int_equal(p->ttl, 64);
	assert_false(p->fragment);
}

/* The same packet behind every link header there is. */
static void test_links(void **state)
{
	static const struct {
		unsigned link;
		const char *head;
	} links[] = {
		{LINK_ETHERNET, "0202 0000 0002 0202 0000 0001 0800"},
		{LINK_ETHERNET, "0202 0000 0002 0202 0000 0001 8100 0005 0800"},
		{LINK_ETHERNET, "0202 0000 0002 0202 0000 0001 88a8 0006 8100 0005 0800"},
		{LINK_SLL, "0003 0001 0006 0202 0000 0001 0000 0800"},
		{LINK_SLL2, "0800 0000 0000 0003 0001 04 06 0202 0000 0001 0000"},
		{LINK_NULL, "0200 0000"},
		{LINK_NULL, "0000 0002"},
		{LINK_LOOP, "0000 0002"},
		{LINK_RAW, ""},
		{LINK_RAW_BSD, ""},
		{LINK_RAW_OPENBSD, ""},
		{LINK_IPV4, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct bytes b = {0};
		struct packet p;

		add_hex(&b, links[i].head);
		add_hex(&b, IP_TCP);
		p = decoded(&b, links[i].link);
		check_tcp(&p);
		assert_int_equal(p.nvlans, i == 1 ? 1 : i == 2 ? 2 : 0);
		assert_int_equal(p.cooked, i == 3 ? 4 : i == 4 ? 5 : 0);
		assert_int_equal(p.ifindex, i == 4 ? 3 : 0);
	}
}

static void test_unknown_link(void **state)
{
	struct bytes b = {0};
	struct packet p;

	(void)state;
	add_hex(&b, IP_TCP);
	p = decoded(&b, 147);
	assert_int_equal(p.kind, PACKET_OTHER);
	assert_int_equal(p.payload_len, b.len);
	packet_decode(&p, LINK_ETHERNET, "", 0, 0);
	assert_int_equal(p.kind, PACKET_OTHER);
	assert_non_null(p.bad);
}

static void test_padding_is_no_payload(void **state)
{
	struct bytes b = {0};
	struct packet p;

	(void)state;
	add_hex(&b, ETH);
	add_hex(&b, "0800");
	add_hex(&b, IP_TCP);
	add(&b, "\0\0\0\0\0\0", 6);
	p = decoded(&b, LINK_ETHERNET);
	check_tcp(&p);
}

static void test_options(void **state)
{
	struct packet p = {0};
	struct tcp_option option;
	unsigned at = 0;
	static const unsigned char list[] = {2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 99};
	static const unsigned kinds[] = {TCPOPT_MSS, TCPOPT_WSCALE, TCPOPT_SACKOK, TCPOPT_TS};

	(void)state;
	p.options = list;
	p.options_len = sizeof(list);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(packet_tcp_option(&p, &at, &option), 1);
		assert_int_equal(option.kind, kinds[i]);
	}
	assert_int_equal(packet_tcp_option(&p, &at, &option), 0); /* the end, whatever stands behind it */
	for (unsigned len = 0; len < 4; len++) {
		const unsigned char lie[] = {2, (unsigned char)(len == 3 ? 9 : len), 1};

		p.options = lie;
		p.options_len = sizeof(lie);
		at = 0;
		assert_int_equal(packet_tcp_option(&p, &at, &option), len == 2 ? 1 : -1);
	}
}

static void test_ip6_extensions(void **state)
{
	struct bytes b = {0};
	struct packet p;

	(void)state;
	add_hex(&b, "60000000 0035 00 40"); /* 8 hop, 8 destination, 24 routing, then 13 of UDP: 5 of data */
	add_hex(&b, IP6_HEAD);
	add_hex(&b, "3c 00 0104 00000000"); /* hop by hop, then destination */
	add_hex(&b, "2b 00 0104 00000000"); /* then routing */
	add_hex(&b, "11 02 0000 00000000 00000000 00000000 00000000 00000000");
	add_hex(&b, "0035 1000 000d 0000 68656c6c6f");
	p = decoded(&b, LINK_RAW);
	assert_null(p.bad);
	assert_int_equal(p.ext, EXT_HOP | EXT_DESTINATION | EXT_ROUTING);
	assert_int_equal(p.kind, PACKET_UDP);
	assert_int_equal(p.sport, 53);
	assert_int_equal(p.payload_len, 5);
	assert_memory_equal(p.payload, "hello", 5);
}

static void test_fragments(void **state)
{
	struct bytes b = {0}, six = {0};
	struct packet p;

	(void)state;
	add_hex(&b, "4500 001c 1234 2000 4011 0000 0a000001 0a000002 0035 1000 0bbc 0000");
	p = decoded(&b, LINK_RAW); /* the first: its UDP length is that of the whole */
	assert_true(p.fragment && p.more_fragments);
	assert_int_equal(p.kind, PACKET_UDP);
	assert_null(p.bad);
	b.data[6] = 0x00;
	b.data[7] = 0x02;
	p = decoded(&b, LINK_RAW); /* a later one: no header */
	assert_true(p.fragment && !p.more_fragments);
	assert_int_equal(p.fragment_at, 16);
	assert_int_equal(p.kind, PACKET_IP);
	assert_false(p.ports);
	add_hex(&six, "60000000 0010 2c 40");
	add_hex(&six, IP6_HEAD);
	add_hex(&six, "06 00 0009 00000007 0102030405060708");
	p = decoded(&six, LINK_IPV6);
	assert_true(p.fragment && p.more_fragments);
	assert_int_equal(p.fragment_at, 8);
	assert_int_equal(p.fragment_id, 7);
	assert_int_equal(p.proto, PROTO_TCP);
	assert_int_equal(p.kind, PACKET_IP);
}

static void test_arp_and_icmp(void **state)
{
	struct bytes arp = {0}, icmp = {0};
	struct packet p;

	(void)state;
	add_hex(&arp, ETH);
	add_hex(&arp, "0806 0001 0800 06 04 0001 020200000001 0a000001 000000000000 0a000002");
	p = decoded(&arp, LINK_ETHERNET);
	assert_int_equal(p.kind, PACKET_ARP);
	assert_int_equal(p.arp_op, 1);
	assert_memory_equal(p.dst, "\x0a\0\0\2", 4);
	add_hex(&icmp, "4500 001c 0000 0000 4001 0000 0a000001 0a000002 0800 0000 0007 0009");
	p = decoded(&icmp, LINK_RAW);
	assert_int_equal(p.kind, PACKET_ICMP);
	assert_int_equal(p.type, 8);
	assert_int_equal(p.ack, 7);
	assert_int_equal(p.seq, 9);
	assert_int_equal(p.payload_len, 8);
}

/* Where a packet is cut, only what was captured is told, and which header is missing. */
static void test_cut_anywhere(void **state)
{
	struct bytes b = {0};

	(void)state;
	add_hex(&b, ETH);
	add_hex(&b, "8100 0001 88a8 0002 0800");
	add_hex(&b, IP_TCP);
	for (uint32_t len = 0; len <= b.len; len++) {
		unsigned char *exact = malloc(len ? len : 1); /* the sanitizer watches the end */
		struct packet p;
		struct tcp_option option;
		unsigned at = 0;

		memcpy(exact, b.data, len);
		packet_decode(&p, LINK_ETHERNET, exact, len, b.len);
		assert_null(p.bad);
		assert_int_equal(p.cut != NULL, len < 74);
		assert_int_equal(p.kind, len < 42 ? PACKET_OTHER : len < 62 ? PACKET_IP : PACKET_TCP);
		assert_int_equal(p.nvlans, len < 18 ? 0 : len < 22 ? 1 : 2);
		assert_true(p.payload >= exact && p.payload + p.payload_cap <= exact + len);
		assert_true(p.payload_cap <= p.payload_len);
		if (p.kind == PACKET_TCP) {
			assert_int_equal(p.payload_len, 2);
			while (packet_tcp_option(&p, &at, &option) > 0)
				assert_true(option.data + option.len <= exact + len);
		}
		free(exact);
	}
}

static void test_lies(void **state)
{
	static const struct {
		unsigned at;
		unsigned char value;
	} lies[] = {
		{0, 0x44},  /* ip: a header of 16 bytes */
		{0, 0x55},  /* ip: version 5 */
		{2, 0xff},  /* ip: longer than the packet */
		{3, 0x10},  /* ip: shorter than its header */
		{32, 0x40}, /* tcp: a header of 16 bytes */
		{32, 0xf0}, /* tcp: a header longer than the packet */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct bytes b = {0};
		struct packet p;

		add_hex(&b, IP_TCP);
		b.data[lies[i].at] = lies[i].value;
		p = decoded(&b, LINK_IPV4);
		assert_non_null(p.bad);
	}
}

/* What cooked headers hold beside packets: netlink's messages, whose type is no ethertype, though the number is one. */
static void test_cooked_netlink(void **state)
{
	static const struct {
		unsigned link, kind;
		const char *head;
	} heads[] = {
		{LINK_SLL, PACKET_OTHER, "0004 0338 0000 0000 0000 0000 0000 0800"},
		{LINK_SLL2, PACKET_OTHER, "0800 0000 0000 0003 0338 04 00 0000 0000 0000 0000"},
		{LINK_SLL, PACKET_TCP, "0003 3801 0000 0000 0000 0000 0000 0800"},
		{LINK_SLL, PACKET_TCP, "0004 0304 0000 0000 0000 0000 0000 0800"},
		{LINK_SLL, PACKET_OTHER, "0004 0001 0000 0000 0000 0000 0000 0004"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct bytes b = {0};
		struct packet p;

		add_hex(&b, heads[i].head);
		add_hex(&b, IP_TCP);
		p = decoded(&b, heads[i].link);
		assert_int_equal(p.kind, heads[i].kind);
	}
}

/* Headers that go round: tags in tags, extensions without end. Both come to one. */
static void test_endless_headers(void **state)
{
	struct bytes tags = {0}, chain = {0};
	struct packet p;

	(void)state;
	add_hex(&tags, ETH);
	for (int i = 0; i < 400; i++)
		add_hex(&tags, "8100 0001");
	p = decoded(&tags, LINK_ETHERNET);
	assert_int_equal(p.kind, PACKET_OTHER);
	assert_int_equal(p.nvlans, 2);
	add_hex(&chain, "60000000 0320 00 40");
	add_hex(&chain, IP6_HEAD);
	for (int i = 0; i < 100; i++)
		add_hex(&chain, "00 00 0104 00000000");
	p = decoded(&chain, LINK_RAW);
	assert_string_equal(p.bad, "ip6: more extension headers than make sense");
}

/* A card is handed more than an IP packet can hold, and says 0. */
static void test_unsegmented(void **state)
{
	struct bytes b = {0};
	struct packet p;

	(void)state;
	add_hex(&b, IP_TCP);
	b.data[2] = b.data[3] = 0;
	p = decoded(&b, LINK_RAW);
	check_tcp(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_unknown_link),
		cmocka_unit_test(test_padding_is_no_payload),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_ip6_extensions),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_arp_and_icmp),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_cooked_netlink),
		cmocka_unit_test(test_endless_headers),
		cmocka_unit_test(test_unsegmented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
