/* Programs that are dialled (exec:): dialled again, told of, and ended with their loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct seen {
	char said[256];
	struct tn_conn_info info;
	struct tn_loss loss;
	int losses, closed, err;
	int waits, untaken; /* tn_when_sent(): called, and with a reason */
};

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct seen *seen = arg;

	(void)conn;
	assert_true(strlen(seen->said) + msg->len < sizeof(seen->said));
	strncat(seen->said, msg->data, msg->len);
}

static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	struct seen *seen = arg;

	seen->loss = *loss;
	tn_conn_info(conn, &seen->info);
	assert_true(seen->info.child_ended && !seen->info.child_cut);
	assert_int_equal(err, 0);
	if (++seen->losses == 3)
		tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct seen *seen = arg;

	seen->closed++;
	seen->err = err;
	tn_conn_info(conn, &seen->info);
}

static const struct tn_handler handler = {.on_msg = on_msg, .on_close = on_close};
static const struct tn_handler again = {.on_msg = on_msg, .on_close = on_close, .on_lost = on_lost};

static void is_dialled_again(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};

	assert_int_equal(tn_dial(loop, "exec:echo hi; exit 7?frame=line&reconnect=1ms", &again, &seen, NULL), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_string_equal(seen.said, "hihihi");
	assert_int_equal(seen.losses, 3);
	assert_int_equal(seen.closed, 1);
	assert_true(seen.info.child_ended && !seen.info.child_cut);
	assert_int_equal(seen.info.child_status, 7);
}

/* For whom it was dialled is known to those that are dialled again. What a tenon above has told is gone. */
static void is_dialled_again_for_somebody(void **state)
{
	struct tn_loop *loop = *state;
	struct seen other = {0}, seen = {0};
	struct tn_conn *of;

	setenv("TENON_LOCAL", "above", 1);
	setenv("TENON_IDENTITY", "above", 1);
	assert_int_equal(tn_dial(loop, "exec:cat", &handler, &other, &of), 0);
	assert_int_equal(tn_dial_for(loop, "exec:echo =$TENON_LOCAL$TENON_IDENTITY; exit 7?frame=line&reconnect=1ms",
				     &again, &seen, of, NULL, NULL),
			 0);
	while (!seen.closed)
		assert_true(tn_loop_step(loop, -1) > 0);
	unsetenv("TENON_LOCAL");
	unsetenv("TENON_IDENTITY");
	tn_close(of);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_string_equal(seen.said, "===");
}

static void is_told_of(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};

	assert_int_equal(tn_dial(loop, "exec:exit 7", &handler, &seen, NULL), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(seen.err, 0);
	assert_true(seen.info.child_pid > 0 && seen.info.child_ended && !seen.info.child_cut);
	assert_int_equal(seen.info.child_status, 7);
	assert_int_equal(kill(seen.info.child_pid, 0), -1);
}

/* In a process group of its own, with nothing of ours but its standard streams, and no signal ignored or blocked. */
static void begins_afresh(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};
	sigset_t set, before;
	char wanted[256], *ignored;
	int ours = dup(STDERR_FILENO);

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, &before), 0);
	signal(SIGUSR1, SIG_IGN);
	assert_int_equal(tn_dial(loop,
				 "exec:cut -d ' ' -f 5 /proc/$$/stat; ls /proc/$$/fd; "
				 "exec grep -E 'SigBlk|SigIgn' /proc/$$/status",
				 &handler, &seen, NULL),
			 0);
	signal(SIGUSR1, SIG_DFL);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	close(ours);
	assert_int_equal(tn_loop_run(loop), 0);
	ignored = strstr(seen.said, "SigIgn:");
	assert_non_null(ignored);
	assert_int_equal(strtoull(ignored + 7, NULL, 16) & 0x7fffffff, 0); /* the others are libc's own */
	*ignored = '\0';
	snprintf(wanted, sizeof(wanted), "%d\n0\n1\n2\nSigBlk:\t0000000000000000\n", (int)seen.info.child_pid);
	assert_string_equal(seen.said, wanted);
}

/* Somebody else reaps all children. */
static void is_reaped_elsewhere(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};
	struct tn_conn *conn;
	struct tn_conn_info info;

	assert_int_equal(tn_dial(loop, "exec:exit 7", &handler, &seen, &conn), 0);
	tn_conn_info(conn, &info);
	assert_int_equal(waitpid(info.child_pid, NULL, 0), info.child_pid);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(seen.closed, 1);
	assert_false(seen.info.child_ended);
}

