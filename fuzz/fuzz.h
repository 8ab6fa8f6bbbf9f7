/* What the targets share: a condition that must hold, whatever the input is. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "tenon.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __FILE__, __LINE__))

static inline void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s: %s\n", file, line, what, tn_errmsg());
	abort();
}

/* The bytes as a string on the heap, for free(3): what reads beyond its end is found. */
static inline char *fuzz_string(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text != NULL);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

#endif
