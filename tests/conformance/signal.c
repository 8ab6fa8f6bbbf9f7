/* Signals as events of loops, and what is restored when nobody waits for them any more. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

struct seen {
	int calls, signo;
	struct tn_signal *stops; /* by itself, when it is called */
};

static void note(int signo, void *arg)
{
	struct seen *s = arg;

	s->calls++;
	s->signo = signo;
	tn_signal_stop(s->stops);
	s->stops = NULL;
}

static void own_handler(int signo)
{
	(void)signo;
}

static bool is_handled_by(int signo, void (*fn)(int))
{
	struct sigaction now;

	assert_int_equal(sigaction(signo, NULL, &now), 0);
	return now.sa_handler == fn;
}

static void test_comes_and_is_restored(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_signal *sig;
	struct seen seen = {0};
	sigset_t set_before, set;

	(void)state;
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &set_before), 0);
	signal(SIGUSR1, own_handler);
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, &sig), 0);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(raise(SIGUSR1), 0);
		assert_int_equal(seen.calls, i - 1); /* not inside the handler */
		th_until(loop, seen.calls == i);
	}
	assert_int_equal(seen.signo, SIGUSR1);
	raise(SIGUSR1);
	tn_signal_stop(sig); /* what has come and was not told is dropped */
	assert_true(is_handled_by(SIGUSR1, own_handler));
	th_turn_for(loop, 5);
	assert_int_equal(seen.calls, 3);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
	for (int signo = 1; signo < NSIG; signo++)
		assert_int_equal(sigismember(&set, signo), sigismember(&set_before, signo));
	tn_loop_free(loop);
	signal(SIGUSR1, SIG_DFL);
}

static void test_several_that_come_at_once(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_signal *sig;
	struct seen seen = {0};

	(void)state;
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, &sig), 0);
	for (int i = 0; i < 100; i++)
		raise(SIGUSR1);
	th_until(loop, seen.calls > 0);
	th_turn_for(loop, 5);
	assert_int_equal(seen.calls, 1);
	tn_loop_free(loop); /* which ends it */
	assert_true(is_handled_by(SIGUSR1, SIG_DFL));
}

/* One signal, two loops, several watches; each ends when it likes. */
static void test_several_watches(void **state)
{
	struct tn_loop *loops[2] = {th_loop(), th_loop()};
	struct tn_signal *sigs[4];
	struct seen seen[4] = {0}, other = {0};

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(tn_signal_start(loops[i % 2], SIGUSR1, note, &seen[i], &sigs[i]), 0);
	assert_int_equal(tn_signal_start(loops[0], SIGUSR2, note, &other, NULL), 0);
	raise(SIGUSR1);
	th_until(loops[0], seen[0].calls && seen[2].calls);
	th_until(loops[1], seen[1].calls && seen[3].calls);
	tn_signal_stop(sigs[1]);
	seen[0].stops = sigs[0];
	raise(SIGUSR1);
	th_until(loops[0], seen[0].calls == 2 && seen[2].calls == 2);
	tn_loop_free(loops[0]);
	assert_false(is_handled_by(SIGUSR1, SIG_DFL));
	assert_true(is_handled_by(SIGUSR2, SIG_DFL));
	raise(SIGUSR1);
	th_until(loops[1], seen[3].calls >= 2);
	assert_int_equal(seen[0].calls, 2);
	assert_int_equal(seen[1].calls, 1);
	assert_int_equal(other.calls, 0);
	tn_loop_free(loops[1]);
	assert_true(is_handled_by(SIGUSR1, SIG_DFL));
}

static void test_what_the_program_changes_stays(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_signal *sig;
	struct seen seen = {0};

	(void)state;
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, &sig), 0);
	signal(SIGUSR1, SIG_IGN);
	tn_signal_stop(sig);
	assert_true(is_handled_by(SIGUSR1, SIG_IGN));
	signal(SIGUSR1, SIG_DFL);
	tn_loop_free(loop);
}

static void test_what_cannot_be_waited_for(void **state)
{
	const int none[] = {-1, 0, NSIG, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	struct tn_loop *loop = th_loop();
	struct seen seen = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(tn_signal_start(loop, none[i], note, &seen, NULL), -EINVAL);
	tn_signal_stop(NULL);
	assert_int_equal(tn_loop_run(loop), 0); /* nothing is left on it */
	tn_loop_free(loop);
}

static void test_keeps_the_loop(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_signal *sig;
	struct seen seen = {0};

	(void)state;
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, &sig), 0);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	tn_signal_keep_loop(sig, false);
	tn_signal_keep_loop(sig, false);
	assert_int_equal(tn_loop_run(loop), 0);
	tn_signal_keep_loop(sig, true);
	seen.stops = sig;
	raise(SIGUSR1);
	assert_int_equal(tn_loop_run(loop), 0); /* it was stopped: nothing is left */
	assert_int_equal(seen.calls, 1);
	tn_loop_free(loop);
}

/* Threads get the signal while a loop waits, and while watches come and go. */
static _Atomic(bool) over;

static void *raise_often(void *arg)
{
	while (!over)
		pthread_kill(pthread_self(), SIGUSR1);
	return arg;
}

static void test_other_threads_get_it(void **state)
{
	struct tn_loop *loop = th_loop();
	struct seen seen = {0}, passing = {0};
	pthread_t threads[2];

	(void)state;
	over = false;
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, raise_often, NULL), 0);
	for (int i = 0; i < 50; i++) {
		struct tn_signal *sig;

		assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &passing, &sig), 0);
		assert_true(tn_loop_step(loop, -1) >= 0); /* sleeps for good unless it is woken */
		tn_signal_stop(sig);
	}
	th_until(loop, seen.calls > 50);
	over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	tn_loop_free(loop);
}

/* A child that was forked has the handler, and tells its parent nothing. */
static void test_forked_child(void **state)
{
	struct tn_loop *loop = th_loop();
	struct seen seen = {0};
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(tn_signal_start(loop, SIGUSR1, note, &seen, NULL), 0);
	pid = fork();
	if (pid == 0) {
		raise(SIGUSR1);
		_exit(7);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	th_turn_for(loop, 5);
	assert_int_equal(seen.calls, 0);
	tn_loop_free(loop);
}

#define T(test) cmocka_unit_test_setup_teardown(test, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_comes_and_is_restored),     T(test_several_that_come_at_once),
	T(test_several_watches),           T(test_what_the_program_changes_stays),
	T(test_what_cannot_be_waited_for), T(test_keeps_the_loop),
	T(test_other_threads_get_it),      T(test_forked_child),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "signal", tests, sizeof(tests) / sizeof(tests[0]));
}
