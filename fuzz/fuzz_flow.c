/*
 * One-way tests: what a stranger sends to a server that counts, as a stream's bytes and as a datagram, and what one
 * answers to tenon bench. However the bytes are cut, the same is counted; what is read is written as it was.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "flow/message.h"
#include "flow/tally.h"

#define CLOCK 1

/* Reads all of a stream in pieces; the facts in the end. */
static bool read_stream(const char *data, size_t size, size_t most, struct flow_facts *facts)
{
	struct tally_stream *stream = calloc(1, sizeof(*stream));
	char answer[FLOW_ASK];
	uint64_t answers = 0;
	bool asked;

	CHECK(stream != NULL);
	while (size && !stream->is_other) {
		size_t part = size < most ? size : most, taken;

		taken = tally_stream_take(stream, data, part, 1000, &asked);
		CHECK(taken <= part && (asked || taken == part));
		data += taken;
		size -= taken;
		if (!asked)
			continue;
		if (!stream->tally)
			stream->tally = tally_new(stream->head.flow);
		CHECK(stream->tally != NULL);
		answers += tally_ask(stream->tally, stream->bytes, &stream->head, CLOCK, 0, 1000, answer);
	}
	*facts = (struct flow_facts){0};
	if (stream->tally)
		tally_facts(stream->tally, answers, facts);
	tally_stream_free(stream);
	return answers;
}

static void there_and_back(const char *data, size_t size)
{
	struct flow_head head, again;
	struct flow_facts facts, same;
	char text[FLOW_ASK];

	if (!flow_head_read(data, size, &head))
		return;
	CHECK(head.size >= FLOW_HEAD && head.size <= FLOW_SIZE_MAX && head.flow <= FLOW_ID_MASK);
	flow_head_write(text, &head);
	CHECK(memcmp(text, data, FLOW_HEAD) == 0);
	if (!flow_facts_read(data, size, &facts))
		return;
	flow_facts_write(text, &head, &facts);
	CHECK(flow_head_read(text, sizeof(text), &again) && again.number == head.number);
	CHECK(flow_facts_read(text, sizeof(text), &same) && memcmp(&same, &facts, sizeof(same)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flow_facts whole, bytewise;
	char *text = fuzz_string(data, size);

	there_and_back(text, size);
	CHECK(read_stream(text, size, SIZE_MAX, &whole) == read_stream(text, size, 1, &bytewise));
	CHECK(memcmp(&whole, &bytewise, sizeof(whole)) == 0);
	CHECK(whole.timed <= whole.messages && whole.p50_ns <= whole.max_ns);
	free(text);
	return 0;
}
