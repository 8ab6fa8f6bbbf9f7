/*
 * The table of socket options against the kernel: every row on every kind of socket and family that it claims, in every
 * role, and what an accepted or a connected socket has kept of it. What this machine does not let us try (privileges,
 * an older kernel, no IPv6, no MPTCP) is said and passed over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/group.h"
#include "net/sockopt.h"
#include "tenon.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* ---- sockets ---- */

struct flavour {
	const char *name;
	enum tni_sock_kind kind;
	int family, type, protocol;
};

static const struct flavour flavours[] = {
	{"tcp4", TNI_SK_TCP, AF_INET, SOCK_STREAM, 0},
	{"tcp6", TNI_SK_TCP, AF_INET6, SOCK_STREAM, 0},
	{"mptcp4", TNI_SK_MPTCP, AF_INET, SOCK_STREAM, IPPROTO_MPTCP},
	{"mptcp6", TNI_SK_MPTCP, AF_INET6, SOCK_STREAM, IPPROTO_MPTCP},
	{"udp4", TNI_SK_UDP, AF_INET, SOCK_DGRAM, 0},
	{"udp6", TNI_SK_UDP, AF_INET6, SOCK_DGRAM, 0},
	{"raw4", TNI_SK_RAW, AF_INET, SOCK_RAW, IPPROTO_ICMP},
	{"raw6", TNI_SK_RAW, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6},
	{"icmp4", TNI_SK_PING, AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
	{"icmp6", TNI_SK_PING, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6},
	{"packet", TNI_SK_PACKET, AF_PACKET, SOCK_RAW, 0},
	{"unix", TNI_SK_UNIX_STREAM, AF_UNIX, SOCK_STREAM, 0},
	{"unix-dgram", TNI_SK_UNIX_DGRAM, AF_UNIX, SOCK_DGRAM, 0},
	{"unix-seqpacket", TNI_SK_UNIX_SEQPACKET, AF_UNIX, SOCK_SEQPACKET, 0},
};

#define NFLAVOURS (sizeof(flavours) / sizeof(flavours[0]))
#define CONNECTED_KINDS (TNI_SK_TCP | TNI_SK_MPTCP | TNI_SK_UNIX_STREAM | TNI_SK_UNIX_SEQPACKET)

/* The same with TCP in the place of MPTCP: a client that does not speak MPTCP gets a plain TCP socket. */
static const struct flavour *plain(const struct flavour *flavour)
{
	return flavour->kind == TNI_SK_MPTCP ? flavour - 2 : flavour;
}

static int open_socket(const struct flavour *flavour)
{
	return socket(flavour->family, flavour->type | SOCK_CLOEXEC, flavour->protocol);
}

/* Whether this machine has such sockets. */
static bool is_here(const struct flavour *flavour)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = open_socket(flavour);
	bool here = fd >= 0;

	if (here && flavour->family == AF_INET6 && flavour->kind != TNI_SK_RAW)
		here = !bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (!here)
		print_message("           passed over: %s: %s\n", flavour->name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return here;
}

/* Binds to the loopback, or to an abstract name of the kernel's choice. */
static void bind_loopback(int fd, int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (family == AF_INET)
		assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	else if (family == AF_INET6)
		assert_int_equal(bind(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	else
		assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un.sun_family)), 0);
}

static void connect_to(int fd, int listener)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, len), 0);
}

/* ---- samples: a value of every row that is not the usual one ---- */

struct sample {
	const char *key, *text;
	const char *reads;   /* as what it is read back, where that is another text */
	const char *reads6;  /* on IPv6, where that is yet another */
	const char *through; /* the key by which it is read back, when it cannot be by its own */
	const char *text6;   /* what to set on IPv6, where that is another text */
};

static const struct sample samples[] = {
	{.key = "reuseaddr", .text = "on"},
	{.key = "reuseport", .text = "yes", .reads = "on"},
	{.key = "v6only", .text = "1", .reads = "on"},
	{.key = "bindtodevice", .text = "lo"},
	{.key = "freebind", .text = "true", .reads = "on"},
	{.key = "transparent", .text = "on"},
	{.key = "bind_address_no_port", .text = "on"},
	{.key = "local_port_range", .text = "40000-40999"},
	{.key = "addr_preferences", .text = "tmp"},
	{.key = "tos", .text = "af11"},
	{.key = "tclass", .text = "0x48", .reads = "af21"},
	{.key = "priority", .text = "5"},
	{.key = "mark", .text = "4000000000"},
	{.key = "ttl", .text = "33"},
	{.key = "unicast_hops", .text = "34"},
	{.key = "minttl", .text = "1"},
	{.key = "minhopcount", .text = "2"},
	{.key = "mtu_discover", .text = "probe"},
	{.key = "dontfrag", .text = "on"},
	{.key = "autoflowlabel", .text = "off"},
	{.key = "hdrincl", .text = "on"},
	{.key = "unicast_if", .text = "lo"},
	{.key = "dontroute", .text = "on"},
	{.key = "broadcast", .text = "on"},
	{.key = "multicast_if", .text = "lo", .reads = "127.0.0.1", .reads6 = "lo"},
	{.key = "multicast_ttl", .text = "7"},
	{.key = "multicast_hops", .text = "8"},
	{.key = "multicast_loop", .text = "no", .reads = "off"},
	{.key = "multicast_all", .text = "false", .reads = "off"},
	{.key = "add_membership", .text = "239.255.1.2@lo", .reads = "", .through = "", .text6 = "ff02::1234@lo"},
	{.key = "join_source_group",
	 .text = "10.1.2.3@232.255.1.2@lo",
	 .reads = "",
	 .through = "",
	 .text6 = "::1@ff32::1234@lo"},
	{.key = "rcvbuf", .text = "40KiB"},
	{.key = "sndbuf", .text = "48KiB"},
	{.key = "rcvbufforce", .text = "40KiB", .through = "rcvbuf"},
	{.key = "sndbufforce", .text = "48KiB", .through = "sndbuf"},
	{.key = "rcvlowat", .text = "500"},
	{.key = "window_clamp", .text = "48KiB"},
	{.key = "notsent_lowat", .text = "16KiB"},
	{.key = "max_pacing_rate", .text = "8GiB"},
	{.key = "keepalive", .text = "on"},
	{.key = "keepidle", .text = "2m", .reads = "120s"},
	{.key = "keepintvl", .text = "22", .reads = "22s"},
	{.key = "keepcnt", .text = "11"},
	{.key = "user_timeout", .text = "5555ms"},
	{.key = "syncnt", .text = "3"},
	{.key = "linger", .text = "7s"},
	{.key = "linger2", .text = "33s"},
	{.key = "rto_max_ms", .text = "5s"},
	{.key = "rto_min_us", .text = "100ms"},
	{.key = "thin_linear_timeouts", .text = "on"},
	{.key = "rcvtimeo", .text = "3s"},
	{.key = "sndtimeo", .text = "3s"},
	{.key = "nodelay", .text = "on"},
	{.key = "cork", .text = "on"},
	{.key = "quickack", .text = "off"},
	{.key = "delack_max_us", .text = "100ms"},
	{.key = "maxseg", .text = "700"},
	{.key = "congestion", .text = "reno"},
	{.key = "oobinline", .text = "on"},
	{.key = "txrehash", .text = "off"},
	{.key = "tx_delay", .text = "1500us"},
	{.key = "defer_accept", .text = "7s"},
	{.key = "fastopen", .text = "16"},
	{.key = "fastopen_connect", .text = "on"},
	{.key = "fastopen_no_cookie", .text = "on"},
	{.key = "passcred", .text = "on"},
	{.key = "passrights", .text = "off"},
	{.key = "incoming_cpu", .text = "0"},
	{.key = "busy_poll", .text = "33us"},
	{.key = "prefer_busy_poll", .text = "on"},
	{.key = "busy_poll_budget", .text = "16", .reads = "", .through = ""},
};

