/*
 * Rings in shared memory: bytes that go round, an other side that writes nonsense, and the protocol of sleep and wake,
 * of which all orders are gone through.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "shm/memory.h"
#include "shm/ring.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SIZE 4096

struct pair {
	struct tni_ring_shared shared;
	unsigned char data[SIZE];
	struct tni_ring in, out;
};

static struct pair *pair_new(uint64_t size)
{
	struct pair *p = aligned_alloc(64, (sizeof(*p) + 63) / 64 * 64);

	assert_non_null(p);
	memset(p, 0, sizeof(*p));
	tni_ring_init(&p->in, &p->shared, p->data, size);
	tni_ring_init(&p->out, &p->shared, p->data, size);
	return p;
}

static unsigned char byte_at(uint64_t at)
{
	return (unsigned char)(at * 31 + at / 251);
}

/* ---- bytes ---- */

static void test_goes_round(void **state)
{
	struct pair *p = pair_new(SIZE);
	unsigned char buf[SIZE];
	uint64_t sent = 0, got = 0;

	(void)state;
	assert_int_equal(tni_ring_bytes(&p->in), 0);
	assert_int_equal(tni_ring_room(&p->out, SIZE), SIZE);
	for (unsigned i = 0; i < 5000; i++) {
		long room = tni_ring_room(&p->out, SIZE), n = (i * 977) % SIZE, there;

		n = n < room ? n : room;
		for (long k = 0; k < n; k++)
			buf[k] = byte_at(sent + (uint64_t)k);
		tni_ring_put(&p->out, buf, (size_t)n / 2);
		tni_ring_put(&p->out, buf + n / 2, (size_t)(n - n / 2));
		assert_int_equal(tni_ring_bytes(&p->in), (long)(sent - got)); /* nothing before it is shown */
		tni_ring_show(&p->out);
		sent += (uint64_t)n;
		there = tni_ring_bytes(&p->in);
		assert_int_equal(there, (long)(sent - got));
		assert_int_equal(tni_ring_unread(&p->out), (size_t)there);
		assert_int_equal(tni_ring_has_room(&p->out), there != SIZE);
		n = (i * 631) % SIZE;
		n = n < there ? n : there;
		tni_ring_take(&p->in, buf, (size_t)n);
		for (long k = 0; k < n; k++)
			assert_int_equal(buf[k], byte_at(got + (uint64_t)k));
		got += (uint64_t)n;
	}
	assert_true(got > 100 * SIZE);
	free(p);
}

static void test_full_and_empty(void **state)
{
	struct pair *p = pair_new(SIZE);
	unsigned char buf[SIZE] = {0};

	(void)state;
	assert_false(tni_ring_has_news(&p->in));
	assert_false(tni_ring_has_bytes(&p->in));
	tni_ring_put(&p->out, buf, SIZE);
	tni_ring_show(&p->out);
	assert_int_equal(tni_ring_room(&p->out, SIZE), 0);
	assert_false(tni_ring_has_room(&p->out));
	assert_true(tni_ring_has_news(&p->in));
	assert_true(tni_ring_has_bytes(&p->in));
	assert_int_equal(tni_ring_bytes(&p->in), SIZE);
	tni_ring_take(&p->in, buf, 1);
	assert_true(tni_ring_has_room(&p->out));
	assert_int_equal(tni_ring_room(&p->out, 0), 0); /* what was known before is enough */
	assert_int_equal(tni_ring_room(&p->out, 1), 1);
	free(p);
}

/* What was written before an end is read before it. */
static void test_ends(void **state)
{
	struct pair *p = pair_new(SIZE);
	unsigned char buf[8] = "12345678";

	(void)state;
	assert_int_equal(tni_ring_ended(&p->in), 0);
	tni_ring_put(&p->out, buf, 8);
	tni_ring_show(&p->out);
	tni_ring_end(&p->out, TNI_RING_FINISHED);
	tni_ring_end(&p->out, TNI_RING_LEFT);
	assert_int_equal(tni_ring_ended(&p->in), TNI_RING_FINISHED | TNI_RING_LEFT);
	assert_int_equal(tni_ring_bytes(&p->in), 8);
	tni_ring_take(&p->in, buf, 8);
	assert_true(tni_ring_has_news(&p->in)); /* the end */
	assert_false(tni_ring_has_bytes(&p->in));
	free(p);
}

/* ---- an other side that writes what it likes ---- */

