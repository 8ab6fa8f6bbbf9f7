/*
 * Packets told: as a line for people, in which no byte reaches a terminal that could act on it, and as one for
 * programs, which is JSON. The first bytes are the link type, how much of the packet was not captured, and how long its
 * comment is.
 */
#include "capture/json.h"
#include "capture/line.h"
#include "fuzz.h"
#include "tenon_value.h"

#define ROOM (1U << 20) /* the sink's */

static const unsigned links[] = {LINK_ETHERNET, LINK_NULL, LINK_RAW,  LINK_LOOP, LINK_SLL,
				 LINK_SLL2,     LINK_IPV4, LINK_IPV6, 147};

static void check_line(const struct sink *sink)
{
	CHECK(sink->len > 0 && sink->data[sink->len - 1] == '\n');
	for (size_t i = 0; i + 1 < sink->len; i++)
		CHECK((unsigned char)sink->data[i] >= ' ' || sink->data[i] == '\n');
}

static void check_json(const struct sink *sink)
{
	struct tn_value *value = NULL;

	CHECK(sink->len > 0 && sink->data[sink->len - 1] == '\n');
	CHECK(tn_decode("json", sink->data, sink->len - 1, TN_STRICT, &value) == 0);
	CHECK(tn_value_kind(value) == TN_MAP);
	tn_value_free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sink sink;
	static struct relative *relative;
	struct line_extra extra = {.iface = "eth0", .hex = true, .verbose = true};
	struct packet packet;
	uint32_t len, more;

	if (size < 3 || size > 4096)
		return 0;
	if (!sink.data)
		CHECK((sink.data = malloc(ROOM)) != NULL && relative_new(&relative) == 0);
	more = data[1] * 7U;
	extra.comment = data[2] ? (const char *)data + 3 : NULL;
	extra.comment_len = data[2] < size - 3 ? data[2] : (uint32_t)size - 3;
	len = (uint32_t)size - 3;
	packet_decode(&packet, links[data[0] % (sizeof(links) / sizeof(links[0]))], data + 3, len, len + more);
	sink.len = 0;
	line_packet(&sink, &packet, 1700000000123456789, &extra);
	check_line(&sink);
	line_style(false, 60 + data[1] % 41, relative); /* as on a terminal */
	extra.verbose = data[2] & 1;
	sink.len = 0;
	line_packet(&sink, &packet, 1700000000123456789, &extra);
	check_line(&sink);
	line_style(false, 0, NULL);
	sink.len = 0;
	line_json(&sink, &packet, 1700000000123456789, &extra);
	check_json(&sink);
	return 0;
}
