/*
 * The bounded queue of slices: the input's bytes choose operations on three buffers over one set of pools, and a plain
 * model is compared with them after each.
 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MODEL_CHECK(condition) ((condition) ? (void)0 : broken(#condition, __FILE__, __LINE__))

static void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

#include "../tests/unit/buf_model.h"

#define STEPS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	struct source src = {.data = data, .left = size};

	if (!size)
		return 0;
	world_open(&world, 48, 256);
	for (int i = 0; i < STEPS_MAX && src.left; i++)
		world_step(&world, &src);
	audit_world(&world);
	world_close(&world);
	return 0;
}
