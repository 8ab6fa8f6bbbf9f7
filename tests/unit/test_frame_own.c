/* Frames that a program registers: they work as the library's do, and nothing that they say wrongly is believed. */
#include "test_frame.h"

#include "../support/frames.h"
#include "tenon_value.h"

#include <errno.h>
#include <pthread.h>

/* ---- allocations that fail (link with -Wl,--wrap=calloc) ---- */

static bool without_memory;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return without_memory ? NULL : __real_calloc(count, size);
}

static int setup(void **state)
{
	(void)state;
	return support_frames();
}

static void test_known_bytes(void **state)
{
	(void)state;
	check_known("own-u32", B("hello"), B("\0\0\0\5hello"));
	check_known("own-u32", B(""), B("\0\0\0\0"));
	check_known("own-sum", B("\1\2\3"), B("\3\1\2\3\6"));
	check_known("own-sum", B(""), B("\0\0"));
	check_known("own-line", B("hello\n"), B("hello\n"));
	check_stream("own-line", 100, B("a\n\nb\n"), 0, "a\n", "\n", "b\n", NULL);
	check_stream("own-line", 100, B("a\nb"), TN_ETRUNC, "a\n", NULL);
	assert_says("frame own-line, 1 bytes");
}

static void test_its_own_refusals(void **state)
{
	char msg[256] = "";

	(void)state;
	check_stream("own-sum", 100, B("\1ab"), TN_EFORMAT, NULL);
	assert_says("frame own-sum: the sum is wrong");
	assert_int_equal(put_one("own-sum", msg, 256), TN_ETOOBIG);
	assert_says("frame own-sum: it cannot carry this message");
	assert_int_equal(put_one("own-line", B("")), TN_EFORMAT);
	assert_says("frame own-line: an empty message cannot be sent");
}

static void test_max(void **state)
{
	char endless[400];

	(void)state;
	memset(endless, 'x', sizeof(endless));
	check_stream("own-u32", 5,
		     B("\0\0\0\5"
		       "12345\0\0\0\6"
		       "123456"),
		     TN_ETOOBIG, "12345", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("own-u32", 5, B("\xff\xff\xff\xff"), TN_ETOOBIG, NULL);
	assert_says("message of 4294967295 bytes is too large");
	check_stream("own-line", 3, B("ab\nabc\n"), TN_ETOOBIG, "ab\n", NULL);
	check_stream("own-line", 3, endless, 258, TN_ETRUNC, NULL);
	check_stream("own-line", 3, endless, 259, TN_ETOOBIG, NULL);
	assert_says("at most 3");
}

/* ---- what cannot be ---- */

static struct {
	int rc;
	struct tn_frame_part part;
	int wrap_rc;
	size_t head_len, tail_len;
} script;

static int script_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	(void)data, (void)len, (void)arg;
	*part = script.part;
	return script.rc;
}

static int script_wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	(void)iov, (void)count, (void)len, (void)arg;
	ends->head_len = script.head_len;
	ends->tail_len = script.tail_len;
	return script.wrap_rc;
}

static void test_nonsense(void **state)
{
	static const struct tn_frame frame = {sizeof(frame), "script", script_next, script_wrap, NULL};
	static const struct {
		int rc;
		struct tn_frame_part part;
		int err;
		const char *says;
	} rows[] = {
		{1, {.taken = 0}, TN_EFORMAT, "frame script: its next() takes 0 bytes where there are 8"},
		{1, {.taken = 9}, TN_EFORMAT, "frame script: its next() takes 9 bytes where there are 8"},
		{1, {.taken = SIZE_MAX, .len = 1}, TN_EFORMAT, "takes 18446744073709551615 bytes"},
		{1, {.taken = 8, .at = 9}, TN_EFORMAT, "puts the end of a message behind 8 bytes"},
		{1, {.taken = 8, .at = 4, .len = 5}, TN_EFORMAT, "puts the end of a message behind 8 bytes"},
		{1, {.taken = 8, .at = 1, .len = SIZE_MAX}, TN_EFORMAT, "puts the end of a message behind 8 bytes"},
		{1, {.taken = 8, .at = 0, .len = 8}, TN_ETOOBIG, "message of 8 bytes is too large: at most 7"},
		{0, {.need = 8}, TN_EFORMAT, "waits for 8 bytes where there are 8"},
		{0, {.need = 1}, TN_EFORMAT, "waits for 1 bytes where there are 8"},
		{0, {.need = 264}, TN_ETOOBIG, "message of 264 bytes is too large: at most 7"},
		{0, {.need = SIZE_MAX}, TN_ETOOBIG, "too large"},
		{0, {.len = 8}, TN_ETOOBIG, "message of 8 bytes is too large: at most 7"},
		{2, {.taken = 8}, TN_EFORMAT, "frame script: its next() returned 2, not 1 or 0"},
		{INT32_MAX, {.taken = 8}, TN_EFORMAT, "returned 2147483647"},
		{TN_EUTF8, {.taken = 8}, TN_EUTF8, "frame script: text is not valid UTF-8"},
		{-12345, {.why = "no"}, -12345, "frame script: no"},
		{INT32_MIN, {.why = NULL}, INT32_MIN, "frame script: unknown error"},
	};

	(void)state;
	assert_int_equal(tn_frame_register(&frame), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct line line;

		script.rc = rows[i].rc;
		script.part = rows[i].part;
		line_open(&line, "script", 7);
		line_feed(&line, "12345678", 8, false);
		assert_int_equal(line.got.err, rows[i].err);
		assert_int_equal(line.got.nmsgs, 0);
		assert_says(rows[i].says);
		line_close(&line);
	}
}

