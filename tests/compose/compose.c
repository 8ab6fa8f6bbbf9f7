/*
 * Seeded scenarios on every engine. `compose --seed N` plays one and tells what it does; a failure is made smaller, and
 * the command that replays what is left is printed.
 *
 * Scenarios are played in a child process, so that one that crashes or hangs is a failure like others.
 */
#include "compose.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENGINES_MAX 8
#ifndef FAILURES_MAX
#define FAILURES_MAX 10
#endif
#ifndef PATIENCE_MS
#define PATIENCE_MS 20000
#endif
#define STUCK_MS 60000        /* and then a call of the library does not return */
#define SMALLER_MS 60000      /* for making a failure smaller */
#define SMALLER_PATIENCE 4000 /* of each trial, if the failure is not that it hangs for longer */

static const char *engines[ENGINES_MAX] = {"uring", "epoll", "sim", "fault:epoll"};
static int nengines = 4;
static char dir[64];
static const char *program;

struct verdict {
	uint64_t seed;
	bool played;
	char wrong[1024]; /* empty: all was well */
};

/* ---- a child that plays ---- */

struct child {
	pid_t pid;
	int fd;
};

static void play(const char *engine, uint64_t seed, const struct cuts *cuts, bool told, uint64_t patience_ms, int fd)
{
	static struct plan plan;
	static struct verdict v;
	char name[64];

	plan_draw(&plan, seed, cuts);
	seeded_engine(engine, seed, name, sizeof(name));
	world_play(&plan, name, dir, told, patience_ms);
	v = (struct verdict){.seed = seed, .played = true};
	snprintf(v.wrong, sizeof(v.wrong), "%s", world.wrong);
	if (write(fd, &v, sizeof(v)) != sizeof(v))
		_exit(2);
	if (*v.wrong) {
		fflush(stdout);
		_exit(1);
	}
}

/* Plays scenarios up to the first that fails. It ends by exit(), which looks for leaks under sanitizers. */
static struct child start(const char *engine, uint64_t from, uint64_t n, const struct cuts *cuts, bool told,
			  uint64_t patience_ms)
{
	struct child c;
	int pair[2];

	fflush(stdout);
	if (pipe(pair) < 0 || (c.pid = fork()) < 0)
		abort();
	c.fd = pair[0];
	if (c.pid) {
		close(pair[1]);
		return c;
	}
	close(pair[0]);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* what hangs does not outlive who waits for it */
	for (uint64_t seed = from; seed < from + n; seed++)
		play(engine, seed, cuts, told, patience_ms, pair[1]);
	exit(0);
}