static void test_reader_is_lied_to(void **state)
{
	static const uint64_t tails[] = {SIZE + 1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32, 0, 99};
	unsigned char buf[SIZE] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		struct pair *p = pair_new(SIZE);

		tni_ring_put(&p->out, buf, 200);
		tni_ring_show(&p->out);
		tni_ring_take(&p->in, buf, i % 2 && tni_ring_bytes(&p->in) == 200 ? 100 : 0);
		assert_int_equal(tni_ring_bytes(&p->in), i % 2 ? 100 : 200);
		atomic_store(&p->shared.tail, tails[i] == SIZE + 1 ? p->in.own + tails[i] : tails[i]);
		assert_int_equal(tni_ring_bytes(&p->in), -EPROTO);
		free(p);
	}
}

static void test_writer_is_lied_to(void **state)
{
	static const uint64_t heads[] = {201, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32, 0, 99};
	unsigned char buf[SIZE] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct pair *p = pair_new(SIZE);

		tni_ring_put(&p->out, buf, 200);
		tni_ring_show(&p->out);
		assert_int_equal(tni_ring_bytes(&p->in), 200);
		tni_ring_take(&p->in, buf, 100);
		assert_int_equal(tni_ring_room(&p->out, SIZE), SIZE - 100);
		atomic_store(&p->shared.head, heads[i]);
		assert_int_equal(tni_ring_room(&p->out, SIZE), -EPROTO);
		assert_true(tni_ring_unread(&p->out) <= SIZE);
		free(p);
	}
}

/* Its own index is not in the memory: nothing that is written there moves where this side reads or writes. */
static void test_own_index_is_private(void **state)
{
	struct pair *p = pair_new(SIZE);
	unsigned char buf[64] = {0};

	(void)state;
	tni_ring_put(&p->out, buf, 64);
	tni_ring_show(&p->out);
	atomic_store(&p->shared.tail, UINT64_MAX / 2);
	tni_ring_put(&p->out, buf, 64);
	tni_ring_show(&p->out);
	assert_int_equal(atomic_load(&p->shared.tail), 128);
	assert_int_equal(tni_ring_bytes(&p->in), 128);
	tni_ring_take(&p->in, buf, 64);
	atomic_store(&p->shared.head, UINT64_MAX / 2);
	tni_ring_take(&p->in, buf, 64);
	assert_int_equal(atomic_load(&p->shared.head), 128);
	free(p);
}

/* ---- sleep and wake: flags ---- */

static void test_a_wake_is_owed_once(void **state)
{
	struct pair *p = pair_new(SIZE);

	(void)state;
	assert_false(tni_ring_owes_reader(&p->out));
	assert_false(tni_ring_owes_writer(&p->in));
	tni_ring_read_asleep(&p->in);
	assert_false(tni_ring_owes_writer(&p->in));
	assert_true(tni_ring_owes_reader(&p->out));
	assert_false(tni_ring_owes_reader(&p->out));
	assert_true(tni_ring_read_awake(&p->in)); /* one was made */
	tni_ring_write_asleep(&p->out);
	assert_false(tni_ring_write_awake(&p->out)); /* nobody has noticed */
	assert_false(tni_ring_owes_writer(&p->in));
	free(p);
}

/*
 * ---- sleep and wake: all orders ----
 *
 * A writer sends some bytes through a ring with little room, a reader reads them. Each is a small machine whose steps
 * are the accesses to shared memory that ring.c and io/memory.c make, in their order. Every order in which the two can
 * take them is gone through, each state once. Processors may keep a store to themselves while later loads run: each
 * side has a buffer of stores, which reach memory in order, at any time (that is x86's memory; a fence, or a
 * sequentially consistent store, empties it). No state may be reached in which both sides sleep, no wake is on
 * its way, and something is left to be done.
 */
enum { BYTES = 3, ROOM = 1 };

enum step {
	LOOK,      /* is there something to do? */
	WORK,      /* does one byte: moves the index */
	ASK_FLAG,  /* does the other side sleep? */
	TAKE_FLAG, /* it does: exchange */
	WAKE,      /* it was set: a system call */
	SAY,       /* sleeps from now on: the flag */
	AGAIN,     /* looks once more */
	UNSAY,     /* something has come: exchange */
	ASLEEP,    /* waits in the kernel */
	OVER,
};

struct side {
	uint8_t step, own;
	uint8_t flag;   /* what it has stored of its own, and not shown yet: 0: nothing, 1 + value */
	uint8_t index;  /* the same of its index */
	uint8_t signal; /* wakes that the kernel has for it: at most one matters */
};

struct model {
	struct side side[2]; /* the writer, the reader */
	uint8_t tail, head;  /* in memory */
	uint8_t wants[2];    /* whom to wake: the writer, the reader */
};

/* Variations that must fail, so that the search is known to find what it looks for. */
enum mistake { NONE, WEAK_STORES, NO_SECOND_LOOK, FLAG_BEFORE_INDEX };

static enum mistake mistake;

