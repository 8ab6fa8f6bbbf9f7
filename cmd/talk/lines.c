#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

int lines_add(struct lines *lines, const void *data, size_t len)
{
	size_t cap = lines->cap ? lines->cap : 4096;
	char *grown;

	if (lines->start > 0) {
		memmove(lines->data, lines->data + lines->start, lines->len - lines->start);
		lines->len -= lines->start;
		lines->seen -= lines->start;
		lines->start = 0;
	}
	while (cap - lines->len < len)
		cap *= 2;
	if (cap != lines->cap) {
		grown = realloc(lines->data, cap);
		if (!grown)
			return -ENOMEM;
		lines->data = grown;
		lines->cap = cap;
	}
	memcpy(lines->data + lines->len, data, len);
	lines->len += len;
	return 0;
}

int lines_next(struct lines *lines, bool over, const char **line, size_t *len)
{
	char *from = lines->data ? lines->data + lines->start : NULL, *feed = NULL;

	if (from && lines->len > lines->seen)
		feed = memchr(lines->data + lines->seen, '\n', lines->len - lines->seen);
	*len = feed ? (size_t)(feed + 1 - from) : lines->len - lines->start;
	lines->seen = lines->len;
	if (*len > lines->max)
		return TN_ETOOBIG;
	if (*len == 0 || (!feed && !over))
		return 0;
	*line = from;
	lines->start += *len;
	lines->seen = lines->start;
	return 1;
}

bool lines_piece(struct lines *lines, size_t most, const char **piece, size_t *len)
{
	size_t there = lines_waiting(lines);

	if (!there)
		return false;
	*piece = lines->data + lines->start;
	*len = there < most ? there : most;
	lines->start += *len;
	if (lines->seen < lines->start)
		lines->seen = lines->start;
	return true;
}

int lines_chunk(struct lines *lines, size_t size, bool over, const char **chunk, size_t *len)
{
	if (lines_waiting(lines) < size && !over)
		return 0;
	return lines_piece(lines, size, chunk, len);
}

const char *lines_set_chunk(const char *value, void *to)
{
	size_t *size = to;
	uint64_t bytes;

	if (tn_parse_size(value, &bytes) < 0 || !bytes || bytes > LINES_CHUNK_MAX)
		return "is no size from 1 to 64MiB, such as 1200 or 64KiB";
	*size = (size_t)bytes;
	return NULL;
}

void lines_drop(struct lines *lines)
{
	lines->start = lines->len = lines->seen = 0;
}

size_t lines_waiting(const struct lines *lines)
{
	return lines->len - lines->start;
}