static void end(struct child *c, struct verdict *v)
{
	int status;

	close(c->fd);
	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	if (v->played && *v->wrong)
		return;
	if (WIFSIGNALED(status))
		snprintf(v->wrong, sizeof(v->wrong), "%s (signal %d)",
			 WTERMSIG(status) == SIGKILL ? "hangs: a call does not return" : "crashes", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		snprintf(v->wrong, sizeof(v->wrong), "ends with status %d", WEXITSTATUS(status));
}

/* Reads the next verdict; false: there is none. */
static bool next(struct child *c, struct verdict *v, uint64_t stuck_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int rc;

	while ((rc = poll(&p, 1, (int)((double)stuck_ms * seeded_load()))) < 0 && errno == EINTR)
		;
	if (rc == 0)
		kill(c->pid, SIGKILL);
	return rc > 0 && read(c->fd, v, sizeof(*v)) == sizeof(*v);
}

/* One scenario, in a child of its own. Whether it fails, and how. */
static bool fails(const char *engine, uint64_t seed, const struct cuts *cuts, bool told, uint64_t patience_ms,
		  struct verdict *v)
{
	struct child c = start(engine, seed, 1, cuts, told, patience_ms);

	*v = (struct verdict){.seed = seed};
	(void)!next(&c, v, patience_ms + STUCK_MS / 4);
	end(&c, v);
	return *v->wrong;
}

/* ---- a smaller one ---- */

static void quietly(int on)
{
	static int out = -1, err = -1;

	fflush(stdout);
	if (on) {
		out = dup(STDOUT_FILENO);
		err = dup(STDERR_FILENO);
		if (!freopen("/dev/null", "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
			abort();
		return;
	}
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	close(out);
	close(err);
}

/* The word that the failure is known by: another failure is none of this one's smaller ones. */
static bool is_alike(const struct verdict *a, const struct verdict *b)
{
	const char *of_a = strchr(a->wrong, ':'), *of_b = strchr(b->wrong, ':');

	if (!of_a || !of_b)
		return !of_a == !of_b;
	return !strncmp(of_a, of_b, 12);
}

static bool fails_alike(const char *engine, const struct verdict *v, const struct cuts *cuts, uint64_t patience_ms,
			unsigned times)
{
	struct verdict smaller;

	while (times--)
		if (fails(engine, v->seed, cuts, false, patience_ms, &smaller) && is_alike(v, &smaller))
			return true;
	return false;
}

/* Takes away one part after the other, for as long as it fails without. One that fails now and then is tried again. */
static bool make_smaller(const char *engine, const struct verdict *v, struct cuts *cuts)
{
	uint64_t end_ms = seeded_now_ms() + SMALLER_MS;
	unsigned often = 0, times;
	bool changed = true;

	for (unsigned i = 0; i < 6; i++)
		often += fails_alike(engine, v, cuts, PATIENCE_MS / 2, 1);
	if (!often)
		return false;
	times = often == 6 ? 1 : often > 2 ? 3 : 8;
	while (changed && seeded_now_ms() < end_ms) {
		changed = false;
		for (unsigned i = 0; i < CUTS_MAX && seeded_now_ms() < end_ms; i++) {
			static struct plan before, after;

			if (cuts->cut[i])
				continue;
			plan_draw(&before, v->seed, cuts);
			cuts->cut[i] = true;
			plan_draw(&after, v->seed, cuts);
			if (plan_same(&before, &after) || !fails_alike(engine, v, cuts, SMALLER_PATIENCE, times))
				cuts->cut[i] = false;
			else
				changed = true;
		}
	}
	return true;
}

static void print_replay(const char *engine, uint64_t seed, const struct cuts *cuts)
{
	char name[64];
	bool any = false;

	printf("replay: %s --seed %ju", program, (uintmax_t)seed);
	for (unsigned i = 0; i < CUTS_MAX; i++)
		if (cuts->cut[i]) {
			printf("%s%u", any ? "," : " --cut ", i);
			any = true;
		}
	printf(" %s\n", seeded_engine(engine, seed, name, sizeof(name)));
}

static void report(const char *engine, const struct verdict *v, const struct cuts *given, bool smaller)
{
	struct cuts cuts = *given;
	static struct plan plan;
	bool again;

	printf("seed %ju on %s: %s\n", (uintmax_t)v->seed, engine, v->wrong);
	if (!smaller)
		return;
	quietly(true);
	again = make_smaller(engine, v, &cuts);
	quietly(false);
	if (!again) {
		cuts = *given;
		printf("six more times it did not fail\n");
	}
	plan_draw(&plan, v->seed, &cuts);
	plan_print(&plan);
	print_replay(engine, v->seed, &cuts);
}

/* ---- all ---- */

static int play_many(const char *engine, uint64_t from, uint64_t n, bool smaller)
{
	static const struct cuts none;
	uint64_t start_ms = seeded_now_ms(), seed = from;
	int failed = 0;

	while (seed < from + n && failed < FAILURES_MAX) {
		struct child c = start(engine, seed, from + n - seed, &none, false, PATIENCE_MS);
		struct verdict v = {0};

		while (next(&c, &v, PATIENCE_MS + STUCK_MS) && !*v.wrong) {
			seed++;
			v = (struct verdict){0};
		}
		v.seed = seed;
		end(&c, &v);
		if (!*v.wrong)
			break;
		report(engine, &v, &none, smaller);
		failed++;
		seed++;
	}
	printf("%s: %ju scenarios from %ju on, %d failed, %.1f s\n", engine, (uintmax_t)(seed - from), (uintmax_t)from,
	       failed, (double)(seeded_now_ms() - start_ms) / 1000);
	return failed;
}

static int play_one(const char *engine, uint64_t seed, const struct cuts *cuts)
{
	static struct plan plan;
	struct verdict v;
	bool failed;

	plan_draw(&plan, seed, cuts);
	printf("seed %ju on %s:\n", (uintmax_t)seed, engine);
	plan_print(&plan);
	failed = fails(engine, seed, cuts, true, PATIENCE_MS, &v);
	printf(failed ? "WRONG: %s\n" : "all is well\n", v.wrong);
	return failed;
}

static void read_cuts(char *text, struct cuts *cuts)
{
	for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
		unsigned long cut = strtoul(word, NULL, 10);

		if (cut < CUTS_MAX)
			cuts->cut[cut] = true;
	}
}

static int choose_engines(char **names, int n)
{
	int all = n ? n : nengines, chosen = 0;

	for (int i = 0; i < all && chosen < ENGINES_MAX; i++) {
		const char *name = n ? names[i] : engines[i];

		if (!seeded_engine_is_refused(name))
			engines[chosen++] = name;
	}
	return chosen;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: compose [--seed N [--cut N,N...] | --from N --scripts N] [--whole] [ENGINE...]\n"
		"--whole: a failure is not made smaller. Engines: uring, epoll, sim[:SEED], fault:epoll[:SEED]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},    {"from", required_argument, NULL, 'f'},
		{"scripts", required_argument, NULL, 'n'}, {"cut", required_argument, NULL, 'c'},
		{"whole", no_argument, NULL, 'w'},         {NULL, 0, NULL, 0}};
	static struct cuts cuts;
	uint64_t from = 1, n = 2000;
	bool one = false, smaller = true;
	int c, failed = 0;

	program = argv[0];
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return usage();
		if (c == 'c')
			read_cuts(optarg, &cuts);
		else if (c == 'w')
			smaller = false;
		else
			*(c == 'n' ? &n : &from) = strtoull(optarg, NULL, 10);
		one = one || c == 's';
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	nengines = choose_engines(argv + optind, argc - optind);
	if (!nengines)
		return 77;
	plan_probe();
	seeded_make_dir("compose", dir, sizeof(dir));
	for (int i = 0; i < nengines; i++)
		failed += one ? play_one(engines[i], from, &cuts) : play_many(engines[i], from, n, smaller);
	seeded_remove_dir(dir);
	return failed != 0;
}
