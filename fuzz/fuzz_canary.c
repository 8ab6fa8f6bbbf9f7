/* No parser: a bug that is there on purpose, behind bytes that nobody guesses. `scripts/test fuzz` must find it. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = fuzz_string(data, size), *end = copy + size;

	if (size >= 8 && memcmp(copy, "tenon", 5) == 0 && copy[5] == '-' && (uint8_t)copy[6] == 0xc5 && copy[7] == 7)
		end += copy[7];
	*end = '\0'; /* beyond the end, once all eight are right */
	free(copy);
	return 0;
}
