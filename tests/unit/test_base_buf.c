/* The bounded queue of slices: directed tests of its promises, then long random runs against a reference model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MODEL_CHECK(condition) assert_true(condition)
#include "buf_model.h"

#include "base/buf.h"
#include "base/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static void fail_from(int n)
{
	allocs_left = n;
}

/* ---- a set of pools for each test, that must be whole again after it ---- */

static struct tni_mem mem;

static int setup(void **state)
{
	(void)state;
	tni_mem_init(&mem);
	return 0;
}

static int teardown(void **state)
{
	bool whole = mem.nslices_out == 0 && mem.small.nout == 0 && mem.large.nout == 0;

	(void)state;
	allocs_left = -1;
	tni_mem_free(&mem);
	return whole ? 0 : -1;
}

static unsigned pieces(const struct tn_buf *buf)
{
	unsigned n = 0;

	for (const struct tni_slice *s = buf->head; s; s = s->next)
		n++;
	return n;
}

static unsigned ends(const struct tn_buf *buf)
{
	unsigned n = 0;

	for (const struct tni_slice *s = buf->head; s; s = s->next)
		n += s->end != 0;
	return n;
}

static void assert_content(const struct tn_buf *buf, const char *text)
{
	size_t at = 0;

	assert_int_equal(buf->len, strlen(text));
	for (const struct tni_slice *s = buf->head; s; at += s->len, s = s->next)
		assert_memory_equal(s->data, text + at, s->len);
	assert_int_equal(at, buf->len);
}

static void append(struct tn_buf *buf, const char *text, bool end)
{
	assert_int_equal(tni_buf_append(buf, text, strlen(text), end), 0);
}

/* A block from `pool` that holds `text`, as a receive leaves it. */
static struct tni_blk *received(struct tni_pool *pool, const char *text)
{
	struct tni_blk *blk = tni_blk_get(pool);

	assert_non_null(blk);
	blk->used = (uint32_t)strlen(text);
	memcpy(blk->data, text, blk->used);
	return blk;
}

/* `n` blocks and slices wait in the free lists, so that no call needs to allocate. */
static void warm_up(void)
{
	struct tn_buf buf;

	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "s"));
	tni_buf_give(&buf, received(&mem.large, "l"));
	tni_buf_clear(&buf);
}

/* A queue of its own is a slice of the pools, and one again when it is freed. */
static void test_queues_come_and_go(void **state)
{
	struct tn_buf *queues[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		queues[i] = tni_buf_new(&mem, 10);
		assert_non_null(queues[i]);
		assert_int_equal(tni_buf_room(queues[i]), 10);
		assert_int_equal(mem.nslices_out, i + 1);
	}
	for (int i = 0; i < 3; i++)
		tni_buf_free(queues[i]);
	assert_int_equal(mem.nslices_out, 0);
	tni_buf_free(NULL);
}

/* ---- appending ---- */

static void test_empty(void **state)
{
	struct iovec iov[2];
	struct tn_buf buf;
	size_t total = 7;

	(void)state;
	tni_buf_init(&buf, &mem, 100);
	assert_int_equal(tni_buf_room(&buf), 100);
	assert_int_equal(tni_buf_append(&buf, NULL, 0, false), 0);
	assert_null(buf.head);
	assert_int_equal(tni_buf_find(&buf, 'x', 0), -1);
	assert_int_equal(tni_buf_iov(&buf, iov, 2, &total), 0);
	assert_int_equal(total, 0);
	assert_null(tni_buf_pullup(&buf, 0));
	assert_null(tni_buf_pullup(&buf, 1));
	tni_buf_consume(&buf, 5);
	tni_buf_compact(&buf);
	tni_buf_clear(&buf);
	assert_int_equal(buf.len, 0);
}

static void test_append_fills_one_block(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	append(&buf, "abc", false);
	append(&buf, "def", false);
	append(&buf, "ghi", true);
	assert_content(&buf, "abcdefghi");
	assert_int_equal(pieces(&buf), 1);
	assert_int_equal(ends(&buf), 1);
	/* Behind the end of a message nothing grows: it is a message of its own. */
	append(&buf, "jkl", true);
	assert_content(&buf, "abcdefghijkl");
	assert_int_equal(ends(&buf), 2);
	assert_int_equal(buf.head->len, 9);
	tni_buf_clear(&buf);
}

