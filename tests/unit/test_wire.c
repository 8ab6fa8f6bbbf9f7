/* Packets made of what passes in a session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/packet/packet.h"
#include "record/wire/wire.h"

/* RFC 1071, by bytes: 0 when the checksum is right. */
static unsigned sum_of(const unsigned char *data, size_t len, unsigned long sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (unsigned)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned)sum ^ 0xffff;
}

static struct packet made(struct wire *wire, int from, unsigned flags, const void *data, size_t len, unsigned char *out)
{
	size_t head = wire_head(wire, from, flags, data, len, out), ip = wire->ip == 4 ? 20 : 40;
	size_t alen = wire->ip == 4 ? 4 : 16;
	struct packet packet;

	if (len)
		memcpy(out + head, data, len);
	packet_decode(&packet, LINK_RAW, out, (uint32_t)(head + len), (uint32_t)(head + len));
	assert_null(packet.bad);
	assert_null(packet.cut);
	if (wire->ip == 4)
		assert_int_equal(sum_of(out, 20, 0), 0);
	assert_int_equal(sum_of(out + ip - 2 * alen, 2 * alen + head - ip + len,
				(wire->datagrams ? 17 : 6) + (unsigned long)(head - ip + len)),
			 0);
	assert_int_equal(packet.payload_len, len);
	assert_memory_equal(packet.payload, data ? data : "", len);
	return packet;
}

static void test_a_connection(void **state)
{
	struct wire wire = {.ip = 4, .addr = {{10, 0, 0, 1}, {10, 0, 0, 2}}, .port = {40000, 80}};
	unsigned char out[WIRE_HEAD_MAX + 100];
	struct packet p;

	(void)state;
	wire.seq[0] = UINT32_MAX; /* it goes on at 0 */
	wire.seq[1] = 5;
	p = made(&wire, WIRE_CLIENT, WIRE_SYN, NULL, 0, out);
	assert_int_equal(p.kind, PACKET_TCP);
	assert_int_equal(p.flags, TCP_SYN);
	assert_int_equal(p.seq, UINT32_MAX);
	assert_int_equal(p.ack, 0);
	assert_int_equal(p.sport, 40000);
	assert_memory_equal(p.dst, "\x0a\0\0\2", 4);
	p = made(&wire, WIRE_SERVER, WIRE_SYN | WIRE_ACK, NULL, 0, out);
	assert_int_equal(p.seq, 5);
	assert_int_equal(p.ack, 0);
	assert_int_equal(p.sport, 80);
	p = made(&wire, WIRE_CLIENT, WIRE_ACK | WIRE_PSH, "odd", 3, out);
	assert_int_equal(p.seq, 0);
	assert_int_equal(p.ack, 6);
	p = made(&wire, WIRE_CLIENT, WIRE_ACK | WIRE_FIN, NULL, 0, out);
	assert_int_equal(p.seq, 3);
	p = made(&wire, WIRE_SERVER, WIRE_ACK | WIRE_FIN, NULL, 0, out);
	assert_int_equal(p.ack, 4);
}

static void test_every_length_over_ipv6(void **state)
{
	struct wire wire = {.ip = 6, .addr = {{0xfe, 0x80}, {0xfd, 1}}, .port = {1, 2}};
	unsigned char out[WIRE_HEAD_MAX + 64], data[64];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 37);
	for (size_t len = 0; len <= sizeof(data); len++) {
		wire.datagrams = len % 2;
		assert_int_equal(made(&wire, len % 3 == 0, WIRE_ACK, data, len, out).kind,
				 wire.datagrams ? PACKET_UDP : PACKET_TCP);
	}
}

static void test_the_longest(void **state)
{
	struct wire wire = {.ip = 4, .addr = {{1}, {2}}, .port = {1, 2}};
	unsigned char *out = malloc(WIRE_HEAD_MAX + WIRE_DATA_MAX), *data = calloc(1, WIRE_DATA_MAX);

	(void)state;
	assert_int_equal(made(&wire, WIRE_CLIENT, WIRE_ACK, data, WIRE_DATA_MAX, out).len, 65535);
	free(out);
	free(data);
}

/* No two sessions that may be open at once get the same ends. */
static void test_made_up_ends(void **state)
{
	struct wire a = {0}, b = {0};

	(void)state;
	wire_make_up(&a, 7);
	wire_make_up(&b, 8);
	assert_int_equal(a.ip, 4);
	assert_int_equal(a.addr[WIRE_CLIENT][0], 127);
	assert_true(a.port[WIRE_CLIENT] != b.port[WIRE_CLIENT]);
	wire_make_up(&b, 7 + 65535 - 1024);
	assert_int_equal(a.port[WIRE_CLIENT], b.port[WIRE_CLIENT]);
	assert_memory_not_equal(a.addr[WIRE_CLIENT], b.addr[WIRE_CLIENT], 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_connection),
		cmocka_unit_test(test_every_length_over_ipv6),
		cmocka_unit_test(test_the_longest),
		cmocka_unit_test(test_made_up_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
