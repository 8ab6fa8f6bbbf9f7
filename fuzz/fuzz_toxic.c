/*
 * What the HTTP API of Toxiproxy is asked: a path up to a line feed, then a body. A toxic that it makes is put to work,
 * and taken away again: whatever its numbers are, what comes out is what was said, or less of it.
 */
#include "fuzz.h"

#include "http/http.h"
#include "relay/chaos/toxic.h"
#include "tenon_value.h"

static void split(const char *path, size_t len)
{
	const char *segments[4];
	char room[64];
	int count = http_segments((struct http_text){path, len}, room, sizeof(room), segments, 4);

	CHECK(count == -1 || (count > 0 && count <= 4 && len && *path == '/'));
	for (int i = 0; i < count; i++)
		CHECK(*segments[i] && segments[i] + strlen(segments[i]) < room + sizeof(room));
}

static void take_all(struct chaos_pipe *pipe, uint64_t now, const char **left)
{
	struct chaos_item *item;

	for (; (item = chaos_take(pipe, now)) != NULL; free(item)) {
		if (item->what != CHAOS_DATA)
			continue;
		CHECK(strncmp(*left, (const char *)item->data, item->len) == 0);
		*left += item->len;
	}
}

static void work(const struct toxic *toxic)
{
	static struct chaos_set none = {.live = true}, one;
	static const char said[] = "what was said";
	const char *left = said;
	struct chaos_pipe pipe;
	uint64_t now = 1000000000;

	one = (struct chaos_set){.count = 1, .live = true};
	toxic_spec(toxic, &one.specs[0]);
	chaos_pipe_begin(&pipe, &one, 0, toxic->direction, CHAOS_BYTES, now);
	CHECK(chaos_put(&pipe, said, 4, 0, now) == 0 && chaos_put(&pipe, said + 4, strlen(said) - 4, 0, now) == 0);
	take_all(&pipe, now + 1000000, &left);
	chaos_pipe_change(&pipe, &none, now + 1000000);
	CHECK(chaos_end(&pipe, now + 1000000) == 0);
	take_all(&pipe, CHAOS_NEVER - 1, &left);
	CHECK(chaos_due(&pipe) == CHAOS_NEVER && !pipe.bytes);
	chaos_pipe_free(&pipe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	char *path = fuzz_string(data, end ? (size_t)(end - data) : size), *body = NULL;
	struct tn_value *value = NULL;
	struct toxic_error error;
	struct toxic toxic;

	split(path, end ? (size_t)(end - data) : size);
	if (end)
		body = fuzz_string(end + 1, size - (size_t)(end + 1 - data));
	if (body && tn_decode("json", body, size - (size_t)(end + 1 - data), 0, &value) == 0) {
		memset(&error, 0, sizeof(error));
		if (toxic_read(value, &toxic, &error)) {
			CHECK(toxic.name && *toxic.name && toxic.type && toxic.direction <= CHAOS_DOWN);
			work(&toxic);
			CHECK(toxic_change(value, &toxic, &error) && toxic.version == 1);
			free(toxic.name);
		} else {
			CHECK(error.status == 400 && *error.words);
		}
	}
	tn_value_free(value);
	free(body);
	free(path);
	return 0;
}
