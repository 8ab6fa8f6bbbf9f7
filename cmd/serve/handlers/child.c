#include "child.h"
#include "child_errors.h"
#include "descriptors.h"
#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tenon.h"

#define KILL_AFTER_MS 1000
#define CHILDREN_MAX 128

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1UL << 2)
#endif

struct child {
	struct child *next, **link; /* in the thread's list */
	struct tn_loop *loop;
	struct tn_poll *poll;
	struct tn_timer *timer;
	struct child *older;       /* in the process's list, until it is reaped */
	struct child_use use;      /* until it is given up */
	struct handler_child told; /* how it has ended */
	pid_t pid;                 /* also its group */
	int pidfd;
	int master; /* of its terminal; or -1 */
	bool reaped;
	bool given_up;
	bool terminated; /* SIGTERM was sent */
	bool useless;    /* it was not started: that has been reported in place of its end */
};

static _Thread_local struct child *children;
static struct rlimit child_files;
static bool child_files_set;
static void (*watcher)(const struct handler_child *child);
static unsigned children_max = CHILDREN_MAX;
static _Atomic(unsigned) nchildren;

/* Children of all threads that are not reaped. A process that reaps orphans must leave these to their threads. */
static struct {
	pthread_mutex_t lock;
	struct child *newest;
} alive = {.lock = PTHREAD_MUTEX_INITIALIZER};

void handler_watch_children(void (*fn)(const struct handler_child *child))
{
	watcher = fn;
}

void handler_limit_children(unsigned max)
{
	children_max = max;
}

unsigned child_limit(void)
{
	return children_max;
}

void child_set_files(const struct rlimit *limit)
{
	child_files_set = limit;
	if (limit)
		child_files = *limit;
}

static void child_link(struct child *child)
{
	child->next = children;
	child->link = &children;
	if (children)
		children->link = &child->next;
	children = child;
}

/* A program may close its terminal before it ends, and is not to be killed by that. */
static void hang_up(struct child *child)
{
	if (child->master >= 0)
		close(child->master);
	child->master = -1;
}

static void child_free(struct child *child)
{
	*child->link = child->next;
	if (child->next)
		child->next->link = child->link;
	hang_up(child);
	close(child->pidfd);
	free(child);
	atomic_fetch_sub(&nchildren, 1);
}

/* With the lock held. */
static void alive_remove(const struct child *child)
{
	struct child **at = &alive.newest;

	while (*at && *at != child)
		at = &(*at)->older;
	if (*at)
		*at = child->older;
}

static bool is_ours(pid_t pid)
{
	const struct child *child = alive.newest;

	while (child && child->pid != pid)
		child = child->older;
	return child;
}

void handler_reap_orphans(void)
{
	siginfo_t info = {0};

	pthread_mutex_lock(&alive.lock);
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid && !is_ours(info.si_pid)) {
		waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
		info.si_pid = 0;
	}
	pthread_mutex_unlock(&alive.lock);
}

/* Whether it has ended; then it is reaped and reported. */
static bool reap(struct child *child, int options)
{
	siginfo_t info = {0};
	int rc;

	do
		rc = waitid(P_PID, (id_t)child->pid, &info, WEXITED | options);
	while (rc < 0 && errno == EINTR);
	if (rc == 0 && info.si_pid == 0)
		return false;
	pthread_mutex_lock(&alive.lock);
	alive_remove(child);
	pthread_mutex_unlock(&alive.lock);
	child->reaped = true;
	if (info.si_code == CLD_EXITED)
		child->told.status = info.si_status;
	else
		child->told.signal = info.si_status;
	if (watcher && !child->useless)
		watcher(&child->told);
	return true;
}

bool child_has_ended(const struct child *child, struct handler_child *how)
{
	if (child->reaped && how)
		*how = child->told;
	return child->reaped;
}

/*
 * The group's number is safe to use while the child is not reaped. Afterwards another process could have it. Newer
 * kernels take the pidfd instead; with older ones the number would first have to be used again.
 */
