/*
 * Seeded scripts of traffic, each played on every engine: what happened must be what the script says, and the same
 * everywhere. `differential --seed N` plays one and tells what it does.
 */
#include "../support/frames.h"
#include "world.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct stack stacks[] = {
	{"tcp://", "127.0.0.1:0", RESETS | PORT, 30},
	{"unix:", "%s/s", UNIX, 16},
	{"unix-seqpacket:", "%s/s", UNIX | PACKETS, 8},
	{"udp://", "127.0.0.1:0", DGRAM | PORT, 8},
	{"unix-dgram:", "%s/s", DGRAM | UNIX, 4},
#ifdef TNI_HAVE_TLS
	{"tls://", "127.0.0.1:0", RESETS | PORT | SECURE, 16},
	{"tls+unix:", "%s/s", UNIX | SECURE, 8},
	{"dtls://", "127.0.0.1:0", PACKETS | LOSSY | PORT | SECURE, 4},
#endif
};

static const struct frame frames[] = {
	{"", 0, false, false, 0},
	{"line", 0, true, true, 0},
	{"crlf", 0, true, true, 0},
	{"nul", 0, true, true, 0},
	{"u8", 255, false, true, 0},
	{"u16", 65535, false, true, 0},
	{"u32", 0, false, true, 0},
	{"u32le", 0, false, true, 0},
	{"u64", 0, false, true, 0},
	{"varint", 0, false, true, 0},
	{"netstring", 0, false, true, 0},
	{"fixed:97", 0, false, false, 97},
	{"cobs", 0, false, false, 0},
	{"slip", 0, false, false, 0},
	{"head:offset=3,size=4,header=9", 0, false, true, 0},
	{"head:size=varint,adjust=-300", 0, false, true, 0},
	{"until:1234", 0, true, true, 0},
	{"own-u32", 0, false, true, 0},
	{"own-sum", 255, false, true, 0},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define ENGINES_MAX 8
#define FAILURES_MAX 10

static const char *engines[ENGINES_MAX] = {"epoll", "uring", "sim", "fault:epoll", "fault:uring"};
static int nengines = 5;

static const struct stack *draw_stack(struct world *w)
{
	unsigned all = 0, at;

	for (size_t i = 0; i < COUNT(stacks); i++)
		all += stacks[i].weight;
	at = (unsigned)below(w, all);
	for (size_t i = 0;; i++) {
		if (at < stacks[i].weight)
			return &stacks[i];
		at -= stacks[i].weight;
	}
}

static void draw_script(struct world *w)
{
	unsigned kind = (unsigned)below(w, 100);

	w->stack = draw_stack(w);
	w->frame = &frames[0];
	if (!(w->stack->traits & (DGRAM | PACKETS)) && one_in(w, 2) && kind >= 10)
		w->frame = &frames[1 + below(w, COUNT(frames) - 1)];
	w->framed = w->stack->traits & (DGRAM | PACKETS) || *w->frame->name;
	trace(w, "%s, frame %s", w->stack->scheme, *w->frame->name ? w->frame->name : "none");
	if (!world_open(w))
		return;
	if (kind < 7)
		play_trouble(w);
	else if (kind < 10)
		play_helpers(w);
	else if (w->stack->traits & DGRAM)
		play_datagrams(w);
	else
		play_traffic(w);
	world_end(w);
}

/* ---- before and after each ---- */

static char if_it_hangs[128];

static void hanging(int sig)
{
	ssize_t unused = write(STDERR_FILENO, if_it_hangs, strlen(if_it_hangs));

	(void)unused;
	(void)sig;
	abort();
}

static void play(struct world *w, const char *engine, uint64_t seed, bool told)
{
	int fds = seeded_entries("/proc/self/fd"), files = seeded_entries(world_dir);
	char name[64];

	memset(w, 0, sizeof(*w));
	w->engine = seeded_engine(engine, seed, name, sizeof(name));
	w->seed = w->random = seed;
	w->trace = told;
	snprintf(if_it_hangs, sizeof(if_it_hangs), "seed %ju on %s: a call does not return\n", (uintmax_t)seed, engine);
	alarm(120);
	draw_script(w);
	alarm(0);
	if (seeded_entries("/proc/self/fd") != fds)
		wrong(w, "descriptors: %d before, %d after", fds, seeded_entries("/proc/self/fd"));
	if (seeded_entries(world_dir) != files)
		wrong(w, "a socket file is left behind");
	w->engine = engine;
}

static void print_account(const struct world *w)
{
	printf("%s:\n%s", w->engine, w->account);
	if (*w->wrong)
		printf("WRONG: %s\n", w->wrong);
}

/* Whether all went as it should. */
static bool play_seed(uint64_t seed, bool told)
{
	static struct world worlds[ENGINES_MAX];
	bool good = true;

	for (int i = 0; i < nengines; i++) {
		bool same;

		play(&worlds[i], engines[i], seed, told);
		same = worlds[0].filled || worlds[i].filled || !strcmp(worlds[0].account, worlds[i].account);
		if (*worlds[i].wrong)
			printf("seed %ju on %s: %s\n", (uintmax_t)seed, engines[i], worlds[i].wrong);
		else if (!same)
			printf("seed %ju: %s and %s differ\n", (uintmax_t)seed, engines[0], engines[i]);
		if (!same && !told) {
			print_account(&worlds[0]);
			print_account(&worlds[i]);
		}
		good = good && same && !*worlds[i].wrong;
	}
	if (told)
		print_account(&worlds[0]);
	return good;
}

/* ---- all of them ---- */

static void choose_engines(char **names, int n)
{
	int all = n ? n : nengines;

	nengines = 0;
	for (int i = 0; i < all && nengines < ENGINES_MAX; i++) {
		const char *name = n ? names[i] : engines[i];

		if (!seeded_engine_is_refused(name))
			engines[nengines++] = name;
	}
}

static int play_many(uint64_t from, uint64_t n)
{
	uint64_t start = seeded_now_ms(), seed;
	int failed = 0;

	for (seed = from; seed < from + n && failed < FAILURES_MAX; seed++)
		failed += !play_seed(seed, false);
	printf("%ju scripts from %ju on, %d engines: %d failed, %.1f s\n", (uintmax_t)(seed - from), (uintmax_t)from,
	       nengines, failed, (double)(seeded_now_ms() - start) / 1000);
	return failed != 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
						{"from", required_argument, NULL, 'f'},
						{"scripts", required_argument, NULL, 'n'},
						{NULL, 0, NULL, 0}};
	uint64_t from = 1, n = 10000;
	bool one = false;
	int c, failed;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?') {
			fprintf(stderr, "usage: differential [--seed N | --from N --scripts N] [ENGINE...]\n");
			return 2;
		}
		one = one || c == 's';
		*(c == 'n' ? &n : &from) = strtoull(optarg, NULL, 10);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	choose_engines(argv + optind, argc - optind);
	if (support_frames() < 0)
		return 2;
	/* Behind the first allocation: LeakSanitizer, when loaded before the program, has no signal(2) until then */
	signal(SIGALRM, hanging);
	signal(SIGPIPE, SIG_DFL);
	seeded_make_dir("diff", world_dir, sizeof(world_dir));
	failed = one ? !play_seed(from, true) : play_many(from, n);
	seeded_remove_dir(world_dir);
	return failed;
}
