#include "net/sockopt.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/units.h"
#include "tenon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What Debian 12's headers lack. */
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#endif
#ifndef TCP_DELACK_MAX_US
#define TCP_DELACK_MAX_US 46
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* <linux/in6.h> has these, but does not go together with <netinet/in.h> everywhere. */
#define PREFER_SRC_TMP 0x0001
#define PREFER_SRC_PUBLIC 0x0002
#define PREFER_SRC_PUBTMP_DEFAULT 0x0100

#define SAID_MAX 512

enum flag {
	FLAG_ADJUSTED = 1,   /* the kernel may put another value in force without a word: read it back */
	FLAG_DOUBLED = 2,    /* the kernel keeps twice the value */
	FLAG_MAPPED = 4,     /* an IPv6 socket also speaks IPv4 (mapped addresses): set the option of IPv4 too */
	FLAG_WRITE_ONLY = 8, /* getsockopt(2) does not know it */
	FLAG_BIND = 16,      /* changes what bind(2) does: without effect on a socket that is not bound */
};

/* What setsockopt(2) takes and getsockopt(2) gives. */
struct raw {
	union {
		int32_t i32;
		int64_t i64;
		struct timeval tv;
		struct linger linger;
		struct in_addr in;
		struct ip_mreqn mreqn;
		struct ipv6_mreq mreq6;
		struct group_source_req source;
		char text[64];
	};
	socklen_t len;
};

struct tni_opt_word {
	const char *name; /* NULL ends a list */
	int64_t value;
};

struct tni_opt_type {
	/* -EINVAL: not what expects() says; TN_EURL: so, and the detail is there already. */
	int (*parse)(const struct tni_sockopt *opt, const char *text, struct tni_optval *val);
	/* Goes on after "KEY takes". */
	void (*expects)(const struct tni_sockopt *opt, char *out, size_t cap);
	void (*encode)(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw);
	void (*decode)(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val);
	void (*format)(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap);
};

/* Appends to a text; what does not fit is cut off. */
__attribute__((format(printf, 3, 4))) static void say(char *out, size_t cap, const char *fmt, ...)
{
	size_t used = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + used, cap - used, fmt, ap);
	va_end(ap);
}

/* ---- values with a name ------------------------------------------------------------------------------------------ */

static const struct tni_opt_word *word_by_name(const struct tni_opt_word *word, const char *name)
{
	for (; word && word->name; word++)
		if (!strcmp(word->name, name))
			return word;
	return NULL;
}

static const struct tni_opt_word *word_by_value(const struct tni_opt_word *word, int64_t value)
{
	for (; word && word->name; word++)
		if (word->value == value)
			return word;
	return NULL;
}

static bool parse_word(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const struct tni_opt_word *word = word_by_name(opt->words, text);

	if (word)
		val->number = word->value;
	return word;
}

static bool format_word(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	const struct tni_opt_word *word = word_by_value(opt->words, val->number);

	if (word)
		snprintf(out, cap, "%s", word->name);
	return word;
}

static void say_words(const struct tni_sockopt *opt, const char *before, char *out, size_t cap)
{
	for (const struct tni_opt_word *word = opt->words; word && word->name; word++)
		say(out, cap, "%s%s", word == opt->words ? before : ", ", word->name);
}

static int in_range(const struct tni_sockopt *opt, uint64_t number, struct tni_optval *val)
{
	if (opt->min > opt->max || number > INT64_MAX || (int64_t)number < opt->min || (int64_t)number > opt->max)
		return -EINVAL;
	val->number = (int64_t)number;
	return 0;
}

/* ---- whole numbers of four or eight bytes: what most options are inside ------------------------------------------ */

static void encode_number(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)family;
	raw->len = opt->width;
	if (opt->width == sizeof(raw->i64))
		raw->i64 = val->number;
	else
		raw->i32 = (int32_t)(uint32_t)val->number;
}

static void decode_number(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)family;
	if (raw->len == sizeof(raw->i64))
		val->number = raw->i64;
	else if (opt->max > INT32_MAX)
		val->number = (uint32_t)raw->i32;
	else
		val->number = raw->i32;
	if (opt->flags & FLAG_DOUBLED)
		val->number /= 2;
}

/* ---- on|off ------------------------------------------------------------------------------------------------------ */

static int parse_switch(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	int on = tni_parse_switch(text);

	(void)opt;
	if (on < 0)
		return -EINVAL;
	val->number = on;
	return 0;
}

static void expects_switch(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap, "on or off");
}

static void format_switch(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	(void)opt;
	snprintf(out, cap, "%s", val->number ? "on" : "off");
}

static const struct tni_opt_type type_switch = {
	parse_switch, expects_switch, encode_number, decode_number, format_switch,
};

/* ---- integers and words ------------------------------------------------------------------------------------------ */

/* Decimal, or hexadecimal with 0x; nothing before it, nothing after it. */
static int parse_digits(const char *text, uint64_t *number)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end;

	if (!*digits || strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
		return -EINVAL;
	errno = 0;
	*number = strtoull(digits, &end, hex ? 16 : 10);
	return errno ? -EINVAL : 0;
}

static int parse_integer(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t number;

	if (parse_word(opt, text, val))
		return 0;
	return parse_digits(text, &number) < 0 ? -EINVAL : in_range(opt, number, val);
}

static void expects_integer(const struct tni_sockopt *opt, char *out, size_t cap)
{
	if (opt->min > opt->max) {
		say_words(opt, "one of ", out, cap);
		return;
	}
	say(out, cap, "a whole number from %" PRId64 " to %" PRId64, opt->min, opt->max);
	say_words(opt, " or ", out, cap);
}

static void format_integer(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!format_word(opt, val, out, cap))
		snprintf(out, cap, "%" PRId64, val->number);
}

static const struct tni_opt_type type_integer = {
	parse_integer, expects_integer, encode_number, decode_number, format_integer,
};

/* The kernel adds flags of its own to the one that was set. */
static void decode_preference(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	decode_number(opt, family, raw, val);
	val->number &= PREFER_SRC_TMP | PREFER_SRC_PUBLIC | PREFER_SRC_PUBTMP_DEFAULT;
}

static const struct tni_opt_type type_preference = {
	parse_integer, expects_integer, encode_number, decode_preference, format_integer,
};

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static int parse_size(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t bytes;

	if (parse_word(opt, text, val))
		return 0;
	return tn_parse_size(text, &bytes) < 0 ? -EINVAL : in_range(opt, bytes, val);
}

static void expects_size(const struct tni_sockopt *opt, char *out, size_t cap)
{
	say(out, cap, "a size from %" PRId64 " to %" PRId64 " bytes, such as 64KiB", opt->min, opt->max);
	say_words(opt, ", or ", out, cap);
}

static void format_size(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!format_word(opt, val, out, cap))
		tni_format_size((uint64_t)val->number, out, cap);
}

static const struct tni_opt_type type_size = {
	parse_size, expects_size, encode_number, decode_number, format_size,
};

/* ---- durations --------------------------------------------------------------------------------------------------- */

static const struct {
	uint64_t ns;
	const char *name, *plural;
} time_units[] = {
	{TNI_NS_PER_US, "us", "microseconds"},
	{TNI_NS_PER_MS, "ms", "milliseconds"},
	{TNI_NS_PER_S, "s", "seconds"},
};

static size_t unit_of(const struct tni_sockopt *opt)
{
	size_t i = 0;

	while (time_units[i].ns != opt->unit_ns)
		i++;
	return i;
}

