#include "faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "chaos/script.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/settings.h"
#include "common/status.h"
#include "tenon.h"

#define FULL_NS NS_PER_MS /* a side that takes no more is looked at again */
#define LINE_MAX_ 4096

static struct {
	const char *texts[CHAOS_SPECS_MAX];
	int ntexts;
	const char *script;
	struct chaos_script timed;
	int at; /* the step that comes next */
	struct tn_timer *timer;
	uint64_t started_ns;
	struct faults_source source;
} all;

struct faults {
	struct tn_loop *loop;
	struct tn_timer *timer;
	struct faults_source *source;
	const struct faults_hooks *hooks;
	void *session;
	struct chaos_pipe pipes[2];
	bool held[2];
	bool running, over;
};

/* ---- what is given ---- */

const char *faults_add(const char *value, void *to)
{
	(void)to;
	if (all.ntexts == CHAOS_SPECS_MAX)
		return "is one too many";
	all.texts[all.ntexts++] = value;
	return NULL;
}

const char *faults_set_script(const char *value, void *to)
{
	(void)to;
	all.script = value;
	return NULL;
}

struct faults_source *faults_given(void)
{
	return all.ntexts || all.script ? &all.source : NULL;
}

static void seed_set(struct chaos_set *set, uint64_t seed)
{
	for (int i = 0; i < set->count; i++)
		if (!set->specs[i].has_seed)
			set->specs[i].seed = seed;
}

static bool has_seeds(const struct chaos_set *set)
{
	bool has = true;

	for (int i = 0; i < set->count; i++)
		has &= set->specs[i].has_seed;
	return has;
}

static int bad_line(unsigned line, size_t at, const char *why)
{
	complain("%s:%u: byte %zu: %s", all.script, line, at, why);
	return STATUS_USAGE;
}

static int read_line(const char *text, unsigned number)
{
	struct chaos_line line;
	size_t at;
	const char *why = chaos_line_read(text, &line, &at);

	if (!why)
		why = chaos_script_add(&all.timed, &line, &at);
	return why ? bad_line(number, at, why) : STATUS_DONE;
}

static int read_script(void)
{
	FILE *file = fopen(all.script, "re");
	char line[LINE_MAX_];
	int status = STATUS_DONE;
	unsigned number = 0;

	if (!file) {
		complain("%s: %s", all.script, tn_strerror(-errno));
		return STATUS_USAGE;
	}
	while (status == STATUS_DONE && fgets(line, sizeof(line), file)) {
		size_t len = strcspn(line, "\r\n");

		number++;
		if (!line[len] && len == sizeof(line) - 1)
			status = bad_line(number, len, "the line is too long");
		else if (!line[len] && !feof(file))
			status = bad_line(number, len, "a zero byte is no text");
		line[len] = '\0';
		if (status == STATUS_DONE)
			status = read_line(line, number);
	}
	if (status == STATUS_DONE && ferror(file)) {
		complain("%s: %s", all.script, tn_strerror(-errno));
		status = STATUS_USAGE;
	} else if (status == STATUS_DONE && !all.timed.nsteps) {
		complain("%s: it holds no line (0s latency=5ms)", all.script);
		status = STATUS_USAGE;
	}
	fclose(file);
	return status;
}

static int read_texts(void)
{
	for (int i = 0; i < all.ntexts; i++) {
		size_t at = 0;
		const char *why = chaos_parse(all.texts[i], &all.timed.base.specs[i], &at);

		if (why) {
			complain("relay: --chaos '%s': byte %zu: %s", all.texts[i], at, why);
			return STATUS_USAGE;
		}
		all.timed.base.count++;
	}
	return STATUS_DONE;
}

