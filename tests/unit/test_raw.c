/* Sockets below the transports: names of protocols, and which part of whose packets is the message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/raw.h"
#include "tenon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_protocols(void **state)
{
	(void)state;
	assert_int_equal(tni_raw_protocol(TNI_RAW_IP, "icmp"), 1);
	assert_int_equal(tni_raw_protocol(TNI_RAW_IP, "GRE"), 47);
	assert_int_equal(tni_raw_protocol(TNI_RAW_IP, "253"), 253);
	assert_int_equal(tni_raw_protocol(TNI_RAW_IP, "0xfd"), 253);
	assert_int_equal(tni_raw_protocol(TNI_RAW_PACKET, "all"), 3);
	assert_int_equal(tni_raw_protocol(TNI_RAW_PACKET, "arp"), 0x806);
	assert_int_equal(tni_raw_protocol(TNI_RAW_PACKET, "0xffff"), 0xffff);
	static const char *const bad[] = {"", "0", "256", "-1", "1x", "arp", " 1", "0x", "99999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tni_raw_protocol(TNI_RAW_IP, bad[i]), -EINVAL);
	assert_int_equal(tni_raw_protocol(TNI_RAW_PACKET, "65536"), -EINVAL);
	assert_int_equal(tni_raw_protocol(TNI_RAW_PACKET, "icmp"), -EINVAL);
}

static void test_neighbours(void **state)
{
	static const char *const bad[] = {"",
					  "aa:bb:cc:dd:ee",
					  "aa:bb:cc:dd:ee:ff:00",
					  "aa-bb-cc-dd-ee-ff",
					  "aa:bb:cc:dd:ee:gg",
					  "aa:bb:cc:dd:ee:ff ",
					  " aa:bb:cc:dd:ee:ff",
					  "aaa:bb:cc:dd:ee:f"};
	struct tn_addr at, addr;
	char text[64];

	(void)state;
	assert_int_equal(tni_raw_interface(&at, "lo", 0x806), 0);
	assert_int_equal(tni_raw_neighbour(&addr, &at, "02:00:5E:10:00:ff"), 0);
	assert_string_equal(tn_addr_text(&addr, text, sizeof(text)), "02:00:5e:10:00:ff%lo");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tni_raw_neighbour(&addr, &at, bad[i]), -EINVAL);
	assert_int_equal(tni_raw_interface(&at, "*", 3), 0);
	assert_int_equal(tni_raw_interface(&at, "nosuch0", 3), -ENODEV);
	assert_non_null(strstr(tn_errmsg(), "there are lo"));
}

/* What takes privileges is passed over without. */
static int open_raw(enum tni_raw_kind kind, int family, bool serving)
{
	struct tni_raw_spec spec = {.kind = kind, .serving = serving, .protocol = 253};
	int fd = tni_raw_open(&spec, family);

	if (fd == -EPERM || fd == -EACCES) {
		assert_non_null(strstr(tn_errmsg(), "CAP_NET_RAW"));
		skip();
	}
	if (fd == -EAFNOSUPPORT)
		skip();
	assert_true(fd >= 0);
	return fd;
}

static struct tni_raw *raw_of(int fd, enum tni_raw_kind kind, bool connected)
{
	struct tni_raw *raw;

	assert_int_equal(tni_raw_new(fd, kind, connected, NULL, NULL, &raw), 0);
	assert_non_null(raw);
	return raw;
}

static bool take(struct tni_raw *raw, const char *bytes, size_t len, const char **message, size_t *left)
{
	struct tn_addr from = {0};
	const void *data = bytes;
	bool taken;

	*left = len;
	taken = tni_raw_take(raw, &from, &data, left);
	*message = data;
	return taken;
}