static void test_append_spans_blocks(void **state)
{
	size_t len = 4 * (size_t)TNI_LARGE_CAP + 17;
	unsigned char *data = malloc(len);
	struct tn_buf buf;
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(i * 7 + i / 251);
	tni_buf_init(&buf, &mem, SIZE_MAX);
	/* A small block, its rest filled and a large one behind it, one too large for any pool. */
	assert_int_equal(tni_buf_append(&buf, data, 10, false), 0);
	assert_int_equal(mem.small.nout, 1);
	assert_int_equal(tni_buf_append(&buf, data + 10, TNI_SMALL_CAP, false), 0);
	assert_int_equal(buf.head->len, TNI_SMALL_CAP);
	assert_int_equal(mem.large.nout, 1);
	assert_int_equal(tni_buf_append(&buf, data + 10 + TNI_SMALL_CAP, len - 10 - TNI_SMALL_CAP, true), 0);
	assert_int_equal(mem.large.nout, 1);
	assert_int_equal(buf.len, len);
	for (const struct tni_slice *s = buf.head; s; at += s->len, s = s->next)
		assert_memory_equal(s->data, data + at, s->len);
	assert_int_equal(at, len);
	assert_int_equal(ends(&buf), 1);
	assert_true(buf.tail->end);
	tni_buf_clear(&buf);
	free(data);
}

/* The first bytes take as small a block as will do. */
static void test_blocks_fit(void **state)
{
	static const struct {
		size_t len;
		uint32_t nsmall, nlarge;
	} fits[] = {
		{1, 1, 0},
		{TNI_SMALL_CAP, 1, 0},
		{TNI_SMALL_CAP + 1, 0, 1},
		{TNI_LARGE_CAP, 0, 1},
		{TNI_LARGE_CAP + 1, 0, 0},
	};
	static unsigned char data[TNI_LARGE_CAP + 1];
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	for (size_t i = 0; i < sizeof(fits) / sizeof(fits[0]); i++) {
		assert_int_equal(tni_buf_append(&buf, data, fits[i].len, true), 0);
		assert_int_equal(mem.small.nout, fits[i].nsmall);
		assert_int_equal(mem.large.nout, fits[i].nlarge);
		assert_int_equal(pieces(&buf), 1);
		tni_buf_clear(&buf);
	}
}

static void test_appendv(void **state)
{
	struct iovec iov[] = {
		{NULL, 0}, {(void *)(uintptr_t) "ab", 2}, {NULL, 0}, {(void *)(uintptr_t) "c", 1}, {NULL, 0},
	};
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, 6);
	assert_int_equal(tni_buf_appendv(&buf, iov, 5, false), 0);
	assert_int_equal(tni_buf_appendv(&buf, iov, 0, false), 0);
	assert_int_equal(tni_buf_appendv(&buf, iov, 5, true), 0);
	assert_content(&buf, "abcabc");
	assert_int_equal(tni_buf_appendv(&buf, iov, 5, true), -ENOBUFS);
	assert_int_equal(ends(&buf), 1);
	tni_buf_clear(&buf);
}

/* A piece that straddles the room behind the tail and the new block. */
static void test_appendv_splits_anywhere(void **state)
{
	char text[64 + 1], rest[64];
	struct tn_buf buf;

	(void)state;
	for (size_t i = 0; i < 64; i++)
		text[i] = (char)('0' + i);
	text[64] = '\0';
	for (size_t room = 0; room <= 64; room++) {
		struct iovec iov[] = {{text, 20}, {text + 20, 1}, {NULL, 0}, {text + 21, 43}};

		tni_buf_init(&buf, &mem, SIZE_MAX);
		for (size_t len = TNI_SMALL_CAP - room; len; len -= len < 64 ? len : 64)
			assert_int_equal(tni_buf_append(&buf, text, len < 64 ? len : 64, false), 0);
		assert_int_equal(tni_buf_appendv(&buf, iov, 4, true), 0);
		assert_int_equal(buf.head->len, TNI_SMALL_CAP);
		tni_buf_consume(&buf, TNI_SMALL_CAP - room);
		assert_content(&buf, text);
		assert_int_equal(ends(&buf), 1);
		if (room < 64) {
			memcpy(rest, buf.tail->data, buf.tail->len);
			assert_memory_equal(rest, text + room, 64 - room);
		}
		tni_buf_clear(&buf);
	}
}

