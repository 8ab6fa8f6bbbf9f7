/* What a URL stands for (tn_url_place), and options read from sockets that others have opened (tn_socket_option). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "endpoint/endpoint.h"
#include "tenon.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* Without a scheme it is TCP; a port may be the name of a service; Unix paths as others write them. */
static void test_other_forms(void **state)
{
	struct tn_place place;

	(void)state;
	assert_int_equal(tn_url_place("localhost:10000?nodelay=off", &place), 0);
	assert_int_equal(place.protocol, IPPROTO_TCP);
	assert_int_equal(place.port, 10000);
	assert_int_equal(place.naddrs, 2);
	assert_int_equal(tn_url_place(":10000", &place), 0);
	assert_int_equal(place.port, 10000);
	assert_int_equal(tn_url_place("[::1]:7", &place), 0);
	assert_string_equal(addr_at(&place, 0), "[::1]:7");
	assert_int_equal(tn_url_place("unix:///run/x", &place), 0);
	assert_string_equal(addr_at(&place, 0), "/run/x");
	assert_int_equal(tn_url_place("unix-dgram://localhost/run/x", &place), 0);
	assert_string_equal(addr_at(&place, 0), "/run/x");
	if (getservbyname("https", "tcp")) {
		assert_int_equal(tn_url_place("tcp://127.0.0.1:https", &place), 0);
		assert_int_equal(place.port, 443);
	}
	assert_int_equal(tn_url_place("tcp://[fe80::1%lo]:7", &place), 0);
}

/* Refused at once, at their place and with what to type: no name server is asked. */
static void test_refused_hosts(void **state)
{
	static const struct {
		const char *url, *words;
		int at;
	} rows[] = {
		{"tcp://127.1:7", "not an IPv4 address", 6},
		{"tcp://0177.0.0.1:7", "leading zeros", 6},
		{"udp://010.0.0.1:7", "leading zeros", 6},
		{"tls://0x7f.1:7", "not an IPv4 address", 6},
		{"tcp://1.2.3.256:7", "not an IPv4 address", 6},
		{"tcp://127.0.0.1.:7", "not an IPv4 address", 6},
		{"icmp://2130706433", "not an IPv4 address", 7},
		{"127.1:7", "not an IPv4 address", 0},
		{"tcp://[::g]:7", "not an IPv6 address", 6},
		{"raw://[1:2]?proto=1", "not an IPv6 address", 6},
		{"tcp://[fe80::1%no-such]:7", "there is no interface 'no-such' here", 6},
		{"tcp://[fe80::1%1x]:7", "there is no interface '1x' here", 6},
		{"tcp://a%25b:7", "only an IPv6 address", 6},
		{"tcp://a:no-such-service", "there is no service 'no-such-service' for tcp", 8},
		{"unix://run/x", "write unix:/run/x", 7},
		{"unix://@x", "unix:@name", 7},
		{"/run/x", "unix:/run/x", 0},
		{"./x", "unix:./x", 0},
		{"localhost", "localhost:PORT", 9},
		{"10000", "localhost:10000", 0},
		{"tcp://\xff:7", "not in UTF-8", 6},
	};
	struct tn_place place;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc = tn_url_place(rows[i].url, &place);

		if (rc != TN_EURL || !strstr(tn_errmsg(), rows[i].words) || tn_errpos() != rows[i].at)
			fail_msg("%s: %s (%d)", rows[i].url, tn_errmsg(), (int)tn_errpos());
	}
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

