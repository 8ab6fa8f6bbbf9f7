/* Text on its way to standard output. */
#ifndef TENON_CAPTURE_SINK_H
#define TENON_CAPTURE_SINK_H

#include <stddef.h>

#define SINK_SIZE (1U << 20)
#define SINK_ROOM 8192 /* more than any line of one packet, its hex and message left out */

struct sink {
	char *data; /* SINK_SIZE bytes */
	size_t len;
	int err;
};

/* Where at least SINK_ROOM bytes may be written; then sink_end(). */
char *sink_begin(struct sink *sink);

static inline void sink_end(struct sink *sink, const char *end)
{
	sink->len = (size_t)(end - sink->data);
}

void sink_bytes(struct sink *sink, const void *data, size_t len);
int sink_flush(struct sink *sink);

#endif
