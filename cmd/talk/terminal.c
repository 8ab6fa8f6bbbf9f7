#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct {
	struct termios before, raw;
	volatile sig_atomic_t is_raw; /* it is ours; while we are stopped too */
	bool watched;
} terminal;

/* No signal may come in between and find it done, or undo it. In the background it stops us, as ever. */
void terminal_restore(void)
{
	sigset_t all, before;

	if (!terminal.is_raw)
		return;
	sigfillset(&all);
	sigdelset(&all, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	terminal.is_raw = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The signal is blocked in here, and does its work on return. */
static void on_death(int signo)
{
	terminal_restore();
	signal(signo, SIG_DFL);
	raise(signo);
}

static void on_stop(int signo)
{
	int saved = errno;

	if (terminal.is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
	signal(signo, SIG_DFL);
	raise(signo);
	errno = saved;
}

/* In the background the terminal is somebody else's. */
static void on_continue(int signo)
{
	int saved = errno;

	(void)signo;
	signal(SIGTSTP, on_stop);
	if (terminal.is_raw && tcgetpgrp(STDIN_FILENO) == getpgrp())
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.raw);
	errno = saved;
}

/* What somebody has set to be ignored (nohup) stays so. */
static void handle(int signo, void (*handler)(int signo))
{
	struct sigaction is, wanted = {.sa_handler = handler, .sa_flags = SA_RESTART};

	if (sigaction(signo, NULL, &is) == 0 && is.sa_handler == SIG_DFL)
		sigaction(signo, &wanted, NULL);
}

/* SIGINT and SIGTERM are events of the loop, after which the command ends in good order. */
static void watch_ends(void)
{
	static const int deaths[] = {SIGHUP,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT,   SIGBUS,  SIGFPE, SIGUSR1, SIGSEGV,
				     SIGUSR2, SIGALRM, SIGXCPU, SIGSYS,  SIGVTALRM, SIGPROF, SIGIO,  SIGPWR};

	if (terminal.watched)
		return;
	terminal.watched = true;
	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++)
		handle(deaths[i], on_death);
	handle(SIGTSTP, on_stop);
	handle(SIGCONT, on_continue);
	atexit(terminal_restore);
}

int terminal_raw(void)
{
	if (terminal.is_raw)
		return 0;
	if (tcgetattr(STDIN_FILENO, &terminal.before) < 0)
		return -errno;
	watch_ends();
	terminal.raw = terminal.before;
	cfmakeraw(&terminal.raw);
	terminal.is_raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &terminal.raw) == 0)
		return 0;
	terminal.is_raw = 0;
	return -errno;
}