static void test_header_is_cut_off(void **state)
{
	int fd = open_raw(TNI_RAW_IP, AF_INET, true), on = 1;
	struct tni_raw *raw = raw_of(fd, TNI_RAW_IP, false);
	char packet[80] = {0x46}; /* a header of 24 bytes */
	const char *message;
	size_t left;

	(void)state;
	assert_true(take(raw, packet, 30, &message, &left));
	assert_ptr_equal(message, packet + 24);
	assert_int_equal(left, 6);
	assert_true(take(raw, packet, 24, &message, &left));
	assert_int_equal(left, 0);
	/* A packet that says that its header is longer than itself, and none at all */
	assert_false(take(raw, packet, 23, &message, &left));
	assert_false(take(raw, packet, 1, &message, &left));
	assert_true(take(raw, packet, 0, &message, &left));
	tni_raw_free(raw);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on, sizeof(on)), 0);
	raw = raw_of(fd, TNI_RAW_IP, false);
	assert_true(take(raw, packet, 30, &message, &left));
	assert_ptr_equal(message, packet);
	assert_int_equal(left, 30);
	tni_raw_free(raw);
	close(fd);
}

static void test_own_echoes(void **state)
{
	int fd = open_raw(TNI_RAW_IP, AF_INET6, true);
	struct tni_raw *raw = raw_of(fd, TNI_RAW_IP, false);
	unsigned char hello[] = "hello", other[] = "other";
	struct tn_addr here, far;
	const char *message;
	size_t left;

	(void)state;
	assert_int_equal(tni_addr_literal(&here, "::1", 0), 0);
	assert_int_equal(tni_addr_literal(&far, "2001:db8::1", 0), 0);
	assert_true(take(raw, "hello", 5, &message, &left));
	tni_raw_give(raw, &here, hello, 5);
	tni_raw_give(raw, &here, hello, 5);
	assert_true(take(raw, "other", 5, &message, &left));
	assert_false(take(raw, "hello", 5, &message, &left)); /* once for each that was sent */
	assert_false(take(raw, "hello", 5, &message, &left));
	assert_true(take(raw, "hello", 5, &message, &left));
	tni_raw_give(raw, &far, other, 5); /* that does not come back: whoever says the same means it */
	assert_true(take(raw, "other", 5, &message, &left));
	tni_raw_free(raw);
	close(fd);
}

/* As RFC 1071 has it: summed up with its checksum, a message is all ones. */
static unsigned sum_of(const unsigned char *data, size_t len)
{
	unsigned sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (unsigned)data[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void test_icmp_is_completed(void **state)
{
	int fd = open_raw(TNI_RAW_ICMP, AF_INET, true);
	struct tni_raw *raw = raw_of(fd, TNI_RAW_ICMP, true);
	unsigned char question[] = {8, 0, 1, 2, 0, 0, 0, 9, 'o', 'd', 'd'}, tiny[] = {8, 0, 0};
	char packet[64] = {0x45}, *reply = packet + 20;
	const char *message;
	size_t left;

	(void)state;
	tni_raw_give(raw, NULL, question, sizeof(question));
	assert_int_equal(sum_of(question, sizeof(question)), 0xffff);
	tni_raw_give(raw, NULL, tiny, sizeof(tiny)); /* nothing to complete, and nothing beyond it touched */
	memcpy(reply, question, sizeof(question));
	assert_false(take(raw, packet, 20 + sizeof(question), &message, &left)); /* a question is no reply */
	reply[0] = 0;
	assert_true(take(raw, packet, 20 + sizeof(question), &message, &left));
	assert_ptr_equal(message, reply);
	reply[5] ^= 1;
	assert_false(take(raw, packet, 20 + sizeof(question), &message, &left)); /* another's */
	assert_false(take(raw, packet, 20 + 7, &message, &left));                /* cut off */
	tni_raw_free(raw);
	close(fd);
}

static void test_others_need_nothing(void **state)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct tni_raw *raw;

	(void)state;
	assert_int_equal(tni_raw_new(fd, TNI_RAW_NONE, false, NULL, NULL, &raw), 0);
	assert_null(raw);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocols),         cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_header_is_cut_off), cmocka_unit_test(test_own_echoes),
		cmocka_unit_test(test_icmp_is_completed), cmocka_unit_test(test_others_need_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
