/* Writing to a descriptor. */
#ifndef TENON_WRITE_H
#define TENON_WRITE_H

#include <stddef.h>

/* Writes all of it, and waits where the descriptor is full, even if it does not block. Returns 0 or -errno. */
int fd_write(int fd, const void *data, size_t len);

/* Makes the file, or replaces what is in it. Returns 0 or -errno. */
int file_write(const char *path, const void *data, size_t len);

#endif