static void test_hard_maximum(void **state)
{
	struct tni_blk *blk = received(&mem.small, "received");
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, 6);
	assert_int_equal(tni_buf_append(&buf, "1234567", 7, false), -ENOBUFS);
	assert_null(buf.head);
	append(&buf, "1234", false);
	assert_int_equal(tni_buf_append(&buf, "567", 3, false), -ENOBUFS);
	assert_int_equal(tni_buf_link(&buf, blk, blk->data, 3, false), -ENOBUFS);
	assert_int_equal(blk->refs, 1);
	assert_content(&buf, "1234");
	append(&buf, "56", false);
	assert_int_equal(tni_buf_room(&buf), 0);
	assert_int_equal(tni_buf_append(&buf, "7", 1, false), -ENOBUFS);
	/* What has been received is there already, and only holds up what would come after it. */
	assert_int_equal(tni_buf_give(&buf, blk), 0);
	assert_content(&buf, "123456received");
	assert_int_equal(tni_buf_room(&buf), 0);
	assert_int_equal(tni_buf_append(&buf, "7", 1, false), -ENOBUFS);
	tni_buf_consume(&buf, 9);
	assert_int_equal(tni_buf_room(&buf), 1);
	append(&buf, "!", false);
	assert_content(&buf, "eived!");
	tni_buf_clear(&buf);
}

/* Many short messages (a seqpacket socket's queue) must not take a block each: the maximum counts only their bytes. */
static void test_short_messages_share_blocks(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, 10000);
	for (int i = 0; i < 1000; i++)
		append(&buf, "0123456789", true);
	assert_int_equal(ends(&buf), 1000);
	assert_true(mem.large.nout + mem.small.nout <= 4);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(buf.head->len, 10);
		assert_memory_equal(buf.head->data, "0123456789", 10);
		tni_buf_consume(&buf, 10);
	}
	assert_null(buf.head);
}

/* ---- messages without bytes ---- */

static void test_empty_messages_are_kept(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	append(&buf, "abc", true);
	append(&buf, "", true);
	append(&buf, "", true);
	append(&buf, "de", true);
	assert_int_equal(ends(&buf), 4);
	/* A sent message is consumed by its length, and only that message. */
	tni_buf_consume(&buf, 3);
	assert_int_equal(ends(&buf), 3);
	assert_int_equal(buf.head->len, 0);
	tni_buf_consume(&buf, 0);
	assert_int_equal(ends(&buf), 2);
	tni_buf_consume(&buf, 0);
	assert_int_equal(ends(&buf), 1);
	tni_buf_consume(&buf, 0); /* does not touch bytes */
	assert_content(&buf, "de");
	assert_int_equal(ends(&buf), 1);
	tni_buf_consume(&buf, 2);
	assert_null(buf.head);
}

static void test_empty_message_survives_pullup(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_give(&buf, received(&mem.small, "ab")), 0);
	assert_int_equal(tni_buf_give(&buf, received(&mem.small, "cd")), 0);
	buf.tail->end = 1;
	append(&buf, "", true);
	assert_memory_equal(tni_buf_pullup(&buf, 4), "abcd", 4);
	assert_int_equal(ends(&buf), 2);
	assert_true(buf.head->end);
	tni_buf_clear(&buf);
}

static void test_end_without_bytes_ends_what_is_open(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	append(&buf, "abc", false);
	append(&buf, "", true);
	assert_int_equal(ends(&buf), 1);
	assert_true(buf.head->end);
	tni_buf_consume(&buf, 3);
	assert_null(buf.head);
}

/* ---- blocks that several buffers hold ---- */

static void test_shared_tail_is_never_overwritten(void **state)
{
	struct tni_blk *blk = received(&mem.small, "head-tail");
	struct tn_buf a, b, c;

	(void)state;
	tni_buf_init(&a, &mem, SIZE_MAX);
	tni_buf_init(&b, &mem, SIZE_MAX);
	tni_buf_init(&c, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_link(&a, blk, blk->data, 9, false), 0);
	assert_int_equal(tni_buf_link(&b, blk, blk->data + 5, 4, false), 0);
	assert_int_equal(tni_buf_link(&c, blk, blk->data, 4, false), 0);
	assert_int_equal(tni_buf_give(&c, blk), 0);
	assert_int_equal(blk->refs, 4);
	/* Whoever comes first may have the room behind; c ends before others' bytes and has none. */
	append(&c, "-C", false);
	append(&a, "-A", false);
	append(&b, "-B", false);
	append(&a, "a", false);
	append(&b, "b", false);
	append(&c, "c", false);
	assert_content(&a, "head-tail-Aa");
	assert_content(&b, "tail-Bb");
	assert_content(&c, "headhead-tail-Cc");
	tni_buf_clear(&c);
	append(&a, "!", false);
	append(&b, "?", false);
	assert_content(&a, "head-tail-Aa!");
	assert_content(&b, "tail-Bb?");
	tni_buf_clear(&a);
	assert_content(&b, "tail-Bb?");
	tni_buf_clear(&b);
}

