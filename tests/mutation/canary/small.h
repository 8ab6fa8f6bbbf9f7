#include <limits.h>
#include <stdbool.h>

#define LIMIT 10

bool small_is_long(int n);
bool small_is_short(int n);
void small_count_down(volatile int *n);
void small_once(int *n);
unsigned char small_last_byte(unsigned n);

static inline int small_first(void)
{
	return 7;
}