/*
 * Everywhere in tenon a bare number is a number of seconds. Where the kernel counts in something finer, whoever writes
 * one may well mean that: better refused than a thousand times too long.
 */
static bool unit_is_missing(const struct tni_sockopt *opt, const char *text, uint64_t ns)
{
	char last = *text ? text[strlen(text) - 1] : '\0';

	return opt->unit_ns < TNI_NS_PER_S && ns && ((last >= '0' && last <= '9') || last == '.');
}

static int parse_duration(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	uint64_t ns;

	if (parse_word(opt, text, val))
		return 0;
	if (tn_parse_duration(text, &ns) < 0 || ns % opt->unit_ns || unit_is_missing(opt, text, ns))
		return -EINVAL;
	return in_range(opt, ns / opt->unit_ns, val);
}

static void format_in_unit(const struct tni_sockopt *opt, int64_t number, char *out, size_t cap)
{
	size_t unit = unit_of(opt);

	for (; unit + 1 < sizeof(time_units) / sizeof(time_units[0]) && number % 1000 == 0; unit++)
		number /= 1000;
	snprintf(out, cap, "%" PRId64 "%s", number, time_units[unit].name);
}

static void format_duration(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	if (!format_word(opt, val, out, cap))
		format_in_unit(opt, val->number, out, cap);
}

static void expects_duration(const struct tni_sockopt *opt, char *out, size_t cap)
{
	char low[32], high[32];

	format_in_unit(opt, opt->min, low, sizeof(low));
	format_in_unit(opt, opt->max, high, sizeof(high));
	say_words(opt, "", out, cap);
	say(out, cap, "%sa duration in whole %s from %s to %s", opt->words ? " or " : "",
	    time_units[unit_of(opt)].plural, low, high);
	if (opt->unit_ns < TNI_NS_PER_S)
		say(out, cap, ", written with its unit");
}

static const struct tni_opt_type type_duration = {
	parse_duration, expects_duration, encode_number, decode_number, format_duration,
};

static void encode_timeval(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->tv);
	raw->tv = (struct timeval){.tv_sec = (time_t)(val->number / 1000000), .tv_usec = (int)(val->number % 1000000)};
}

static void decode_timeval(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)opt, (void)family;
	val->number = (int64_t)raw->tv.tv_sec * 1000000 + raw->tv.tv_usec;
}

static const struct tni_opt_type type_timeval = {
	parse_duration, expects_duration, encode_timeval, decode_timeval, format_duration,
};

/* Off is -1. */
static void encode_linger(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->linger);
	raw->linger = (struct linger){.l_onoff = val->number >= 0, .l_linger = val->number < 0 ? 0 : (int)val->number};
}

static void decode_linger(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)opt, (void)family;
	val->number = raw->linger.l_onoff ? raw->linger.l_linger : -1;
}

static const struct tni_opt_type type_linger = {
	parse_duration, expects_duration, encode_linger, decode_linger, format_duration,
};

/* ---- algorithms of congestion control ---------------------------------------------------------------------------- */

#define ALGORITHMS "/proc/sys/net/ipv4/tcp_available_congestion_control"

static void list_algorithms(char *out, size_t cap)
{
	FILE *file = fopen(ALGORITHMS, "re");

	out[0] = '\0';
	if (!file)
		return;
	if (!fgets(out, (int)cap, file))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(file);
}

static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p += len)
		if ((p == list || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
			return true;
	return false;
}

/* The kernel loads a module for a name that it does not know yet, if the caller may: only trying tells. */
static bool is_loadable(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool known;

	if (fd < 0)
		return true;
	known = !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) || errno != ENOENT;
	close(fd);
	return known;
}

static int parse_algorithm(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char list[SAID_MAX];

	if (!*text || strlen(text) >= sizeof(val->text) || strpbrk(text, " \t\n"))
		return -EINVAL;
	list_algorithms(list, sizeof(list));
	if (!is_listed(list, text) && !is_loadable(text))
		return tni_err(TN_EURL, "%s: this kernel has no algorithm \"%s\"; it has %s", opt->key, text, list);
	memcpy(val->text, text, strlen(text) + 1);
	return 0;
}

static void expects_algorithm(const struct tni_sockopt *opt, char *out, size_t cap)
{
	char list[SAID_MAX];

	(void)opt;
	list_algorithms(list, sizeof(list));
	say(out, cap, "the name of an algorithm of this kernel: %s", list);
}

static void encode_text(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	raw->len = (socklen_t)strlen(val->text) + 1;
	memcpy(raw->text, val->text, raw->len);
}

static void decode_text(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)opt, (void)family;
	snprintf(val->text, sizeof(val->text), "%.*s", (int)(raw->len < 15 ? raw->len : 15), raw->text);
}

/* "any": an empty name unbinds a device. */
static void format_text(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	(void)opt;
	snprintf(out, cap, "%s", val->text[0] ? val->text : "any");
}

static const struct tni_opt_type type_algorithm = {
	parse_algorithm, expects_algorithm, encode_text, decode_text, format_text,
};

/* ---- interfaces -------------------------------------------------------------------------------------------------- */

static int no_interface(const struct tni_sockopt *opt, const char *text)
{
	struct if_nameindex *all = if_nameindex();
	char list[SAID_MAX] = "";

	for (struct if_nameindex *one = all; one && one->if_index; one++)
		say(list, sizeof(list), "%s%s", one == all ? "; there are " : ", ", one->if_name);
	if (all)
		if_freenameindex(all);
	return tni_err(TN_EURL, "%s: no interface \"%s\"%s", opt->key, text, list);
}

static bool has_address(const struct ifaddrs *one, int family, const void *addr)
{
	if (!one->ifa_addr || one->ifa_addr->sa_family != family)
		return false;
	if (family == AF_INET)
		return !memcmp(&((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr, addr, 4);
	return !memcmp(&((struct sockaddr_in6 *)(void *)one->ifa_addr)->sin6_addr, addr, 16);
}

/* IPv4 names an interface by one of its addresses: finds one. */
static void find_address(const struct ifaddrs *all, struct tni_optval *val)
{
	val->family = AF_INET;
	memset(val->addr, 0, sizeof(val->addr));
	for (const struct ifaddrs *one = all; one; one = one->ifa_next)
		if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && !strcmp(one->ifa_name, val->text)) {
			memcpy(val->addr, &((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr, 4);
			return;
		}
}

/* Finds the interface that is called so, or has this address. */
static bool find_interface(const char *text, struct tni_optval *val)
{
	unsigned char addr[16];
	int family = inet_pton(AF_INET, text, addr) == 1    ? AF_INET
		     : inet_pton(AF_INET6, text, addr) == 1 ? AF_INET6
							    : 0;
	struct ifaddrs *all = NULL, *one;

	if (getifaddrs(&all) < 0)
		return false;
	for (one = all; one; one = one->ifa_next)
		if (family ? has_address(one, family, addr) : !strcmp(one->ifa_name, text))
			break;
	if (one) {
		snprintf(val->text, sizeof(val->text), "%.15s", one->ifa_name);
		val->number = if_nametoindex(one->ifa_name);
		if (family == AF_INET) {
			val->family = AF_INET;
			memcpy(val->addr, addr, 4);
		} else {
			find_address(all, val);
		}
	}
	freeifaddrs(all);
	return one;
}

static int parse_device(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	if (!strcmp(text, "any"))
		return 0;
	if (!*text || strlen(text) >= sizeof(val->text))
		return -EINVAL;
	val->number = if_nametoindex(text);
	if (!val->number)
		return no_interface(opt, text);
	memcpy(val->text, text, strlen(text) + 1);
	return 0;
}

static void expects_device(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap, "the name of an interface, or any");
}

static const struct tni_opt_type type_device = {
	parse_device, expects_device, encode_text, decode_text, format_text,
};

static void index_to_name(uint32_t index, struct tni_optval *val)
{
	char name[IF_NAMESIZE];

	val->number = index;
	if (index && if_indextoname(index, name))
		memcpy(val->text, name, strlen(name) + 1);
	else if (index)
		snprintf(val->text, sizeof(val->text), "%" PRIu32, index);
}

/* IP_UNICAST_IF and its sister want the index in network byte order. */
static void encode_unicast(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->i32);
	raw->i32 = (int32_t)htonl((uint32_t)val->number);
}

static void decode_unicast(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)opt, (void)family;
	index_to_name(ntohl((uint32_t)raw->i32), val);
}

