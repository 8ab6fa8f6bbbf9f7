/* A small process that opens the few files that a server in the sandbox needs. */
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
 * Starts the process and makes the library open its files there (tn_set_files()). It opens, looks at and removes the
 * named files by their paths, so files that are replaced, links and renamed folders are followed; it does nothing else.
 * Of a socket it removes only the file that is there now. It ends with this process, however that ends. confine() is
 * called in it with the capabilities that it needs, as bits, and returns 0 or -errno. Call this while there is one
 * thread. Returns 0 or -errno: then nothing has been started.
 */
int broker_start(const struct broker_file *files, size_t nfiles, int (*confine)(uint32_t capabilities));

/*
 * Opens a file to be read, or to be added to (TN_FILE_APPEND; made with mode 0600 where there is none): in that
 * process, if it runs. A named pipe that nobody reads is not waited for: -ENXIO. Returns a descriptor with
 * close-on-exec, or -errno.
 */
int broker_open(const char *path, enum tn_file_use use);
/* What its error means. */
const char *broker_why(int err);

/* Ends it and waits for its end. Does nothing if it does not run. */
void broker_stop(void);

#endif