int faults_read(void)
{
	uint64_t seed = clock_utc_ns();
	bool seeded;
	int status = read_texts();

	if (status == STATUS_DONE && all.script)
		status = read_script();
	if (status != STATUS_DONE || !faults_given())
		return status;
	(void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
	seed &= UINT32_MAX; /* it is read aloud */
	seeded = has_seeds(&all.timed.base);
	seed_set(&all.timed.base, seed);
	for (int i = 0; i < all.timed.nsteps; i++) {
		seeded &= has_seeds(&all.timed.steps[i].set);
		seed_set(&all.timed.steps[i].set, seed);
	}
	if (!seeded && !settings.quiet)
		complain("chaos: seed=%llu would repeat this run", (unsigned long long)seed);
	all.source.scripted = all.timed.nsteps > 0;
	atomic_store(&all.source.set, &all.timed.base);
	return STATUS_DONE;
}

static int check_set(const struct chaos_set *set, const char *url, enum chaos_carries carries)
{
	static const char *const names[] = {"a stream of bytes", "messages", "datagrams"};

	for (int i = 0; i < set->count; i++) {
		const char *key = chaos_unfit(&set->specs[i], carries);

		if (!key)
			continue;
		complain("relay: --chaos: %s has no effect on %s, which carries %s", key, url, names[carries]);
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

int faults_check(const char *url, enum chaos_carries carries)
{
	int status = check_set(&all.timed.base, url, carries);

	for (int i = 0; i < all.timed.nsteps && status == STATUS_DONE; i++)
		status = check_set(&all.timed.steps[i].set, url, carries);
	return status;
}

/* ---- the script ---- */

static void next_step(void *arg)
{
	uint64_t now = clock_ns() - all.started_ns;

	(void)arg;
	while (all.at < all.timed.nsteps && all.timed.steps[all.at].at_ns <= now) {
		const struct chaos_step *step = &all.timed.steps[all.at++];

		atomic_store(&all.source.set, &step->set);
		if (!step->repeats)
			continue;
		all.started_ns += step->at_ns;
		now = 0;
		all.at = 0;
		atomic_store(&all.source.set, &all.timed.base);
	}
	if (all.at < all.timed.nsteps)
		tn_timer_again(all.timer, all.timed.steps[all.at].at_ns - now, 0);
}

int faults_start(struct tn_loop *loop)
{
	int err;

	if (!all.timed.nsteps)
		return STATUS_DONE;
	all.started_ns = clock_ns();
	err = tn_timer_repeat(loop, UINT64_MAX, 0, next_step, NULL, &all.timer);
	if (err < 0)
		return complain_library(err, NULL);
	next_step(NULL);
	return STATUS_DONE;
}

void faults_stop(void)
{
	tn_timer_stop(all.timer);
	all.timer = NULL;
}

void faults_free(void)
{
	chaos_script_free(&all.timed);
}

/* ---- a session ---- */

static void set_hold(struct faults *f, int direction)
{
	bool hold = chaos_is_full(&f->pipes[direction]);

	if (hold == f->held[direction])
		return;
	f->held[direction] = hold;
	f->hooks->hold(f->session, direction, hold);
}

static void do_item(struct faults *f, int direction, const struct chaos_item *item)
{
	struct tn_msg msg = {.data = item->data, .len = item->len, .kind = (enum tn_msg_kind)item->kind};

	switch (item->what) {
	case CHAOS_DATA:
		f->hooks->pass(f->session, direction, &msg);
		break;
	case CHAOS_END:
		f->hooks->end(f->session, direction);
		break;
	case CHAOS_CLOSE:
		f->hooks->close(f->session);
		break;
	case CHAOS_RESET:
		f->hooks->reset(f->session);
		break;
	}
}

/* What a direction has to do now. Returns when it has to be looked at again. */
static uint64_t run_direction(struct faults *f, int direction)
{
	struct chaos_pipe *pipe = &f->pipes[direction];
	uint64_t now = tn_loop_now(f->loop);
	struct chaos_item *item;

	while (!f->over && chaos_due(pipe) <= now) {
		if (chaos_is_data(pipe, now) && f->hooks->full(f->session, direction))
			return now + FULL_NS;
		item = chaos_take(pipe, now);
		if (item)
			do_item(f, direction, item);
		free(item);
	}
	if (!f->over)
		set_hold(f, direction);
	return chaos_due(pipe);
}

static void faults_delete(struct faults *f)
{
	tn_timer_stop(f->timer);
	chaos_pipe_free(&f->pipes[CHAOS_UP]);
	chaos_pipe_free(&f->pipes[CHAOS_DOWN]);
	free(f);
}

/* Both sides have ended, at least one of them unheard: nothing else would end the session. */
static bool nobody_ends(const struct faults *f)
{
	const struct chaos_pipe *up = &f->pipes[CHAOS_UP], *down = &f->pipes[CHAOS_DOWN];

	return up->over && down->over && (up->unheard || down->unheard);
}

static void run(void *arg)
{
	struct faults *f = arg;
	uint64_t now = tn_loop_now(f->loop), up, down, due;

	if (f->running)
		return;
	f->running = true;
	up = run_direction(f, CHAOS_UP);
	down = f->over ? UINT64_MAX : run_direction(f, CHAOS_DOWN);
	due = up < down ? up : down;
	if (!f->over && due == CHAOS_NEVER && nobody_ends(f))
		f->hooks->close(f->session);
	f->running = false;
	if (f->over)
		faults_delete(f);
	else
		tn_timer_again(f->timer, due == CHAOS_NEVER ? UINT64_MAX : due > now ? due - now : 1, 0);
}

/*
 * Not at once: that is inside on_msg of one of the two connections, and what is due for this one, too, would be taken
 * for its answers. A connection that answers faster than its peer reads is not read from (tn_callbacks), so with a
 * server that echoes each side would wait for the other.
 */
static void run_soon(struct faults *f)
{
	tn_timer_again(f->timer, 1, 0);
}

struct faults *faults_begin(struct faults_source *source, struct tn_loop *loop, enum chaos_carries carries,
			    const struct faults_hooks *hooks, void *session)
{
	struct faults *f = calloc(1, sizeof(*f));
	const struct chaos_set *set = atomic_load(&source->set);
	uint64_t number, now = tn_loop_now(loop);

	if (!f || tn_timer_repeat(loop, UINT64_MAX, 0, run, f, &f->timer) < 0) {
		free(f);
		return NULL;
	}
	number = atomic_fetch_add(&source->sessions, 1);
	f->source = source;
	f->loop = loop;
	f->hooks = hooks;
	f->session = session;
	for (int i = 0; i < 2; i++)
		chaos_pipe_begin(&f->pipes[i], set, number, i, carries, now);
	tn_timer_again(f->timer, 1, 0); /* it may have to end, whatever comes */
	return f;
}

bool faults_hold(const struct faults *f, int direction)
{
	return f && f->held[direction];
}

bool faults_wait(const struct faults *f)
{
	return f && (f->pipes[CHAOS_UP].bytes || f->pipes[CHAOS_DOWN].bytes);
}

bool faults_refuse(const struct faults *f)
{
	return chaos_refuses(f->pipes[0].set, f->pipes[0].active);
}

/* Another set may be in force by now. */
static struct chaos_pipe *pipe_now(struct faults *f, int direction)
{
	const struct chaos_set *set = atomic_load(&f->source->set);

	for (int i = 0; i < 2 && f->pipes[i].set != set; i++)
		chaos_pipe_change(&f->pipes[i], set, tn_loop_now(f->loop));
	return &f->pipes[direction];
}

void faults_put(struct faults *f, int direction, const struct tn_msg *msg)
{
	struct chaos_pipe *pipe = pipe_now(f, direction);

	if (pipe->carries == CHAOS_DATAGRAMS && chaos_is_full(pipe)) { /* a queue on the way is full */
		pipe->counts.lost++;
		return;
	}
	if (chaos_put(pipe, msg->data, msg->len, (uint8_t)msg->kind, tn_loop_now(f->loop)) < 0)
		f->hooks->reset(f->session);
	else
		run_soon(f);
}

void faults_put_end(struct faults *f, int direction)
{
	struct chaos_pipe *pipe = pipe_now(f, direction);

	if (chaos_end(pipe, tn_loop_now(f->loop)) < 0)
		f->hooks->reset(f->session);
	else
		run_soon(f);
}

void faults_look(struct faults *f)
{
	(void)pipe_now(f, CHAOS_UP);
	run_soon(f);
}

struct chaos_counts faults_counts(const struct faults *f)
{
	const struct chaos_counts *up = &f->pipes[CHAOS_UP].counts, *down = &f->pipes[CHAOS_DOWN].counts;

	return (struct chaos_counts){up->lost + down->lost, up->duplicated + down->duplicated,
				     up->reordered + down->reordered, up->corrupted + down->corrupted};
}

void faults_over(struct faults *f)
{
	if (!f)
		return;
	f->over = true;
	if (!f->running)
		faults_delete(f);
}
