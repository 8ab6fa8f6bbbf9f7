/* Shared messages: their references, what they become in frames, and the blocks that they keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/shared.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations (link with -Wl,--wrap=malloc,--wrap=free) ---- */

static int fails_at; /* the n-th allocation from now on; 0: none */
static _Atomic(int) held;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	void *p = fails_at && --fails_at == 0 ? NULL : __real_malloc(size);

	held += p != NULL;
	return p;
}

void __wrap_free(void *p)
{
	held -= p != NULL;
	__real_free(p);
}

static struct tni_mem mem;

static int setup(void **state)
{
	(void)state;
	held = fails_at = 0;
	tni_mem_init(&mem);
	return 0;
}

static int teardown(void **state)
{
	bool whole = mem.nslices_out == 0 && mem.small.nout == 0 && mem.large.nout == 0;

	(void)state;
	tni_mem_free(&mem);
	return whole && held == 0 ? 0 : -1;
}

static struct tn_shared *shared_of(const char *text)
{
	struct tn_shared *shared = tni_shared_new(strlen(text));

	assert_non_null(shared);
	memcpy(shared->blk.data, text, strlen(text));
	return shared;
}

/* ---- a frame: what stands in `arg`, then the message ---- */

static _Atomic(int) nmade;

static int make_framed(const struct tn_shared *shared, struct tn_buf *out, void *arg)
{
	struct iovec iov[2] = {{arg, strlen(arg)}, {shared->blk.data, shared->blk.used}};

	nmade++;
	return tni_buf_appendv(out, iov, 2, false);
}

static int make_nothing(const struct tn_shared *shared, struct tn_buf *out, void *arg)
{
	(void)shared, (void)out, (void)arg;
	return -EPERM;
}

static struct tni_blk *form_of(struct tn_shared *shared, const char *name)
{
	struct tni_blk *blk = NULL;

	assert_int_equal(tni_shared_form(shared, name, &mem, make_framed, (void *)(uintptr_t)name, &blk), 0);
	assert_non_null(blk);
	return blk;
}

static void check_bytes(const struct tni_blk *blk, const char *text)
{
	assert_int_equal(blk->used, strlen(text));
	assert_memory_equal(blk->data, text, strlen(text));
}

static void test_forms_are_made_once(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tni_blk *a, *b;

	(void)state;
	nmade = 0;
	a = form_of(shared, "a:");
	b = form_of(shared, "bb:");
	check_bytes(a, "a:hello");
	check_bytes(b, "bb:hello");
	assert_ptr_equal(form_of(shared, "a:"), a);
	assert_ptr_equal(form_of(shared, "bb:"), b);
	assert_int_equal(nmade, 2);
	check_bytes(&shared->blk, "hello");
	tni_blk_unref(&shared->blk);
}

static void test_form_that_cannot_be_made(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tni_blk *blk;

	(void)state;
	assert_int_equal(tni_shared_form(shared, "x", &mem, make_nothing, NULL, &blk), -EPERM);
	assert_int_equal(tni_shared_form(shared, "x", &mem, make_nothing, NULL, &blk), -EPERM);
	/* It is not kept as one that failed. */
	check_bytes(form_of(shared, "x"), "xhello");
	tni_blk_unref(&shared->blk);
}

static void test_no_memory_for_a_form(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tni_blk *blk;
	int failed = 0, rc = -1;

	(void)state;
	for (int n = 1; rc < 0; n++) {
		fails_at = n;
		rc = tni_shared_form(shared, "x", &mem, make_framed, (void *)(uintptr_t) "x", &blk);
		assert_true(rc == 0 || rc == -ENOMEM);
		failed += rc < 0;
	}
	fails_at = 0;
	assert_true(failed >= 3);
	check_bytes(blk, "xhello");
	tni_blk_unref(&shared->blk);
}

static void test_no_memory_for_a_message(void **state)
{
	struct tni_blk *blk = tni_blk_new(100000);

	(void)state;
	assert_non_null(blk);
	blk->used = blk->cap;
	fails_at = 1;
	assert_null(tni_shared_new(100));
	fails_at = 1;
	assert_null(tni_shared_of_block(blk, blk->data, blk->used));
	fails_at = 0;
	tni_blk_unref(blk);
}

