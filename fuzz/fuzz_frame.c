/*
 * A frame, that of the program's name: however a stream is cut, the same messages and the same verdict come out of it;
 * what came out is read as the same again when it is put; and the stream taken as a message, said up to four times
 * over, survives its own frame. The first byte chooses max and how often, the second how many bytes behind it say how
 * the stream is cut.
 */
#include <stdio.h>
#include <stdlib.h>

#define MODEL_CHECK(condition) ((condition) ? (void)0 : broken(#condition, __FILE__, __LINE__))

static void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

#include "../tests/support/frames.h"
#include "../tests/unit/frame_model.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* fuzz_frame_NAME -> its frame, where that is not NAME */
static const struct {
	const char *name, *frame;
} named[] = {
	{"fixed", "fixed:7"},
	{"head", "head:offset=1,size=2,endian=little,header=4,adjust=-3"},
	{"head_keep", "head:offset=1,size=2,adjust=-2,keep=on"},
	{"head_varint", "head:offset=1,size=varint,adjust=1,keep=on"},
	{"own_u32", "own-u32"},
	{"own_sum", "own-sum"},
	{"own_line", "own-line"},
	{"until", "until:aab"},
	{"until_keep", "until:aba,keep=on"},
};
static const char *frame;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char before[] = "fuzz_frame_";

	(void)argc;
	frame = strrchr((*argv)[0], '/');
	frame = frame ? frame + 1 : (*argv)[0];
	MODEL_CHECK(!strncmp(frame, before, sizeof(before) - 1));
	frame += sizeof(before) - 1;
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (!strcmp(frame, named[i].name)) {
			frame = named[i].frame;
			break;
		}
	MODEL_CHECK(support_frames() == 0);
	return 0;
}

/* Blocks smaller than they are in earnest: more edges in less time */
#define SMALL 16
#define LARGE 64

/* Each cut's byte says how long the piece is, and whether it gets a block of its own; they are used in turns. */
static void run(struct line *line, size_t max, const void *bytes, size_t len, const uint8_t *cuts, size_t ncuts)
{
	line_open(line, frame, max);
	line->mem.small.cap = SMALL;
	line->mem.large.cap = LARGE;
	for (size_t at = 0, i = 0, piece; at < len; at += piece, i++) {
		uint8_t cut = ncuts ? cuts[i % ncuts] : 0;

		piece = ncuts && len - at > (cut & 0x7f) + 1U ? (cut & 0x7f) + 1U : len - at;
		line_feed(line, (const char *)bytes + at, piece, cut & 0x80);
	}
	line_end(line);
}

static int put(struct line *line, struct tn_buf *out, const void *msg, size_t len)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)msg, len / 3}, {(char *)(uintptr_t)msg + len / 3, len - len / 3}};

	return line->frame.ops->put(&line->frame, out, iov, 2);
}

/* A length in a header that is kept is filled in: a message may change once, if it is a varint also its length. */
static bool fills_in(void)
{
	return !strncmp(frame, "head:", 5) && strstr(frame, "keep=on");
}

/* Puts all that came out, in order, and reads it again. */
static void put_back(struct line *line, const uint8_t *cuts, size_t ncuts)
{
	struct record wanted = line->got;
	struct line again;
	struct tn_buf out;

	tni_buf_init(&out, &line->mem, SIZE_MAX);
	for (size_t at = 0, len; at < wanted.len; at += len) {
		memcpy(&len, wanted.bytes + at, sizeof(len));
		at += sizeof(len);
		MODEL_CHECK(put(line, &out, wanted.bytes + at, len) == 0);
	}
	wanted.err = 0;
	run(&again, line->frame.max, out.len ? tni_buf_pullup(&out, out.len) : NULL, out.len, cuts, ncuts);
	MODEL_CHECK(same_record(&again.got, &wanted) || (fills_in() && again.got.nmsgs == wanted.nmsgs));
	line_close(&again);
	tni_buf_clear(&out);
}

/* Any bytes as one message: refused for the frame's own reasons, or carried. `times`:
 * one longer than short inputs are. */
static void carry(struct line *line, const void *data, size_t size, unsigned times)
{
	static unsigned char msg[4 * 4096];
	struct record wanted = {0};
	size_t len = 0;
	struct line other;
	struct tn_buf out;
	int rc;

	for (; size && times-- && len + size <= sizeof(msg); len += size)
		memcpy(msg + len, data, size);
	tni_buf_init(&out, &line->mem, SIZE_MAX);
	rc = put(line, &out, msg, len);
	MODEL_CHECK(rc == 0 || ((rc == TN_EFORMAT || rc == TN_ETOOBIG) && !out.len));
	if (rc == 0) {
		if (len <= line->frame.max)
			record_msg(&wanted, msg, len);
		else
			wanted.err = TN_ETOOBIG;
		run(&other, line->frame.max, tni_buf_pullup(&out, out.len), out.len, NULL, 0);
		if (fills_in()) {
			MODEL_CHECK(other.got.nmsgs == 1 || other.got.err == TN_ETOOBIG);
			put_back(&other, NULL, 0);
		} else {
			MODEL_CHECK(same_record(&other.got, &wanted));
		}
		line_close(&other);
	}
	record_free(&wanted);
	tni_buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t maxima[] = {7, 100, 300, 70000};
	struct line whole, cut;
	const uint8_t *cuts;
	size_t max, ncuts;
	unsigned times;

	if (size < 2)
		return 0;
	max = maxima[data[0] % 4];
	times = 1 + data[0] / 4 % 4;
	ncuts = data[1] % 32;
	data += 2, size -= 2;
	ncuts = ncuts < size ? ncuts : size;
	cuts = data;
	data += ncuts, size -= ncuts;
	run(&whole, max, data, size, NULL, 0);
	run(&cut, max, data, size, cuts, ncuts);
	MODEL_CHECK(same_record(&whole.got, &cut.got));
	put_back(&whole, cuts, ncuts);
	if (strcmp(frame, "own-line") != 0) /* without wrap() any bytes are sent as they are */
		carry(&whole, data, size, times);
	line_close(&whole);
	line_close(&cut);
	return 0;
}
