/*
 * A test that fails jumps out of its function (cmocka), and what it had allocated stays. LeakSanitizer would report all
 * of it, in a file that outlives the failure. It only looks where every test has passed.
 */
#include <stdlib.h>

static int failed;

int __lsan_is_turned_off(void); /* asked by LeakSanitizer: sanitizer/lsan_interface.h */

int __lsan_is_turned_off(void)
{
	return failed;
}

static void note_status(int status, void *arg)
{
	(void)arg;
	failed = status != 0 && status != 77; /* 77: skipped */
}

__attribute__((constructor)) static void watch_exit(void)
{
	on_exit(note_status, NULL);
}
