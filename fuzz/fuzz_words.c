/*
 * Values as people write them, one kind by the first byte: sizes and durations, which are also written and read again;
 * the value of any socket option; addresses; protocols and neighbours; the nearest of known words.
 */
#include "fuzz.h"

#include "base/units.h"
#include "net/addr.h"
#include "net/raw.h"
#include "net/sockopt.h"

#include <errno.h>

static void read_size(const char *text)
{
	uint64_t bytes, again;
	char out[32];
	int rc = tn_parse_size(text, &bytes);

	CHECK(rc == 0 || rc == -EINVAL || rc == -ERANGE);
	if (rc == 0)
		CHECK(tn_parse_size(tni_format_size(bytes, out, sizeof(out)), &again) == 0 && again == bytes);
}

/* Three digits are shown: nothing below a thousandth of the unit is kept. */
static void read_duration(const char *text)
{
	uint64_t ns, again;
	char out[64];
	int rc = tn_parse_duration(text, &ns);

	CHECK(rc == 0 || rc == -EINVAL || rc == -ERANGE);
	if (rc < 0)
		return;
	CHECK(tn_parse_duration(tni_format_duration(ns, out, sizeof(out)), &again) == 0);
	CHECK(again <= ns && ns - again <= ns / 1000);
}

static void read_option(const char *text, size_t index)
{
	const struct tni_sockopt *opt;
	struct tni_optval value = {0};
	size_t count = 0;
	int rc;

	while (tni_sockopt_at(count))
		count++;
	opt = tni_sockopt_at(index % count);
	rc = tni_sockopt_parse(opt, text, &value);
	CHECK(rc == 0 || (rc == TN_EURL && *tn_errmsg()));
	CHECK(memchr(value.text, 0, sizeof(value.text)) != NULL);
}

static void read_address(const char *text, size_t len)
{
	struct tn_addr addr = {0}, at = {0};
	int rc = tni_addr_literal(&addr, text, 80), number;

	CHECK(rc == 0 || rc == -EINVAL);
	CHECK(rc < 0 || (tni_addr_port(&addr) == 80 && addr.len <= sizeof(addr.bytes)));
	rc = tni_addr_unix(&addr, text, len);
	CHECK(rc == 0 || rc == -ENAMETOOLONG || rc == -EINVAL);
	CHECK(rc < 0 || addr.len <= sizeof(addr.bytes));
	CHECK(!tni_addr_is_localhost(text, false) || tni_addr_is_localhost(text, true));
	for (int kind = TNI_RAW_NONE; kind <= TNI_RAW_PACKET; kind++) {
		number = tni_raw_protocol((enum tni_raw_kind)kind, text);
		CHECK(number == -EINVAL || (number >= 0 && number <= 0xffff));
	}
	rc = tni_raw_neighbour(&addr, &at, text);
	CHECK(rc == 0 || rc == -EINVAL);
}

static void find_nearest(const char *text)
{
	static const char *const words[] = {"request", "send", "recv", "connect", "nodelay", "keepalive", ""};
	const char *near = tn_nearest(text, words, sizeof(words) / sizeof(words[0]));

	CHECK(!near || *near);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 2)
		return 0;
	text = fuzz_string(data + 2, size - 2);
	switch (data[0] % 5) {
	case 0:
		read_size(text);
		break;
	case 1:
		read_duration(text);
		break;
	case 2:
		read_option(text, data[1]);
		break;
	case 3:
		read_address(text, size - 2);
		break;
	default:
		find_nearest(text);
	}
	free(text);
	return 0;
}