static void test_middle_of_a_block_has_no_room(void **state)
{
	struct tni_blk *blk = received(&mem.small, "0123456789");
	struct tn_buf a, b;

	(void)state;
	tni_buf_init(&a, &mem, SIZE_MAX);
	tni_buf_init(&b, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_give(&a, blk), 0);
	assert_int_equal(tni_buf_link(&b, blk, blk->data + 2, 3, false), 0);
	append(&b, "xx", false);
	assert_content(&a, "0123456789");
	assert_content(&b, "234xx");
	/* What a buffer has consumed may still be seen by others. */
	tni_buf_consume(&a, 9);
	append(&a, "zz", false);
	assert_content(&a, "9zz");
	assert_content(&b, "234xx");
	tni_buf_clear(&a);
	tni_buf_clear(&b);
}

static void test_link_counts_references(void **state)
{
	struct tni_blk *blk = received(&mem.large, "abcdef");
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_link(&buf, blk, blk->data, 2, false), 0);
	assert_int_equal(blk->refs, 2);
	/* What goes on where the last piece ends makes that longer, up to an end of message. */
	assert_true(tni_buf_goes_on(&buf, blk, blk->data + 2));
	assert_int_equal(tni_buf_link(&buf, blk, blk->data + 2, 2, true), 0);
	assert_int_equal(blk->refs, 2);
	assert_int_equal(pieces(&buf), 1);
	assert_true(buf.tail->end);
	assert_false(tni_buf_goes_on(&buf, blk, blk->data + 4));
	assert_int_equal(tni_buf_link(&buf, blk, blk->data + 4, 2, false), 0);
	assert_int_equal(blk->refs, 3);
	assert_content(&buf, "abcdef");
	tni_blk_unref(blk);
	tni_buf_consume(&buf, 4);
	assert_int_equal(blk->refs, 1);
	assert_int_equal(mem.large.nout, 1);
	tni_buf_consume(&buf, 2);
	assert_int_equal(mem.large.nout, 0);
}

/* Two blocks may happen to lie one behind the other in memory; their pieces must not be taken for one. */
static void test_link_does_not_join_blocks(void **state)
{
	static unsigned char bytes[] = "abcdef";
	struct tni_blk *one = tni_blk_new(1), *two = tni_blk_new(1);
	struct tn_buf buf;

	(void)state;
	one->data = bytes;
	two->data = bytes + 3;
	one->cap = one->used = two->cap = two->used = 3;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_give(&buf, one), 0);
	assert_int_equal(tni_buf_link(&buf, two, two->data, 3, false), 0);
	assert_int_equal(pieces(&buf), 2);
	assert_int_equal(two->refs, 2);
	assert_content(&buf, "abcdef");
	tni_buf_clear(&buf);
	tni_blk_unref(two);
}

static void test_compact(void **state)
{
	struct tni_blk *blk = received(&mem.large, "0123456789");
	struct tn_buf buf, other;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_init(&other, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_give(&buf, blk), 0);
	assert_int_equal(tni_buf_link(&other, blk, blk->data, 10, false), 0);
	tni_buf_consume(&buf, 7);
	buf.tail->end = 1;
	tni_buf_compact(&buf);
	assert_content(&buf, "789");
	assert_true(buf.tail->end);
	assert_ptr_not_equal(buf.head->blk, blk);
	assert_int_equal(blk->refs, 1);
	assert_content(&other, "0123456789");
	tni_buf_clear(&other);
	assert_int_equal(mem.large.nout, 0);
	assert_int_equal(mem.small.nout, 1);
	/* The copy's block is nobody else's: it can grow once the message is open. */
	buf.tail->end = 0;
	append(&buf, "abc", false);
	assert_content(&buf, "789abc");
	assert_int_equal(pieces(&buf), 1);
	tni_buf_clear(&buf);
}

static void test_compact_leaves_much_alone(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.large);
	struct tn_buf buf;

	(void)state;
	blk->used = blk->cap;
	memset(blk->data, 'x', blk->cap);
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_give(&buf, blk), 0);
	tni_buf_compact(&buf);
	assert_ptr_equal(buf.head->blk, blk);
	tni_buf_consume(&buf, blk->cap - 10);
	append(&buf, "a new piece", false);
	tni_buf_compact(&buf); /* two pieces: something else is going on */
	assert_ptr_equal(buf.head->blk, blk);
	tni_buf_clear(&buf);
}