static void ends_with_its_loop(void **state)
{
	struct seen seen = {0};
	struct tn_conn *conn;
	struct tn_conn_info info;
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(tn_loop_new(&loop, NULL), 0);
	assert_int_equal(tn_dial(loop, "exec:trap '' TERM; while :; do sleep 1; done?drain=1h", &handler, &seen, &conn),
			 0);
	tn_conn_info(conn, &info);
	tn_close(conn);
	tn_loop_free(loop);
	assert_int_equal(seen.closed, 1);
	assert_true(seen.info.child_cut);
	while (waitpid(-info.child_pid, NULL, 0) > 0) /* what it had started */
		;
	assert_int_equal(kill(-info.child_pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* Nothing tells of its end, without a descriptor for that: it is ended, and not by itself. */
static void cannot_be_watched(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};
	struct rlimit before, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = STDERR_FILENO + 1, .rlim_max = before.rlim_max};
	assert_int_equal(tn_dial(loop, "exec:exec <&- >&-; sleep 30", &handler, &seen, NULL), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(seen.info.child_ended && seen.info.child_cut);
	assert_int_equal(seen.info.child_signal, SIGKILL);
}

static void taken(struct tn_conn *conn, int err, void *arg)
{
	struct seen *seen = arg;

	(void)conn;
	assert_int_equal(seen->closed, 0);
	seen->waits++;
	seen->untaken += err < 0;
}

/* What it has not read is dropped: who waits for that is told, and the connection ends. */
static void reads_nothing(void **state)
{
	static const char much[1000000];
	struct tn_loop *loop = *state;
	struct seen seen = {0};
	struct tn_conn *conn;

	assert_int_equal(tn_dial(loop, "exec:true?queue=4MiB", &handler, &seen, &conn), 0);
	assert_true(tn_send(conn, much, sizeof(much)) >= 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, taken, &seen), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(seen.err, 0);
	assert_int_equal(seen.waits, 1);
	assert_int_equal(seen.untaken, 1);
}

/* The same, told by the loss; what is sent during the pause, before the second one has begun, too. */
static void reads_nothing_and_is_dialled_again(void **state)
{
	static const char much[1000000];
	struct tn_loop *loop = *state;
	struct seen seen = {.losses = 1};
	struct tn_conn *conn;

	assert_int_equal(tn_dial(loop, "exec:true?queue=4MiB&reconnect=1ms", &again, &seen, &conn), 0);
	for (int i = 0; i < 2; i++) {
		int losses = seen.losses;

		assert_true(tn_send(conn, much, sizeof(much)) >= 0);
		assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, taken, &seen), 0);
		while (seen.losses == losses)
			assert_true(tn_loop_step(loop, -1) >= 0);
		assert_true(seen.loss.unsent > 0 && seen.loss.unsent <= sizeof(much));
	}
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(seen.untaken, 2);
}

/* Its connection only waits for it and does not keep the loop running; freeing the loop waits for it all the same. */
static void ends_with_its_loop_unkept(void **state)
{
	struct seen seen = {0};
	struct tn_conn *conn;
	struct tn_conn_info info;
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(tn_loop_new(&loop, NULL), 0);
	assert_int_equal(tn_dial(loop, "exec:trap '' TERM; exec <&- >&-; sleep 0.3", &handler, &seen, &conn), 0);
	do {
		assert_true(tn_loop_step(loop, -1) > 0);
		tn_conn_info(conn, &info);
	} while (info.fd >= 0);
	tn_conn_keep_loop(conn, false);
	tn_loop_free(loop);
	assert_int_equal(seen.closed, 1);
	assert_true(seen.info.child_ended && seen.info.child_cut);
}

static bool forbidden;

/* In the place of libc's: `forbidden` is what the kernel says of a program of another user's. */
int kill(pid_t pid, int signo)
{
	if (!forbidden)
		return (int)syscall(SYS_kill, pid, signo);
	errno = EPERM;
	return -1;
}

static void outlives_its_loop(void **state)
{
	struct seen seen = {0};
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, NULL), 0);
	assert_int_equal(tn_dial(loop, "exec:exec sleep 30", &handler, &seen, NULL), 0);
	forbidden = true;
	tn_loop_free(loop);
	forbidden = false;
	assert_int_equal(seen.closed, 1);
	assert_true(seen.info.child_cut && !seen.info.child_ended);
	assert_int_equal(kill(seen.info.child_pid, SIGKILL), 0);
	assert_int_equal(waitpid(seen.info.child_pid, NULL, 0), seen.info.child_pid);
}

/* It is not waited for, which could last for ever. */
static void cannot_be_watched_nor_killed(void **state)
{
	struct tn_loop *loop = *state;
	struct seen seen = {0};
	struct rlimit before, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = STDERR_FILENO + 1, .rlim_max = before.rlim_max};
	assert_int_equal(tn_dial(loop, "exec:exec <&- >&-; exec sleep 30", &handler, &seen, NULL), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	forbidden = true;
	assert_int_equal(tn_loop_run(loop), 0);
	forbidden = false;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(seen.info.child_cut && !seen.info.child_ended);
	assert_int_equal(kill(seen.info.child_pid, SIGKILL), 0);
	assert_int_equal(waitpid(seen.info.child_pid, NULL, 0), seen.info.child_pid);
}

static int make_loop(void **state)
{
	return tn_loop_new((struct tn_loop **)state, getenv("TENON_ENGINE"));
}

static int free_loop(void **state)
{
	tn_loop_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_dialled_again, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(is_dialled_again_for_somebody, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(is_told_of, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(begins_afresh, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(is_reaped_elsewhere, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(reads_nothing, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(reads_nothing_and_is_dialled_again, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(cannot_be_watched, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(cannot_be_watched_nor_killed, make_loop, free_loop),
		cmocka_unit_test(ends_with_its_loop),
		cmocka_unit_test(ends_with_its_loop_unkept),
		cmocka_unit_test(outlives_its_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
