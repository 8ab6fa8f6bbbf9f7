/* A small process that keeps the right to open the few files that a confined server needs. */
#ifndef TENON_BROKER_H
#define TENON_BROKER_H

#include <stddef.h>
#include <stdint.h>

#include "tenon.h"

/* A file and what may be done with it. */
struct broker_file {
	const char *path; /* the caller's; copied with the process */
	enum tn_file_use use;
};

/*
 * Starts the process and has the library open its files there (tn_set_files()). It opens, looks at and removes the
 * files that are named, by their paths, so files that are exchanged, links and renamed folders are followed; it does
 * nothing else. Of a socket it removes only the file that is there now. It ends with this process, however that ends.
 *
 * confine() is called in it with the capabilities that it needs, as bits, and returns 0 or -errno. Call this while
 * there is one thread. Returns 0 or -errno: then nothing has been started.
 */
int broker_start(const struct broker_file *files, size_t nfiles, int (*confine)(uint32_t capabilities));

/* Ends it and waits for that. Nothing happens when there is none. */
void broker_stop(void);

#endif