/* As many queues hold a message, each with a head of its own in front. */
static void test_heads_between_shared_messages_are_small(void **state)
{
	struct tn_shared *shared = tni_shared_new(4);
	struct tn_buf buf;

	(void)state;
	assert_non_null(shared);
	memcpy(shared->blk.data, "body", 4);
	tni_buf_init(&buf, &mem, SIZE_MAX);
	for (int i = 0; i < 3; i++) {
		append(&buf, "head:", false);
		assert_int_equal(tni_buf_link(&buf, &shared->blk, shared->blk.data, 4, true), 0);
	}
	assert_content(&buf, "head:bodyhead:bodyhead:body");
	assert_int_equal(mem.small.nout, 3);
	assert_int_equal(mem.large.nout, 0);
	tni_buf_clear(&buf);
	tni_blk_unref(&shared->blk);
}

/* ---- taking out ---- */

static void test_consume(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "abc"));
	tni_buf_give(&buf, received(&mem.small, "def"));
	tni_buf_give(&buf, received(&mem.small, "ghi"));
	tni_buf_consume(&buf, 0);
	assert_content(&buf, "abcdefghi");
	tni_buf_consume(&buf, 1);
	assert_content(&buf, "bcdefghi");
	tni_buf_consume(&buf, 3);
	assert_content(&buf, "efghi");
	assert_int_equal(mem.small.nout, 2);
	tni_buf_consume(&buf, 2);
	assert_content(&buf, "ghi");
	tni_buf_consume(&buf, 1000);
	assert_content(&buf, "");
	assert_null(buf.head);
	assert_null(buf.tail);
}

static void test_move(void **state)
{
	struct tn_buf from, to;

	(void)state;
	tni_buf_init(&from, &mem, SIZE_MAX);
	tni_buf_init(&to, &mem, 8);
	assert_int_equal(tni_buf_move(&to, &from, 10), 0);
	append(&from, "abc", true);
	append(&from, "defg", true);
	append(&from, "hij", true);
	assert_int_equal(tni_buf_move(&to, &from, 0), 0);
	assert_int_equal(tni_buf_move(&to, &from, 4), 4);
	assert_content(&to, "abcd");
	assert_int_equal(ends(&to), 1); /* the second message has not ended yet */
	assert_content(&from, "efghij");
	assert_int_equal(tni_buf_move(&to, &from, SIZE_MAX), 4); /* all that there is room for */
	assert_content(&to, "abcdefgh");
	assert_int_equal(ends(&to), 2);
	assert_content(&from, "ij");
	assert_int_equal(ends(&from), 1);
	assert_int_equal(tni_buf_move(&to, &from, 1), 0);
	tni_buf_clear(&to);
	assert_int_equal(tni_buf_move(&to, &from, 2), 2);
	assert_null(from.head);
	assert_null(from.tail);
	assert_true(to.tail->end);
	tni_buf_clear(&to);
}

static void test_pullup(void **state)
{
	struct tn_buf buf;
	unsigned char *at;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "abc"));
	tni_buf_give(&buf, received(&mem.small, "def"));
	tni_buf_give(&buf, received(&mem.small, "ghi"));
	at = buf.head->data;
	assert_ptr_equal(tni_buf_pullup(&buf, 3), at); /* lies there already */
	assert_null(tni_buf_pullup(&buf, 10));
	at = tni_buf_pullup(&buf, 4);
	assert_memory_equal(at, "abcd", 4);
	assert_content(&buf, "abcdefghi");
	assert_int_equal(pieces(&buf), 3);
	assert_ptr_equal(tni_buf_pullup(&buf, 4), at);
	assert_memory_equal(tni_buf_pullup(&buf, 9), "abcdefghi", 9);
	assert_int_equal(pieces(&buf), 1);
	assert_ptr_equal(buf.head, buf.tail);
	append(&buf, "jkl", false);
	assert_content(&buf, "abcdefghijkl");
	tni_buf_clear(&buf);
}

static void test_pullup_keeps_the_end(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	for (size_t len = 2; len <= 4; len++) {
		tni_buf_give(&buf, received(&mem.small, "a"));
		tni_buf_give(&buf, received(&mem.small, "bcd"));
		buf.tail->end = 1;
		assert_non_null(tni_buf_pullup(&buf, len));
		assert_int_equal(ends(&buf), 1);
		assert_true(buf.tail->end);
		append(&buf, "e", true);
		assert_int_equal(ends(&buf), 2);
		tni_buf_clear(&buf);
	}
}

