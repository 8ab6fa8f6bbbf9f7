#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"
#include "options.h"
#include "output.h"
#include "signals.h"
#include "status.h"
#include "tenon.h"

#define KEEP_MS 3600000 /* how often a loop with nothing else to do wakes up */

struct worker {
	struct tn_timer *keep;
	pthread_t thread;
	int err;
};

static struct {
	struct tn_loop *loops[WORKERS_MAX]; /* NULL: freed */
	struct worker *list;
	int count;
	const struct workers_hooks *hooks;
	void (*drain)(void);
	bool hurried;         /* by a second signal */
	pthread_mutex_t lock; /* held while another thread's loop is told something, or taken away to be freed */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *workers_set_count(const char *value, void *to)
{
	cpu_set_t set;
	const char *why = NULL;

	if (strcmp(value, "auto") != 0)
		why = option_set_number(value, to);
	else if (sched_getaffinity(0, sizeof(set), &set) == 0)
		*(unsigned *)to = (unsigned)CPU_COUNT(&set);
	if (!why && *(unsigned *)to > WORKERS_MAX)
		why = "is out of range (1 to 1024, or auto)";
	return why;
}

int workers_new(unsigned count)
{
	int err = 0;

	state.list = calloc(count, sizeof(*state.list));
	if (!state.list) {
		complain("out of memory");
		return -ENOMEM;
	}
	while (err >= 0 && state.count < (int)count) {
		err = options_loop_new(&state.loops[state.count], NULL);
		state.count += err >= 0;
	}
	return err < 0 ? err : 0;
}

struct tn_loop *const *workers_loops(void)
{
	return state.loops;
}

int workers_count(void)
{
	return state.count;
}

void workers_stop(void)
{
	pthread_mutex_lock(&state.lock);
	for (int i = 0; i < state.count; i++)
		if (state.loops[i])
			tn_loop_stop(state.loops[i]);
	pthread_mutex_unlock(&state.lock);
}

static void on_signal(int nth, void *arg)
{
	(void)arg;
	if (nth == 1) {
		state.drain();
		return;
	}
	state.hurried = true;
	workers_stop();
}

int workers_end_on_signals(void (*drain)(void))
{
	state.drain = drain;
	return signals_start(state.loops[0], on_signal, NULL);
}

bool workers_were_hurried(void)
{
	return state.hurried;
}

bool workers_post_to(int index, void (*fn)(void *arg), void *arg)
{
	bool posted;

	pthread_mutex_lock(&state.lock);
	posted = state.loops[index] && tn_loop_post(state.loops[index], fn, arg) == 0;
	pthread_mutex_unlock(&state.lock);
	return posted;
}

bool workers_post(void (*fn)(void *arg), void *arg)
{
	return workers_post_to(0, fn, arg);
}

/* A loop without a listener of its own (Unix sockets have one for all loops) must not end because it has no work. */
static void keep(void *arg)
{
	struct worker *worker = arg;

	worker->keep = NULL;
	if (tn_timer_start(state.loops[worker - state.list], KEEP_MS, keep, worker, &worker->keep) < 0) {
		complain("%s", tn_errmsg());
		workers_stop();
	}
}

static void loop_free(int index)
{
	struct tn_loop *loop = state.loops[index];

	pthread_mutex_lock(&state.lock);
	state.loops[index] = NULL;
	pthread_mutex_unlock(&state.lock);
	tn_loop_free(loop);
}

static void *run(void *arg)
{
	struct worker *worker = arg;
	int index = (int)(worker - state.list);

	keep(worker);
	if (state.hooks->begin)
		state.hooks->begin(index);
	worker->err = tn_loop_run(state.loops[index]);
	tn_timer_stop(worker->keep);
	/* A loop that cannot wait for events any more cannot serve its clients: then the others end too. */
	if (worker->err < 0) {
		complain("%s", tn_errmsg());
		workers_stop();
	}
	for (int i = 1; index == 0 && i < state.count; i++)
		pthread_join(state.list[i].thread, NULL);
	if (state.hooks->end)
		state.hooks->end(index);
	loop_free(index);
	if (state.hooks->over)
		state.hooks->over();
	return NULL;
}

static void forget(void)
{
	free(state.list);
	state.list = NULL;
}

int workers_run(const struct workers_hooks *hooks)
{
	int result = 0;

	state.hooks = hooks;
	for (int i = 1; i < state.count; i++) {
		int err = pthread_create(&state.list[i].thread, NULL, run, &state.list[i]);

		if (err) {
			complain("thread: %s", tn_strerror(-err));
			_exit(STATUS_FAILED); /* loops that no thread has run cannot be freed */
		}
	}
	run(&state.list[0]);
	for (int i = 0; i < state.count; i++)
		if (state.list[i].err < 0)
			result = state.list[i].err;
	forget();
	return result;
}

void workers_free(void)
{
	for (int i = state.count - 1; i >= 0; i--)
		loop_free(i);
	forget();
}

/* ---- who reads the events ---- */

static void (*end_all)(void);

static void reader_gone(void *arg)
{
	(void)arg;
	end_all();
}

/* Called from the thread that writes the events, at any time. Without memory to post this, all ends without delay. */
static void output_lost(void *arg)
{
	(void)arg;
	if (!workers_post(reader_gone, NULL))
		workers_stop();
}

void workers_watch_reader(void (*end)(void))
{
	end_all = end;
	out_thread_start(output_lost, NULL);
	if (!isatty(STDOUT_FILENO)) /* the reader may go while there is nothing to write */
		(void)out_watch(state.loops[0], reader_gone, NULL);
}
