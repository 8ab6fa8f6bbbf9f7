/*
 * Shared memory, of which the other side writes what it likes: its hello, then the words in front of the rings, between
 * any two steps of ours. Nothing is read or written beyond the rings, and what comes is never more than they hold.
 */
#include "fuzz.h"

#include "shm/hello.h"
#include "shm/ring.h"

#include <errno.h>

#define SIZE 64

struct place {
	struct tni_ring_shared *shared; /* to us, from us */
	unsigned char *in_data, *out_data;
	struct tni_ring in, out;
};

static void fuzz_hello(const uint8_t *data, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1), out[TNI_SHM_HELLO_LEN];
	struct tni_shm_hello hello, again;
	int rc;

	CHECK(copy != NULL);
	if (size)
		memcpy(copy, data, size);
	rc = tni_shm_hello_read(&hello, copy, size);
	CHECK(rc == 0 || rc == -EPROTO);
	if (rc == 0) {
		CHECK(size == TNI_SHM_HELLO_LEN);
		CHECK(hello.up >= TNI_SHM_RING_MIN && hello.up <= TNI_SHM_RING_MAX && !(hello.up & (hello.up - 1)));
		CHECK(tni_shm_size(&hello) == TNI_SHM_RINGS_AT + hello.down + hello.up);
		tni_shm_hello_write(&hello, out);
		CHECK(!memcmp(out, copy, sizeof(out)));
		CHECK(tni_shm_hello_read(&again, out, sizeof(out)) == 0 && again.down == hello.down);
	}
	free(copy);
}

/* One word somewhere in front of the rings. */
static void scribble(struct place *p, unsigned where, uint64_t value)
{
	_Atomic(uint64_t) *words = (_Atomic(uint64_t) *)(void *)p->shared;

	switch (where % 8) {
	case 0:
		atomic_store(&p->shared[0].tail, value);
		break;
	case 1: /* near what is right */
		atomic_store(&p->shared[0].tail, p->in.own + value % (SIZE + 2));
		break;
	case 2:
		atomic_store(&p->shared[1].head, value);
		break;
	case 3:
		atomic_store(&p->shared[1].head, p->out.own - value % (SIZE + 2));
		break;
	default:
		atomic_store(&words[where % (2 * sizeof(*p->shared) / sizeof(*words))], value);
	}
}

/* False: the other side has been caught. */
static bool read_some(struct place *p, size_t len)
{
	unsigned end = tni_ring_ended(&p->in);
	long n = tni_ring_bytes(&p->in);
	unsigned char *out;

	(void)end;
	CHECK(n == -EPROTO || (n >= 0 && n <= SIZE));
	if (n < 0)
		return false;
	len = len < (size_t)n ? len : (size_t)n;
	out = malloc(len ? len : 1);
	CHECK(out != NULL);
	tni_ring_take(&p->in, out, len);
	free(out);
	(void)tni_ring_owes_writer(&p->in);
	return true;
}

static bool write_some(struct place *p, size_t len)
{
	long n = tni_ring_room(&p->out, len);
	unsigned char bytes[SIZE] = {0};

	CHECK(n == -EPROTO || (n >= 0 && n <= SIZE));
	if (n < 0)
		return false;
	len = len < (size_t)n ? len : (size_t)n;
	tni_ring_put(&p->out, bytes, len);
	tni_ring_show(&p->out);
	(void)tni_ring_owes_reader(&p->out);
	CHECK(tni_ring_unread(&p->out) <= SIZE);
	return true;
}

static bool step(struct place *p, uint8_t what, uint8_t arg, uint64_t value)
{
	switch (what % 8) {
	case 0:
	case 1:
		return read_some(p, arg % (SIZE + 1));
	case 2:
	case 3:
		return write_some(p, arg % (SIZE + 1));
	case 4:
		tni_ring_read_asleep(&p->in);
		(void)tni_ring_has_news(&p->in);
		(void)tni_ring_read_awake(&p->in);
		return true;
	case 5:
		tni_ring_write_asleep(&p->out);
		(void)tni_ring_has_room(&p->out);
		(void)tni_ring_write_awake(&p->out);
		return true;
	default:
		scribble(p, arg, value);
		return true;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct place p;

	fuzz_hello(data, size);
	p.shared = aligned_alloc(64, 2 * sizeof(*p.shared));
	p.in_data = calloc(1, SIZE); /* each by itself: what is beyond its end is found */
	p.out_data = calloc(1, SIZE);
	CHECK(p.shared && p.in_data && p.out_data);
	memset(p.shared, 0, 2 * sizeof(*p.shared));
	tni_ring_init(&p.in, &p.shared[0], p.in_data, SIZE);
	tni_ring_init(&p.out, &p.shared[1], p.out_data, SIZE);
	while (size >= 10) {
		uint64_t value;

		memcpy(&value, data + 2, sizeof(value));
		if (!step(&p, data[0], data[1], value))
			break;
		data += 10;
		size -= 10;
	}
	free(p.shared);
	free(p.in_data);
	free(p.out_data);
	return 0;
}
