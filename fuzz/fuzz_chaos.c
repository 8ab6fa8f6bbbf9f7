/*
 * Faults (cmd/relay/chaos): a spec is whatever a user or a client of the API writes; what it says is done to bytes. The
 * first line is the spec, the rest is said in pieces. Nothing may be more than was said, and the same seed does the
 * same.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/chaos/chaos.h"

#define STEPS_MAX 64
#define STEP_NS UINT64_C(3000000)

/* A sum of what comes out, in its order and at its times. */
static uint64_t play(const struct chaos_set *set, enum chaos_carries carries, const uint8_t *data, size_t size,
		     size_t *total)
{
	struct chaos_pipe pipe;
	uint64_t sum = 1, now = 1;
	size_t at = 0;

	chaos_pipe_begin(&pipe, set, 0, CHAOS_UP, carries, now);
	*total = 0;
	for (int step = 0; step < STEPS_MAX; step++, now += STEP_NS) {
		size_t len = size - at < 1U + at % 97 ? size - at : 1U + at % 97;
		struct chaos_item *item;

		if (len)
			CHECK(chaos_put(&pipe, data + at, len, 0, now) == 0);
		at += len;
		if (at == size && step == STEPS_MAX / 2)
			CHECK(chaos_end(&pipe, now) == 0);
		while ((item = chaos_take(&pipe, now))) {
			CHECK(item->due_ns <= now);
			*total += item->len;
			for (size_t i = 0; i < item->len; i++)
				sum = (sum ^ item->data[i]) * 0x100000001b3;
			sum = (sum ^ (uint64_t)item->what ^ now) * 0x100000001b3;
			free(item);
		}
		CHECK(chaos_due(&pipe) > now);
	}
	CHECK(pipe.counts.lost + pipe.counts.corrupted <= 2 * STEPS_MAX);
	chaos_pipe_free(&pipe);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	size_t len = end ? (size_t)(end - data) : size, at = 0, total[2];
	static struct chaos_set set;
	char *text;
	const char *wrong;

	if (size > 4096)
		return 0;
	text = fuzz_string(data, len);
	len = strlen(text);
	set.count = 1;
	wrong = chaos_parse(text, &set.specs[0], &at);
	CHECK(!wrong || (*wrong && at <= len));
	for (int carries = CHAOS_BYTES; !wrong && end && carries <= CHAOS_DATAGRAMS; carries++) {
		uint64_t sums[2];

		if (chaos_unfit(&set.specs[0], (enum chaos_carries)carries))
			continue;
		for (int i = 0; i < 2; i++)
			sums[i] = play(&set, (enum chaos_carries)carries, end + 1, size - (size_t)(end + 1 - data),
				       &total[i]);
		CHECK(sums[0] == sums[1] && total[0] == total[1]);
		CHECK(set.specs[0].rules[CHAOS_UP].duplicate > 0 || total[0] <= size);
	}
	free(text);
	return 0;
}
