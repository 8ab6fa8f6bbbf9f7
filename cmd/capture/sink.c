#include "sink.h"

#include <string.h>

#include "common/output.h"

int sink_flush(struct sink *sink)
{
	if (sink->len && sink->err == 0)
		sink->err = out_bytes(sink->data, sink->len);
	sink->len = 0;
	return sink->err;
}

char *sink_begin(struct sink *sink)
{
	if (SINK_SIZE - sink->len < SINK_ROOM)
		sink_flush(sink);
	return sink->data + sink->len;
}

void sink_bytes(struct sink *sink, const void *data, size_t len)
{
	const char *from = data;

	while (len > 0) {
		size_t part = SINK_SIZE - sink->len < len ? SINK_SIZE - sink->len : len;

		memcpy(sink->data + sink->len, from, part);
		sink->len += part;
		from += part;
		len -= part;
		if (sink->len == SINK_SIZE)
			sink_flush(sink);
	}
}
