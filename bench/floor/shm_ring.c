/*
 * A bare echo through shared memory: two processes, two rings for each connection, both sides spin for ever. No
 * descriptor, no sleep, no check of what the other side writes.
 *
 *     shm_ring CONNS SIZE DEPTH SECONDS WARMUP_SECONDS [CORE,CORE]
 *
 * The echo has the first core, the load the second. Prints rate and latency of the load as JSON.
 */
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING (64 * 1024)

struct ring {
	_Alignas(64) _Atomic(uint64_t) tail;
	_Alignas(64) _Atomic(uint64_t) head;
	_Alignas(64) unsigned char data[RING];
};

/* What each side keeps to itself. */
struct end {
	struct ring *ring;
	uint64_t own, other;
};

struct pair {
	struct ring up, down;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	if (core >= 0 && sched_setaffinity(0, sizeof(set), &set) < 0)
		err(1, "core %d", core);
}

/* At most `max` bytes of what has come. */
static size_t take(struct end *in, unsigned char *out, size_t max)
{
	size_t n, at = in->own % RING, first;

	if (in->other == in->own)
		in->other = atomic_load_explicit(&in->ring->tail, memory_order_acquire);
	n = (size_t)(in->other - in->own);
	n = n < max ? n : max;
	if (!n)
		return 0;
	first = n < RING - at ? n : RING - at;
	memcpy(out, in->ring->data + at, first);
	memcpy(out + first, in->ring->data, n - first);
	in->own += n;
	atomic_store_explicit(&in->ring->head, in->own, memory_order_release);
	return n;
}

/* At most `len` bytes, as far as there is room. */
static size_t put(struct end *out, const unsigned char *data, size_t len)
{
	size_t room = RING - (size_t)(out->own - out->other), at = out->own % RING, first;

	if (room < len) {
		out->other = atomic_load_explicit(&out->ring->head, memory_order_acquire);
		room = RING - (size_t)(out->own - out->other);
	}
	len = len < room ? len : room;
	if (!len)
		return 0;
	first = len < RING - at ? len : RING - at;
	memcpy(out->ring->data + at, data, first);
	memcpy(out->ring->data, data + first, len - first);
	out->own += len;
	atomic_store_explicit(&out->ring->tail, out->own, memory_order_release);
	return len;
}

static void echo(struct pair *pairs, int n)
{
	struct end *in = calloc((size_t)n, sizeof(*in)), *out = calloc((size_t)n, sizeof(*out));
	static unsigned char buf[RING];

	if (!in || !out)
		_exit(1);
	for (int i = 0; i < n; i++) {
		in[i].ring = &pairs[i].up;
		out[i].ring = &pairs[i].down;
	}
	for (;;)
		for (int i = 0; i < n; i++) {
			size_t len = take(&in[i], buf, sizeof(buf));

			for (size_t done = 0; done < len;)
				done += put(&out[i], buf + done, len - done);
		}
}

/* ---- the load ---- */

#define SLICES 4096 /* of 10 ns: beyond is the last one */

struct lane {
	struct end in, out;
	uint64_t sent, got;    /* bytes */
	uint64_t began_ns[64]; /* of the messages in flight */
};

static uint64_t histogram[SLICES];

static uint64_t quantile(uint64_t count, double q)
{
	uint64_t seen = 0;

	for (int i = 0; i < SLICES; i++) {
		seen += histogram[i];
		if ((double)seen >= q * (double)count)
			return (uint64_t)i * 10 + 5;
	}
	return SLICES * 10;
}

static void note(uint64_t ns)
{
	histogram[ns / 10 < SLICES ? ns / 10 : SLICES - 1]++;
}

/* One look at a connection. Returns the messages that have come back. */
static unsigned turn(struct lane *l, const unsigned char *message, size_t size, unsigned depth)
{
	static unsigned char buf[RING];
	uint64_t whole = l->got / size;
	size_t n = take(&l->in, buf, sizeof(buf));
	unsigned done;

	l->got += n;
	done = (unsigned)(l->got / size - whole);
	if (done) {
		uint64_t now = now_ns();

		for (unsigned i = 0; i < done; i++)
			note(now - l->began_ns[(whole + i) % 64]);
	}
	while (l->sent < l->got / size * size + (uint64_t)depth * size) {
		size_t at = (size_t)(l->sent % size);

		if (!at)
			l->began_ns[l->sent / size % 64] = now_ns();
		n = put(&l->out, message + at, size - at);
		if (!n)
			break;
		l->sent += n;
	}
	return done;
}

static void load(struct pair *pairs, int n, size_t size, unsigned depth, double seconds, double warmup)
{
	struct lane *lanes = calloc((size_t)n, sizeof(*lanes));
	unsigned char *message = malloc(size);
	uint64_t count = 0, began = now_ns(), until;

	if (!lanes || !message)
		err(1, "malloc");
	memset(message, 'x', size);
	for (int i = 0; i < n; i++) {
		lanes[i].out.ring = &pairs[i].up;
		lanes[i].in.ring = &pairs[i].down;
	}
	for (until = began + (uint64_t)(warmup * 1e9); now_ns() < until;)
		for (int i = 0; i < n; i++)
			turn(&lanes[i], message, size, depth);
	memset(histogram, 0, sizeof(histogram));
	began = now_ns();
	for (until = began + (uint64_t)(seconds * 1e9); now_ns() < until;)
		for (int k = 0; k < 16; k++)
			for (int i = 0; i < n; i++)
				count += turn(&lanes[i], message, size, depth);
	seconds = (double)(now_ns() - began) / 1e9;
	printf("{\"load\": \"shm_ring\", \"rate\": %.1f, \"messages\": %ju, \"total\": %ju, \"errors\": 0, "
	       "\"lost\": 0, \"bytes_per_second\": %.1f, \"p50_us\": %.3f, \"p99_us\": %.3f}\n",
	       (double)count / seconds, (uintmax_t)count, (uintmax_t)count, (double)count * (double)size / seconds,
	       (double)quantile(count, 0.5) / 1e3, (double)quantile(count, 0.99) / 1e3);
}

int main(int argc, char **argv)
{
	int conns = argc > 1 ? atoi(argv[1]) : 0, cores[2] = {-1, -1};
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned depth = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	struct pair *pairs;
	pid_t child;

	if (argc < 6 || conns < 1 || !size || !depth || depth > 64 ||
	    (argc > 6 && sscanf(argv[6], "%d,%d", cores, cores + 1) != 2))
		errx(2, "usage: shm_ring CONNS SIZE DEPTH(1..64) SECONDS WARMUP_SECONDS [CORE,CORE]");
	pairs = mmap(NULL, (size_t)conns * sizeof(*pairs), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pairs == MAP_FAILED)
		err(1, "mmap");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(cores[0]);
		echo(pairs, conns);
	}
	pin(cores[1]);
	load(pairs, conns, size, depth, atof(argv[4]), atof(argv[5]));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
