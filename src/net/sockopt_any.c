/* Options that the table does not know: LEVEL:NAME:VALUE, each for itself. */
#include "net/sockopt_type.h"

#include "base/err.h"
#include "tenon.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits, or 0x and hexadecimal ones, as strtoll(3) takes them, up to `end`. False: something else stands there. */
static bool read_number(const char *text, const char *end, long long low, long long high, long long *number)
{
	const char *digits = *text == '-' ? text + 1 : text;
	bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
	char *stop;

	if (!isxdigit((unsigned char)digits[hex ? 2 : 0]))
		return false;
	errno = 0;
	*number = strtoll(text, &stop, hex ? 16 : 10);
	return stop == end && !errno && *number >= low && *number <= high;
}

static int nibble(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* x0102: the bytes of the value. */
static bool read_bytes(const char *digits, struct tni_optval *val)
{
	size_t len = strlen(digits);

	if (!len || len % 2 || len / 2 > sizeof(val->bytes) || strspn(digits, "0123456789abcdefABCDEF") != len)
		return false;
	for (size_t i = 0; i < len; i += 2)
		val->bytes[i / 2] = (unsigned char)(nibble(digits[i]) << 4 | nibble(digits[i + 1]));
	val->len = (uint8_t)(len / 2);
	return true;
}

/* A number is an int, as most options have it. */
static bool read_value(const char *text, struct tni_optval *val)
{
	long long number;
	uint32_t value;

	if (*text == 'x')
		return read_bytes(text + 1, val);
	if (!read_number(text, text + strlen(text), INT_MIN, UINT_MAX, &number))
		return false;
	value = (uint32_t)number;
	memcpy(val->bytes, &value, sizeof(value));
	val->len = sizeof(value);
	return true;
}

static int fail_part(const char *what, const char *text, size_t len)
{
	return tni_err(TN_EURL, "%s \"%.*s\"", what, (int)(len < 64 ? len : 64), text);
}

static int parse_any(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const char *name = strchr(text, ':'), *value = name ? strchr(name + 1, ':') : NULL;
	long long level, number;

	(void)opt;
	if (!value)
		return -EINVAL;
	if (!read_number(text, name, 0, INT_MAX, &level))
		return fail_part("the level is a number, such as 6 for TCP, not", text, (size_t)(name - text));
	if (!read_number(name + 1, value, 0, INT_MAX, &number))
		return fail_part("the name is a number, as the kernel's headers have it, not", name + 1,
				 (size_t)(value - name - 1));
	if (!read_value(value + 1, val))
		return fail_part("the value is a number of 32 bits, or x and up to 64 bytes in hexadecimal, not",
				 value + 1, strlen(value + 1));
	val->number = (int64_t)((uint64_t)level << 32 | (uint64_t)number);
	val->family = level == IPPROTO_IPV6 ? AF_INET6 : AF_UNSPEC;
	return 0;
}

static void expects_any(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "LEVEL:NAME:VALUE, such as 6:19:1 or 1:13:x0100000005000000");
}

static const char *remedy(int err)
{
	switch (err) {
	case EPERM:
	case EACCES:
		return " (it needs a capability, most often CAP_NET_ADMIN or CAP_NET_RAW)";
	case ENOPROTOOPT:
	case EOPNOTSUPP:
		return " (this kernel has no such option for this kind of socket)";
	case EINVAL:
		return " (not this value, its length, or not at this time)";
	default:
		return "";
	}
}

/* What is IPv6's own does not concern an IPv4 socket of the same URL. */
static int set_any(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	int level = (int)(val->number >> 32), name = (int)(val->number & INT_MAX), err;

	if (val->family == AF_INET6 && family == AF_INET)
		return 0;
	if (setsockopt(fd, level, name, val->bytes, val->len) == 0)
		return 0;
	err = errno;
	return tni_err(-err, "%s=%d:%d: %s%s", opt->key, level, name, tn_strerror(-err), remedy(err));
}

static const struct tni_opt_type any = {.parse = parse_any, .expects = expects_any, .set = set_any, .is_list = true};

#define EVERY (TNI_SK_PING * 2 - 1)

const struct tni_sockopt tni_sockopt_any = {
	.key = "setsockopt",
	.type = &any,
	.place = {{.kinds = EVERY}, {.kinds = EVERY}},
	.roles = TNI_ROLE_SERVE | TNI_ROLE_DIAL,
	.flags = TNI_OPT_WRITE_ONLY,
	.lost_on = TNI_SK_UNIX_STREAM | TNI_SK_UNIX_SEQPACKET,
};
