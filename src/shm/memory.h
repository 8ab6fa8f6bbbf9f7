/* The memory that two processes share: made by one, checked and taken by the other. */
#ifndef TNI_SHM_MEMORY_H
#define TNI_SHM_MEMORY_H

#include "shm/hello.h"
#include "shm/ring.h"

#include <stdbool.h>

struct tni_shm_memory {
	void *at; /* NULL: none */
	size_t len;
	struct tni_shm_hello sizes;
};

/*
 * Makes it: sealed, so that it can neither shrink nor grow. `inode`: of the socket that it is for; the memory has it in
 * its name, so that tenon inspect knows what belongs together. `fd` gets its descriptor, which the caller closes. 0, or
 * -errno with detail.
 */
int tni_shm_memory_make(struct tni_shm_memory *memory, const struct tni_shm_hello *sizes, uint64_t inode, int *fd);

/*
 * Takes what a stranger has sent: nothing but sealed memory of just this size, since access to a file that was cut
 * short, or for which there is no room, would be a SIGBUS. The descriptor stays the caller's. 0, or a negative code
 * with detail.
 */
int tni_shm_memory_take(struct tni_shm_memory *memory, const struct tni_shm_hello *sizes, int fd);

void tni_shm_memory_free(struct tni_shm_memory *memory);

/* Its two rings, as the server or the client sees them. */
void tni_shm_memory_rings(const struct tni_shm_memory *memory, bool server, struct tni_ring *in, struct tni_ring *out);

/*
 * Has the system give all pages of a ring now. 0; -ENOMEM: there are none, where a mere write would be a signal. And
 * gives them back: what stands in the ring is lost.
 */
int tni_shm_pages_get(const struct tni_ring *ring);
void tni_shm_pages_drop(const struct tni_ring *ring);

#endif
