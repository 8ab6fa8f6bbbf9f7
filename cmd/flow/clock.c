#include "clock.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "message.h"

/* FNV-1a. */
static uint64_t mix(uint64_t hash, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t look_up(void)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char boot[64], space[64];
	ssize_t got = fd >= 0 ? read(fd, boot, sizeof(boot)) : -1;
	ssize_t len =
		readlink("/proc/self/ns/time", space, sizeof(space)); /* Linux 5.6; before it there is one for all */
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return 0;
	hash = mix(hash, boot, (size_t)got);
	hash = mix(hash, space, len > 0 ? (size_t)len : 0);
	return (hash & FLOW_ID_MASK) | 1;
}

uint64_t flow_clock(void)
{
	static bool known;
	static uint64_t clock;

	if (!known)
		clock = look_up();
	known = true;
	return clock;
}