static void test_nonsense_when_sending(void **state)
{
	static const struct {
		int rc;
		size_t head, tail;
		int err;
		const char *says;
	} rows[] = {
		{0, 65, 0, TN_EFORMAT, "its wrap() returned 0 with 65 and 0 bytes"},
		{0, 0, SIZE_MAX, TN_EFORMAT, "its wrap() returned 0 with 0 and 18446744073709551615 bytes"},
		{1, 0, 0, TN_EFORMAT, "its wrap() returned 1"},
		{-ENOBUFS, 0, 0, TN_EFORMAT, "it cannot carry this message: No buffer space available"},
		{TN_ETOOBIG, 0, 0, TN_ETOOBIG, "it cannot carry this message"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		script.wrap_rc = rows[i].rc;
		script.head_len = rows[i].head;
		script.tail_len = rows[i].tail;
		assert_int_equal(put_one("script", B("hello")), rows[i].err);
		assert_says(rows[i].says);
	}
}

/* What is asked of next() again: not before what it needs is there, and with what it has left. */
static struct {
	size_t calls, len[8], seen[8];
} asked;

static int patient_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	size_t n = asked.calls++;

	(void)data, (void)arg;
	if (n < 8) {
		asked.len[n] = len;
		asked.seen[n] = part->seen;
	}
	if (len >= 10) {
		part->taken = part->len = 10;
		return 1;
	}
	part->seen = (uint32_t)(100 + len);
	part->need = len < 6 ? 6 : len < 10 ? 0 : 10;
	return 0;
}

static void test_when_it_is_asked(void **state)
{
	static const struct tn_frame frame = {sizeof(frame), "patient", patient_next, NULL, NULL};
	struct line line;

	(void)state;
	assert_int_equal(tn_frame_register(&frame), 0);
	line_open(&line, "patient", 100);
	for (int i = 0; i < 11; i++)
		line_feed(&line, "x", 1, false);
	assert_int_equal(line.got.nmsgs, 1);
	assert_int_equal(asked.calls, 7); /* at 1, at 6 to 10, and 1 of the next */
	assert_true(asked.len[0] == 1 && asked.len[1] == 6 && asked.len[2] == 7 && asked.len[5] == 10);
	assert_true(asked.seen[0] == 0 && asked.seen[1] == 101 && asked.seen[2] == 106 && asked.seen[5] == 109);
	assert_true(asked.len[6] == 1 && asked.seen[6] == 0);
	line_close(&line);
}

/* A message over many pieces, of which nothing is known but that it is not whole: it is copied a few times at most. */
static void test_a_long_message_is_gathered(void **state)
{
	static char text[MAX_ANY];
	const void *before = NULL;
	struct line line;
	int moves = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[MAX_ANY - 1] = '\n';
	line_open(&line, "own-line", MAX_ANY);
	for (size_t at = 0; at < MAX_ANY; at += 4096) {
		line_feed(&line, text + at, 4096, false);
		moves += line.in.head && line.in.head->data != before;
		before = line.in.head ? line.in.head->data : NULL;
	}
	assert_int_equal(line.got.nmsgs, 1);
	assert_true(moves < 10);
	line_close(&line);
}

/* What may be passed on as it stands, and what not. */
static void test_as_sent(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		bool is;
	} rows[] = {
		{"own-u32", B("\0\0\0\2ab"), true},
		{"own-sum", B("\2\1\2\3"), true},
		{"own-line", B("a\n"), true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tni_blk *blk;
		struct tni_view view;
		struct line line;

		line_open(&line, rows[i].name, 100);
		blk = tni_blk_get(&line.mem.small);
		assert_non_null(blk);
		memcpy(blk->data, rows[i].bytes, rows[i].len);
		blk->used = (uint32_t)rows[i].len;
		assert_int_equal(tni_buf_give(&line.in, blk), 0);
		assert_int_equal(line.frame.ops->next(&line.frame, &line.in, &view), 1);
		assert_ptr_equal(view.raw, blk->data);
		assert_true(tni_frame_is_as_sent(&line.frame, &view));
		if (view.unsure) {
			blk->data[0] ^= 1; /* as if it had come in another form */
			assert_false(tni_frame_is_as_sent(&line.frame, &view));
		}
		line_close(&line);
	}
}