/* ---- in queues ---- */

static void test_queue_outlives_its_users(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tn_buf one, two;
	struct tni_blk *form;

	(void)state;
	tni_buf_init(&one, &mem, SIZE_MAX);
	tni_buf_init(&two, &mem, SIZE_MAX);
	form = form_of(shared, "f:");
	assert_int_equal(tni_buf_link(&one, form, form->data, form->used, false), 0);
	assert_int_equal(tni_buf_link(&two, &shared->blk, shared->blk.data, shared->blk.used, true), 0);
	tni_blk_unref(&shared->blk);
	assert_memory_equal(two.head->data, "hello", 5);
	tni_buf_clear(&two);
	assert_memory_equal(one.head->data, "f:hello", 7);
	tni_buf_clear(&one);
}

/* What comes behind it in a queue must not be written into it, though its block may have room. */
static void test_nothing_is_appended_to_it(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.large);
	struct tn_shared *shared;
	struct tn_buf buf;

	(void)state;
	memset(blk->data, 'x', blk->cap);
	blk->used = 40000;
	shared = tni_shared_of_block(blk, blk->data, 40000);
	assert_non_null(shared);
	assert_ptr_equal(shared->from, blk);
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_link(&buf, &shared->blk, shared->blk.data, 40000, true), 0);
	assert_int_equal(tni_buf_append(&buf, "", 0, true), 0);
	assert_int_equal(tni_buf_append(&buf, "yy", 2, false), 0);
	assert_int_equal(blk->used, 40000);
	assert_int_equal(blk->data[40000], 'x');
	tni_buf_clear(&buf);
	assert_int_equal(tni_buf_link(&buf, blk, blk->data, 40000, false), 0);
	assert_int_equal(tni_buf_append(&buf, "yy", 2, false), 0);
	assert_int_equal(blk->data[40000], 'x');
	assert_int_equal(buf.len, 40002);
	tni_buf_clear(&buf);
	tni_blk_unref(blk);
	tni_blk_unref(&shared->blk);
}

/* A second short message behind a shared one takes a small block: there may be thousands of such queues. */
static void test_short_ones_take_little_memory(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_link(&buf, &shared->blk, shared->blk.data, shared->blk.used, false), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(tni_buf_append(&buf, "0123456789", 10, false), 0);
	assert_int_equal(mem.large.nout, 0);
	assert_int_equal(mem.small.nout, 1);
	assert_int_equal(mem.nslices_out, 2);
	tni_buf_clear(&buf);
	tni_blk_unref(&shared->blk);
}

static void test_slice_that_is_all_of_one(void **state)
{
	struct tn_shared *shared = shared_of("hello");
	struct tn_buf buf;

	(void)state;
	tni_buf_init(&buf, &mem, SIZE_MAX);
	assert_int_equal(tni_buf_link(&buf, &shared->blk, shared->blk.data, shared->blk.used, true), 0);
	assert_ptr_equal(tni_shared_of_slice(buf.head), shared);
	tni_buf_consume(&buf, 1);
	assert_null(tni_shared_of_slice(buf.head));
	tni_buf_clear(&buf);
	assert_int_equal(tni_buf_append(&buf, "hello", 5, true), 0);
	assert_null(tni_shared_of_slice(buf.head));
	tni_buf_clear(&buf);
	tni_blk_unref(&shared->blk);
}

/* ---- received bytes ---- */

static void test_most_of_a_block_is_not_copied(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.large);
	struct tn_shared *shared, *again;

	(void)state;
	blk->used = 50000;
	memset(blk->data, 'a', blk->used);
	shared = tni_shared_of_block(blk, blk->data + 4, 49996);
	assert_ptr_equal(shared->blk.data, blk->data + 4);
	assert_int_equal(shared->blk.used, 49996);
	assert_int_equal(mem.large.nout, 0); /* it is no block of the pool any more */
	again = tni_shared_of_block(blk, blk->data + 4, 49996);
	assert_ptr_equal(again->blk.data, blk->data + 4);
	tni_blk_unref(blk);
	tni_blk_unref(&shared->blk);
	assert_int_equal(again->blk.data[49995], 'a');
	tni_blk_unref(&again->blk);
	assert_int_equal(mem.large.nfree, 0);
}

