/* What every frame promises, with seeded random messages: however the stream is cut, the same messages come out. */
#include "test_frame.h"

#include "../support/frames.h"

/* ---- allocations that fail (link with -Wl,--wrap=malloc) ---- */

static int allocs_left = -1; /* -1: no limit */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (allocs_left == 0)
		return NULL;
	if (allocs_left > 0)
		allocs_left--;
	return __real_malloc(size);
}

/* ---- the frames, and what a message of each may be ---- */

struct kind {
	const char *name;
	int never;          /* a byte that no message holds; -1: none */
	size_t least, most; /* bytes of a message */
	bool open_ended;    /* the end of the stream ends a message too */
};

static const struct kind kinds[] = {
	{"line", '\n', 0, MAX_ANY, true},
	{"crlf", '\n', 0, MAX_ANY, true},
	{"nul", 0, 0, MAX_ANY, true},
	{"u8", -1, 0, 255, false},
	{"u16", -1, 0, 65535, false},
	{"u32", -1, 0, MAX_ANY, false},
	{"u64", -1, 0, MAX_ANY, false},
	{"u16le", -1, 0, 65535, false},
	{"u32le", -1, 0, MAX_ANY, false},
	{"u64le", -1, 0, MAX_ANY, false},
	{"varint", -1, 0, MAX_ANY, false},
	{"netstring", -1, 0, MAX_ANY, false},
	{"fixed:1", -1, 1, 1, false},
	{"fixed:7", -1, 7, 7, false},
	{"fixed:5000", -1, 5000, 5000, false},
	{"cobs", -1, 0, MAX_ANY, false},
	{"slip", -1, 1, MAX_ANY, false},
	{"own-u32", -1, 0, MAX_ANY, false},
	{"own-sum", -1, 0, 255, false},
	{"head:size=4,header=9,offset=3", -1, 0, MAX_ANY, false},
	{"head:size=3,endian=little,adjust=-3", -1, 0, MAX_ANY, false},
	{"head:size=7,offset=249,adjust=-256", -1, 0, MAX_ANY, false},
	{"head:size=1,adjust=5", -1, 5, 260, false},
	{"head:size=varint,offset=1", -1, 0, MAX_ANY, false},
	{"head:size=varint,offset=256,adjust=-300", -1, 0, MAX_ANY, false},
	{"until:;;\\n", '\n', 0, MAX_ANY, false},
	{"until:x", 'x', 0, MAX_ANY, false},
	{"until:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\0", 0, 0, MAX_ANY, false},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Random bytes, and among them many of those that mean something to some frame. */
static void fill(const struct kind *kind, unsigned char *msg, size_t len, uint64_t *seed)
{
	static const unsigned char special[] = {0,    1,    '\n', '\r', 0x7f, 0x80, 0xc0,
						0xdb, 0xdc, 0xdd, 0xff, ',',  ':',  '0'};

	for (size_t i = 0; i < len; i++) {
		uint64_t r = next_random(seed);

		msg[i] = r & 0x300 ? (unsigned char)r : special[(r >> 16) % sizeof(special)];
		if (msg[i] == kind->never)
			msg[i] = '~';
	}
}

static size_t within(const struct kind *kind, size_t len)
{
	return len < kind->least ? kind->least : len > kind->most ? kind->most : len;
}

/* A stream of messages and what must come out of it. */
struct stream {
	struct tni_mem mem;
	struct tn_buf bytes;
	struct tni_frame frame;
	struct record wanted;
};

static void stream_open(struct stream *s, const struct kind *kind)
{
	*s = (struct stream){.frame = {.max = MAX_ANY}};
	assert_int_equal(tni_frame_find(kind->name, &s->frame), 0);
	tni_mem_init(&s->mem);
	tni_buf_init(&s->bytes, &s->mem, SIZE_MAX);
}

static void stream_close(struct stream *s)
{
	tni_buf_clear(&s->bytes);
	tni_frame_drop(&s->frame);
	tni_mem_free(&s->mem);
	record_free(&s->wanted);
}

/* Put in a number of pieces, which must make no difference. */
static void stream_put(struct stream *s, unsigned char *msg, size_t len, int npieces)
{
	struct iovec iov[TNI_PIECES_MAX];

	for (int i = 0; i < npieces; i++) {
		size_t from = len * (size_t)i / (size_t)npieces, to = len * (size_t)(i + 1) / (size_t)npieces;

		iov[i] = (struct iovec){.iov_base = msg + from, .iov_len = to - from};
	}
	assert_int_equal(s->frame.ops->put(&s->frame, &s->bytes, iov, npieces), 0);
	record_msg(&s->wanted, msg, len);
}

static void stream_add(struct stream *s, const struct kind *kind, size_t len, uint64_t *seed)
{
	unsigned char *msg;

	len = within(kind, len);
	msg = malloc(len + 1);
	assert_non_null(msg);
	fill(kind, msg, len, seed);
	stream_put(s, msg, len, 1 + (int)(next_random(seed) % TNI_PIECES_MAX));
	free(msg);
}

static unsigned char *all_bytes(struct stream *s)
{
	return tni_buf_pullup(&s->bytes, s->bytes.len);
}

/* ---- the tests ---- */

static void test_short_messages_cut_everywhere(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;

		stream_open(&s, &kinds[k]);
		for (size_t len = 0; len < 9 && s.bytes.len < 5000; len++)
			stream_add(&s, &kinds[k], len, &seed);
		stream_add(&s, &kinds[k], 130, &seed);
		check_splits(kinds[k].name, MAX_ANY, all_bytes(&s), s.bytes.len < 400 ? s.bytes.len : 0,
			     s.bytes.len < 400 ? &s.wanted : &(struct record){0});
		stream_close(&s);
	}
}