#define NSAMPLES (sizeof(samples) / sizeof(samples[0]))

static const struct sample *sample_of(const struct tni_sockopt *opt)
{
	for (size_t i = 0; i < NSAMPLES; i++)
		if (!strcmp(samples[i].key, opt->key))
			return &samples[i];
	fail_msg("no sample of key %s: add one", opt->key);
	return NULL;
}

/* The table was made on Linux 6.18; an older one may well lack something. */
static bool is_older_kernel(void)
{
	struct utsname kernel;
	int major = 0, minor = 0;

	uname(&kernel);
	sscanf(kernel.release, "%d.%d", &major, &minor);
	return major < 6 || (major == 6 && minor < 18);
}

/* Says it once a row. */
static bool is_excused(const struct tni_sockopt *opt, const struct flavour *flavour, int rc)
{
	static const struct tni_sockopt *said[NSAMPLES];
	size_t i = 0;

	if (rc != -EPERM && !((rc == -EOPNOTSUPP || rc == -ENOPROTOOPT) && is_older_kernel()))
		return false;
	while (i < NSAMPLES && said[i] && said[i] != opt)
		i++;
	if (i < NSAMPLES && !said[i]) {
		said[i] = opt;
		print_message("           passed over: %s, here on %s: %s\n", opt->key, flavour->name, tn_errmsg());
	}
	return true;
}

static int set_text(int fd, int family, const char *key, const char *text)
{
	const struct tni_sockopt *opt = tni_sockopt_find(key);
	struct tni_optval val;

	assert_non_null(opt);
	if (tni_sockopt_parse(opt, text, &val) < 0)
		fail_msg("%s=%s: %s", key, text, tn_errmsg());
	return tni_sockopt_set(fd, family, opt, &val);
}

/* Sets the sample. False: this machine does not let us. */
static bool set_sample(int fd, const struct flavour *flavour, const struct tni_sockopt *opt)
{
	const struct sample *sample = sample_of(opt);
	bool on6 = flavour->family == AF_INET6 && sample->text6;
	int rc = set_text(fd, flavour->family, opt->key, on6 ? sample->text6 : sample->text);

	if (is_excused(opt, flavour, rc))
		return false;
	if (rc)
		fail_msg("%s on %s: %d, %s", opt->key, flavour->name, rc, tn_errmsg());
	return true;
}

/* Reads back by whatever key; "" when there is no way. False: this kernel does not let us. */
static bool read_back(int fd, const struct flavour *flavour, const struct tni_sockopt *opt, char *text, size_t cap)
{
	const char *through = sample_of(opt)->through;
	const struct tni_sockopt *by = through ? tni_sockopt_find(through) : opt;
	int rc;

	text[0] = '\0';
	if (!by)
		return true;
	rc = tni_sockopt_get(fd, flavour->family, by, text, cap);
	if (is_excused(opt, flavour, rc))
		return false;
	if (rc)
		fail_msg("%s on %s: %s", opt->key, flavour->name, tn_errmsg());
	return true;
}

/* The segment size that a connection really has is a little below what was asked for. */
static bool is_kept(const struct tni_sockopt *opt, const char *want, const char *got)
{
	if (!strcmp(opt->key, "maxseg"))
		return atoi(got) <= atoi(want) && atoi(got) > atoi(want) - 60;
	return !strcmp(want, got);
}

/* ---- the table itself ---- */

/* A key is the kernel's constant, of IPv4 where there are two, in lower case without its prefix. */
static void check_key(const struct tni_sockopt *opt)
{
	const char *name = opt->constant;
	size_t len = strcspn(name, ",");

	name = strchr(name, '_') + 1;
	assert_int_equal(strlen(opt->key), len - (size_t)(name - opt->constant));
	for (size_t i = 0; opt->key[i]; i++)
		assert_int_equal(opt->key[i], tolower(name[i]));
}

