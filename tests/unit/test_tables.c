/* What the tables of frames and formats say of each row (tn_frame_at, tn_format_at, ...) is what the row does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"
#include "tenon_value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
#ifdef TNI_HAVE_JSON
	HAVE_JSON = 1,
#else
	HAVE_JSON = 0,
#endif
#ifdef TNI_HAVE_XML
	HAVE_XML = 1,
#else
	HAVE_XML = 0,
#endif
#ifdef TNI_HAVE_CBOR
	HAVE_CBOR = 1,
#else
	HAVE_CBOR = 0,
#endif
#ifdef TNI_HAVE_MSGPACK
	HAVE_MSGPACK = 1,
#else
	HAVE_MSGPACK = 0,
#endif
#ifdef TNI_HAVE_HINTS
	HAVE_HINTS = 1,
#else
	HAVE_HINTS = 0,
#endif
};

static void test_frames_have_a_name_and_a_meaning(void **state)
{
	const char *name, *meaning, *other;
	int n = 0;

	(void)state;
	for (; (name = tn_frame_at(n, &meaning)); n++) {
		assert_true(*name && (*meaning || !HAVE_HINTS));
		assert_string_equal(tn_frame_at(n, NULL), name);
		for (int i = 0; i < n && (other = tn_frame_at(i, NULL)); i++)
			assert_string_not_equal(name, other);
	}
	assert_true(n > 10);
	assert_null(tn_frame_at(n + 1, NULL));
	assert_null(tn_frame_at(-1, NULL));
}

/* The rest of a message whose beginning is lost, up to the delimiter, and then a whole one. */
static void test_behind_a_delimiter_the_next_message_begins(void **state)
{
	static const char *const streams[] = {
		"line:ost\nwhole\n", "crlf:ost\r\nwhole\r\n", "nul:ost",
#ifdef TNI_HAVE_FRAMES
		"cobs:ost",          "slip:ost\xc0whole\xc0",
#endif
	};
	static const char whole_nul[] = "\0whole", whole_cobs[] = "\0\6whole";
	struct tn_split *split;
	char url[64], bytes[64];
	const void *data;
	size_t len;
	int found = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		const char *colon = strchr(streams[i], ':'), *at;
		char name[16];
		size_t n = strlen(colon + 1);

		snprintf(name, sizeof(name), "%.*s", (int)(colon - streams[i]), streams[i]);
		memcpy(bytes, colon + 1, n);
		if (!strcmp(name, "nul"))
			memcpy(bytes + n, whole_nul, sizeof(whole_nul)), n += sizeof(whole_nul);
		if (!strcmp(name, "cobs"))
			memcpy(bytes + n, whole_cobs, sizeof(whole_cobs)), n += sizeof(whole_cobs);
		assert_true(tn_frame_delimiter(name) >= 0);
		at = (const char *)memchr(bytes, tn_frame_delimiter(name), n) + 1;
		snprintf(url, sizeof(url), "tcp://localhost:1?frame=%s", name);
		assert_int_equal(tn_split_new(url, &split), 0);
		assert_int_equal(tn_split_feed(split, at, n - (size_t)(at - bytes)), 0);
		assert_int_equal(tn_split_next(split, &data, &len), 1);
		assert_int_equal(len, 5);
		assert_memory_equal(data, "whole", 5);
		tn_split_free(split);
	}
	for (int i = 0; tn_frame_at(i, NULL); i++)
		found += tn_frame_delimiter(tn_frame_at(i, NULL)) >= 0;
	assert_int_equal(found, sizeof(streams) / sizeof(streams[0]));
	assert_int_equal(tn_frame_delimiter("nosuch"), -1);
	assert_int_equal(tn_frame_delimiter("until:\\n"), -1);
}

static int encode(const char *format, struct tn_value *value, struct tn_bytes *bytes)
{
	int rc = value ? tn_encode(format, value, 0, bytes) : -ENOMEM;

	tn_value_free(value);
	return rc;
}

static struct tn_value *map_of(const char *key, const char *text)
{
	struct tn_value *map = tn_value_new_map(NULL);

	assert_int_equal(tn_value_put(map, key, tn_value_new_text(map, text, strlen(text))), 0);
	return map;
}

static bool is_utf8(const struct tn_bytes *bytes)
{
	struct tn_value *text = NULL;
	int rc = tn_decode("text", bytes->data, bytes->len, 0, &text);

	tn_value_free(text);
	return rc == 0;
}

static void test_formats_are_of_the_kind_they_say(void **state)
{
	const char *name, *meaning;
	struct tn_value *value = NULL;
	int n = 0;

	(void)state;
	for (; (name = tn_format_at(n, &meaning)); n++) {
		int kind = tn_format_kind(name);
		struct tn_bytes bytes = {0};

		assert_true(*meaning && kind >= 0);
		assert_int_equal(encode(name, map_of("a", "b"), &bytes) == 0, !!(kind & TN_FORMAT_VALUES));
		if (kind & TN_FORMAT_VALUES)
			assert_int_equal(is_utf8(&bytes), !!(kind & TN_FORMAT_TEXT));
		assert_int_equal(tn_decode(name, " ", 1, 0, &value) < 0, !!(kind & TN_FORMAT_BLANK));
		tn_bytes_free(&bytes);
	}
	tn_value_free(value);
	assert_int_equal(n, HAVE_JSON + HAVE_XML + HAVE_CBOR + HAVE_MSGPACK + 2);
	assert_null(tn_format_at(n + 1, NULL));
	assert_null(tn_format_at(-1, NULL));
	assert_int_equal(tn_format_kind(NULL), 0);
	assert_int_equal(tn_format_kind("nosuch"), -EINVAL);
	assert_null(tn_format_frame("nosuch"));
}

/* Two messages, one behind the other as the frame writes them, are two messages again. */
static void test_messages_in_the_frame_of_their_format(void **state)
{
	const char *name;
	int framed = 0;

	(void)state;
	for (int i = 0; (name = tn_format_at(i, NULL)); i++) {
		const char *frame = tn_format_frame(name);
		struct tn_bytes bytes = {0};
		struct tn_split *split;
		const void *data;
		char url[96];
		size_t len;

		if (!frame)
			continue;
		framed++;
		snprintf(url, sizeof(url), "tcp://localhost:1?frame=%s&format=%s", frame, name);
		assert_int_equal(tn_split_new(url, &split), 0);
		for (int message = 0; message < 2; message++) {
			assert_int_equal(encode(name, tn_value_new_text(NULL, "text", 4), &bytes), 0);
			assert_int_equal(tn_split_feed(split, bytes.data, bytes.len), 0);
			if (tn_frame_delimiter(frame) >= 0)
				assert_int_equal(tn_split_feed(split, "\n", 1), 0);
		}
		for (int message = 0; message < 2; message++) {
			assert_int_equal(tn_split_next(split, &data, &len), 1);
			assert_int_equal(len, bytes.len);
			assert_memory_equal(data, bytes.data, len);
		}
		assert_int_equal(tn_split_next(split, &data, &len), 0);
		tn_split_free(split);
		tn_bytes_free(&bytes);
	}
	assert_int_equal(framed, HAVE_JSON + HAVE_CBOR + HAVE_MSGPACK + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_have_a_name_and_a_meaning),
		cmocka_unit_test(test_behind_a_delimiter_the_next_message_begins),
		cmocka_unit_test(test_formats_are_of_the_kind_they_say),
		cmocka_unit_test(test_messages_in_the_frame_of_their_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
