/*
 * System calls and operations of the engines that fail when they are told to, each with the errors its manual page
 * tells of. Operations (accept, connect, recv, send, recvmm, sendmm, poll) fail in the engine layer (io/fault.h). Calls
 * fail where our objects make them: the linker has wrapped them, so that what OpenSSL and c-ares call does not.
 */
#ifndef TENON_TESTS_FAULT_CALLS_H
#define TENON_TESTS_FAULT_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAILABLES_MAX 64
#define ERRORS_MAX 24

struct failable {
	const char *name;
	bool is_op;
	int errs[ERRORS_MAX]; /* as errno; 0 behind the last */
};

extern const struct failable failables[];
extern const size_t nfailables;

const struct failable *failable_find(const char *name);

/* It must make no difference at all. */
bool failable_is_harmless(const struct failable *f, int err);

/* What passes when others give something back: it may go on for a while. */
bool failable_is_shortage(int err);

/* In memory that parent and child share. */
struct calls_plan {
	char name[40]; /* which call fails; empty: none */
	int err;
	uint64_t fail_at;
	bool for_ever;
	uint64_t failed;
	uint64_t seen[FAILABLES_MAX]; /* how often each was made while armed */
};

void calls_watch(struct calls_plan *plan);
void calls_arm(bool on);

#endif