static void test_little_of_a_block_is_copied(void **state)
{
	static const size_t lens[] = {0, 1, 100, 16 * 1024 - 1, TNI_LARGE_CAP / 2 - 1};

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct tni_blk *blk = tni_blk_get(&mem.large);
		struct tn_shared *shared;

		blk->used = blk->cap;
		memset(blk->data, 'a', blk->used);
		shared = tni_shared_of_block(blk, blk->data + 10, lens[i]);
		memset(blk->data, 'b', blk->used);
		tni_blk_unref(blk);
		assert_int_equal(mem.large.nfree, 1);
		assert_int_equal(shared->blk.used, lens[i]);
		for (size_t at = 0; at < lens[i]; at++)
			assert_int_equal(shared->blk.data[at], 'a');
		tni_blk_unref(&shared->blk);
	}
}

static int nback;

static void engine_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	(void)home, (void)blk;
	nback++;
}

/* A buffer of the ring's goes back to it. */
static void test_engines_block_is_copied(void **state)
{
	static unsigned char bytes[32768];
	struct tni_blk_home engine = {.put = engine_put};
	struct tni_blk blk = {.home = &engine, .data = bytes, .cap = sizeof(bytes), .used = sizeof(bytes), .refs = 1};
	struct tn_shared *shared = tni_shared_of_block(&blk, bytes, sizeof(bytes));

	(void)state;
	assert_ptr_not_equal(shared->blk.data, bytes);
	tni_blk_unref(&blk);
	assert_int_equal(nback, 1);
	tni_blk_unref(&shared->blk);
}

/* ---- text ---- */

static void test_utf8(void **state)
{
	struct tn_shared *good = shared_of("gr\xc3\xbc\xc3\x9f dich"), *bad = shared_of("\xc3"), *none = shared_of("");

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(tni_shared_is_utf8(good));
		assert_false(tni_shared_is_utf8(bad));
		assert_true(tni_shared_is_utf8(none));
	}
	tni_blk_unref(&good->blk);
	tni_blk_unref(&bad->blk);
	tni_blk_unref(&none->blk);
}

/* ---- several threads ---- */

#define NTHREADS 4
#define NROUNDS 2000

static void *use(void *arg)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	struct tn_shared *shared = arg;
	struct tni_mem own;
	struct tn_buf buf;

	tni_mem_init(&own);
	tni_buf_init(&buf, &own, SIZE_MAX);
	for (int i = 0; i < NROUNDS; i++) {
		const char *name = names[i % 4];
		struct tni_blk *form = NULL;

		if (tni_shared_form(shared, name, &own, make_framed, (void *)(uintptr_t)name, &form) < 0 ||
		    form->used != shared->blk.used + 1 || form->data[0] != (unsigned char)*name ||
		    !tni_shared_is_utf8(shared) || tni_buf_link(&buf, form, form->data, form->used, false) < 0 ||
		    tni_buf_link(&buf, &shared->blk, shared->blk.data, shared->blk.used, false) < 0)
			abort();
		if (i % 7 == 0)
			tni_buf_clear(&buf);
	}
	tni_blk_unref(&shared->blk); /* the last reference may be any thread's queue's */
	tni_buf_clear(&buf);
	tni_mem_free(&own);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[NTHREADS];

	(void)state;
	for (int round = 0; round < 20; round++) {
		struct tn_shared *shared = shared_of("one for all");

		nmade = 0;
		for (int i = 0; i < NTHREADS; i++) {
			tni_blk_ref(&shared->blk);
			assert_int_equal(pthread_create(&threads[i], NULL, use, shared), 0);
		}
		tni_blk_unref(&shared->blk);
		for (int i = 0; i < NTHREADS; i++)
			pthread_join(threads[i], NULL);
		assert_true(nmade >= 4 && nmade <= 4 * NTHREADS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forms_are_made_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_form_that_cannot_be_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory_for_a_form, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory_for_a_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_outlives_its_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_appended_to_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_ones_take_little_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slice_that_is_all_of_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_most_of_a_block_is_not_copied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_little_of_a_block_is_copied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_engines_block_is_copied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
