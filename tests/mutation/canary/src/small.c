#include "../small.h"

#include <assert.h>

bool small_is_long(int n)
{
	return n > LIMIT;
}

/* Its test does not ask at the limit: what is wrong there is not noticed */
bool small_is_short(int n)
{
	return n < LIMIT;
}

/* What is not counted down is waited for in vain */
void small_count_down(volatile int *n)
{
	while (*n)
		--*n;
}

/* To write it again changes nothing: an equivalent, in tests/mutation/equivalent */
void small_once(int *n)
{
	assert(n && LIMIT + 1 > 2);
	if (!*n)
		*n = small_first();
}

unsigned char small_last_byte(unsigned n)
{
	return n & UCHAR_MAX;
}