static void test_pullup_beyond_a_large_block(void **state)
{
	size_t len = 0;
	struct tn_buf buf;
	unsigned char *at;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	for (int i = 0; i < 3; i++) {
		struct tni_blk *blk = tni_blk_get(&mem.large);

		memset(blk->data, 'a' + i, blk->cap);
		blk->used = blk->cap;
		tni_buf_give(&buf, blk);
	}
	len = buf.len - 10;
	at = tni_buf_pullup(&buf, len);
	assert_non_null(at);
	assert_int_equal(buf.len, len + 10);
	for (size_t i = 0; i < len; i++)
		if (at[i] != 'a' + i / TNI_LARGE_CAP)
			fail();
	assert_int_equal(pieces(&buf), 2);
	tni_buf_clear(&buf);
}

static void test_find(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "a\nb"));
	tni_buf_give(&buf, received(&mem.small, "cd\xff"));
	tni_buf_give(&buf, received(&mem.small, "\n"));
	assert_int_equal(tni_buf_find(&buf, '\n', 0), 1);
	assert_int_equal(tni_buf_find(&buf, '\n', 1), 1);
	assert_int_equal(tni_buf_find(&buf, '\n', 2), 6);
	assert_int_equal(tni_buf_find(&buf, '\n', 6), 6);
	assert_int_equal(tni_buf_find(&buf, '\n', 7), -1);
	assert_int_equal(tni_buf_find(&buf, '\n', SIZE_MAX), -1);
	assert_int_equal(tni_buf_find(&buf, 'c', 0), 3);
	assert_int_equal(tni_buf_find(&buf, 0xff, 0), 5);
	assert_int_equal(tni_buf_find(&buf, 'x', 0), -1);
	tni_buf_clear(&buf);
}

/* There is room for as much again, so that what has come so far stays where it is. */
static void test_gather(void **state)
{
	unsigned char *at;
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_null(tni_buf_gather(&buf, 1));
	tni_buf_give(&buf, received(&mem.small, "ab"));
	assert_ptr_equal(tni_buf_gather(&buf, 2), buf.head->data);
	assert_null(tni_buf_gather(&buf, 3));
	tni_buf_give(&buf, received(&mem.small, "cd"));
	at = tni_buf_gather(&buf, 3); /* into the room behind the first */
	assert_ptr_equal(at, buf.head->data);
	assert_memory_equal(at, "abc", 3);
	assert_int_equal(buf.head->len, 3);
	assert_content(&buf, "abcd");
	assert_int_equal(pieces(&buf), 2);
	assert_ptr_equal(tni_buf_gather(&buf, 4), at);
	assert_int_equal(pieces(&buf), 1);
	append(&buf, "ef", true); /* behind it goes on what is appended */
	assert_ptr_equal(tni_buf_gather(&buf, 6), at);
	assert_int_equal(ends(&buf), 1);
	tni_buf_clear(&buf);
}

static void test_gather_beyond_a_block(void **state)
{
	unsigned char *at;
	struct tn_buf buf;
	size_t len;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	for (int i = 0; i < 3; i++) {
		struct tni_blk *blk = tni_blk_get(&mem.large);

		assert_non_null(blk);
		memset(blk->data, 'a' + i, blk->cap);
		blk->used = blk->cap;
		assert_int_equal(tni_buf_give(&buf, blk), 0);
	}
	len = 2 * (size_t)mem.large.cap;
	at = tni_buf_gather(&buf, len);
	assert_non_null(at);
	assert_true(at[0] == 'a' && at[len / 2 - 1] == 'a' && at[len / 2] == 'b' && at[len - 1] == 'b');
	assert_ptr_equal(tni_buf_gather(&buf, len / 2 * 3), at);
	assert_true(at[len] == 'c' && at[len / 2 * 3 - 1] == 'c');
	assert_int_equal(buf.len, len / 2 * 3);
	assert_int_equal(pieces(&buf), 1);
	tni_buf_clear(&buf);
}

/* Some bytes, in one piece and over several; and beginnings of them that do not go on. */
static void test_search(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_search(&buf, "a", 1, 0), -1);
	tni_buf_give(&buf, received(&mem.small, "a--ab"));
	tni_buf_give(&buf, received(&mem.small, "-"));
	tni_buf_give(&buf, received(&mem.small, "-"));
	tni_buf_give(&buf, received(&mem.small, ">ab--"));
	assert_int_equal(tni_buf_search(&buf, "--", 2, 0), 1);
	assert_int_equal(tni_buf_search(&buf, "--", 2, 2), 5);
	assert_int_equal(tni_buf_search(&buf, "--", 2, 6), 10);
	assert_int_equal(tni_buf_search(&buf, "--", 2, 11), -1);
	assert_int_equal(tni_buf_search(&buf, "b-->ab--", 8, 0), 4);
	assert_int_equal(tni_buf_search(&buf, "-->", 3, 0), 5);
	assert_int_equal(tni_buf_search(&buf, "ab", 2, 4), 8);
	assert_int_equal(tni_buf_search(&buf, "--x", 3, 0), -1);
	assert_int_equal(tni_buf_search(&buf, "b--", 3, 5), 9);
	assert_int_equal(tni_buf_search(&buf, "--", 2, SIZE_MAX), -1);
	tni_buf_clear(&buf);
}

