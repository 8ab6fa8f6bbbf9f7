/* Ranges of ports. */
#include "net/sockopt_type.h"

#include "base/err.h"
#include "tenon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- a range of ports: LOW-HIGH, in the kernel low | high << 16 -------------------------------------------------- */

static int parse_ports(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const char *dash = strchr(text, '-');
	char low_text[8];
	uint64_t low, high;

	if (tni_opt_parse_word(opt, text, val))
		return 0;
	if (!dash || (size_t)(dash - text) >= sizeof(low_text))
		return -EINVAL;
	snprintf(low_text, sizeof(low_text), "%.*s", (int)(dash - text), text);
	if (tni_opt_parse_digits(low_text, &low) < 0 || tni_opt_parse_digits(dash + 1, &high) < 0)
		return -EINVAL;
	if (low < 1 || high > 65535 || low > high)
		return -EINVAL;
	val->number = (int64_t)(low | high << 16);
	return 0;
}

static void expects_ports(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "the lowest and the highest port, such as 40000-40999, or any");
}

/* Either end may be 0: left to the system. */
static void format_ports(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	int64_t low = val->number & 0xffff, high = val->number >> 16 & 0xffff;

	if (!tni_opt_format_word(opt, val, out, cap))
		snprintf(out, cap, "%" PRId64 "-%" PRId64, low ? low : 1, high ? high : 65535);
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

const struct tni_opt_type tni_opt_ports = {
	.parse = parse_ports,
	.expects = expects_ports,
	.encode = tni_opt_encode_number,
	.decode = tni_opt_decode_number,
	.format = format_ports,
	.compare = compare_ports,
};