/* Hundreds of messages of every length around the sizes of blocks, in one read and in pieces of random sizes. */
static void test_many_messages(void **state)
{
	static const size_t lens[] = {0,    1,    2,    127,  128,   253,   254,   255,   256,   508,  509,
				      1000, 4000, 4070, 4096, 16383, 16384, 65530, 65535, 65536, 70000};
	uint64_t seed = 2;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;
		unsigned char *bytes;

		stream_open(&s, &kinds[k]);
		for (size_t i = 0; i < 3 * sizeof(lens) / sizeof(lens[0]); i++)
			stream_add(&s, &kinds[k], lens[next_random(&seed) % (sizeof(lens) / sizeof(lens[0]))], &seed);
		for (size_t i = 0; i < 300; i++)
			stream_add(&s, &kinds[k], next_random(&seed) % 200, &seed);
		bytes = all_bytes(&s);
		for (size_t turn = 0; turn < 12; turn++) {
			size_t most = (size_t[]){s.bytes.len, 65536, 4096, 1448, 100, 7}[turn / 2];
			struct line line;

			if (most == 7 && !(turn & 1))
				continue; /* the pump never keeps so many tiny blocks */
			line_open(&line, kinds[k].name, MAX_ANY);
			for (size_t at = 0, piece; at < s.bytes.len; at += piece) {
				piece = most == s.bytes.len ? most : 1 + next_random(&seed) % most;
				piece = piece < s.bytes.len - at ? piece : s.bytes.len - at;
				line_feed(&line, bytes + at, piece, turn & 1);
			}
			line_end(&line);
			compare(kinds[k].name, &line, &s.wanted, "in pieces of up to", most);
			line_close(&line);
		}
		stream_close(&s);
	}
}

/* One message over thousands of blocks. */
static void test_one_message_over_many_blocks(void **state)
{
	uint64_t seed = 3;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;
		struct line line;

		stream_open(&s, &kinds[k]);
		stream_add(&s, &kinds[k], 300000, &seed);
		line_open(&line, kinds[k].name, MAX_ANY);
		feed_by(&line, all_bytes(&s), s.bytes.len, 61, false);
		compare(kinds[k].name, &line, &s.wanted, "in blocks of", 61);
		line_close(&line);
		stream_close(&s);
	}
}

static void test_max_and_one_above(void **state)
{
	uint64_t seed = 4;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;

		if (!strncmp(kinds[k].name, "fixed", 5))
			continue;
		stream_open(&s, &kinds[k]);
		stream_add(&s, &kinds[k], 77, &seed);
		stream_add(&s, &kinds[k], 77, &seed);
		check_splits(kinds[k].name, 77, all_bytes(&s), s.bytes.len, &s.wanted);
		stream_add(&s, &kinds[k], 78, &seed);
		s.wanted.nmsgs--;
		s.wanted.len -= 78 + sizeof(size_t);
		s.wanted.err = TN_ETOOBIG;
		check_splits(kinds[k].name, 77, all_bytes(&s), s.bytes.len, &s.wanted);
		stream_close(&s);
	}
}