static void test_iov(void **state)
{
	struct iovec iov[3];
	struct tn_buf buf;
	size_t total;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "ab"));
	tni_buf_give(&buf, received(&mem.small, "cde"));
	tni_buf_consume(&buf, 1);
	assert_int_equal(tni_buf_iov(&buf, iov, 3, &total), 2);
	assert_int_equal(total, 4);
	assert_int_equal(iov[0].iov_len, 1);
	assert_memory_equal(iov[0].iov_base, "b", 1);
	assert_int_equal(iov[1].iov_len, 3);
	assert_memory_equal(iov[1].iov_base, "cde", 3);
	assert_int_equal(tni_buf_iov(&buf, iov, 1, &total), 1);
	assert_int_equal(total, 1);
	assert_int_equal(tni_buf_iov(&buf, iov, 0, &total), 0);
	assert_int_equal(total, 0);
	tni_buf_clear(&buf);
}

/* ---- out of memory ---- */

/* Makes the n-th allocation fail for each n, until the call does without: before, nothing must have changed. */
static void append_without_memory(size_t len, bool end)
{
	static unsigned char data[3 * TNI_LARGE_CAP];
	int rc = -ENOMEM, n = 0;

	for (; rc; n++) {
		struct tn_buf buf;

		tni_mem_init(&mem);
		tni_buf_init(&buf, &mem, SIZE_MAX);
		append(&buf, "before", false);
		mem.slices = NULL; /* as if all of the slab were in use */
		fail_from(n);
		rc = tni_buf_append(&buf, data, len, end);
		fail_from(-1);
		if (rc) {
			assert_int_equal(rc, -ENOMEM);
			assert_content(&buf, "before");
			assert_int_equal(buf.tail->end, 0);
			assert_int_equal(buf.tail->blk->used, 6);
			assert_int_equal(mem.large.nout, 0);
			append(&buf, " and after", true);
			assert_content(&buf, "before and after");
		} else {
			assert_int_equal(buf.len, 6 + len);
		}
		tni_buf_clear(&buf);
		assert_int_equal(mem.nslices_out + mem.small.nout + mem.large.nout, 0);
		tni_mem_free(&mem);
	}
	/* The tail's room, then a block and a slab. */
	assert_int_equal(n, len <= TNI_SMALL_CAP - 6 ? 1 : 3);
}

static void test_append_without_memory(void **state)
{
	(void)state;
	append_without_memory(100, true);
	append_without_memory(TNI_SMALL_CAP, false);
	append_without_memory(TNI_SMALL_CAP, true);
	append_without_memory(TNI_LARGE_CAP, true);
	append_without_memory(3 * (size_t)TNI_LARGE_CAP, false);
}

static void test_link_without_memory(void **state)
{
	struct tni_blk *blk = received(&mem.small, "abc");
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	fail_from(0);
	assert_int_equal(tni_buf_link(&buf, blk, blk->data, 3, true), -ENOMEM);
	assert_int_equal(blk->refs, 1);
	assert_null(buf.head);
	/* The reference is handed over even so: the caller has nothing to undo. */
	assert_int_equal(tni_buf_give(&buf, blk), -ENOMEM);
	fail_from(-1);
	assert_int_equal(mem.small.nout, 0);
	assert_null(buf.head);
	assert_int_equal(buf.len, 0);
}

static void test_move_without_memory(void **state)
{
	struct tni_slice *spare;
	struct tn_buf from, to;

	(void)state;
	tni_buf_init(&from, &mem, SIZE_MAX);
	tni_buf_init(&to, &mem, SIZE_MAX);
	append(&from, "abc", true);
	append(&from, "defg", true);
	spare = mem.slices;
	mem.slices = NULL;
	fail_from(0);
	assert_int_equal(tni_buf_move(&to, &from, 2), -ENOMEM);
	assert_content(&from, "abcdefg");
	assert_null(to.head);
	/* Whole pieces need no memory; the half one stays. */
	assert_int_equal(tni_buf_move(&to, &from, 5), 3);
	assert_content(&to, "abc");
	assert_content(&from, "defg");
	fail_from(-1);
	mem.slices = spare;
	assert_int_equal(tni_buf_move(&to, &from, 2), 2);
	assert_content(&to, "abcde");
	tni_buf_clear(&from);
	tni_buf_clear(&to);
}