/* What a URL stands for is asked of the library, in whatever case its scheme is written. */
static void test_kinds(void **state)
{
	static const struct {
		const char *url;
		int kind;
	} all[] = {
		{"tcp://localhost:1", 0},
		{"TCP4://localhost:1", 0},
		{"tcp6://*:0", 0},
		{"mptcp://localhost:1", 0},
		{"tcp://localhost:1?frame=line", 0},
		{"udp://localhost:1", TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"UDP6://[::1]:1", TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"Udp4://*:0", TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"unix:@x", TN_URL_LOCAL},
		{"UNIX-DGRAM:/x", TN_URL_LOCAL | TN_URL_PACKETS | TN_URL_DATAGRAMS},
		{"unix-SEQPACKET:/x", TN_URL_LOCAL | TN_URL_PACKETS},
#ifdef TNI_HAVE_TLS
		{"TLS://localhost:1", TN_URL_SECURE},
		{"tls+Unix:/x", TN_URL_SECURE | TN_URL_LOCAL},
		{"tls+mptcp://localhost:1", TN_URL_SECURE},
		{"DTLS://localhost:1", TN_URL_SECURE | TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
#endif
		{"Raw://127.0.0.1?proto=47", TN_URL_BELOW | TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"ICMP6://[::1]", TN_URL_ICMP | TN_URL_BELOW | TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"PACKET:lo", TN_URL_BELOW | TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY},
		{"tpc://localhost:1", TN_EURL},
		{"udp", TN_EURL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (tn_url_kind(all[i].url) != all[i].kind)
			fail_msg("%s: %d instead of %d", all[i].url, tn_url_kind(all[i].url), all[i].kind);
}

static int kind_of(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0), kind;
	char url[32];

	assert_true(fd >= 0);
	snprintf(url, sizeof(url), "FD:%d", fd);
	kind = tn_url_kind(url);
	close(fd);
	return kind;
}

/* An inherited descriptor is looked at. */
static void test_inherited_kinds(void **state)
{
	int pipes[2];
	char url[32];

	(void)state;
	assert_int_equal(kind_of(AF_INET, SOCK_STREAM), TN_URL_INHERITED);
	assert_int_equal(kind_of(AF_INET6, SOCK_DGRAM),
			 TN_URL_INHERITED | TN_URL_PACKETS | TN_URL_DATAGRAMS | TN_URL_LOSSY);
	assert_int_equal(kind_of(AF_UNIX, SOCK_STREAM), TN_URL_INHERITED | TN_URL_LOCAL);
	assert_int_equal(kind_of(AF_UNIX, SOCK_DGRAM),
			 TN_URL_INHERITED | TN_URL_LOCAL | TN_URL_PACKETS | TN_URL_DATAGRAMS);
	assert_int_equal(kind_of(AF_UNIX, SOCK_SEQPACKET), TN_URL_INHERITED | TN_URL_LOCAL | TN_URL_PACKETS);
	assert_int_equal(pipe(pipes), 0);
	snprintf(url, sizeof(url), "fd:%d", pipes[0]);
	assert_int_equal(tn_url_kind(url), TN_URL_INHERITED);
	assert_int_equal(tn_url_keeps_messages(url), 0);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_keys(void **state)
{
	(void)state;
	assert_int_equal(tn_url_has_key("tcp://localhost:1?idle=5s&nodelay", "idle"), 1);
	assert_int_equal(tn_url_has_key("tcp://localhost:1?idle=5s&nodelay", "nodelay"), 1);
	assert_int_equal(tn_url_has_key("localhost:1?id%6ce=5s", "idle"), 1); /* %6c: an l */
	assert_int_equal(tn_url_has_key("unix:/a%3fidle=5s", "idle"), 0);     /* %3f: a '?' of the path */
	assert_int_equal(tn_url_has_key("tcp://localhost:1?id=%26idle=5s", "idle"), 0);
	assert_int_equal(tn_url_has_key("tcp://localhost:1?idler=5s", "idle"), 0);
	assert_int_equal(tn_url_has_key("tcp://localhost:1", "idle"), 0);
	assert_int_equal(tn_url_has_key("tcp://localhost:x:y?idle=5s", "idle"), TN_EURL);
}

/* A key of an endpoint reads back as it was given, or as it is when nothing was said; one that does not apply is not
 * read. */
static void test_own_keys_are_read_back(void **state)
{
	static const struct {
		const char *url, *key, *value;
		enum tn_role role;
	} rows[] = {
		{"tcp://h:1?frame=u32le", "frame", "u32le", TN_DIAL},
		{"tcp://h:1", "frame", "none", TN_DIAL},
		{"tcp://h:1?format=cbor", "format", "cbor", TN_DIAL},
		{"tcp://h:1", "format", "raw", TN_DIAL},
		{"tcp://h:1?format=json&bad=skip", "bad", "skip", TN_SERVE},
		{"tcp://h:1?format=json&strict", "strict", "on", TN_SERVE},
		{"tcp://h:1?format=json", "strict", "off", TN_SERVE},
		{"tcp://127.0.0.1:1?bind=127.0.0.2:7", "bind", "127.0.0.2:7", TN_DIAL},
		{"tcp://[::1]:1?bind=[::1]:7", "bind", "[::1]:7", TN_DIAL},
		{"tcp://h:1", "bind", ":0", TN_DIAL},
		{"tcp://h:1?max=2MiB", "max", "2MiB", TN_SERVE},
		{"tcp://h:1?idle=90s", "idle", "90s", TN_SERVE},
		{"tcp://h:1?per-source=9", "per-source", "9", TN_SERVE},
		{"unix:/x?mode=640", "mode", "640", TN_SERVE},
		{"unix:/x?user=4000000000", "user", "4000000000", TN_SERVE},
		{"unix:/x?group=4000000001", "group", "4000000001", TN_SERVE},
		{"unix:/x?user=0", "user", "0", TN_SERVE},
		{"unix:/x?user=0", "group", NULL, TN_SERVE},
		{"unix:/x", "mode", NULL, TN_SERVE},
		{"tcp://h:1", "mode", NULL, TN_SERVE},
		{"tcp://h:1", "verify", NULL, TN_SERVE},
		{"tcp://h:1", "bind", NULL, TN_SERVE},
		{"tcp://h:1", "proto", NULL, TN_SERVE},
		{"raw://127.0.0.1?proto=253", "proto", "253", TN_SERVE},
		{"packet:lo?proto=arp", "proto", "0x0806", TN_SERVE},
		{"packet:lo?type=raw", "type", "raw", TN_SERVE},
		{"packet:lo", "type", "dgram", TN_SERVE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tni_endpoint *ep;
		char value[64] = "";
		int rc;

		if (tni_endpoint_new(rows[i].url, rows[i].role, &ep) < 0)
			fail_msg("%s: %s", rows[i].url, tn_errmsg());
		rc = tni_endpoint_read_option(ep, -1, rows[i].key, value, sizeof(value));
		if (rc != (rows[i].value ? 0 : -EOPNOTSUPP) || strcmp(value, rows[i].value ? rows[i].value : "") != 0)
			fail_msg("%s: %s is %d '%s'", rows[i].url, rows[i].key, rc, value);
		tni_endpoint_unref(ep);
	}
}

/* Numbers of modes in octal, at most four digits, and of what a file may be. */
static void test_modes(void **state)
{
	static const char *const bad[] = {"", "8", "1000", "00600", "0x1", "6 ", "-1"};
	char url[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(url, sizeof(url), "unix:/x?mode=%s", bad[i]);
		assert_int_equal(tn_url_check(url, TN_SERVE), TN_EURL);
	}
	assert_int_equal(tn_url_check("unix:/x?mode=0777", TN_SERVE), 0);
	assert_int_equal(tn_url_check("unix:/x?mode=0", TN_SERVE), 0);
}

/* The file of a socket gets just these permissions, whatever has failed before. */
static void test_mode_of_a_file(void **state)
{
	static const struct tn_handler nothing = {0};
	char path[64], url[80];
	struct tn_server *server;
	struct tn_loop *loop;
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/tenon-place-%d", (int)getpid());
	snprintf(url, sizeof(url), "unix:%s?mode=620", path);
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	errno = EIO;
	if (tn_serve(loop, url, &nothing, NULL, &server) < 0)
		fail_msg("%s", tn_errmsg());
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0620);
	tn_loop_free(loop);
	assert_int_equal(stat(path, &st), -1);
}

/* What tenon-url(7) says of the least and the most of a key: just that is taken, and what lies beyond is refused. */
static void test_bounds_of_keys(void **state)
{
	static const struct {
		const char *url, *least, *most, *less, *more;
		enum tn_role role;
	} rows[] = {
		{"tcp://h:1?max=", "1", "1GiB", "0", "1073741825", TN_DIAL},
		{"tcp://h:1?queue=", "1", "1GiB", "0", "1073741825", TN_DIAL},
		{"tcp://h:1?format=json&depth=", "1", "1024", "0", "1025", TN_DIAL},
		{"tcp://h:1?idle=", "0", "1000h", "-1s", "3600001s", TN_DIAL},
		{"tcp://h:1?drain=", "0", "1000h", "-1s", "3600001s", TN_DIAL},
		{"tcp://h:1?frame=u32&request=", "0", "1000h", "-1s", "3600001s", TN_SERVE},
		{"tcp://h:1?connect=", "1ms", "1000h", "999us", "3600001s", TN_DIAL},
		{"tls://h:1?handshake=", "1ms", "1000h", "999us", "3600001s", TN_DIAL},
		{"tcp://h:1?reconnect=", "1ms", "1000h", "999us", "3600001s", TN_DIAL},
		{"tcp://h:1?reconnect=", "1ms-1ms", "1ms-1000h", "2ms-1ms", "1ms-3600001s", TN_DIAL},
		{"tcp://h:1?reconnect=1s&reconnect-tries=", "0", "2147483647", "-1", "2147483648", TN_DIAL},
		{"tcp://h:1?frame=u32&heartbeat=", "2ms", "1000h", "1999us", "3600001s", TN_DIAL},
		{"tcp://h:1?backlog=", "1", "1048576", "0", "1048577", TN_SERVE},
		{"tcp://h:1?per-source=", "0", "2147483647", "-1", "2147483648", TN_SERVE},
		{"tcp://h:1?accept-rate=", "0", "2147483647", "-1", "2147483648", TN_SERVE},
		{"shm:/x?ring=", "4KiB", "1GiB", "4095", "1073741825", TN_SERVE},
		{"tty:/x?baud=", "0", "100000000", "-1", "100000001", TN_DIAL},
		{"tty:/x?databits=", "5", "8", "4", "9", TN_DIAL},
		{"tty:/x?stopbits=", "1", "2", "0", "3", TN_DIAL},
		{"tls://h:1?tickets=", "0", "16", "-1", "17", TN_DIAL},
		{"ws://h:1?ping=", "0", "1h", "-1s", "3601s", TN_DIAL},
		{"ws://h:1?dead=", "0", "1h", "-1s", "3601s", TN_DIAL},
		{"ws://h:1?deflate-min=", "0", "1GiB", "-1", "1073741825", TN_DIAL},
		{"tcp://h:1?spin=", "0", "1s", "-1s", "1001ms", TN_DIAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const values[] = {rows[i].least, rows[i].most, rows[i].less, rows[i].more};

		for (int n = 0; n < 4; n++) {
			char url[128];
			int rc;

			snprintf(url, sizeof(url), "%s%s", rows[i].url, values[n]);
			rc = tn_url_check(url, rows[i].role);
			if (rc != (n < 2 ? 0 : TN_EURL))
				fail_msg("%s: %d: %s", url, rc, rc < 0 ? tn_errmsg() : "");
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),          cmocka_unit_test(test_any),
		cmocka_unit_test(test_paths),          cmocka_unit_test(test_below_the_transports),
		cmocka_unit_test(test_bad_places),     cmocka_unit_test(test_other_forms),
		cmocka_unit_test(test_refused_hosts),  cmocka_unit_test(test_options_of_any_socket),
		cmocka_unit_test(test_kinds),          cmocka_unit_test(test_inherited_kinds),
		cmocka_unit_test(test_keys),           cmocka_unit_test(test_own_keys_are_read_back),
		cmocka_unit_test(test_modes),          cmocka_unit_test(test_mode_of_a_file),
		cmocka_unit_test(test_bounds_of_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
