/* No framing: every piece that arrives is a message, and what is sent is only bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame/frame.h"

#include <errno.h>
#include <string.h>

static struct tni_mem mem;
static struct tn_buf buf;
static struct tni_frame frame = {.max = 1 << 20};

static int setup(void **state)
{
	(void)state;
	tni_mem_init(&mem);
	tni_buf_init(&buf, &mem, 16);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tni_buf_clear(&buf);
	if (mem.nslices_out || mem.small.nout || mem.large.nout)
		return -1;
	tni_mem_free(&mem);
	return 0;
}

static void receive(const char *text)
{
	struct tni_blk *blk = tni_blk_get(&mem.small);

	assert_non_null(blk);
	blk->used = (uint32_t)strlen(text);
	memcpy(blk->data, text, blk->used);
	assert_int_equal(tni_buf_give(&buf, blk), 0);
}

static int put(const char *a, const char *b)
{
	struct iovec iov[] = {
		{(void *)(uintptr_t)a, strlen(a)},
		{(void *)(uintptr_t)b, strlen(b)},
	};

	return tni_none_put(&frame, &buf, iov, 2);
}

static void test_nothing_there(void **state)
{
	struct tni_view view;

	(void)state;
	assert_int_equal(tni_none_next(&frame, &buf, &view), 0);
}

static void test_each_piece_is_a_message(void **state)
{
	struct tni_view view;

	(void)state;
	receive("abc");
	receive("defg");
	assert_int_equal(tni_none_next(&frame, &buf, &view), 1);
	assert_int_equal(view.len, 3);
	assert_int_equal(view.taken, 3);
	assert_memory_equal(view.data, "abc", 3);
	/* It may be forwarded as it stands: the very bytes of the block. */
	assert_ptr_equal(view.blk, buf.head->blk);
	assert_ptr_equal(view.raw, buf.head->data);
	assert_ptr_equal(view.data, buf.head->data);
	assert_int_equal(view.blk->refs, 1);
	/* Looking takes nothing. */
	assert_int_equal(buf.len, 7);
	assert_int_equal(tni_none_next(&frame, &buf, &view), 1);
	assert_memory_equal(view.data, "abc", 3);
	tni_buf_consume(&buf, view.taken);
	assert_int_equal(tni_none_next(&frame, &buf, &view), 1);
	assert_int_equal(view.len, 4);
	assert_memory_equal(view.data, "defg", 4);
	tni_buf_consume(&buf, view.taken);
	assert_int_equal(tni_none_next(&frame, &buf, &view), 0);
}

static void test_rest_of_a_piece(void **state)
{
	struct tni_view view;

	(void)state;
	receive("abcdef");
	tni_buf_consume(&buf, 4);
	assert_int_equal(tni_none_next(&frame, &buf, &view), 1);
	assert_int_equal(view.len, 2);
	assert_int_equal(view.taken, 2);
	assert_memory_equal(view.data, "ef", 2);
	assert_ptr_equal(view.raw, view.data);
}

static void test_put_is_bytes(void **state)
{
	(void)state;
	assert_int_equal(put("abc", "de"), 0);
	assert_int_equal(put("", ""), 0);
	assert_int_equal(put("f", ""), 0);
	assert_int_equal(buf.len, 6);
	assert_memory_equal(buf.head->data, "abcdef", 6);
	assert_false(buf.head->end);
	assert_null(buf.head->next);
}

static void test_put_all_or_nothing(void **state)
{
	(void)state;
	assert_int_equal(put("0123456789", "012345"), 0);
	assert_int_equal(buf.len, 16);
	assert_int_equal(put("x", ""), -ENOBUFS);
	tni_buf_consume(&buf, 3);
	assert_int_equal(put("ab", "cd"), -ENOBUFS);
	assert_int_equal(buf.len, 13);
	assert_int_equal(put("ab", "c"), 0);
	assert_int_equal(buf.len, 16);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_there), TEST(test_each_piece_is_a_message), TEST(test_rest_of_a_piece),
		TEST(test_put_is_bytes),  TEST(test_put_all_or_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
