/* Processes, and which descriptors of sockets they have. */
#ifndef TENON_INSPECT_PROCESS_H
#define TENON_INSPECT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A process's descriptor of a socket. */
struct holder {
	uint64_t inode;
	int pid, fd;
	char command[16];
};

struct holders {
	struct holder *list; /* by inode, process and descriptor */
	size_t count, cap;
};

/* Every descriptor of a socket that we may see: of one process, or with 0 of all in this network namespace. -errno:
 * that process's cannot be listed. */
int holders_find(struct holders *holders, int pid);
void holders_free(struct holders *holders);

/* The first holder of a socket and, in `count`, how many there are. NULL: none. */
const struct holder *holders_of(const struct holders *holders, uint64_t inode, size_t *count);

/* The name of a process, in `out`. -errno: there is none. */
int process_name(int pid, char *out, size_t cap);

/* Whether a process has ended and only waits for its parent to fetch its status: it has no descriptors any more. */
bool process_is_zombie(int pid);

/*
 * Goes to the network namespace of a process, for good. Returns 0, or -errno: it is another one, and we may not.
 */
int namespace_enter(int pid);

/* A duplicate of another process's descriptor, the caller's to close, or -errno. */
int descriptor_take(int pid, int fd);

#endif