/* The worst that a message of the longest length can become fits what conn.c reserves for it. */
static void test_the_longest_on_the_wire(void **state)
{
	static unsigned char msg[MAX_ANY];

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		for (int byte = 0; byte < 256; byte += 0x20) {
			size_t len = within(&kinds[k], MAX_ANY);
			struct stream s;

			if (byte == kinds[k].never)
				continue;
			memset(msg, byte == 0xe0 ? 0xdb : byte, len);
			stream_open(&s, &kinds[k]);
			stream_put(&s, msg, len, 1);
			assert_true(s.bytes.len <= tni_frame_room(&s.frame));
			stream_close(&s);
		}
	}
}

static void test_truncated(void **state)
{
	uint64_t seed = 5;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;

		stream_open(&s, &kinds[k]);
		stream_add(&s, &kinds[k], 20, &seed);
		for (size_t at = 0; at < s.bytes.len; at++) {
			bool ended = kinds[k].open_ended;
			struct line line;

			line_open(&line, kinds[k].name, MAX_ANY);
			line_feed(&line, all_bytes(&s), at, false);
			line_end(&line);
			/* SLIP's first END is no part of a message */
			if (at == 0 || (at == 1 && !strcmp(kinds[k].name, "slip")))
				assert_true(line.got.nmsgs == 0 && line.got.err == 0);
			else
				assert_true(line.got.nmsgs == ended && line.got.err == (ended ? 0 : TN_ETRUNC));
			line_close(&line);
		}
		stream_close(&s);
	}
}

/* A message that does not fit leaves the queue as it was, whatever is missing. */
static void test_put_all_or_nothing(void **state)
{
	unsigned char msg[5000];
	uint64_t seed = 6;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		size_t len = within(&kinds[k], 40), whole = 0;
		struct iovec iov[2] = {{msg, len / 2}, {msg + len / 2, len - len / 2}};

		fill(&kinds[k], msg, len, &seed);
		for (size_t room = 0;; room++) {
			struct stream s;
			int rc;

			stream_open(&s, &kinds[k]);
			s.bytes.max = (uint32_t)(10 + room);
			assert_int_equal(tni_buf_append(&s.bytes, "0123456789", 10, false), 0);
			rc = s.frame.ops->put(&s.frame, &s.bytes, iov, 2);
			whole = s.bytes.len - 10;
			assert_true(rc == 0 || (rc == -ENOBUFS && !whole));
			stream_close(&s);
			if (rc == 0) {
				assert_true(whole == room && whole >= len);
				break;
			}
			assert_true(room < len + 300);
		}
	}
}

/* Without memory nothing is lost: the same call gives the message once there is some. */
static void test_without_memory(void **state)
{
	uint64_t seed = 7;

	(void)state;
	for (size_t k = 0; k < NKINDS; k++) {
		struct stream s;
		struct line line;
		struct tni_view view = {0};
		int rc = -ENOMEM, failures = 0;
		unsigned char *bytes;

		stream_open(&s, &kinds[k]);
		stream_add(&s, &kinds[k], 200, &seed);
		bytes = all_bytes(&s);
		line_open(&line, kinds[k].name, MAX_ANY);
		for (size_t at = 0; at < s.bytes.len; at++) { /* so that it has to be made one piece */
			struct tni_blk *blk = tni_blk_get(&line.mem.small);

			assert_non_null(blk);
			blk->data[0] = bytes[at];
			blk->used = 1;
			assert_int_equal(tni_buf_give(&line.in, blk), 0);
		}
		for (int n = 0; rc == -ENOMEM; n++) {
			allocs_left = n;
			rc = line.frame.ops->next(&line.frame, &line.in, &view);
			allocs_left = -1;
			failures += rc == -ENOMEM;
		}
		assert_int_equal(rc, 1);
		/* A program's frame finds room behind the first piece. */
		assert_true(failures > 0 || s.bytes.len == 1 || !strncmp(kinds[k].name, "own-", 4));
		take_msg(&line, &view);
		assert_true(same_record(&line.got, &s.wanted));
		line_close(&line);
		stream_close(&s);
	}
}

static int setup(void **state)
{
	(void)state;
	return support_frames();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_messages_cut_everywhere),
		cmocka_unit_test(test_many_messages),
		cmocka_unit_test(test_one_message_over_many_blocks),
		cmocka_unit_test(test_max_and_one_above),
		cmocka_unit_test(test_the_longest_on_the_wire),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_put_all_or_nothing),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
