/* Lines out of pieces of bytes. */
#ifndef TENON_LINES_H
#define TENON_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINES_CHUNK_MAX ((size_t)64 << 20)

struct lines {
	char *data;
	size_t start, len, cap; /* what waits is data[start..len) */
	size_t seen;            /* up to where no line feed is */
	size_t max;             /* longest line, line feed included */
};

/* Adds bytes. Returns 0 or -ENOMEM. */
int lines_add(struct lines *lines, const void *data, size_t len);

/*
 * Takes the next line, its line feed included; valid until the next lines_add(). `over`: no more bytes come, so the
 * rest is a line too. Returns 1, 0: there is none yet, or TN_ETOOBIG: it is longer than `max`.
 */
int lines_next(struct lines *lines, bool over, const char **line, size_t *len);

/* Takes what is there, at most `most` bytes, wherever lines end; valid as above. Returns whether there is any. */
bool lines_piece(struct lines *lines, size_t most, const char **piece, size_t *len);

/* Takes `size` bytes, wherever lines end; `over`: or the rest. Returns 1, or 0: they are not there yet. */
int lines_chunk(struct lines *lines, size_t size, bool over, const char **chunk, size_t *len);

/* The setter of --chunk. `to`: a size_t. */
const char *lines_set_chunk(const char *value, void *to);

/* Drops what waits. */
void lines_drop(struct lines *lines);

/* Bytes that wait. */
size_t lines_waiting(const struct lines *lines);

#endif
