#include "frame/frame.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LITTLE 0x100 /* in param of length prefixes: little-endian */

static const struct tni_frame_ops frames[] = {
	{"none", "each piece that arrives is a message", tni_none_next, tni_none_next, tni_none_put, 0},
	{"line", "a line feed ends a message; CR LF is accepted", tni_delimited_next, tni_delimited_end,
	 tni_delimited_put, '\n'},
	{"crlf", "the same, and CR LF is sent", tni_delimited_next, tni_delimited_end, tni_delimited_put, '\r'},
	{"nul", "a zero byte ends a message", tni_delimited_next, tni_delimited_end, tni_delimited_put, '\0'},
	{"u8", "length in 1 byte in front", tni_length_next, tni_frame_end_strict, tni_length_put, 1},
	{"u16", "length in 2 bytes, big-endian", tni_length_next, tni_frame_end_strict, tni_length_put, 2},
	{"u32", "length in 4 bytes, big-endian", tni_length_next, tni_frame_end_strict, tni_length_put, 4},
	{"u64", "length in 8 bytes, big-endian", tni_length_next, tni_frame_end_strict, tni_length_put, 8},
	{"u16le", "length in 2 bytes, little-endian", tni_length_next, tni_frame_end_strict, tni_length_put,
	 2 | LITTLE},
	{"u32le", "length in 4 bytes, little-endian", tni_length_next, tni_frame_end_strict, tni_length_put,
	 4 | LITTLE},
	{"u64le", "length in 8 bytes, little-endian", tni_length_next, tni_frame_end_strict, tni_length_put,
	 8 | LITTLE},
	{"varint", "length as a varint, as in delimited protobuf streams", tni_varint_next, tni_frame_end_strict,
	 tni_varint_put, 0},
	{"netstring", "length in digits, ':', the bytes, ','", tni_netstring_next, tni_frame_end_strict,
	 tni_netstring_put, 0},
	{"fixed", "fixed:N: every message has N bytes", tni_fixed_next, tni_frame_end_strict, tni_fixed_put, 0},
	{"cobs", "consistent overhead byte stuffing; a zero byte ends a message", tni_cobs_next, tni_frame_end_strict,
	 tni_cobs_put, 0},
	{"slip", "RFC 1055", tni_slip_next, tni_frame_end_strict, tni_slip_put, 0},
	{"json", "JSON values, one behind the other", tni_sequence_next, tni_sequence_end, tni_sequence_put, 0},
	{"json-seq", "JSON text sequences: a record separator in front of each (RFC 7464)", tni_sequence_next,
	 tni_sequence_end, tni_sequence_put, 3},
	{"cbor", "CBOR data items, one behind the other (RFC 8742)", tni_sequence_next, tni_sequence_end,
	 tni_sequence_put, 1},
	{"msgpack", "MessagePack objects, one behind the other", tni_sequence_next, tni_sequence_end, tni_sequence_put,
	 2},
};

#define NFRAMES (sizeof(frames) / sizeof(frames[0]))

const struct tni_frame_ops *tni_frame_at(size_t index)
{
	return index < NFRAMES ? &frames[index] : NULL;
}

/* All names, for a person who has written another. */
static const char *all_names(void)
{
	static _Thread_local char names[256];
	size_t used = 0;

	for (size_t i = 0; i < NFRAMES && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s%s", i ? " " : "", frames[i].name,
					 frames[i].next == tni_fixed_next ? ":N" : "");
	return names;
}

static int find_fixed(const char *size, struct tni_frame *frame)
{
	uint64_t bytes;

	if (tn_parse_size(size, &bytes) < 0 || bytes < 1 || bytes > 1 << 30)
		return tni_err(TN_EURL, "fixed:N takes a size from 1 to 1GiB, not '%.32s'", size);
	frame->size = (uint32_t)bytes;
	return tni_frame_find("fixed", frame);
}

int tni_frame_find(const char *name, struct tni_frame *frame)
{
	const char *words[NFRAMES], *near;

	if (!strncmp(name, "fixed:", 6))
		return find_fixed(name + 6, frame);
	for (size_t i = 0; i < NFRAMES; i++) {
		words[i] = frames[i].name;
		if (strcmp(name, frames[i].name) != 0)
			continue;
		frame->ops = &frames[i];
		if (frames[i].next == tni_fixed_next && !frame->size)
			return tni_err(TN_EURL, "fixed needs a size: fixed:16");
		return 0;
	}
	near = tn_nearest(name, words, NFRAMES);
	return tni_err(TN_EURL, "no such frame '%.32s'; %s%s", name, near ? "did you mean " : "there are ",
		       near ? near : all_names());
}

#define ROOM_BESIDE 32 /* any prefix and end */

size_t tni_frame_room(const struct tni_frame *frame)
{
	size_t max = frame->max;

	if (frame->ops->put == tni_slip_put)
		max *= 2; /* every byte may need an escape */
	else if (frame->ops->put == tni_cobs_put)
		max += max / 254;
	return max + ROOM_BESIDE;
}

void tni_frame_free(struct tni_frame *frame)
{
	free(frame->scratch);
	frame->scratch = NULL;
}

int tni_frame_end_strict(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	(void)view;
	if (!in->len)
		return 0;
	return tni_err(TN_ETRUNC, "the stream ended inside a message (frame %s, %u bytes of it had come)",
		       frame->ops->name, in->len);
}

int tni_frame_too_big(const struct tni_frame *frame, uint64_t len)
{
	return tni_err(TN_ETOOBIG, "message of %llu bytes is too large: at most %u are accepted (key max)",
		       (unsigned long long)len, frame->max);
}

int tni_frame_wrap(struct tn_buf *out, const void *head, size_t head_len, const struct iovec *iov, int count,
		   const void *tail, size_t tail_len)
{
	struct iovec all[TNI_PIECES_MAX + 2];
	int n = 0;

	if (head_len)
		all[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)head, .iov_len = head_len};
	for (int i = 0; i < count; i++)
		all[n++] = iov[i];
	if (tail_len)
		all[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)tail, .iov_len = tail_len};
	return tni_buf_appendv(out, all, n, false);
}