static void test_rows(void **state)
{
	const struct tni_sockopt *opt;
	size_t n = 0;
	char text[256];

	(void)state;
	for (; (opt = tni_sockopt_at(n)); n++) {
		check_key(opt);
		assert_ptr_equal(tni_sockopt_find(opt->key), opt);
		assert_non_null(sample_of(opt));
#ifdef TNI_HAVE_HINTS
		assert_in_range(strlen(opt->meaning), 10, 100);
#endif
		assert_true(strlen(tni_sockopt_type_text(opt)) > 3);
		assert_true(strlen(tni_sockopt_applies_text(opt, text, sizeof(text))) > 2);
		assert_non_null(opt->level);
		assert_true(opt->roles);
		for (int i = 0; i < 2; i++)
			assert_true(!opt->place[i].kinds || opt->place[i].constant);
	}
	assert_int_equal(n, NSAMPLES);
	assert_null(tni_sockopt_at(n + 1000));
	assert_null(tni_sockopt_find("nodelya"));
}

static void test_applies(void **state)
{
	const struct tni_sockopt *nodelay = tni_sockopt_find("nodelay"), *tos = tni_sockopt_find("tos");
	const struct tni_sockopt *sndbuf = tni_sockopt_find("sndbuf"), *broadcast = tni_sockopt_find("broadcast");
	char text[256];

	(void)state;
	assert_true(tni_sockopt_applies(nodelay, TNI_SK_TCP, TNI_ROLE_DIAL, AF_UNSPEC));
	assert_false(tni_sockopt_applies(nodelay, TNI_SK_UDP, TNI_ROLE_DIAL, AF_UNSPEC));
	assert_false(tni_sockopt_applies(tni_sockopt_find("v6only"), TNI_SK_TCP, TNI_ROLE_SERVE, AF_INET));
	assert_true(tni_sockopt_applies(tni_sockopt_find("v6only"), TNI_SK_TCP, TNI_ROLE_SERVE, AF_UNSPEC));
	assert_false(tni_sockopt_applies(tni_sockopt_find("defer_accept"), TNI_SK_TCP, TNI_ROLE_DIAL, AF_UNSPEC));
	assert_true(tni_sockopt_applies(tos, TNI_SK_MPTCP, TNI_ROLE_DIAL, AF_INET));
	assert_false(tni_sockopt_applies(tos, TNI_SK_MPTCP, TNI_ROLE_DIAL, AF_INET6));
	assert_true(tni_sockopt_applies(sndbuf, TNI_SK_UNIX_DGRAM, TNI_ROLE_DIAL, AF_UNIX));
	assert_false(tni_sockopt_applies(sndbuf, TNI_SK_TCP, TNI_ROLE_DIAL, AF_UNIX));
	assert_string_equal(tni_sockopt_applies_text(nodelay, text, sizeof(text)), "tcp, mptcp");
	assert_string_equal(tni_sockopt_applies_text(broadcast, text, sizeof(text)),
			    "udp (IPv4), raw (IPv4), icmp (IPv4)");
	assert_string_equal(tni_sockopt_applies_text(tni_sockopt_find("fastopen"), text, sizeof(text)),
			    "tcp, mptcp; serving");
	assert_string_equal(tni_sockopt_applies_text(tni_sockopt_find("passcred"), text, sizeof(text)),
			    "unix, unix-dgram, unix-seqpacket");
	assert_string_equal(tni_sockopt_type_text(nodelay), "on|off");
	assert_string_equal(tni_sockopt_type_text(tni_sockopt_find("ttl")), "integer 1..255");
	assert_string_equal(tni_sockopt_type_text(tni_sockopt_find("keepidle")), "duration 1s..32767s");
	assert_string_equal(nodelay->constant, "TCP_NODELAY");
	assert_string_equal(nodelay->level, "IPPROTO_TCP");
	assert_string_equal(tos->constant, "IP_TOS, IPV6_TCLASS");
}

/* ---- reading values ---- */

static void test_good_values(void **state)
{
	static const struct {
		const char *key, *text;
		int64_t number;
	} good[] = {
		{"nodelay", "on", 1},
		{"nodelay", "yes", 1},
		{"nodelay", "true", 1},
		{"nodelay", "1", 1},
		{"nodelay", "off", 0},
		{"nodelay", "no", 0},
		{"nodelay", "false", 0},
		{"nodelay", "0", 0},
		{"ttl", "1", 1},
		{"ttl", "255", 255},
		{"ttl", "010", 10},
		{"mark", "0xffffffff", 4294967295},
		{"tos", "ef", 0xb8},
		{"tos", "cs1", 0x20},
		{"tos", "lowdelay", 0x10},
		{"tos", "0xb8", 0xb8},
		{"mtu_discover", "dont", 0},
		{"mtu_discover", "omit", 5},
		{"sndbuf", "64KiB", 65536},
		{"sndbuf", "1M", 1048576},
		{"sndbuf", "1073741823", 1073741823},
		{"max_pacing_rate", "unlimited", -1},
		{"max_pacing_rate", "5GiB", 5368709120},
		{"keepidle", "1", 1},
		{"keepidle", "32767s", 32767},
		{"keepidle", "1.5m", 90},
		{"keepidle", "2000ms", 2},
		{"user_timeout", "0", 0},
		{"user_timeout", "30s", 30000},
		{"user_timeout", "2147483647ms", 2147483647},
		{"busy_poll", "50us", 50},
		{"rcvtimeo", "1.5s", 1500000},
		{"linger", "off", -1},
		{"linger", "0s", 0},
		{"linger", "5", 5},
		{"linger2", "off", -1},
		{"incoming_cpu", "any", -1},
		{"local_port_range", "1-65535", 1 | 65535LL << 16},
		{"local_port_range", "any", 0},
	};
	struct tni_optval val;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (tni_sockopt_parse(tni_sockopt_find(good[i].key), good[i].text, &val))
			fail_msg("%s=%s: %s", good[i].key, good[i].text, tn_errmsg());
		assert_int_equal(val.number, good[i].number);
	}
}