static int group_signal(const struct child *child, int signo)
{
	if (child->reaped && pidfd_send_signal(child->pidfd, signo, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
		return 0;
	if (child->reaped && errno == ESRCH)
		return -ESRCH;
	return kill(-child->pid, signo) == 0 ? 0 : -errno;
}

static bool group_is_empty(const struct child *child)
{
	return child->reaped && group_signal(child, 0) == -ESRCH;
}

static void strike(void *arg)
{
	struct child *child = arg;

	child->timer = NULL;
	hang_up(child);
	if (!child->terminated) {
		child->terminated = true;
		group_signal(child, SIGTERM);
		if (tn_timer_start(child->loop, KILL_AFTER_MS, strike, child, &child->timer) == 0)
			return;
	}
	group_signal(child, SIGKILL);
	if (child->reaped)
		child_free(child);
}

/* The leader has ended. What it has left in the background ends with the connection, not before. */
static void on_exit_seen(void *arg)
{
	struct child *child = arg;

	if (!reap(child, WNOHANG))
		return;
	tn_poll_stop(child->poll);
	child->poll = NULL;
	hang_up(child);
	if (!child->given_up && child->use.ended)
		child->use.ended(child->use.arg);
	else if (child->given_up && group_is_empty(child)) {
		tn_timer_stop(child->timer);
		child_free(child);
	} else if (child->given_up && !child->timer) {
		strike(child);
	}
}

/* What the shell does by itself, or not at all without it. */
static bool is_shells(const char *word, size_t len)
{
	static const char words[] =
		" . : [ alias bg break case cd chdir command continue echo eval exec exit export false "
		"fc fg for getopts hash if jobs kill local printf pwd read readonly return set shift "
		"test times trap true type ulimit umask unalias unset until wait while ";
	char padded[16];

	if (len + 3 > sizeof(padded))
		return false;
	snprintf(padded, sizeof(padded), " %.*s ", (int)len, word);
	return strstr(words, padded);
}

/*
 * Whether the command is one program and its arguments, and nothing in it has a meaning to the shell. Then the shell is
 * replaced by the program (exec), as some shells do by themselves. That halves the processes, and the process that is
 * watched and ends with us is the one that works.
 */
static bool is_one_program(const char *command)
{
	const char *word = command + strspn(command, " ");
	size_t len = strcspn(word, " ");

	if (command[strspn(command, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:@%+=- ")])
		return false;
	return len > 0 && !memchr(word, '=', len) && !is_shells(word, len);
}

/* What this process has inherited is not for a command. Before Linux 5.9 there is no system call to close it all. */
static int close_from(int first)
{
	struct rlimit limit;

	if (close_range((unsigned)first, ~0U, 0) == 0)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	for (rlim_t fd = (rlim_t)first; fd < limit.rlim_max && fd < 1 << 20; fd++)
		close((int)fd);
	return 0;
}

/* If this process has no standard descriptors, pipes have their numbers. */
static int above_standard(int fd)
{
	return fd < 0 || fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* From 3 on, in their order: first out of the way of one another. Returns the number behind the last, or -1. */
static int place_descriptors(const struct descriptors *fds)
{
	int count = fds ? (int)fds->count : 0, first = STDERR_FILENO + 1, away[DESCRIPTORS_MAX];

	for (int i = 0; i < count; i++) {
		away[i] = fcntl(fds->fd[i], F_DUPFD_CLOEXEC, first + count);
		if (away[i] < 0)
			return -1;
	}
	for (int i = 0; i < count; i++)
		if (dup2(away[i], first + i) < 0)
			return -1;
	return first + count;
}

/* Its terminal becomes the one that controls it. */
static bool take_descriptors(const struct child_io *io, const struct descriptors *fds)
{
	int input = above_standard(io->input), output = above_standard(io->output), error = above_standard(io->error);

	int rest;

	return dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
	       (error < 0 || dup2(error, STDERR_FILENO) >= 0) && (rest = place_descriptors(fds)) >= 0 &&
	       close_from(rest) == 0 && (!io->terminal || ioctl(STDIN_FILENO, TIOCSCTTY, 0) == 0);
}

/* Between fork and exec only calls that are safe in a signal handler: other threads may have held any lock. */
static _Noreturn void child_run(const char *command, char **env, const struct child_io *io,
				const struct descriptors *fds, pid_t parent)
{
	static const char failed[] = "exec: the command could not be started\n";
	char *const args[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
	sigset_t none;

	if (io->terminal)
		setsid();
	else
		setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	bool ready = take_descriptors(io, fds); /* as long as it may have as many as we do: ours are still open */
	if (child_files_set)
		setrlimit(RLIMIT_NOFILE, &child_files);
	if (ready)
		execve("/bin/sh", args, env);
	(void)!write(STDERR_FILENO, failed, sizeof(failed) - 1);
	_exit(127);
}

static int child_fork(struct child *child, const char *command, char **env, const struct child_io *io)
{
	pid_t parent = getpid();
	sigset_t all, before;

	/* A handler of this process must not run in the child before its dispositions are reset */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&alive.lock);
	child->pid = fork();
	if (child->pid == 0)
		child_run(command, env, io, child->use.fds, parent);
	int err = errno;
	if (child->pid > 0) {
		child->older = alive.newest;
		alive.newest = child;
		child->told.pid = child->pid;
	}
	pthread_mutex_unlock(&alive.lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (child->pid < 0)
		return -err;
	if (!io->terminal)                       /* who leads a group can lead no session */
		setpgid(child->pid, child->pid); /* in both processes: a signal to the group must always find one */
	child->pidfd = pidfd_open(child->pid, 0);
	return child->pidfd < 0 ? -errno : 0;
}

/* It may not lead its group yet. One of another user's ends when it wants to, and is not waited for. */
static void kill_and_reap(struct child *child)
{
	bool dies;

	kill(-child->pid, SIGKILL);
	dies = kill(child->pid, SIGKILL) == 0;
	if (reap(child, dies ? 0 : WNOHANG))
		return;
	pthread_mutex_lock(&alive.lock);
	alive_remove(child);
	pthread_mutex_unlock(&alive.lock);
}

static bool take_place(void)
{
	unsigned now = atomic_load(&nchildren);

	do {
		if (now >= children_max)
			return false;
	} while (!atomic_compare_exchange_weak(&nchildren, &now, now + 1));
	return true;
}

static int start(struct child *child, const char *command, const struct child_io *io)
{
	char **env = environment_of(child->use.conn, child->use.msg, child->told.fds);
	char *line = NULL;
	int err;

	child->use.msg = NULL;
	if (!env)
		return -ENOMEM;
	if (asprintf(&line, "%s%s", is_one_program(command) ? "exec " : "", command) < 0) {
		environment_free(env);
		return -ENOMEM;
	}
	err = child_fork(child, line, env, io);
	child->use.fds = NULL;
	free(line);
	environment_free(env);
	if (err < 0)
		return err;
	fcntl(child->pidfd, F_SETFL, O_NONBLOCK);
	return tn_poll_start(child->loop, child->pidfd, on_exit_seen, child, &child->poll);
}

static int start_in_place(const struct child_use *use, const char *command, const struct child_io *io,
			  struct child **result)
{
	struct child *child = calloc(1, sizeof(*child));
	int err = 0;

	if (!child)
		return -ENOMEM;
	*child = (struct child){.loop = tn_conn_loop(use->conn), .use = *use, .pidfd = -1, .master = -1};
	child->told = (struct handler_child){.server = tn_conn_server(use->conn),
					     .conn = tn_conn_id(use->conn),
					     .fds = use->fds ? use->fds->count : 0};
	if (io->terminal && (child->master = fcntl(io->master, F_DUPFD_CLOEXEC, 0)) < 0)
		err = -errno;
	if (err == 0)
		err = start(child, command, io);
	if (err < 0) {
		hang_up(child);
		child->useless = true;
		if (child->pid > 0)
			kill_and_reap(child);
		if (child->pidfd >= 0)
			close(child->pidfd);
		free(child);
		return err;
	}
	child_link(child);
	*result = child;
	return 0;
}

void child_not_started(struct tn_conn *conn, struct child *child, int err)
{
	const struct handler_child told = {
		.server = tn_conn_server(conn), .refused = conn, .conn = tn_conn_id(conn), .err = err};

	if (child)
		child->useless = true;
	if (watcher)
		watcher(&told);
}

int child_start(const struct child_use *use, const char *command, const struct child_io *io, struct child **result)
{
	struct child_io all = *io;
	int own = -1, err;

	if (!take_place())
		return TN_ELIMIT;
	err = all.error < 0 ? child_errors_open(use->conn, all.output, &all.error, &own) : 0;
	if (err >= 0)
		err = start_in_place(use, command, &all, result);
	if (own >= 0)
		close(own);
	if (err < 0)
		atomic_fetch_sub(&nchildren, 1);
	return err;
}

void child_end(struct child *child, uint64_t grace_ms)
{
	if (!child)
		return;
	child->given_up = true;
	if (group_is_empty(child))
		child_free(child);
	else if (grace_ms == 0 || tn_timer_start(child->loop, grace_ms, strike, child, &child->timer) < 0)
		strike(child);
}

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void child_finish_all(void)
{
	uint64_t until = clock_ms() + KILL_AFTER_MS;

	for (struct child *child = children; child; child = child->next)
		if (!child->terminated)
			group_signal(child, SIGTERM);
	for (struct child *child = children, *next; child; child = next) {
		uint64_t now = clock_ms();
		struct pollfd ready = {.fd = child->pidfd, .events = POLLIN};

		if (!child->reaped)
			poll(&ready, 1, now < until ? (int)(until - now) : 0);
		if (child->reaped)
			group_signal(child, SIGKILL);
		else
			kill_and_reap(child);
		next = child->next;
		child_free(child);
	}
}