/* Without a connection as well, with a format, and only under a name that is known. */
static void test_split(void **state)
{
	struct tn_split *split;
	const void *data;
	size_t len;

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=own-sum&format=json&max=10", &split), 0);
	assert_string_equal(tn_split_frame(split), "own-sum");
	assert_int_equal(tn_split_feed(split, "\2[]\270\1", 5), 0);
	assert_int_equal(tn_split_next(split, &data, &len), 1);
	assert_int_equal(len, 2);
	assert_memory_equal(data, "[]", 2);
	assert_int_equal(tn_split_next(split, &data, &len), 0);
	assert_int_equal(tn_split_waiting(split), 1);
	assert_int_equal(tn_split_feed(split, "xx", 2), 0);
	assert_int_equal(tn_split_next(split, &data, &len), 1);
	assert_int_equal(tn_split_feed(split, "\13", 1), 0);
	assert_int_equal(tn_split_next(split, &data, &len), TN_ETOOBIG);
	tn_split_free(split);
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=own-nothing", &split), TN_EURL);
	assert_int_equal(tn_url_keeps_messages("tcp://localhost:1?frame=own-sum"), 1);
}

/* ---- registering ---- */

static void test_register_refuses(void **state)
{
	static const struct {
		struct tn_frame frame;
		int err;
		const char *says;
	} rows[] = {
		{{0, "x", script_next, NULL, NULL}, -EINVAL, "its size must be sizeof(struct tn_frame)"},
		{{offsetof(struct tn_frame, wrap) - 1, "x", script_next, NULL, NULL}, -EINVAL, "its size"},
		{{sizeof(struct tn_frame), "x", NULL, NULL, NULL}, -EINVAL, "must have a next()"},
		{{sizeof(struct tn_frame), NULL, script_next, NULL, NULL}, -EINVAL, "a name has 1 to 32 of a-z"},
		{{sizeof(struct tn_frame), "", script_next, NULL, NULL}, -EINVAL, "a name has"},
		{{sizeof(struct tn_frame), "1st", script_next, NULL, NULL}, -EINVAL, "a letter first"},
		{{sizeof(struct tn_frame), "My", script_next, NULL, NULL}, -EINVAL, "a name has"},
		{{sizeof(struct tn_frame), "my:frame", script_next, NULL, NULL}, -EINVAL, "a name has"},
		{{sizeof(struct tn_frame), "a23456789012345678901234567890123", script_next, NULL, NULL},
		 -EINVAL,
		 "a name has"},
		{{sizeof(struct tn_frame), "u32", script_next, NULL, NULL},
		 -EEXIST,
		 "the library has one of this name"},
		{{sizeof(struct tn_frame), "head", script_next, NULL, NULL}, -EEXIST, "the library has"},
		{{sizeof(struct tn_frame), "own-u32", script_next, NULL, NULL}, -EEXIST, "it is registered already"},
	};

	(void)state;
	assert_int_equal(tn_frame_register(NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(tn_frame_register(&rows[i].frame), rows[i].err);
		assert_says(rows[i].says);
	}
}

/* Then it is as if nothing had been asked for. */
static void test_without_memory(void **state)
{
	static const struct tn_frame frame = {sizeof(frame), "hungry", script_next, NULL, NULL};
	static const char *const made[] = {"hungry", "head:size=2", "until:x", "fixed:3"};

	(void)state;
	without_memory = true;
	assert_int_equal(tn_frame_register(&frame), -ENOMEM);
	assert_says("frame hungry: out of memory");
	for (size_t i = 0; i < 4; i++) {
		struct tni_frame found = {0};

		assert_int_equal(tni_frame_find(made[i], &found), i ? -ENOMEM : TN_EURL);
		assert_null(found.ops);
	}
	without_memory = false;
	assert_int_equal(tn_frame_register(&frame), 0);
}

/* From several threads at once each name is taken once. */
static void *register_many(void *arg)
{
	size_t taken = 0;

	(void)arg;
	for (int i = 0; i < 100; i++) {
		char name[16];
		struct tn_frame frame = {sizeof(frame), name, script_next, NULL, NULL};

		snprintf(name, sizeof(name), "thread-%d", i);
		taken += tn_frame_register(&frame) == 0;
	}
	return (void *)taken;
}

static void test_from_threads(void **state)
{
	pthread_t threads[4];
	size_t taken = 0;
	struct tni_frame frame = {0};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, register_many, NULL), 0);
	for (size_t i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		taken += (size_t)result;
	}
	assert_int_equal(taken, 100);
	assert_int_equal(tni_frame_find("thread-99", &frame), 0);
	assert_string_equal(frame.ops->name, "thread-99");
	tni_frame_drop(&frame);
	assert_int_equal(tni_frame_find("thread-100", &frame), TN_EURL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_bytes),
		cmocka_unit_test(test_its_own_refusals),
		cmocka_unit_test(test_max),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_nonsense_when_sending),
		cmocka_unit_test(test_when_it_is_asked),
		cmocka_unit_test(test_a_long_message_is_gathered),
		cmocka_unit_test(test_as_sent),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_register_refuses),
		cmocka_unit_test(test_without_memory),
		cmocka_unit_test(test_from_threads),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