static const struct tni_opt_type type_unicast = {
	parse_device, expects_device, encode_unicast, decode_unicast, format_text,
};

static int parse_multicast(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	if (!strcmp(text, "any"))
		return 0;
	if (!*text)
		return -EINVAL;
	return find_interface(text, val) ? 0 : no_interface(opt, text);
}

static void expects_multicast(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap, "the name or an address of an interface, or any");
}

/* With an index alone IPv4 would obey, but read back as "any". */
static void encode_multicast(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	if (family == AF_INET6) {
		encode_number(opt, family, val, raw);
		return;
	}
	raw->len = sizeof(raw->mreqn);
	raw->mreqn = (struct ip_mreqn){.imr_ifindex = (int)val->number};
	memcpy(&raw->mreqn.imr_address, val->addr, 4);
}

static void decode_multicast(const struct tni_sockopt *opt, int family, const struct raw *raw, struct tni_optval *val)
{
	(void)opt;
	if (family == AF_INET6) {
		index_to_name((uint32_t)raw->i32, val);
	} else if (raw->in.s_addr) {
		val->family = AF_INET;
		memcpy(val->addr, &raw->in, sizeof(raw->in));
	}
}

static void format_multicast(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	char text[INET_ADDRSTRLEN];

	if (val->family == AF_INET && inet_ntop(AF_INET, val->addr, text, sizeof(text)))
		snprintf(out, cap, "%s", text);
	else
		format_text(opt, val, out, cap);
}

static const struct tni_opt_type type_multicast = {
	parse_multicast, expects_multicast, encode_multicast, decode_multicast, format_multicast,
};

/* ---- multicast groups: GROUP or GROUP@INTERFACE ------------------------------------------------------------------ */

static int parse_group(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char group[INET6_ADDRSTRLEN];
	const char *at = strchrnul(text, '@');
	unsigned char addr[16] = {0};
	int family;

	if ((size_t)(at - text) >= sizeof(group))
		return -EINVAL;
	snprintf(group, sizeof(group), "%.*s", (int)(at - text), text);
	family = inet_pton(AF_INET, group, addr) == 1 ? AF_INET : inet_pton(AF_INET6, group, addr) == 1 ? AF_INET6 : 0;
	if (!family || (family == AF_INET ? (addr[0] & 0xf0) != 0xe0 : addr[0] != 0xff))
		return -EINVAL;
	if (*at && (!at[1] || !find_interface(at + 1, val)))
		return at[1] ? no_interface(opt, at + 1) : -EINVAL;
	val->family = family;
	memcpy(val->addr, addr, sizeof(addr));
	return 0;
}

/* SOURCE@GROUP or SOURCE@GROUP@INTERFACE. The source stands in val->text. */
static int parse_source(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const char *at = strchr(text, '@');
	unsigned char addr[16] = {0};
	char source[INET6_ADDRSTRLEN];
	int family, rc;

	if (!at || (size_t)(at - text) >= sizeof(source))
		return -EINVAL;
	snprintf(source, sizeof(source), "%.*s", (int)(at - text), text);
	family = inet_pton(AF_INET, source, addr) == 1    ? AF_INET
		 : inet_pton(AF_INET6, source, addr) == 1 ? AF_INET6
							  : 0;
	rc = family ? parse_group(opt, at + 1, val) : -EINVAL;
	if (rc < 0)
		return rc;
	memcpy(val->text, addr, sizeof(val->text));
	return val->family == family ? 0 : -EINVAL;
}

static void expects_source(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap,
	    "a source and a multicast group of the same IP version, and the interface to hear it on: "
	    "10.1.2.3@232.1.2.3@eth0");
}

static void put_address(struct sockaddr_storage *to, int family, const void *bytes)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (family == AF_INET) {
		memcpy(&in.sin_addr, bytes, sizeof(in.sin_addr));
		memcpy(to, &in, sizeof(in));
	} else {
		memcpy(&in6.sin6_addr, bytes, sizeof(in6.sin6_addr));
		memcpy(to, &in6, sizeof(in6));
	}
}

static void encode_source(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->source);
	memset(&raw->source, 0, sizeof(raw->source));
	raw->source.gsr_interface = (uint32_t)val->number;
	put_address(&raw->source.gsr_group, val->family, val->addr);
	put_address(&raw->source.gsr_source, val->family, val->text);
}

static const struct tni_opt_type type_source = {
	parse_source, expects_source, encode_source, NULL, NULL,
};

static void expects_group(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap, "a multicast group, or one and the interface to hear it on: 239.1.2.3, ff02::1@eth0");
}

static void encode_group(const struct tni_sockopt *opt, int family, const struct tni_optval *val, struct raw *raw)
{
	(void)opt, (void)family;
	if (val->family == AF_INET) {
		raw->len = sizeof(raw->mreqn);
		raw->mreqn = (struct ip_mreqn){.imr_ifindex = (int)val->number};
		memcpy(&raw->mreqn.imr_multiaddr, val->addr, 4);
	} else {
		raw->len = sizeof(raw->mreq6);
		raw->mreq6 = (struct ipv6_mreq){.ipv6mr_interface = (unsigned)val->number};
		memcpy(&raw->mreq6.ipv6mr_multiaddr, val->addr, 16);
	}
}

static const struct tni_opt_type type_group = {
	parse_group, expects_group, encode_group, NULL, NULL,
};

/* ---- a range of ports: LOW-HIGH, in the kernel low | high << 16 -------------------------------------------------- */

static int parse_ports(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const char *dash = strchr(text, '-');
	char low_text[8];
	uint64_t low, high;

	if (parse_word(opt, text, val))
		return 0;
	if (!dash || (size_t)(dash - text) >= sizeof(low_text))
		return -EINVAL;
	snprintf(low_text, sizeof(low_text), "%.*s", (int)(dash - text), text);
	if (parse_digits(low_text, &low) < 0 || parse_digits(dash + 1, &high) < 0)
		return -EINVAL;
	if (low < 1 || high > 65535 || low > high)
		return -EINVAL;
	val->number = (int64_t)(low | high << 16);
	return 0;
}

static void expects_ports(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	say(out, cap, "the lowest and the highest port, such as 40000-40999, or any");
}

/* Either end may be 0: left to the system. */
static void format_ports(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	int64_t low = val->number & 0xffff, high = val->number >> 16 & 0xffff;

	if (!format_word(opt, val, out, cap))
		snprintf(out, cap, "%" PRId64 "-%" PRId64, low ? low : 1, high ? high : 65535);
}