static void test_bad_values(void **state)
{
	static const struct {
		const char *key, *text, *says;
	} bad[] = {
		{"nodelay", "2", "nodelay takes on or off, not \"2\""},
		{"nodelay", "", "on or off"},
		{"nodelay", "ON", "on or off"},
		{"ttl", "0", "ttl takes a whole number from 1 to 255, not \"0\""},
		{"ttl", "256", "from 1 to 255"},
		{"ttl", "64x", "from 1 to 255"},
		{"ttl", " 64", "from 1 to 255"},
		{"ttl", "+64", "from 1 to 255"},
		{"ttl", "-1", "from 1 to 255"},
		{"ttl", "0x", "from 1 to 255"},
		{"ttl", "", "from 1 to 255"},
		{"ttl", "18446744073709551617", "from 1 to 255"},
		{"mark", "4294967296", "from 0 to 4294967295"},
		{"tos", "af44", "af41, af42, af43"},
		{"mtu_discover", "2", "mtu_discover takes one of dont, want, do, probe, interface, omit"},
		{"sndbuf", "0", "a size from 1 to 1073741823 bytes"},
		{"sndbuf", "1GiB", "a size from 1 to 1073741823 bytes"},
		{"sndbuf", "4kb", "such as 64KiB"},
		{"sndbuf", "-1", "such as 64KiB"},
		{"max_pacing_rate", "off", "or unlimited"},
		{"keepidle", "0", "keepidle takes a duration in whole seconds from 1s to 32767s"},
		{"keepidle", "32768", "from 1s to 32767s"},
		{"keepidle", "1.5s", "whole seconds"},
		{"keepidle", "500ms", "whole seconds"},
		{"keepidle", "10h", "from 1s to 32767s"},
		{"keepidle", "on", "from 1s to 32767s"},
		{"user_timeout", "30000", "in whole milliseconds from 0s to 2147483647ms, written with its unit"},
		{"user_timeout", "1us", "in whole milliseconds"},
		{"busy_poll", "50", "written with its unit"},
		{"linger", "on", "linger takes off or a duration in whole seconds from 0s to 2147483647s"},
		{"linger2", "121s", "off or a duration in whole seconds from 1s to 120s"},
		{"local_port_range", "50000-40000", "the lowest and the highest port"},
		{"local_port_range", "0-40000", "the lowest and the highest port"},
		{"local_port_range", "1-65536", "the lowest and the highest port"},
		{"local_port_range", "40000", "the lowest and the highest port"},
		{"local_port_range", "000040000-40001", "the lowest and the highest port"},
		{"bindtodevice", "nosuch0", "no interface \"nosuch0\"; there are lo"},
		{"bindtodevice", "", "the name of an interface"},
		{"bindtodevice", "aNameThatIsTooLong", "the name of an interface"},
		{"unicast_if", "nosuch0", "no interface \"nosuch0\""},
		{"multicast_if", "203.0.113.77", "no interface \"203.0.113.77\""},
		{"multicast_if", "", "the name or an address of an interface"},
		{"add_membership", "10.1.2.3", "a multicast group"},
		{"add_membership", "fe80::1", "a multicast group"},
		{"add_membership", "239.1.2.3@", "a multicast group"},
		{"add_membership", "239.1.2.3@nosuch0", "no interface \"nosuch0\""},
		{"add_membership", "group", "a multicast group"},
		{"join_source_group", "232.1.2.3", "a source and a multicast group"},
		{"join_source_group", "::1@232.1.2.3", "a source and a multicast group"},
		{"join_source_group", "10.1.2.3@10.1.2.4", "a source and a multicast group"},
		{"join_source_group", "10.1.2.3@232.1.2.3@nosuch0", "no interface \"nosuch0\""},
		{"congestion", "nosuchalgorithm", "no algorithm \"nosuchalgorithm\"; it has "},
		{"congestion", "", "the name of an algorithm of this kernel"},
		{"congestion", "a name much too long", "reno"},
	};
	struct tni_optval val;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (tni_sockopt_parse(tni_sockopt_find(bad[i].key), bad[i].text, &val) != TN_EURL)
			fail_msg("%s=%s was taken", bad[i].key, bad[i].text);
		if (!strstr(tn_errmsg(), bad[i].says) || strncmp(tn_errmsg(), bad[i].key, strlen(bad[i].key)) != 0)
			fail_msg("%s=%s says: %s", bad[i].key, bad[i].text, tn_errmsg());
	}
}

/* LEVEL:NAME:VALUE, in decimal and hexadecimal, with a number or bytes. */
static void test_any(void **state)
{
	static const struct {
		const char *text;
		int level, name;
		size_t len;
		unsigned char bytes[8];
	} good[] = {
		{"6:19:1", 6, 19, 4, {1}},
		{"0x29:0X10:0x7f", 41, 16, 4, {0x7f}},
		{"1:8:-1", 1, 8, 4, {255, 255, 255, 255}},
		{"1:8:4294967295", 1, 8, 4, {255, 255, 255, 255}},
		{"1:13:x0100000005000000", 1, 13, 8, {1, 0, 0, 0, 5}},
		{"2147483647:0:xAf", 2147483647, 0, 1, {0xaf}},
	};
	static const char *const bad[] = {
		"",
		"6",
		"6:19",
		"6:19:",
		":19:1",
		"6::1",
		"6:19:1 ",
		" 6:19:1",
		"6:+19:1",
		"6:-1:1",
		"-1:6:1",
		"6:19:1:1",
		"6:19:x",
		"6:19:x1",
		"6:19:xgg",
		"6:19:0x",
		"6:19:1e3",
		"6:0x:1",
		"6:19:--1",
		"6:19:-0x1:1",
		"2147483648:1:1",
		"6:19:4294967296",
		"6:19:-2147483649",
	};
	char longest[160] = "6:19:x";
	struct tni_optval val;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(tni_sockopt_parse(&tni_sockopt_any, good[i].text, &val), 0);
		assert_int_equal(val.number >> 32, good[i].level);
		assert_int_equal(val.number & INT32_MAX, good[i].name);
		assert_int_equal(val.len, good[i].len);
		assert_memory_equal(val.bytes, good[i].bytes, good[i].len);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (tni_sockopt_parse(&tni_sockopt_any, bad[i], &val) != TN_EURL)
			fail_msg("setsockopt=%s was taken", bad[i]);
	memset(longest + 6, '0', 128);
	assert_int_equal(tni_sockopt_parse(&tni_sockopt_any, longest, &val), 0);
	assert_int_equal(val.len, 64);
	strcpy(longest + 6 + 128, "00");
	assert_int_equal(tni_sockopt_parse(&tni_sockopt_any, longest, &val), TN_EURL);
}