static bool has_work(const struct model *m, int me)
{
	return me ? m->tail != m->side[1].own : m->side[0].own - m->head < ROOM;
}

static bool is_done(const struct model *m, int me)
{
	return m->side[me].own == BYTES;
}

/* A buffered store reaches memory. */
static bool drain(struct model *m, int me)
{
	struct side *s = &m->side[me];

	if (s->index) { /* it was stored first in every case where both are there */
		*(me ? &m->head : &m->tail) = (uint8_t)(s->index - 1);
		s->index = 0;
		return true;
	}
	if (s->flag) {
		m->wants[me] = (uint8_t)(s->flag - 1);
		s->flag = 0;
		return true;
	}
	return false;
}

static void settle(struct model *m, int me)
{
	while (drain(m, me))
		;
}

/* One step of a side. False: it cannot take any now. */
static bool take_step(struct model *m, int me)
{
	struct side *s = &m->side[me];
	uint8_t *other_wants = &m->wants[!me];

	switch ((enum step)s->step) {
	case LOOK:
		if (is_done(m, me))
			s->step = OVER;
		else
			s->step = has_work(m, me) ? WORK : SAY;
		return true;
	case WORK:
		s->own++;
		s->step = ASK_FLAG;
		if (mistake != FLAG_BEFORE_INDEX)
			s->index = (uint8_t)(s->own + 1);
		return true;
	case ASK_FLAG:
		if (mistake != WEAK_STORES)
			settle(m, me);
		s->step = *other_wants ? TAKE_FLAG : LOOK;
		if (mistake == FLAG_BEFORE_INDEX)
			s->index = (uint8_t)(s->own + 1);
		return true;
	case TAKE_FLAG:
		settle(m, me);
		s->step = *other_wants ? WAKE : LOOK;
		*other_wants = 0;
		return true;
	case WAKE:
		m->side[!me].signal = 1;
		s->step = LOOK;
		return true;
	case SAY:
		s->flag = 2;
		if (mistake != WEAK_STORES)
			settle(m, me);
		s->step = mistake == NO_SECOND_LOOK ? ASLEEP : AGAIN;
		return true;
	case AGAIN:
		s->step = has_work(m, me) ? UNSAY : ASLEEP;
		return true;
	case UNSAY:
		settle(m, me);
		m->wants[me] = 0;
		s->step = LOOK;
		return true;
	case ASLEEP:
		settle(m, me); /* a system call */
		if (!s->signal)
			return false;
		s->signal = 0;
		s->step = UNSAY;
		return true;
	default:
		return false;
	}
}

/* A hash table of states that were seen. */
#define STATES (1 << 18)

static struct model *seen;
static unsigned char *used;
static size_t nseen, nstuck, nends;

static bool is_new(const struct model *m)
{
	const unsigned char *bytes = (const unsigned char *)m;
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < sizeof(*m); i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	for (size_t at = hash % STATES;; at = (at + 1) % STATES) {
		if (!used[at]) {
			assert_true(nseen < STATES / 2);
			used[at] = 1;
			seen[at] = *m;
			nseen++;
			return true;
		}
		if (!memcmp(&seen[at], m, sizeof(*m)))
			return false;
	}
}

static void explore(const struct model *m)
{
	bool went_on = false;

	if (!is_new(m))
		return;
	for (int me = 0; me < 2; me++) {
		struct model next = *m;

		if (take_step(&next, me)) {
			went_on = true;
			explore(&next);
		}
		next = *m;
		if (drain(&next, me)) {
			went_on = true;
			explore(&next);
		}
	}
	if (went_on)
		return;
	nends++;
	nstuck += !is_done(m, 0) || !is_done(m, 1);
}

static size_t stuck_with(enum mistake which)
{
	struct model start;

	memset(&start, 0, sizeof(start));
	seen = calloc(STATES, sizeof(*seen));
	used = calloc(STATES, 1);
	assert_true(seen && used);
	nseen = nstuck = nends = 0;
	mistake = which;
	explore(&start);
	free(seen);
	free(used);
	return nstuck;
}

static void test_no_wake_is_lost(void **state)
{
	(void)state;
	assert_int_equal(stuck_with(NONE), 0);
	assert_true(nseen > 500);
	assert_true(nends > 0);
}

static void test_mistakes_are_found(void **state)
{
	(void)state;
	assert_true(stuck_with(WEAK_STORES) > 0);
	assert_true(stuck_with(NO_SECOND_LOOK) > 0);
	assert_true(stuck_with(FLAG_BEFORE_INDEX) > 0);
}

/* ---- sleep and wake: two threads ---- */

#define TALK_BYTES 400000

/* A bell that the kernel would be: a counter and a condition. */
struct bell {
	pthread_mutex_t lock;
	pthread_cond_t rung;
	unsigned count;
};