static void test_pullup_without_memory(void **state)
{
	struct tni_slice *spare;
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.small, "abc"));
	tni_buf_give(&buf, received(&mem.small, "def"));
	spare = mem.slices;
	for (int n = 0; n < 2; n++) {
		mem.slices = NULL;
		fail_from(n);
		assert_null(tni_buf_pullup(&buf, 5));
		fail_from(-1);
		mem.slices = spare;
		assert_content(&buf, "abcdef");
		assert_int_equal(pieces(&buf), 2);
		assert_int_equal(mem.large.nout, 0);
		/* The block that it got stayed in the pool: have the next one fail at the same place. */
		tni_mem_free(&(struct tni_mem){.large = mem.large});
		mem.large.free = NULL;
		mem.large.nfree = 0;
	}
	assert_memory_equal(tni_buf_pullup(&buf, 5), "abcde", 5);
	tni_buf_clear(&buf);
}

static void test_compact_without_memory(void **state)
{
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_buf_give(&buf, received(&mem.large, "abc"));
	fail_from(0);
	tni_buf_compact(&buf);
	fail_from(-1);
	assert_content(&buf, "abc");
	assert_int_equal(mem.large.nout, 1);
	tni_buf_clear(&buf);
}

/* In a busy loop nothing is allocated any more. */
static void test_hot_buffers_do_not_allocate(void **state)
{
	struct tn_buf buf;

	(void)state;
	warm_up();
	tni_buf_init(&buf, &mem, SIZE_MAX);
	fail_from(0);
	for (int i = 0; i < 1000; i++) {
		append(&buf, "ping", false);
		append(&buf, "pong", i & 1);
		tni_buf_consume(&buf, 8);
	}
	fail_from(-1);
	assert_null(buf.head);
}

/* ---- against the model ---- */

static struct world world;

static void random_run(uint64_t seed, bool without_memory, uint32_t small_cap, uint32_t large_cap)
{
	struct source src = {.seed = seed};

	world_open(&world, small_cap, large_cap);
	world.fail_from = without_memory ? fail_from : NULL;
	for (int i = 0; i < 2000; i++) {
		world_step(&world, &src);
		if (i % 64 == 0)
			audit_world(&world);
	}
	audit_world(&world);
	world_close(&world);
}

static void test_random_runs(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		random_run(seed, false, TNI_SMALL_CAP, TNI_LARGE_CAP);
		random_run(seed, true, TNI_SMALL_CAP, TNI_LARGE_CAP);
	}
}

static void test_random_runs_with_small_blocks(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		random_run(seed, false, 48, 256);
		random_run(seed, true, 48, 256);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_queues_come_and_go),
		TEST(test_empty),
		TEST(test_append_fills_one_block),
		TEST(test_append_spans_blocks),
		TEST(test_blocks_fit),
		TEST(test_appendv),
		TEST(test_appendv_splits_anywhere),
		TEST(test_hard_maximum),
		TEST(test_short_messages_share_blocks),
		TEST(test_empty_messages_are_kept),
		TEST(test_empty_message_survives_pullup),
		TEST(test_end_without_bytes_ends_what_is_open),
		TEST(test_shared_tail_is_never_overwritten),
		TEST(test_middle_of_a_block_has_no_room),
		TEST(test_link_counts_references),
		TEST(test_link_does_not_join_blocks),
		TEST(test_compact),
		TEST(test_compact_leaves_much_alone),
		TEST(test_heads_between_shared_messages_are_small),
		TEST(test_consume),
		TEST(test_move),
		TEST(test_pullup),
		TEST(test_pullup_keeps_the_end),
		TEST(test_pullup_beyond_a_large_block),
		TEST(test_find),
		TEST(test_gather),
		TEST(test_gather_beyond_a_block),
		TEST(test_search),
		TEST(test_iov),
		TEST(test_append_without_memory),
		TEST(test_link_without_memory),
		TEST(test_move_without_memory),
		TEST(test_pullup_without_memory),
		TEST(test_compact_without_memory),
		TEST(test_hot_buffers_do_not_allocate),
		cmocka_unit_test(test_random_runs),
		cmocka_unit_test(test_random_runs_with_small_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