/* The bounds that a row gives are the kernel's: it takes both, and just outside the parser refuses. */
static void test_bounds(void **state)
{
	static const char *const exact[] = {"ttl",    "unicast_hops", "minttl",   "multicast_ttl", "maxseg", "keepidle",
					    "syncnt", "keepintvl",    "tx_delay", "rto_max_ms",    "tos",    "keepcnt"};

	(void)state;
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++) {
		const struct tni_sockopt *opt = tni_sockopt_find(exact[i]);
		int family = opt->place[0].kinds ? AF_INET : AF_INET6;
		bool udp = !tni_sockopt_applies(opt, TNI_SK_TCP, TNI_ROLE_SERVE, family);
		int fd = socket(family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
		struct tni_optval val = {.number = opt->min};
		int rc;

		if (fd < 0)
			continue;
		rc = tni_sockopt_set(fd, family, opt, &val);
		if (rc != -EOPNOTSUPP && rc != -ENOPROTOOPT) {
			assert_int_equal(rc, 0);
			val.number = opt->max;
			assert_true(tni_sockopt_set(fd, family, opt, &val) >= 0);
			val.number = opt->max + 1;
			rc = tni_sockopt_set(fd, family, opt, &val);
			assert_int_equal(rc,
					 strcmp(opt->key, "tos") == 0 ? 1 : -EINVAL); /* IP_TOS takes the low byte */
		}
		close(fd);
	}
}

/* ---- every row on every socket ---- */

static void check_round_trip(const struct flavour *flavour, const struct tni_sockopt *opt)
{
	const struct sample *sample = sample_of(opt);
	const char *reads = flavour->family == AF_INET6 && sample->reads6 ? sample->reads6
			    : sample->reads                               ? sample->reads
									  : sample->text;
	char before[TNI_OPTVAL_TEXT_MAX], after[TNI_OPTVAL_TEXT_MAX];
	int fd = open_socket(flavour);
	struct tni_optval val;

	assert_true(fd >= 0);
	if (read_back(fd, flavour, opt, before, sizeof(before)) && set_sample(fd, flavour, opt) &&
	    read_back(fd, flavour, opt, after, sizeof(after))) {
		if (strcmp(after, reads) != 0)
			fail_msg("%s on %s: set %s, reads %s", opt->key, flavour->name, sample->text, after);
		/* Somebody's system may be set up with this very value (a sysctl) */
		if (!sample->through && !strcmp(before, after))
			print_message("           proves nothing: %s on %s is %s anyway\n", opt->key, flavour->name,
				      after);
		/* What is read can stand in a URL */
		if (!sample->through && (tni_sockopt_parse(opt, before, &val) || tni_sockopt_parse(opt, after, &val)))
			fail_msg("%s on %s: %s", opt->key, flavour->name, tn_errmsg());
	}
	close(fd);
}

static void test_round_trips(void **state)
{
	const struct tni_sockopt *opt;
	unsigned tried = 0;

	(void)state;
	for (size_t f = 0; f < NFLAVOURS; f++) {
		if (!is_here(&flavours[f]))
			continue;
		for (size_t i = 0; (opt = tni_sockopt_at(i)); i++)
			if (tni_sockopt_applies(opt, flavours[f].kind, TNI_ROLE_SERVE | TNI_ROLE_DIAL,
						flavours[f].family)) {
				check_round_trip(&flavours[f], opt);
				tried++;
			}
	}
	assert_true(tried > 150);
}

/* ---- what the listener passes on ---- */

/* Connects, sends a byte (for defer_accept) and accepts: `ends` are the client and the accepted socket. */
static void connect_pair(int listener, const struct flavour *client, int ends[2])
{
	ends[0] = open_socket(client);
	assert_true(ends[0] >= 0);
	connect_to(ends[0], listener);
	assert_int_equal(send(ends[0], "x", 1, MSG_NOSIGNAL), 1);
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(ends[1] >= 0);
}

/* Whether a connection from such a client has lost the listener's value; puts it right again as the library will. */
static bool is_lost(int listener, const struct flavour *flavour, const struct flavour *client,
		    const struct tni_sockopt *opt, const char *want)
{
	char got[TNI_OPTVAL_TEXT_MAX];
	bool lost = false;
	int ends[2];

	connect_pair(listener, client, ends);
	if (read_back(ends[1], flavour, opt, got, sizeof(got)))
		lost = !is_kept(opt, want, got);
	if (lost && opt->stage != TNI_STAGE_LISTEN) {
		assert_true(set_sample(ends[1], flavour, opt));
		assert_true(read_back(ends[1], flavour, opt, got, sizeof(got)));
		if (!is_kept(opt, want, got))
			fail_msg("%s on accepted %s: wanted %s, got %s", opt->key, flavour->name, want, got);
	}
	/* Not before: a peer that has ended changes what the kernel says of quickack */
	close(ends[0]);
	close(ends[1]);
	return lost;
}