static struct bell bells[2];

static void ring_bell(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	b->count++;
	pthread_cond_signal(&b->rung);
	pthread_mutex_unlock(&b->lock);
}

static void wait_for_bell(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	while (!b->count)
		pthread_cond_wait(&b->rung, &b->lock);
	b->count = 0;
	pthread_mutex_unlock(&b->lock);
}

static void *write_all(void *arg)
{
	struct pair *p = arg;
	unsigned char buf[64];
	uint64_t sent = 0;

	while (sent < TALK_BYTES) {
		long n = tni_ring_room(&p->out, sizeof(buf));

		if (n == 0) {
			tni_ring_write_asleep(&p->out);
			if (!tni_ring_has_room(&p->out))
				wait_for_bell(&bells[0]);
			(void)tni_ring_write_awake(&p->out);
			continue;
		}
		n = n < (long)sizeof(buf) ? n : (long)sizeof(buf);
		n = n < (long)(TALK_BYTES - sent) ? n : (long)(TALK_BYTES - sent);
		for (long i = 0; i < n; i++)
			buf[i] = byte_at(sent + (uint64_t)i);
		tni_ring_put(&p->out, buf, (size_t)n);
		tni_ring_show(&p->out);
		sent += (uint64_t)n;
		if (tni_ring_owes_reader(&p->out))
			ring_bell(&bells[1]);
	}
	tni_ring_end(&p->out, TNI_RING_FINISHED);
	if (tni_ring_owes_reader(&p->out))
		ring_bell(&bells[1]);
	return NULL;
}

/* For ThreadSanitizer too: nothing orders the bytes but the indices. */
static void test_two_threads(void **state)
{
	struct pair *p = pair_new(256);
	unsigned char buf[256];
	pthread_t writer;
	uint64_t got = 0;
	bool ended = false, wrong = false;

	(void)state;
	for (int i = 0; i < 2; i++)
		bells[i] = (struct bell){.lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER};
	assert_int_equal(pthread_create(&writer, NULL, write_all, p), 0);
	while (!ended) {
		unsigned end = tni_ring_ended(&p->in);
		long n = tni_ring_bytes(&p->in);

		assert_true(n >= 0);
		if (n == 0 && end) {
			ended = true;
			continue;
		}
		if (n == 0) {
			tni_ring_read_asleep(&p->in);
			if (!tni_ring_has_news(&p->in))
				wait_for_bell(&bells[1]);
			(void)tni_ring_read_awake(&p->in);
			continue;
		}
		tni_ring_take(&p->in, buf, (size_t)n);
		if (tni_ring_owes_writer(&p->in))
			ring_bell(&bells[0]);
		for (long i = 0; i < n; i++)
			wrong |= buf[i] != byte_at(got + (uint64_t)i);
		got += (uint64_t)n;
	}
	pthread_join(writer, NULL);
	assert_false(wrong);
	assert_int_equal(got, TALK_BYTES);
	free(p);
}

static long bytes_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks * 512;
}

/* All pages of a ring are there when they were asked for, and gone when they were given back; no others are touched. */
static void test_pages_of_each_ring(void **state)
{
	const struct tni_shm_hello sizes = {.down = 16384, .up = 65536};
	struct tni_shm_memory memory;
	struct tni_ring down, up;
	int fd;

	(void)state;
	if (sysconf(_SC_PAGESIZE) != 4096)
		skip();
	assert_int_equal(tni_shm_memory_make(&memory, &sizes, 1, &fd), 0);
	tni_shm_memory_rings(&memory, false, &down, &up);
	if (madvise(memory.at, 4096, MADV_POPULATE_WRITE) == 0) { /* since Linux 5.14 */
		assert_int_equal(bytes_of(fd), 4096);             /* of the indices */
		assert_int_equal(tni_shm_pages_get(&down), 0);
		assert_int_equal(bytes_of(fd), 4096 + 16384);
		assert_int_equal(tni_shm_pages_get(&up), 0);
		assert_int_equal(bytes_of(fd), 4096 + 16384 + 65536);
		tni_shm_pages_drop(&down);
		assert_int_equal(bytes_of(fd), 4096 + 65536);
		tni_shm_pages_drop(&up);
		assert_int_equal(bytes_of(fd), 4096);
	}
	tni_shm_memory_free(&memory);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_round),
		cmocka_unit_test(test_full_and_empty),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_reader_is_lied_to),
		cmocka_unit_test(test_writer_is_lied_to),
		cmocka_unit_test(test_own_index_is_private),
		cmocka_unit_test(test_a_wake_is_owed_once),
		cmocka_unit_test(test_no_wake_is_lost),
		cmocka_unit_test(test_mistakes_are_found),
		cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_pages_of_each_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
