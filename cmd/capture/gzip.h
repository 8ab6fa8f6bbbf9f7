/* Capture files that are compressed (gzip, RFC 1952), as a stream. A build without zlib knows neither direction. */
#ifndef TENON_CAPTURE_GZIP_H
#define TENON_CAPTURE_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "packet/capfile.h"

/* Whether this build can. */
bool gzip_is_there(void);

struct gzip;

/* What is written to it goes on to `write`, compressed. 0 or -ENOMEM. */
int gzip_new(struct gzip **gzip, capfile_write_fn *write, void *arg);

/* Each returns 0 or what `write` said. After a flush, a reader sees all that was written so far. */
int gzip_write(struct gzip *gzip, const void *data, size_t len);
int gzip_flush(struct gzip *gzip);
int gzip_end(struct gzip *gzip);
void gzip_free(struct gzip *gzip); /* NULL: nothing is done */

struct gunzip;

/* Reads what `read` has: decompressed, where it begins like gzip; otherwise as it is. 0 or -ENOMEM. */
int gunzip_new(struct gunzip **gunzip, capfile_read_fn *read, void *arg);
void gunzip_free(struct gunzip *gunzip);

/* A capfile_read_fn; `arg` is the struct gunzip. TN_EFORMAT: the data is damaged; TN_ETRUNC: its end is missing. */
long gunzip_read(void *arg, void *buf, size_t len);

#endif
