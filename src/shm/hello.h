/* What the server of a shared memory says first, with the descriptor of the memory: pure. */
#ifndef TNI_SHM_HELLO_H
#define TNI_SHM_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TNI_SHM_VERSION 1
#define TNI_SHM_HELLO_LEN 32

/* Bounds of each ring, a power of two. */
#define TNI_SHM_RING_MIN 4096
#define TNI_SHM_RING_MAX (UINT64_C(1) << 30)

/* Where the rings begin; before them stands a struct tni_ring_shared for each. */
#define TNI_SHM_RINGS_AT 4096

struct tni_shm_hello {
	uint64_t down, up; /* bytes of the ring to the client, and of that to the server */
};

void tni_shm_hello_write(const struct tni_shm_hello *hello, unsigned char out[TNI_SHM_HELLO_LEN]);

/* Whether a hello of this version can begin so. */
bool tni_shm_hello_begins(const unsigned char *data, size_t len);

/* 0, or -EPROTO with detail: what came is none, of another version, or has sizes that no ring has. */
int tni_shm_hello_read(struct tni_shm_hello *hello, const unsigned char *data, size_t len);

/* Bytes of the whole memory. */
static inline uint64_t tni_shm_size(const struct tni_shm_hello *hello)
{
	return TNI_SHM_RINGS_AT + hello->down + hello->up;
}

#endif
