/* Random bytes from the kernel. */
#ifndef TNI_BASE_RANDOM_H
#define TNI_BASE_RANDOM_H

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>

/* Fills at most 256 bytes, which getrandom(2) gives whole or not at all. False: there are none. */
static inline bool tni_random(void *out, size_t len)
{
	ssize_t n;

	do
		n = getrandom(out, len, 0);
	while (n < 0 && errno == EINTR); /* while the machine starts */
	return n == (ssize_t)len;
}

#endif