static void check_inheritance(const struct flavour *flavour, const struct tni_sockopt *opt)
{
	enum tni_opt_stage stage = tni_sockopt_stage(opt, flavour->kind);
	char want[TNI_OPTVAL_TEXT_MAX];
	int listener = open_socket(flavour);
	bool lost, set;

	assert_true(listener >= 0);
	if (stage == TNI_STAGE_LISTEN)
		bind_loopback(listener, flavour->family);
	/* Read at once: listen(2) itself puts quickack back */
	set = set_sample(listener, flavour, opt) && read_back(listener, flavour, opt, want, sizeof(want));
	if (stage != TNI_STAGE_LISTEN)
		bind_loopback(listener, flavour->family);
	assert_int_equal(listen(listener, 8), 0);
	if (set && want[0]) {
		lost = is_lost(listener, flavour, flavour, opt, want);
		if (plain(flavour) != flavour)
			lost |= is_lost(listener, flavour, plain(flavour), opt, want);
		if (stage != TNI_STAGE_LISTEN && lost != (stage == TNI_STAGE_CONN))
			fail_msg("%s on %s: an accepted socket %s it", opt->key, flavour->name,
				 lost ? "loses" : "keeps");
	}
	close(listener);
}

static void test_inheritance(void **state)
{
	const struct tni_sockopt *opt;

	(void)state;
	for (size_t f = 0; f < NFLAVOURS; f++) {
		if (!(flavours[f].kind & CONNECTED_KINDS) || !is_here(&flavours[f]))
			continue;
		for (size_t i = 0; (opt = tni_sockopt_at(i)); i++)
			/* The kernel notes the processor of what has come in its place */
			if (strcmp(opt->key, "incoming_cpu") != 0 &&
			    tni_sockopt_applies(opt, flavours[f].kind, TNI_ROLE_SERVE, flavours[f].family))
				check_inheritance(&flavours[f], opt);
	}
}

/* ---- what a dialling socket keeps ---- */

static void check_dialling(const struct flavour *flavour, const struct tni_sockopt *opt)
{
	char want[TNI_OPTVAL_TEXT_MAX], got[TNI_OPTVAL_TEXT_MAX];
	int listener = open_socket(flavour), fd = open_socket(flavour);

	assert_true(listener >= 0 && fd >= 0);
	bind_loopback(listener, flavour->family);
	assert_int_equal(listen(listener, 8), 0);
	if (set_sample(fd, flavour, opt) && read_back(fd, flavour, opt, want, sizeof(want))) {
		connect_to(fd, listener);
		assert_true(read_back(fd, flavour, opt, got, sizeof(got)));
		if (!is_kept(opt, want, got) && tni_sockopt_stage(opt, flavour->kind) != TNI_STAGE_CONN)
			fail_msg("%s on %s: connecting loses it", opt->key, flavour->name);
		if (tni_sockopt_stage(opt, flavour->kind) == TNI_STAGE_CONN) {
			assert_true(set_sample(fd, flavour, opt));
			assert_true(read_back(fd, flavour, opt, got, sizeof(got)));
			assert_string_equal(got, want);
		}
	}
	close(fd);
	close(listener);
}

static void test_dialling(void **state)
{
	const struct tni_sockopt *opt;

	(void)state;
	for (size_t f = 0; f < NFLAVOURS; f++) {
		if (!(flavours[f].kind & CONNECTED_KINDS) || !is_here(&flavours[f]))
			continue;
		for (size_t i = 0; (opt = tni_sockopt_at(i)); i++)
			if (tni_sockopt_applies(opt, flavours[f].kind, TNI_ROLE_DIAL, flavours[f].family))
				check_dialling(&flavours[f], opt);
	}
}

/* ---- what the kernel makes of a value ---- */

static long read_sysctl(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = -1;

	if (file && fscanf(file, "%ld", &value) != 1)
		value = -1;
	if (file)
		fclose(file);
	return value;
}

static void check_capped(const char *key, const char *path, const char *sysctl)
{
	long limit = read_sysctl(path);
	char ask[32], figure[TNI_OPTVAL_TEXT_MAX + 16], text[TNI_OPTVAL_TEXT_MAX];
	uint64_t in_force;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (limit > 0 && limit < 1000000000) {
		snprintf(ask, sizeof(ask), "%ld", limit + 1001);
		assert_int_equal(set_text(fd, AF_INET, key, ask), 1);
		assert_int_equal(tni_sockopt_get(fd, AF_INET, tni_sockopt_find(key), text, sizeof(text)), 0);
		assert_int_equal(tn_parse_size(text, &in_force), 0);
		assert_int_equal(in_force, limit);
		snprintf(figure, sizeof(figure), "%s is in force", text);
		assert_non_null(strstr(tn_errmsg(), ask));
		assert_non_null(strstr(tn_errmsg(), figure));
		assert_non_null(strstr(tn_errmsg(), sysctl));
	} else {
		print_message("           passed over: no useful limit in %s\n", path);
	}
	close(fd);
}

static void test_capped(void **state)
{
	(void)state;
	check_capped("rcvbuf", "/proc/sys/net/core/rmem_max", "sysctl net.core.rmem_max");
	check_capped("sndbuf", "/proc/sys/net/core/wmem_max", "sysctl net.core.wmem_max");
}

static void test_rounded(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(set_text(fd, AF_INET, "defer_accept", "5s"), 1);
	assert_non_null(strstr(tn_errmsg(), "defer_accept: 5s was asked for, 7s is in force (the kernel counts"));
	assert_int_equal(set_text(fd, AF_INET, "rcvtimeo", "1us"), 1);
	assert_non_null(strstr(tn_errmsg(), "clock tick"));
	assert_int_equal(set_text(fd, AF_INET, "tos", "0xbb"), 1);
	assert_non_null(strstr(tn_errmsg(), "ef is in force"));
	assert_int_equal(set_text(fd, AF_INET, "sndbuf", "1"), 1);
	assert_non_null(strstr(tn_errmsg(), "the kernel's least"));
	assert_int_equal(set_text(fd, AF_INET, "window_clamp", "1"), 1);
	assert_int_equal(set_text(fd, AF_INET, "tos", "ef"), 0);
	close(fd);
}

