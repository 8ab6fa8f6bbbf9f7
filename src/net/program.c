#include "net/program.h"

#include "base/err.h"
#include "tenon.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1UL << 2)
#endif

extern char **environ;

/* Programs that use select(2), or close all that may be open, are not made for as many descriptors as who dials has. */
static rlim_t files_before;

__attribute__((constructor)) static void note_files(void)
{
	struct rlimit limit;

	files_before = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/* As posix_spawn(3) sets no limits, a shell does where it must be lowered. */
static void make_argv(char *const command, char number[24], char *argv[6])
{
	static const char lower[] = "ulimit -Sn \"$0\"; exec /bin/sh -c \"$1\"";
	struct rlimit limit;
	int n = 0;

	argv[n++] = (char *)"sh";
	argv[n++] = (char *)"-c";
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > files_before) {
		snprintf(number, 24, "%llu", (unsigned long long)files_before);
		argv[n++] = (char *)(uintptr_t)lower;
		argv[n++] = number;
	}
	argv[n++] = command;
	argv[n] = NULL;
}

static int spawn(pid_t *pid, const char *command, char *const *env, posix_spawn_file_actions_t *actions,
		 posix_spawnattr_t *attr)
{
	char *argv[6], number[24];
	sigset_t none, all;
	int err =
		posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

	make_argv((char *)(uintptr_t)command, number, argv);
	sigemptyset(&none);
	sigfillset(&all);
	err = err ? err : posix_spawnattr_setsigmask(attr, &none);
	err = err ? err : posix_spawnattr_setsigdefault(attr, &all);
	err = err ? err : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
	return err ? err : posix_spawn(pid, "/bin/sh", actions, attr, argv, env);
}

/* Returns 0 or an errno. */
static int start(pid_t *pid, const char *command, char *const *env, int fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int err = posix_spawn_file_actions_init(&actions);

	if (err)
		return err;
	err = posix_spawnattr_init(&attr);
	if (!err) {
		err = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
		err = err ? err : posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
		err = err ? err : spawn(pid, command, env, &actions, &attr);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

int tni_program_start(struct tni_program *program, const char *command, char *const *env)
{
	int pair[2], err;

	*program = (struct tni_program){.pidfd = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tni_err(-errno, "a socket for the command: %s", tn_strerror(-errno));
	err = start(&program->pid, command, env ? env : environ, pair[1]);
	close(pair[1]);
	if (!err) {
		program->pidfd = pidfd_open(program->pid, 0);
		err = program->pidfd < 0 ? errno : 0;
		if (err)
			tni_program_kill(program);
	}
	if (err) {
		close(pair[0]);
		return tni_err(-err, "the command cannot be started: %s", tn_strerror(-err));
	}
	return pair[0];
}

static bool reap(struct tni_program *program, int options)
{
	siginfo_t info = {0};
	int rc;

	do
		rc = waitid(P_PID, (id_t)program->pid, &info, WEXITED | options);
	while (rc < 0 && errno == EINTR);
	if (rc == 0 && !info.si_pid)
		return false;
	program->reaped = true;
	program->known = rc == 0;
	if (rc == 0 && info.si_code == CLD_EXITED)
		program->status = info.si_status;
	else if (rc == 0)
		program->signal = info.si_status;
	return true;
}

bool tni_program_has_ended(struct tni_program *program)
{
	return program->reaped || reap(program, WNOHANG);
}

/*
 * Until the process is reaped, nobody else has its number. Then newer kernels take the pidfd; with older ones the
 * number would have to be used again first.
 */
bool tni_program_signal(const struct tni_program *program, int signo)
{
	if (program->reaped) {
		if (pidfd_send_signal(program->pidfd, signo, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
			return true;
		if (errno == ESRCH)
			return false;
	}
	return kill(-program->pid, signo) == 0;
}

/* One of another user's ends when it wants to, and is not waited for. */
void tni_program_kill(struct tni_program *program)
{
	bool dies;

	kill(-program->pid, SIGKILL);
	dies = kill(program->pid, SIGKILL) == 0;
	(void)reap(program, dies ? 0 : WNOHANG);
	if (program->pidfd >= 0)
		close(program->pidfd);
	program->pidfd = -1;
}
