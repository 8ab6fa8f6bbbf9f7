/* Files that are written one after another: trace.pcapng, trace-2.pcapng, trace-3.pcapng. */
#ifndef TENON_SERIES_H
#define TENON_SERIES_H

#include <stddef.h>

struct series {
	const char *path;   /* of the first, without `suffix` */
	const char *suffix; /* behind every name; NULL: nothing */
	unsigned keep;      /* so many files stay; 0: all */
	unsigned number;    /* of the file that is written, from 1; 0: none yet */
};

/* Writes the name of a file into `name`, and returns it. */
char *series_name(const struct series *series, unsigned number, char *name, size_t cap);

/*
 * Opens the next one for writing, empty, for this user alone (or for sudo's caller), and removes the oldest if there
 * are too many. A failure counts as a file too. Returns a descriptor, the caller's to close, or a negative errno;
 * -EBUSY: another process writes this file.
 */
int series_next(struct series *series);

#endif