static void test_words_read_back(void **state)
{
	static const char *const words[][2] = {
		{"linger", "off"},   {"linger", "0s"},       {"linger2", "off"},      {"max_pacing_rate", "unlimited"},
		{"tos", "lowdelay"}, {"tos", "1"},           {"bindtodevice", "any"}, {"local_port_range", "any"},
		{"nodelay", "off"},  {"mtu_discover", "do"}, {"user_timeout", "0s"},  {"notsent_lowat", "0"},
		{"fastopen", "0"},   {"tx_delay", "2ms"},    {"user_timeout", "90s"},
	};
	char text[TNI_OPTVAL_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct tni_sockopt *opt = tni_sockopt_find(words[i][0]);
		bool bits = !strcmp(words[i][1], "1"); /* the ECN bits of a datagram are one's own */
		int fd = socket(AF_INET, (bits ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
		int rc = set_text(fd, AF_INET, words[i][0], words[i][1]);

		if (!is_excused(opt, &flavours[0], rc)) {
			assert_int_equal(rc, 0);
			assert_int_equal(tni_sockopt_get(fd, AF_INET, opt, text, sizeof(text)), 0);
			assert_string_equal(text, words[i][1]);
		}
		close(fd);
	}
}

/* A socket that speaks IPv4 beside IPv6 sends such packets, too, with what was asked for. */
static void test_mapped(void **state)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), value = 0;
	socklen_t len = sizeof(value);

	(void)state;
	if (fd < 0) {
		print_message("           passed over: no IPv6\n");
		return;
	}
	assert_int_equal(set_text(fd, AF_INET6, "tos", "ef"), 0);
	assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_TOS, &value, &len), 0);
	assert_int_equal(value, 0xb8);
	assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, &len), 0);
	assert_int_equal(value, 0xb8);
	assert_int_equal(set_text(fd, AF_INET6, "ttl", "9"), 0);
	assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_TTL, &value, &len), 0);
	assert_int_equal(value, 9);
	/* The key of IPv6 alone leaves the other as it is */
	assert_int_equal(set_text(fd, AF_INET6, "unicast_hops", "11"), 0);
	assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_TTL, &value, &len), 0);
	assert_int_equal(value, 9);
	close(fd);
}

static void test_groups(void **state)
{
	int fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char text[TNI_OPTVAL_TEXT_MAX];

	(void)state;
	assert_int_equal(set_text(fd4, AF_INET, "multicast_if", "127.0.0.1"), 0);
	assert_int_equal(tni_sockopt_get(fd4, AF_INET, tni_sockopt_find("multicast_if"), text, sizeof(text)), 0);
	assert_string_equal(text, "127.0.0.1");
	assert_int_equal(set_text(fd4, AF_INET, "add_membership", "239.255.1.2@127.0.0.1"), 0);
	assert_int_equal(set_text(fd4, AF_INET, "add_membership", "239.255.1.2@lo"), -EADDRINUSE);
	assert_int_equal(set_text(fd4, AF_INET, "add_membership", "ff02::1234@lo"), -EAFNOSUPPORT);
	assert_non_null(strstr(tn_errmsg(), "cannot join an IPv6 group"));
	assert_int_equal(tni_sockopt_get(fd4, AF_INET, tni_sockopt_find("add_membership"), text, sizeof(text)),
			 -EOPNOTSUPP);
	if (fd6 >= 0) {
		assert_int_equal(set_text(fd6, AF_INET6, "add_membership", "ff02::1234@lo"), 0);
		assert_int_equal(set_text(fd6, AF_INET6, "add_membership", "239.255.1.2@lo"), 0);
		assert_int_equal(set_text(fd6, AF_INET6, "multicast_if", "127.0.0.1"), 0);
		assert_int_equal(tni_sockopt_get(fd6, AF_INET6, tni_sockopt_find("multicast_if"), text, sizeof(text)),
				 0);
		assert_string_equal(text, "lo");
		close(fd6);
	}
	close(fd4);
}

#ifndef IP_MINTTL
#define IP_MINTTL 21
#endif
#ifndef IPV6_MINHOPCOUNT
#define IPV6_MINHOPCOUNT 73
#endif

static int number_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) < 0 ? -errno : value;
}

/* A listener that takes nobody for a while is afterwards as it was: who asked for a least time to live still has it. */
static void test_listeners_that_refuse_for_a_while(void **state)
{
	int fd4 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ttl = 77, hops = 66;
	struct tni_least_ttl before;

	(void)state;
	assert_int_equal(setsockopt(fd4, IPPROTO_IP, IP_MINTTL, &ttl, sizeof(ttl)), 0);
	tni_group_refuse_syn(fd4, &before);
	assert_int_equal(before.ttl, 77);
	assert_int_equal(number_of(fd4, IPPROTO_IP, IP_MINTTL), 255);
	tni_group_admit(fd4, &before);
	assert_int_equal(number_of(fd4, IPPROTO_IP, IP_MINTTL), 77);
	close(fd4);
	if (fd6 < 0)
		return;
	assert_int_equal(setsockopt(fd6, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &hops, sizeof(hops)), 0);
	tni_group_refuse_syn(fd6, &before);
	assert_int_equal(number_of(fd6, IPPROTO_IPV6, IPV6_MINHOPCOUNT), 255);
	tni_group_admit(fd6, &before);
	assert_int_equal(number_of(fd6, IPPROTO_IPV6, IPV6_MINHOPCOUNT), 66);
	close(fd6);
}

