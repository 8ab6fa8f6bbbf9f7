/*
 * Scripts of faults (cmd/relay/chaos/script.c): lines that a user writes. Those that are taken lie in time as the
 * script says, and what is said meanwhile goes through each of their sets; the same script does the same.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/chaos/script.h"

#define STEPS_MAX 32

static bool fits(const struct chaos_set *set, enum chaos_carries carries)
{
	for (int i = 0; i < set->count; i++)
		if (chaos_unfit(&set->specs[i], carries))
			return false;
	return true;
}

static void check_steps(const struct chaos_script *script)
{
	for (int i = 0; i < script->nsteps; i++) {
		const struct chaos_step *step = &script->steps[i];

		CHECK(step->set.count >= script->base.count && step->set.count <= CHAOS_SPECS_MAX);
		CHECK(!step->repeats || (i == script->nsteps - 1 && step->at_ns > 0));
		CHECK(i == 0 || step->at_ns > script->steps[i - 1].at_ns);
	}
}

static uint64_t take_all(struct chaos_pipe *pipe, uint64_t now, uint64_t sum)
{
	struct chaos_item *item;

	while ((item = chaos_take(pipe, now))) {
		CHECK(item->due_ns <= now);
		sum = (sum ^ (uint64_t)item->what ^ item->len ^ item->due_ns) * 0x100000001b3;
		for (size_t i = 0; i < item->len; i++)
			sum = (sum ^ item->data[i]) * 0x100000001b3;
		free(item);
	}
	CHECK(chaos_due(pipe) > now);
	return sum;
}

/* Something is said at each step, and before the first. */
static uint64_t play(const struct chaos_script *script, enum chaos_carries carries)
{
	struct chaos_pipe pipe;
	uint64_t sum = 1;

	chaos_pipe_begin(&pipe, &script->base, 0, CHAOS_UP, carries, 0);
	for (int i = -1; i < script->nsteps && i < STEPS_MAX; i++) {
		uint64_t now = i < 0 ? 0 : script->steps[i].at_ns;

		sum = take_all(&pipe, now, sum);
		if (i >= 0 && fits(&script->steps[i].set, carries))
			chaos_pipe_change(&pipe, &script->steps[i].set, now);
		CHECK(chaos_put(&pipe, "what is said", 12, 0, now) == 0);
	}
	CHECK(chaos_end(&pipe, script->nsteps ? script->steps[script->nsteps - 1].at_ns : 0) == 0);
	sum = take_all(&pipe, CHAOS_NEVER - 1, sum);
	chaos_pipe_free(&pipe);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chaos_script script = {.base = {.count = 0}};
	char *text, *rest, *one;
	const char *wrong = NULL;

	if (size > 4096)
		return 0;
	text = rest = fuzz_string(data, size);
	while (!wrong && (one = strsep(&rest, "\n"))) {
		char *alone = fuzz_string((const uint8_t *)one, strlen(one));
		struct chaos_line line;
		size_t at;

		wrong = chaos_line_read(alone, &line, &at);
		CHECK(at <= strlen(alone) && line.spec_at <= strlen(alone));
		if (!wrong)
			wrong = chaos_script_add(&script, &line, &at);
		CHECK(!wrong || (*wrong && at <= strlen(alone)));
		free(alone);
	}
	check_steps(&script);
	for (int carries = CHAOS_BYTES; carries <= CHAOS_DATAGRAMS; carries++)
		CHECK(play(&script, (enum chaos_carries)carries) == play(&script, (enum chaos_carries)carries));
	chaos_script_free(&script);
	free(text);
	return 0;
}
