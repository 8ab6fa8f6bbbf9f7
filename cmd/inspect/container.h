/* Which container a process is in, as the names of its control groups tell. */
#ifndef TENON_INSPECT_CONTAINER_H
#define TENON_INSPECT_CONTAINER_H

#include <stdbool.h>

#define CONTAINER_MAX 80

/* "docker:0123456789ab", "lxc:web", "nspawn:build". False, and "": in none that is known. */
bool container_of_process(int pid, char out[CONTAINER_MAX]);

/* The same of one path of cgroups(7). */
bool container_of_path(const char *path, char out[CONTAINER_MAX]);

#endif