/* ---- failures ---- */

static void test_not_here(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tni_optval on = {.number = 1};
	char text[TNI_OPTVAL_TEXT_MAX];

	(void)state;
	assert_int_equal(tni_sockopt_set(fd, AF_UNIX, tni_sockopt_find("nodelay"), &on), -EOPNOTSUPP);
	assert_non_null(
		strstr(tn_errmsg(), "setsockopt TCP_NODELAY (key nodelay): Operation not supported (this kernel"));
	assert_int_equal(tni_sockopt_set(fd, AF_UNIX, tni_sockopt_find("v6only"), &on), -EOPNOTSUPP);
	assert_int_equal(tni_sockopt_get(fd, AF_UNIX, tni_sockopt_find("nodelay"), text, sizeof(text)), -EOPNOTSUPP);
	assert_int_equal(tni_sockopt_get(fd, AF_UNIX, tni_sockopt_find("v6only"), text, sizeof(text)), -EOPNOTSUPP);
	assert_int_equal(tni_sockopt_get(fd, AF_UNIX, tni_sockopt_find("sndbufforce"), text, sizeof(text)),
			 -EOPNOTSUPP);
	close(fd);
	assert_int_equal(tni_sockopt_set(-1, AF_INET, tni_sockopt_find("nodelay"), &on), -EBADF);
	assert_int_equal(tni_sockopt_get(-1, AF_INET, tni_sockopt_find("nodelay"), text, sizeof(text)), -EBADF);
}

/* 0: as promised; otherwise the line that is not. Runs in a child without privileges: no assertions here. */
static int try_without_privileges(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct tni_sockopt *mark = tni_sockopt_find("mark"), *force = tni_sockopt_find("rcvbufforce");
	struct tni_optval val = {.number = 7};

	if (tni_sockopt_set(fd, AF_INET, mark, &val) != -EPERM)
		return 1;
	if (strcmp(tn_errmsg(), "setsockopt SO_MARK (key mark): Operation not permitted "
				"(it needs CAP_NET_RAW or CAP_NET_ADMIN)") != 0)
		return 2;
	if (tni_sockopt_set(fd, AF_INET, force, &val) != -EPERM || !strstr(tn_errmsg(), "CAP_NET_ADMIN"))
		return 3;
	if (tni_sockopt_set(fd, AF_INET, tni_sockopt_find("priority"), &val) != -EPERM)
		return 4;
	val.number = 6;
	if (tni_sockopt_set(fd, AF_INET, tni_sockopt_find("priority"), &val))
		return 5;
	close(fd);
	return 0;
}

static void test_permission(void **state)
{
	pid_t child = fork();
	int status = 0;

	(void)state;
	if (child == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(99);
		_exit(try_without_privileges());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 99)
		print_message("           passed over: cannot become nobody\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- effects, where one can be seen on the loopback ---- */

static int bound_port(int fd)
{
	struct sockaddr_in addr = {0};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

static void test_ports(void **state)
{
	static const size_t which[] = {0, 2, 4}; /* tcp4, mptcp4, udp4 */

	(void)state;
	for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		const struct flavour *flavour = &flavours[which[i]];
		int fd, rc;

		if (!is_here(flavour))
			continue;
		fd = open_socket(flavour);
		rc = set_text(fd, AF_INET, "local_port_range", "40000-40999");
		if (!is_excused(tni_sockopt_find("local_port_range"), flavour, rc)) {
			assert_int_equal(rc, 0);
			bind_loopback(fd, AF_INET);
			assert_in_range(bound_port(fd), 40000, 40999);
		}
		close(fd);
		fd = open_socket(flavour);
		rc = set_text(fd, AF_INET, "bind_address_no_port", "on");
		if (!is_excused(tni_sockopt_find("bind_address_no_port"), flavour, rc)) {
			assert_int_equal(rc, 0);
			bind_loopback(fd, AF_INET);
			assert_int_equal(bound_port(fd), 0);
		}
		close(fd);
	}
}

/* What lies outside of the system's range is not used: a part of it is told, all of it is an error. */
static void test_ports_beyond_the_system_s(void **state)
{
	const struct tni_sockopt *opt = tni_sockopt_find("local_port_range");
	int fd = open_socket(&flavours[0]), from, to, rc;
	char text[32];

	(void)state;
	assert_int_equal(tni_sockopt_ephemeral(&from, &to), 0);
	if (from < 3 || from == to)
		skip();
	snprintf(text, sizeof(text), "%d-%d", from - 1, from);
	rc = set_text(fd, AF_INET, opt->key, text);
	if (!is_excused(opt, &flavours[0], rc)) {
		assert_int_equal(rc, 1);
		assert_non_null(strstr(tn_errmsg(), "is used"));
		snprintf(text, sizeof(text), "%d-%d", from - 2, from - 1);
		assert_int_equal(set_text(fd, AF_INET, opt->key, text), -EINVAL);
		assert_non_null(strstr(tn_errmsg(), "has no effect"));
	}
	close(fd);
}

/* The listener's linger of nothing makes an accepted connection end with a reset. */
static void test_linger_resets(void **state)
{
	int listener = open_socket(&flavours[0]), fd = open_socket(&flavours[0]), accepted;
	char byte;

	(void)state;
	bind_loopback(listener, AF_INET);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(set_text(listener, AF_INET, "linger", "0s"), 0);
	connect_to(fd, listener);
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(accepted);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_applies),
		cmocka_unit_test(test_good_values),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_inheritance),
		cmocka_unit_test(test_dialling),
		cmocka_unit_test(test_capped),
		cmocka_unit_test(test_rounded),
		cmocka_unit_test(test_words_read_back),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_listeners_that_refuse_for_a_while),
		cmocka_unit_test(test_not_here),
		cmocka_unit_test(test_permission),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_ports_beyond_the_system_s),
		cmocka_unit_test(test_linger_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
