/*
 * Files that are opened again while a program runs: by this process, or by another in its place (tn_set_files()). All
 * code of the library that runs after a server has started opens its files here.
 */
#ifndef TNI_BASE_FILE_H
#define TNI_BASE_FILE_H

#include "tenon.h"

struct stat;

/*
 * Opens a file: TN_FILE_READ (a file or a folder), or TN_FILE_APPEND (made with mode 0600 where there is none). Returns
 * a descriptor with close-on-exec, which is the caller's, or -errno. What stands in a folder is opened by its whole
 * path.
 */
int tni_file_open(const char *path, enum tn_file_use use);

/* stat(2). Returns 0 or -errno. */
int tni_file_state(const char *path, struct stat *st);

/* Whether another process opens the files. */
bool tni_file_is_elsewhere(void);

/* Has that process remove a file, if it is still the one that was there at first. Returns 0 or -errno. */
int tni_file_remove_elsewhere(const char *path);

#endif
