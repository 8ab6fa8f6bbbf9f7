/* What a URL stands for (tn_url_place), and options read from sockets that others have opened (tn_socket_option). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *addr_at(const struct tn_place *place, int index)
{
	static char text[128];

	return tn_addr_text(&place->addrs[index], text, sizeof(text));
}

static void test_hosts(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("tcp://localhost:10000?nodelay=off", &place), 0);
	assert_int_equal(place.family, AF_UNSPEC);
	assert_int_equal(place.type, SOCK_STREAM);
	assert_int_equal(place.protocol, IPPROTO_TCP);
	assert_int_equal(place.port, 10000);
	assert_int_equal(place.naddrs, 2);
	assert_string_equal(addr_at(&place, 0), "127.0.0.1:10000");
	assert_string_equal(addr_at(&place, 1), "[::1]:10000");

	assert_int_equal(tn_url_place("udp6://[2001:db8::7]:53", &place), 0);
	assert_int_equal(place.family, AF_INET6);
	assert_int_equal(place.protocol, IPPROTO_UDP);
	assert_int_equal(place.naddrs, 1);
	assert_string_equal(addr_at(&place, 0), "[2001:db8::7]:53");

	assert_int_equal(tn_url_place("mptcp://127.0.0.1:7", &place), 0);
	assert_int_equal(place.protocol, 262);
}

/* What can only be served is understood all the same. */
static void test_any(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("tcp4://*:80", &place), 0);
	assert_int_equal(place.naddrs, 0);
	assert_int_equal(place.port, 80);
	assert_int_equal(place.family, AF_INET);
	assert_int_equal(tn_url_place("tcp://127.0.0.1:0?defer_accept=1s", &place), 0);
	assert_int_equal(place.port, 0);
}

static void test_paths(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("unix-seqpacket:/run/a%20b.sock", &place), 0);
	assert_int_equal(place.family, AF_UNIX);
	assert_int_equal(place.type, SOCK_SEQPACKET);
	assert_int_equal(place.port, -1);
	assert_string_equal(addr_at(&place, 0), "/run/a b.sock");
	assert_int_equal(tn_url_place("unix:@name", &place), 0);
	assert_string_equal(addr_at(&place, 0), "@name");
}

static void test_below_the_transports(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("raw://127.0.0.1?proto=gre", &place), 0);
	assert_int_equal(place.type, SOCK_RAW);
	assert_int_equal(place.protocol, 47);
	assert_int_equal(place.port, -1);
	assert_int_equal(place.naddrs, 1);
	assert_int_equal(tn_url_place("icmp6://*", &place), 0);
	assert_int_equal(place.family, AF_INET6);
	assert_int_equal(place.protocol, IPPROTO_ICMPV6);
	assert_int_equal(place.naddrs, 0);
	assert_int_equal(tn_url_place("packet:lo?proto=arp&type=raw", &place), 0);
	assert_int_equal(place.family, AF_PACKET);
	assert_int_equal(place.type, SOCK_RAW);
	assert_int_equal(place.protocol, 0x0806);
	assert_int_equal(place.port, -1);
	assert_string_equal(addr_at(&place, 0), "%lo");
}

static void test_bad_places(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("fd:3", &place), TN_EURL);
	assert_int_equal(tn_url_place("tcp://localhost", &place), TN_EURL);
	assert_int_equal(tn_url_place("tpc://localhost:1", &place), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "did you mean 'tcp'"));
}

static void test_options_of_any_socket(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, pair[2];
	char value[64];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(tn_socket_option(fd, "nodelay", value, sizeof(value)), 0);
	assert_string_equal(value, "off");
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	assert_int_equal(tn_socket_option(fd, "nodelay", value, sizeof(value)), 0);
	assert_string_equal(value, "on");
	assert_int_equal(tn_socket_option(fd, "v6only", value, sizeof(value)), -EOPNOTSUPP);
	assert_int_equal(tn_socket_option(fd, "passcred", value, sizeof(value)), -EOPNOTSUPP);
	assert_int_equal(tn_socket_option(fd, "frame", value, sizeof(value)), -EINVAL);
	close(fd);
	assert_int_equal(tn_socket_option(fd, "nodelay", value, sizeof(value)), -EBADF);

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(tn_socket_option(pair[0], "passcred", value, sizeof(value)), 0);
	assert_string_equal(value, "off");
	assert_int_equal(tn_socket_option(pair[0], "nodelay", value, sizeof(value)), -EOPNOTSUPP);
	close(pair[0]);
	close(pair[1]);

	assert_int_equal(pipe(pair), 0);
	assert_int_equal(tn_socket_option(pair[0], "rcvbuf", value, sizeof(value)), -ENOTSOCK);
	close(pair[0]);
	close(pair[1]);

	/* A family that has no scheme: what every socket has is read */
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(tn_socket_option(fd, "rcvbuf", value, sizeof(value)), 0);
	assert_int_equal(tn_socket_option(fd, "ttl", value, sizeof(value)), -EOPNOTSUPP);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),      cmocka_unit_test(test_any),
		cmocka_unit_test(test_paths),      cmocka_unit_test(test_below_the_transports),
		cmocka_unit_test(test_bad_places), cmocka_unit_test(test_options_of_any_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
