/*
 * Allocations that fail when they are told to, and a count of what has not been freed.
 *
 * In a plain build malloc() and its like are ours for the whole process: the library, the command, OpenSSL, c-ares, the
 * parsers, the C library itself. Sanitizers need theirs: there the calls of our own objects are wrapped by the linker,
 * OpenSSL's and c-ares's come through their hooks.
 */
#ifndef TENON_TESTS_FAULT_MEMORY_H
#define TENON_TESTS_FAULT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITES_MAX 512

/* Who asked for memory: an address in the program, or OpenSSL's file and line. */
struct site {
	const void *who;
	int line;
	unsigned count;
};

/* In memory that parent and child share. */
struct memory_plan {
	uint64_t fail_at; /* from 1; 0: none fails */
	bool for_ever;    /* all those after it too */
	uint64_t count;   /* so far, while armed */
	uint64_t failed;
	struct site failed_at; /* the first */
};

/* Before anything else: OpenSSL takes its hooks only then. */
void memory_init(void);

/* From now on what is allocated is counted, fails by the plan while armed, and is known until it is freed. */
void memory_watch(struct memory_plan *plan);
void memory_arm(bool on);

/* The sites of what is still allocated, those that stand more than once in one. Returns how many sites. */
size_t memory_left(struct site *sites, size_t max);

#endif
