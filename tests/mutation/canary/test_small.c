#include "small.h"

int main(void)
{
	volatile int count = 3;
	int once = 0;

	small_count_down(&count);
	small_once(&once);
	small_once(&once);
	return small_is_long(LIMIT) || !small_is_long(LIMIT + 1) || small_is_short(LIMIT + 5) ||
	       !small_is_short(LIMIT - 5) || count || once != 7 || small_last_byte(0x101) != 1;
}