static const struct tni_opt_type type_ports = {
	parse_ports, expects_ports, encode_number, decode_number, format_ports,
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* DSCP names (RFC 2474, 2597, 3246, 5865, 8622) as the whole byte, then RFC 1349's. */
static const struct tni_opt_word tos_words[] = {
	{"ef", 0xb8},      {"af11", 0x28},     {"af12", 0x30},       {"af13", 0x38}, {"af21", 0x48},
	{"af22", 0x50},    {"af23", 0x58},     {"af31", 0x68},       {"af32", 0x70}, {"af33", 0x78},
	{"af41", 0x88},    {"af42", 0x90},     {"af43", 0x98},       {"cs1", 0x20},  {"cs2", 0x40},
	{"cs3", 0x60},     {"cs4", 0x80},      {"cs5", 0xa0},        {"cs6", 0xc0},  {"cs7", 0xe0},
	{"va", 0xb0},      {"lowdelay", 0x10}, {"throughput", 0x08}, {"le", 0x04},   {"reliability", 0x04},
	{"mincost", 0x02}, {NULL, 0},
};

static const struct tni_opt_word discover_words[] = {
	{"dont", IP_PMTUDISC_DONT},
	{"want", IP_PMTUDISC_WANT},
	{"do", IP_PMTUDISC_DO},
	{"probe", IP_PMTUDISC_PROBE},
	{"interface", IP_PMTUDISC_INTERFACE},
	{"omit", IP_PMTUDISC_OMIT},
	{NULL, 0},
};

static const struct tni_opt_word preference_words[] = {
	{"tmp", PREFER_SRC_TMP},
	{"public", PREFER_SRC_PUBLIC},
	{"pubtmp_default", PREFER_SRC_PUBTMP_DEFAULT},
	{NULL, 0},
};

static const struct tni_opt_word off_words[] = {{"off", -1}, {NULL, 0}};
static const struct tni_opt_word any_words[] = {{"any", -1}, {NULL, 0}};
static const struct tni_opt_word any_port_words[] = {{"any", 0}, {NULL, 0}};
static const struct tni_opt_word unlimited_words[] = {{"unlimited", -1}, {NULL, 0}};

/* clang-format off */
#define TCP TNI_SK_TCP
#define MPTCP TNI_SK_MPTCP
#define UDP TNI_SK_UDP
#define RAW (TNI_SK_RAW | TNI_SK_PING)
#define PACKET TNI_SK_PACKET
#define UNIX_STREAM TNI_SK_UNIX_STREAM
#define UNIX_DGRAM TNI_SK_UNIX_DGRAM
#define UNIX_SEQ TNI_SK_UNIX_SEQPACKET
#define UNIX (UNIX_STREAM | UNIX_DGRAM | UNIX_SEQ)
#define UNIX_CONN (UNIX_STREAM | UNIX_SEQ)
#define INET (TCP | UDP | RAW)

#define SERVE .roles = TNI_ROLE_SERVE
#define DIAL .roles = TNI_ROLE_DIAL
#define EITHER .roles = TNI_ROLE_SERVE | TNI_ROLE_DIAL
#define LISTENING .roles = TNI_ROLE_SERVE, .stage = TNI_STAGE_LISTEN

/* The names are made text right here: one macro further in they would be numbers */
#define PLACE(TEXT, LEVEL, NAME, KINDS) {TEXT, #LEVEL, LEVEL, NAME, KINDS}
#define BOTH(TEXT, LEVEL, NAME, KINDS) .constant = TEXT, .level = #LEVEL, \
	.place = {PLACE(TEXT, LEVEL, NAME, KINDS), PLACE(TEXT, LEVEL, NAME, (KINDS) & ~(UNIX | PACKET))}
#define AT_SOCKET(NAME, KINDS) BOTH(#NAME, SOL_SOCKET, NAME, KINDS)
#define AT_TCP(NAME, KINDS) BOTH(#NAME, IPPROTO_TCP, NAME, KINDS)
#define AT_IP(NAME, KINDS) BOTH(#NAME, IPPROTO_IP, NAME, KINDS)
#define AT_SOCKET4(NAME, KINDS) .constant = #NAME, .level = "SOL_SOCKET", \
	.place = {PLACE(#NAME, SOL_SOCKET, NAME, KINDS)}
#define AT_IP6(NAME, KINDS) .constant = #NAME, .level = "IPPROTO_IPV6", \
	.place = {[1] = PLACE(#NAME, IPPROTO_IPV6, NAME, KINDS)}
#define AT_IP46(NAME4, NAME6, KINDS4, KINDS6) .constant = #NAME4 ", " #NAME6, .level = "IPPROTO_IP, IPPROTO_IPV6", \
	.place = {PLACE(#NAME4, IPPROTO_IP, NAME4, KINDS4), PLACE(#NAME6, IPPROTO_IPV6, NAME6, KINDS6)}

#define SWITCH .type = &type_switch, .width = 4, .max = 1, .type_text = "on|off"
#define INTEGER(LOW, HIGH) .type = &type_integer, .width = 4, .min = LOW, .max = HIGH, \
	.type_text = "integer " #LOW ".." #HIGH
#define INTEGER_OR(LOW, HIGH, WORDS, TEXT) .type = &type_integer, .width = 4, .min = LOW, .max = HIGH, .words = WORDS, \
	.type_text = "integer " #LOW ".." #HIGH "|" TEXT
#define WORD(TYPE, WORDS, TEXT) .type = &type_##TYPE, .width = 4, .min = 1, .words = WORDS, .type_text = TEXT
#define SIZE(LOW, HIGH) .type = &type_size, .width = 4, .min = LOW, .max = HIGH, .type_text = "size " #LOW ".." #HIGH
#define DURATION(UNIT, NS, LOW, HIGH) .type = &type_duration, .width = 4, .unit_ns = NS, .min = LOW, .max = HIGH, \
	.type_text = "duration " #LOW UNIT ".." #HIGH UNIT
#define DURATION_OFF(TYPE, LOW, HIGH) .type = &type_##TYPE, .width = 4, .unit_ns = TNI_NS_PER_S, .words = off_words, \
	.min = LOW, .max = HIGH, .type_text = "off|duration " #LOW "s.." #HIGH "s"
#define TIMEVAL .type = &type_timeval, .unit_ns = TNI_NS_PER_US, .max = INT32_MAX * INT64_C(1000000), \
	.type_text = "duration 0s..2147483647s"
#define SECONDS(LOW, HIGH) DURATION("s", TNI_NS_PER_S, LOW, HIGH)
#define MILLIS(LOW, HIGH) DURATION("ms", TNI_NS_PER_MS, LOW, HIGH)
#define MICROS(LOW, HIGH) DURATION("us", TNI_NS_PER_US, LOW, HIGH)
#define OTHER(TYPE, TEXT) .type = &type_##TYPE, .width = 4, .max = UINT32_MAX, .type_text = TEXT

#define TICK .flags = FLAG_ADJUSTED, .when_more = "the kernel rounds up to its clock tick"
#define ECN .when_less = "on a stream the lowest two bits are the kernel's own, for ECN"
#define LINUX(MAJOR, MINOR) .since_major = MAJOR, .since_minor = MINOR
#define RAW_ADMIN .permission = "CAP_NET_RAW or CAP_NET_ADMIN"
#define ADMIN .permission = "CAP_NET_ADMIN"

static const struct tni_sockopt table[] = {
	/* Where a socket is bound and what it is bound to */
	{"reuseaddr", "bind to a port although old connections to it linger; udp: although another socket has it",
	 AT_SOCKET(SO_REUSEADDR, TCP | MPTCP | UDP), EITHER, SWITCH, .flags = FLAG_BIND},
	{"reuseport", "let several sockets of one user bind to the same port; the kernel spreads peers over them",
	 AT_SOCKET(SO_REUSEPORT, TCP | MPTCP | UDP), EITHER, SWITCH, .flags = FLAG_BIND},
	{"v6only", "an IPv6 socket does not speak IPv4 as well",
	 AT_IP6(IPV6_V6ONLY, TCP | MPTCP | UDP), EITHER, SWITCH},
	{"bindtodevice", "use one interface only, for what comes and what goes",
	 AT_SOCKET(SO_BINDTODEVICE, INET | MPTCP), EITHER, OTHER(device, "interface name"),
	 .permission = "CAP_NET_RAW"},
	{"freebind", "bind to an address that this machine does not have, or not yet",
	 AT_IP46(IP_FREEBIND, IPV6_FREEBIND, INET | MPTCP, INET | MPTCP), EITHER, SWITCH, .flags = FLAG_BIND},
	{"transparent", "take what is addressed to others and answer in their name, as a transparent proxy does",
	 AT_IP46(IP_TRANSPARENT, IPV6_TRANSPARENT, INET | MPTCP, INET | MPTCP), EITHER, SWITCH, RAW_ADMIN,
	 .flags = FLAG_BIND},
	{"bind_address_no_port", "binding to an address leaves the port open until connect: many more connections fit",
	 AT_IP(IP_BIND_ADDRESS_NO_PORT, TCP | MPTCP | UDP), DIAL, SWITCH, .flags = FLAG_BIND},
	{"local_port_range", "the range from which the kernel takes a port of its choice",
	 AT_IP(IP_LOCAL_PORT_RANGE, TCP | MPTCP | UDP), EITHER, OTHER(ports, "ports LOW-HIGH|any"),
	 .words = any_port_words, LINUX(6, 3)},
	{"addr_preferences", "which IPv6 address of this machine to speak from: a temporary (privacy) or a public one",
	 AT_IP6(IPV6_ADDR_PREFERENCES, INET), EITHER, WORD(preference, preference_words, "tmp|public|pubtmp_default")},

	/* What is written on every packet. First tos: it changes the priority */
	{"tos", "class of service written on every packet (DSCP), for routers that heed it",
	 AT_IP46(IP_TOS, IPV6_TCLASS, INET | MPTCP, INET), EITHER,
	 INTEGER_OR(0, 255, tos_words, "name (ef, af11, cs1, lowdelay, ...)"), .flags = FLAG_MAPPED | FLAG_ADJUSTED,
	 ECN},
	{"tclass", "traffic class written on every IPv6 packet; as tos, for IPv6 alone",
	 AT_IP6(IPV6_TCLASS, INET), EITHER, INTEGER_OR(0, 255, tos_words, "name (ef, af11, cs1, lowdelay, ...)"),
	 .flags = FLAG_ADJUSTED, ECN},
	{"priority", "priority in this machine's own queues; set by tos too",
	 AT_SOCKET(SO_PRIORITY, INET | MPTCP | PACKET), EITHER, INTEGER(0, 4294967295), .lost_on = TCP | MPTCP,
	 .permission = "CAP_NET_ADMIN or CAP_NET_RAW for more than 6"},
	{"mark", "number on every packet that routing rules and the packet filter can match",
	 AT_SOCKET(SO_MARK, INET | MPTCP | PACKET), EITHER, INTEGER(0, 4294967295), RAW_ADMIN},
	{"ttl", "how many routers a packet may pass",
	 AT_IP46(IP_TTL, IPV6_UNICAST_HOPS, INET, INET), EITHER, INTEGER(1, 255), .flags = FLAG_MAPPED},
	{"unicast_hops", "how many routers an IPv6 packet may pass; as ttl, for IPv6 alone",
	 AT_IP6(IPV6_UNICAST_HOPS, INET), EITHER, INTEGER(0, 255)},
	{"minttl", "drop packets with less ttl left, which passed too many routers; 255: take neighbours' only",
	 AT_IP46(IP_MINTTL, IPV6_MINHOPCOUNT, TCP, TCP), EITHER, INTEGER(0, 255), .flags = FLAG_MAPPED},
	{"minhopcount", "drop IPv6 packets that passed too many routers; as minttl, for IPv6 alone",
	 AT_IP6(IPV6_MINHOPCOUNT, TCP), EITHER, INTEGER(0, 255)},
	{"mtu_discover", "find the largest packet a path takes; do: routers must not cut packets, dont: they may",
	 AT_IP46(IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, INET, INET), EITHER,
	 WORD(integer, discover_words, "dont|want|do|probe|interface|omit"), .flags = FLAG_MAPPED},
	{"dontfrag", "refuse to send a datagram that would have to be cut into fragments",
	 AT_IP6(IPV6_DONTFRAG, UDP | RAW), EITHER, SWITCH},
	{"autoflowlabel", "give every flow an IPv6 label, by which routers spread flows over their paths",
	 AT_IP6(IPV6_AUTOFLOWLABEL, INET), EITHER, SWITCH},
	{"hdrincl", "messages begin with their IP header: what is sent, and on IPv4 what comes",
	 AT_IP46(IP_HDRINCL, IPV6_HDRINCL, TNI_SK_RAW, TNI_SK_RAW), EITHER, SWITCH},
	{"unicast_if", "interface that datagrams leave by, while they may come in by any",
	 AT_IP46(IP_UNICAST_IF, IPV6_UNICAST_IF, UDP | RAW, UDP | RAW), EITHER, OTHER(unicast, "interface name"),
	 .flags = FLAG_MAPPED},
	{"dontroute", "reach hosts on the directly connected networks only, never through a router",
	 AT_SOCKET4(SO_DONTROUTE, INET), EITHER, SWITCH},
	{"broadcast", "may send to broadcast addresses",
	 AT_SOCKET4(SO_BROADCAST, UDP | RAW), EITHER, SWITCH},

	/* Multicast. The interface before the groups */
	{"multicast_if", "interface that multicast datagrams leave by",
	 AT_IP46(IP_MULTICAST_IF, IPV6_MULTICAST_IF, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(multicast, "interface name or address"), .flags = FLAG_MAPPED},
	{"multicast_ttl", "how many routers a multicast datagram may pass; 0: it stays in this machine",
	 AT_IP46(IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, UDP | RAW, UDP | RAW), EITHER, INTEGER(0, 255),
	 .flags = FLAG_MAPPED},
	{"multicast_hops", "how many routers an IPv6 multicast datagram may pass; as multicast_ttl, for IPv6 alone",
	 AT_IP6(IPV6_MULTICAST_HOPS, UDP | RAW), EITHER, INTEGER(0, 255)},
	{"multicast_loop", "members in this machine get what is sent to a group, too",
	 AT_IP46(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, UDP | RAW, UDP | RAW), EITHER, SWITCH, .flags = FLAG_MAPPED},
	{"multicast_all", "get the groups that any program of this machine has joined; off: only one's own",
	 AT_IP46(IP_MULTICAST_ALL, IPV6_MULTICAST_ALL, UDP | RAW, UDP | RAW), EITHER, SWITCH, .flags = FLAG_MAPPED},
	{"add_membership", "join multicast groups, each on one interface or the one that the routes say",
	 AT_IP46(IP_ADD_MEMBERSHIP, IPV6_ADD_MEMBERSHIP, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(group, "group[@interface], or several: a,b"), .flags = FLAG_WRITE_ONLY},
	{"join_source_group", "join multicast groups, but hear only what one source sends to each",
	 AT_IP46(MCAST_JOIN_SOURCE_GROUP, MCAST_JOIN_SOURCE_GROUP, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(source, "source@group[@interface], or several: a,b"), .flags = FLAG_WRITE_ONLY},

	/* Buffers, and what wakes a reader */
	{"rcvbuf", "room for what has come and is not read yet; the kernel takes twice that, records included",
	 AT_SOCKET(SO_RCVBUF, INET | MPTCP | PACKET), EITHER, SIZE(1, 1073741823),
	 .flags = FLAG_ADJUSTED | FLAG_DOUBLED,
	 .when_less = "limit: sysctl net.core.rmem_max; key rcvbufforce goes beyond it",
	 .when_more = "the kernel's least"},
	{"sndbuf", "room for what is sent and not delivered yet; the kernel takes twice that, records included",
	 AT_SOCKET(SO_SNDBUF, INET | MPTCP | UNIX | PACKET), EITHER, SIZE(1, 1073741823), .lost_on = UNIX_CONN,
	 .flags = FLAG_ADJUSTED | FLAG_DOUBLED, .when_more = "the kernel's least",
	 .when_less = "limit: sysctl net.core.wmem_max; key sndbufforce goes beyond it"},
	{"rcvbufforce", "rcvbuf beyond the system's limit",
	 AT_SOCKET(SO_RCVBUFFORCE, INET | MPTCP | PACKET), EITHER, SIZE(1, 1073741823),
	 .flags = FLAG_WRITE_ONLY, ADMIN},
	{"sndbufforce", "sndbuf beyond the system's limit",
	 AT_SOCKET(SO_SNDBUFFORCE, INET | MPTCP | UNIX | PACKET), EITHER, SIZE(1, 1073741823), .lost_on = UNIX_CONN,
	 .flags = FLAG_WRITE_ONLY, ADMIN},
	{"rcvlowat", "bytes that must have come before a reader is woken: larger pieces, later",
	 AT_SOCKET(SO_RCVLOWAT, TCP | MPTCP), EITHER, SIZE(1, 2147483647), .lost_on = MPTCP, .flags = FLAG_ADJUSTED,
	 .when_less = "limit: half of rcvbuf, or of the last figure of sysctl net.ipv4.tcp_rmem"},
	{"window_clamp", "largest window offered to the peer: how far it may send ahead; 0: no such limit",
	 AT_TCP(TCP_WINDOW_CLAMP, TCP), EITHER, SIZE(0, 2147483647), .flags = FLAG_ADJUSTED,
	 .when_more = "the kernel's least"},
	{"notsent_lowat", "take more to send only while less than this waits unsent: fresher data; 0: the system's",
	 AT_TCP(TCP_NOTSENT_LOWAT, TCP | MPTCP), EITHER, SIZE(0, 4294967295), .lost_on = MPTCP},
	{"max_pacing_rate", "bytes a second at most; other sockets than tcp need the queue discipline fq for it",
	 AT_SOCKET(SO_MAX_PACING_RATE, INET | PACKET), EITHER, .type = &type_size, .width = 8, .min = 1,
	 .max = INT64_MAX, .words = unlimited_words, .type_text = "size|unlimited"},

	/* Dead and slow peers */
	{"keepalive", "ask a silent peer from time to time whether it is still there",
	 AT_SOCKET(SO_KEEPALIVE, TCP | MPTCP), EITHER, SWITCH},
	{"keepidle", "keepalive: silence before the first question",
	 AT_TCP(TCP_KEEPIDLE, TCP | MPTCP), EITHER, SECONDS(1, 32767)},
	{"keepintvl", "keepalive: time between questions",
	 AT_TCP(TCP_KEEPINTVL, TCP | MPTCP), EITHER, SECONDS(1, 32767)},
	{"keepcnt", "keepalive: questions without an answer after which the peer is dead",
	 AT_TCP(TCP_KEEPCNT, TCP | MPTCP), EITHER, INTEGER(1, 127)},
	{"user_timeout", "how long sent data may go unacknowledged before giving up the connection; 0: the system's",
	 AT_TCP(TCP_USER_TIMEOUT, TCP), EITHER, MILLIS(0, 2147483647)},
	{"syncnt", "how often a request to connect, or the answer to one, is repeated before giving up",
	 AT_TCP(TCP_SYNCNT, TCP), EITHER, INTEGER(1, 127)},
	{"linger", "how long close waits for unsent data; 0s: drops them and resets the connection",
	 AT_SOCKET(SO_LINGER, TCP | MPTCP), EITHER, DURATION_OFF(linger, 0, 2147483647)},
	{"linger2", "how long the kernel waits for the peer's end after close; off: not at all",
	 AT_TCP(TCP_LINGER2, TCP), EITHER, DURATION_OFF(duration, 1, 120)},
	{"rto_max_ms", "longest pause between two attempts to send again",
	 AT_TCP(TCP_RTO_MAX_MS, TCP), EITHER, MILLIS(1000, 120000), TICK, LINUX(6, 15)},
	{"rto_min_us", "shortest wait for an acknowledgement before sending again; two clock ticks or more (2..20 ms)",
	 AT_TCP(TCP_RTO_MIN_US, TCP), EITHER, MICROS(1, 200000), TICK, LINUX(6, 15)},
	{"thin_linear_timeouts", "when little is sent, try again at even intervals instead of ever longer ones",
	 AT_TCP(TCP_THIN_LINEAR_TIMEOUTS, TCP), EITHER, SWITCH},
	{"rcvtimeo", "how long a blocking receive waits, 0: for ever; for programs that inherit the socket",
	 AT_SOCKET(SO_RCVTIMEO, INET | MPTCP | UNIX | PACKET), EITHER,
	 TIMEVAL, .lost_on = MPTCP | UNIX_CONN, TICK},
	{"sndtimeo", "how long a blocking send or connect waits, 0: for ever; for programs that inherit the socket",
	 AT_SOCKET(SO_SNDTIMEO, INET | MPTCP | UNIX | PACKET), EITHER,
	 TIMEVAL, .lost_on = MPTCP | UNIX_CONN, TICK},

	/* How a stream is cut, sent and acknowledged */
	{"nodelay", "send small pieces at once instead of gathering them while others are on their way (Nagle)",
	 AT_TCP(TCP_NODELAY, TCP | MPTCP), EITHER, SWITCH},
	{"cork", "send full segments only, holding a rest back for up to 200 ms",
	 AT_TCP(TCP_CORK, TCP | MPTCP), EITHER, SWITCH},
	{"quickack", "acknowledge at once (on) or with the next data (off), until the kernel decides anew",
	 AT_TCP(TCP_QUICKACK, TCP), EITHER, SWITCH, .lost_on = TCP},
	{"delack_max_us", "longest delay of an acknowledgement; two clock ticks or more (2..20 ms)",
	 AT_TCP(TCP_DELACK_MAX_US, TCP), EITHER, MICROS(1, 200000), TICK, LINUX(6, 15)},
	{"maxseg", "largest segment to send, and to ask for from the peer (MSS)",
	 AT_TCP(TCP_MAXSEG, TCP | MPTCP), EITHER, INTEGER(88, 32767)},
	{"congestion", "how the sending rate follows the state of the path: cubic, bbr, reno, ...",
	 AT_TCP(TCP_CONGESTION, TCP | MPTCP), EITHER, OTHER(algorithm, "algorithm name"),
	 .permission = "CAP_NET_ADMIN, or the name in sysctl net.ipv4.tcp_allowed_congestion_control"},
	{"oobinline", "urgent (out-of-band) data stay in their place in the stream",
	 AT_SOCKET(SO_OOBINLINE, TCP | UNIX_STREAM), EITHER, SWITCH, .lost_on = UNIX_STREAM},
	{"txrehash", "try another path of the network when data must be sent again",
	 AT_SOCKET(SO_TXREHASH, TCP), EITHER, SWITCH, LINUX(5, 18)},
	{"tx_delay", "delay everything sent, as a long path would; needs the queue discipline fq",
	 AT_TCP(TCP_TX_DELAY, TCP), EITHER, MICROS(0, 268435455)},

	/* Opening a connection */
	{"defer_accept", "accept a connection only once the client has sent something, or after this time",
	 AT_TCP(TCP_DEFER_ACCEPT, TCP | MPTCP), LISTENING, SECONDS(0, 32767), .flags = FLAG_ADJUSTED,
	 .when_less = "the kernel's most",
	 .when_more = "the kernel counts in repeated answers, after 1s, 3s, 7s, 15s, ..."},
	{"fastopen", "take data that come with the request to connect, from this many half-open ones; 0: off",
	 AT_TCP(TCP_FASTOPEN, TCP | MPTCP), LISTENING, INTEGER(0, 65535), .flags = FLAG_ADJUSTED,
	 .when_less = "limit: sysctl net.core.somaxconn"},
	{"fastopen_connect", "connect with the first data sent: saves a round trip, but this side must speak first",
	 AT_TCP(TCP_FASTOPEN_CONNECT, TCP | MPTCP), DIAL, SWITCH},
	{"fastopen_no_cookie", "fastopen for clients that were not here before, too; for networks one trusts",
	 AT_TCP(TCP_FASTOPEN_NO_COOKIE, TCP | MPTCP), EITHER, SWITCH},

	/* Unix sockets */
	{"passcred", "tell the sender's process, user and group; for programs that inherit the socket",
	 AT_SOCKET(SO_PASSCRED, UNIX), EITHER, SWITCH},
	{"passrights", "peers may pass descriptors; off: their messages are refused",
	 AT_SOCKET(SO_PASSRIGHTS, UNIX), EITHER, SWITCH, LINUX(6, 16)},

	/* Processors and interrupts */
	{"incoming_cpu", "of several sockets with reuseport, this one gets what arrives on this processor",
	 AT_SOCKET(SO_INCOMING_CPU, TCP | MPTCP | UDP), SERVE, INTEGER_OR(0, 8191, any_words, "any")},
	{"busy_poll", "how long to ask the network card for packets before sleeping: less delay, more work",
	 AT_SOCKET(SO_BUSY_POLL, TCP | MPTCP | UDP), EITHER, MICROS(0, 2147483647), .lost_on = MPTCP,
	 .permission = "CAP_NET_ADMIN to go beyond sysctl net.core.busy_read"},
	{"prefer_busy_poll", "busy_poll instead of interrupts, under load too",
	 AT_SOCKET(SO_PREFER_BUSY_POLL, TCP | MPTCP | UDP), EITHER, SWITCH, .lost_on = MPTCP, ADMIN, LINUX(5, 11)},
	{"busy_poll_budget", "packets to take from the network card at a time with busy_poll",
	 AT_SOCKET(SO_BUSY_POLL_BUDGET, TCP | MPTCP | UDP), EITHER, INTEGER(0, 65535), .lost_on = MPTCP,
	 .flags = FLAG_WRITE_ONLY, LINUX(5, 11), ADMIN},
};
/* clang-format on */

#define NROWS (sizeof(table) / sizeof(table[0]))

const struct tni_sockopt *tni_sockopt_find(const char *key)
{
	for (size_t i = 0; i < NROWS; i++)
		if (!strcmp(table[i].key, key))
			return &table[i];
	return NULL;
}

const struct tni_sockopt *tni_sockopt_at(size_t index)
{
	return index < NROWS ? &table[index] : NULL;
}

/* ---- where it applies -------------------------------------------------------------------------------------------- */

static int socket_number(int fd, int name)
{
	int number = 0;
	socklen_t len = sizeof(number);

	return getsockopt(fd, SOL_SOCKET, name, &number, &len) < 0 ? -errno : number;
}

int tni_sockopt_kind(int fd, int *family)
{
	int type = socket_number(fd, SO_TYPE), protocol = socket_number(fd, SO_PROTOCOL);

	*family = socket_number(fd, SO_DOMAIN);
	if (*family < 0)
		return *family;
	if (*family == AF_UNIX)
		return type == SOCK_STREAM  ? TNI_SK_UNIX_STREAM
		       : type == SOCK_DGRAM ? TNI_SK_UNIX_DGRAM
					    : TNI_SK_UNIX_SEQPACKET;
	if (*family != AF_INET && *family != AF_INET6)
		return TNI_SK_PACKET;
	if (type == SOCK_STREAM)
		return protocol == IPPROTO_TCP ? TNI_SK_TCP : protocol == IPPROTO_MPTCP ? TNI_SK_MPTCP : TNI_SK_PACKET;
	if (type != SOCK_DGRAM)
		return TNI_SK_RAW;
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ? TNI_SK_UDP : TNI_SK_PING;
}

static unsigned kinds_on(const struct tni_sockopt *opt, int family)
{
	if (family == AF_INET)
		return opt->place[0].kinds & ~(unsigned)(UNIX | PACKET);
	if (family == AF_UNIX)
		return opt->place[0].kinds & UNIX;
	if (family != AF_UNSPEC && family != AF_INET6)
		return opt->place[0].kinds & PACKET;
	return family == AF_INET6 ? opt->place[1].kinds : opt->place[0].kinds | opt->place[1].kinds;
}

bool tni_sockopt_applies(const struct tni_sockopt *opt, unsigned kinds, unsigned roles, int family)
{
	return (kinds_on(opt, family) & kinds) && (opt->roles & roles);
}

enum tni_opt_stage tni_sockopt_stage(const struct tni_sockopt *opt, enum tni_sock_kind kind)
{
	return opt->lost_on & kind ? TNI_STAGE_CONN : (enum tni_opt_stage)opt->stage;
}

const char *tni_sockopt_applies_text(const struct tni_sockopt *opt, char *out, size_t cap)
{
	static const struct {
		unsigned kind;
		const char *scheme;
	} kinds[] = {
		{TNI_SK_TCP, "tcp"},
		{TNI_SK_MPTCP, "mptcp"},
		{TNI_SK_UDP, "udp"},
		{TNI_SK_UNIX_STREAM, "unix"},
		{TNI_SK_UNIX_DGRAM, "unix-dgram"},
		{TNI_SK_UNIX_SEQPACKET, "unix-seqpacket"},
		{TNI_SK_RAW, "raw"},
		{TNI_SK_PING, "icmp"},
		{TNI_SK_PACKET, "packet"},
	};

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool on4 = kinds[i].kind & opt->place[0].kinds, on6 = kinds[i].kind & opt->place[1].kinds;

		if (on4 || on6)
			say(out, cap, "%s%s%s", *out ? ", " : "", kinds[i].scheme,
			    on4 && (on6 || kinds[i].kind & (UNIX | PACKET)) ? ""
			    : on4                                           ? " (IPv4)"
									    : " (IPv6)");
	}
	if (opt->roles == TNI_ROLE_SERVE)
		say(out, cap, "; serving");
	if (opt->roles == TNI_ROLE_DIAL)
		say(out, cap, "; dialling");
	return out;
}

bool tni_sockopt_is_list(const struct tni_sockopt *opt)
{
	return opt->type == &type_group || opt->type == &type_source;
}

const char *tni_sockopt_type_text(const struct tni_sockopt *opt)
{
	return opt->type_text;
}

/* ---- parsing, setting, reading back ------------------------------------------------------------------------------ */

int tni_sockopt_parse(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char expected[SAID_MAX] = "";
	int rc;

	memset(val, 0, sizeof(*val));
	rc = opt->type->parse(opt, text, val);
	if (rc != -EINVAL)
		return rc;
	opt->type->expects(opt, expected, sizeof(expected));
	return tni_err(TN_EURL, "%s takes %s, not \"%.64s\"", opt->key, expected, text);
}

static int set_failed(const struct tni_sockopt *opt, const struct tni_sockopt_place *place, int err)
{
	char remedy[SAID_MAX] = "";
	struct utsname kernel;

	if ((err == EPERM || err == EACCES) && opt->permission)
		say(remedy, sizeof(remedy), " (it needs %s)", opt->permission);
	if ((err == ENOPROTOOPT || err == EOPNOTSUPP) && uname(&kernel) == 0) {
		say(remedy, sizeof(remedy), " (this kernel, %s, does not have it for this kind of socket",
		    kernel.release);
		if (opt->since_major)
			say(remedy, sizeof(remedy), "; Linux has since %d.%d", opt->since_major, opt->since_minor);
		say(remedy, sizeof(remedy), ")");
	}
	return tni_err(-err, "setsockopt %s (key %s): %s%s", place->constant, opt->key, tn_strerror(-err), remedy);
}

static int get_number(int fd, int family, const struct tni_sockopt *opt, struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct raw raw = {.len = sizeof(raw.text)};

	memset(raw.text, 0, sizeof(raw.text));
	memset(val, 0, sizeof(*val));
	if (getsockopt(fd, place->level, place->name, raw.text, &raw.len) < 0)
		return -errno;
	opt->type->decode(opt, family, &raw, val);
	return 0;
}

static int compare_in_force(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *asked)
{
	char asked_text[TNI_OPTVAL_TEXT_MAX], text[TNI_OPTVAL_TEXT_MAX];
	struct tni_optval now;
	const char *why;

	if (get_number(fd, family, opt, &now) < 0 || now.number == asked->number)
		return 0;
	opt->type->format(opt, asked, asked_text, sizeof(asked_text));
	opt->type->format(opt, &now, text, sizeof(text));
	why = now.number < asked->number ? opt->when_less : opt->when_more;
	return tni_err(1, "%s: %s was asked for, %s is in force%s%s%s", opt->key, asked_text, text, why ? " (" : "",
		       why ? why : "", why ? ")" : "");
}

static int set_at(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct raw raw;

	memset(&raw, 0, sizeof(raw));
	opt->type->encode(opt, family, val, &raw);
	return setsockopt(fd, place->level, place->name, raw.text, raw.len) < 0 ? -errno : 0;
}

/* The family of a group says which of the two constants joins it; an IPv6 socket can join groups of both. */
static int join_group(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	int rc;

	if (val->family == AF_INET6 && family != AF_INET6)
		return tni_err(-EAFNOSUPPORT, "key %s: an IPv4 socket cannot join an IPv6 group", opt->key);
	rc = set_at(fd, val->family, opt, val);
	return rc < 0 ? set_failed(opt, &opt->place[val->family == AF_INET6], -rc) : 0;
}

const char *tni_sockopt_vain(const struct tni_sockopt *opt, bool has_addr, bool has_port)
{
	if (!(opt->flags & FLAG_BIND))
		return NULL;
	if (!has_addr && !has_port)
		return "has no effect without key bind, the local end of what is dialled";
	if (!has_port || opt->place[0].level != IPPROTO_IP)
		return has_addr || opt->place[0].level != IPPROTO_IP ? NULL : "has no effect where bind has no address";
	if (opt->place[0].name == IP_BIND_ADDRESS_NO_PORT)
		return "has no effect where bind has a port";
	return has_addr ? NULL : "has no effect where bind has no address";
}

int tni_sockopt_ephemeral(int *low, int *high)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	int n = file ? fscanf(file, "%d %d", low, high) : 0;

	if (file)
		fclose(file);
	return n == 2 ? 0 : -ENOENT;
}

/* The kernel keeps to the system's range: each end that lies outside of it counts as not given. */
static int compare_ports(const struct tni_sockopt *opt, const struct tni_optval *val)
{
	int low = (int)(val->number & 0xffff), high = (int)(val->number >> 16 & 0xffff), from, to;

	if (!val->number || tni_sockopt_ephemeral(&from, &to) < 0 || (from <= low && high <= to))
		return 0;
	if (high < from || low > to)
		return tni_err(-EINVAL,
			       "%s=%d-%d has no effect: it lies outside of the system's range, %d-%d (sysctl "
			       "net.ipv4.ip_local_port_range)",
			       opt->key, low, high, from, to);
	return tni_err(1,
		       "%s=%d-%d: only %d-%d of it is used, what lies in the system's range (sysctl "
		       "net.ipv4.ip_local_port_range)",
		       opt->key, low, high, low > from ? low : from, high < to ? high : to);
}

int tni_sockopt_set(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	int rc;

	if (tni_sockopt_is_list(opt))
		return join_group(fd, family, opt, val);
	if (!place->kinds)
		return tni_err(-EOPNOTSUPP, "key %s does not apply to %s", opt->key,
			       family == AF_INET6 ? "IPv6" : "IPv4");
	rc = set_at(fd, family, opt, val);
	if (rc < 0)
		return set_failed(opt, place, -rc);
	/* Raw sockets and those of MPTCP do not have the other one, and need not */
	if (family == AF_INET6 && (opt->flags & FLAG_MAPPED))
		(void)set_at(fd, AF_INET, opt, val);
	if (opt->type == &type_ports)
		return compare_ports(opt, val);
	return opt->flags & FLAG_ADJUSTED ? compare_in_force(fd, family, opt, val) : 0;
}

int tni_sockopt_get(int fd, int family, const struct tni_sockopt *opt, char *text, size_t cap)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct tni_optval val;
	int rc;

	if (!place->kinds || (opt->flags & FLAG_WRITE_ONLY))
		return tni_err(-EOPNOTSUPP, "key %s cannot be read back here", opt->key);
	rc = get_number(fd, family, opt, &val);
	if (rc == -ENOPROTOOPT)
		rc = -EOPNOTSUPP;
	if (rc < 0)
		return tni_err(rc, "getsockopt %s (key %s): %s", place->constant, opt->key, tn_strerror(rc));
	opt->type->format(opt, &val, text, cap);
	return 0;
}

int tn_socket_option(int fd, const char *key, char *value, size_t cap)
{
	const struct tni_sockopt *opt = tni_sockopt_find(key);
	int family, kind;

	if (!opt)
		return tni_err(-EINVAL, "the system has no socket option '%.64s'", key);
	kind = tni_sockopt_kind(fd, &family);
	if (kind < 0)
		return tni_err(kind, "descriptor %d: %s", fd, tn_strerror(kind));
	if (!tni_sockopt_applies(opt, (unsigned)kind, TNI_ROLE_SERVE | TNI_ROLE_DIAL, family))
		return tni_err(-EOPNOTSUPP, "key %s does not apply to this socket", key);
	return tni_sockopt_get(fd, family, opt, value, cap);
}
