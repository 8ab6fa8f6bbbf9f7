/* Programs that are dialled: the scheme exec. */
#ifndef TNI_NET_PROGRAM_H
#define TNI_NET_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

/* A process that was started, until it has been reaped; the number of its group too. */
struct tni_program {
	pid_t pid;
	int pidfd;
	bool reaped;
	bool known;         /* how it has ended: the two below; otherwise somebody else has reaped it */
	int status, signal; /* its exit status, unless a signal ended it */
};

/*
 * Starts `/bin/sh -c command` in a group of its own, with a Unix stream socket as its standard input and output, and
 * what `env` has (NULL: the environment of this process). It has the standard error of this process, no other
 * descriptor, and no signal blocked or ignored. Returns the other end of the socket, the caller's to close, or a
 * negative errno with detail.
 */
int tni_program_start(struct tni_program *program, const char *command, char *const *env);

/* Whether it has ended; then it is reaped. */
bool tni_program_has_ended(struct tni_program *program);

/* A signal for all of its group, those that it has left behind too; 0 asks. False: nobody is left. */
bool tni_program_signal(const struct tni_program *program, int signo);

/* Ends and reaps one that is of no use. */
void tni_program_kill(struct tni_program *program);

#endif
