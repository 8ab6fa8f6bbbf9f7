/*
 * The fault tests. A scenario is something whole: serve, dial, talk, close, or a run of the command. Each trial of it
 * is a process of its own in which one thing fails: the n-th allocation, system call or operation of the engine, or all
 * from the n-th on. It must end by itself, well or with an error in words, and leave nothing behind.
 */
#ifndef TENON_TESTS_FAULT_FAULT_H
#define TENON_TESTS_FAULT_FAULT_H

#include "calls.h"
#include "memory.h"

struct scenario {
	const char *name;
	void (*run)(const void *arg); /* in the trial's process */
	const void *arg;
	bool on_engines;     /* on each engine; otherwise once */
	bool is_command;     /* its status, output and words count; it need not free at its end */
	bool is_same_output; /* what it writes is the same each time it succeeds */
	bool is_large;       /* moves too much to do so by single bytes */
	bool is_refused;     /* it ends with a status other than 0 as it is */
	bool keeps_memory; /* until its process ends: what is kept for the next connection or thread, a loop that is not
			      freed */
};

/* What a trial is, and what came of it; parent and child share it. */
struct trial {
	const char *engine;
	const char *dir;   /* for socket files; must be empty afterwards */
	const char *certs; /* a.pem, a.key: localhost's, of authority ca.pem */
	struct memory_plan memory;
	struct calls_plan calls;
	bool for_ever;      /* what fails does so until memory and the like are back */
	bool harmless;      /* what fails must make no difference */
	int err;            /* what fails says this errno; 0: it is an allocation, or nothing */
	uint64_t op_failed; /* of the engine's operations; those seen are among the calls */
	uint64_t bends[8];  /* what the fault engine did besides */
	bool ended, told;   /* came to its end; an error was reported */
	char words[256];    /* that one's */
	char failure[512];  /* what should not have been; empty: nothing */
	int status;         /* of a command */
	struct site left[SITES_MAX];
	size_t nleft;
};

extern struct trial *trial;

/* Ends the trial's process: something is not as it must be. */
_Noreturn void trial_fails(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An error was reported, in words that a person can use; without words the trial fails. */
void trial_told(int err, const char *words);

/* Whether something has been made to fail by now. */
bool trial_hit(void);

/* The trial's failing begins and ends. */
void trial_arm(bool on);

/* Milliseconds that anything may take: far more than any does. */
int trial_patience_ms(void);

uint64_t trial_now_ms(void);

size_t talk_scenarios_make(struct scenario *out, size_t max);
size_t command_scenarios_make(struct scenario *out, size_t max);

#endif
