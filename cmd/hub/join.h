/*
 * --join: the hub is a client of a NATS cluster. What is published here goes up, what somebody here wants is subscribed
 * to there. It lives on the first loop.
 *
 * Two connections are made to one server. What is published goes up the first, which gets none of it back; what only
 * one of a queue group is to have comes by the second, so that the cluster chooses among members here and elsewhere,
 * and nobody has it twice.
 */
#ifndef TENON_HUB_JOIN_H
#define TENON_HUB_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox;
struct text;

struct join_plan {
	const char *login; /* a file: nats_login.h; NULL: none */
	size_t queue;      /* bytes that wait while no server is there */
	bool number;       /* messages get numbers, by which gaps are found */
	bool here;         /* queue groups: a member here has it at once, and another one elsewhere too */
};
extern struct join_plan join_plan;

/* --join URL,... and --local PATTERN, which may be given several times. Each returns why not, or NULL. */
const char *join_add(const char *urls);
const char *join_add_local(const char *pattern);
bool join_is_wanted(void);

/* Checks what was given, and reads the login's file. Returns an exit status; not STATUS_DONE: an error was printed. */
int join_check(void);
void join_free(void);

/* What it needs in the sandbox. */
void join_allow(struct sandbox *box);

/* On the first loop's thread: before it runs, behind exchange_new(). Returns 0 or a negative code. */
struct tn_loop;
int join_open(struct tn_loop *loop);
/* Nothing is published here any more: sends what waits, for so long at most, then calls done(). */
void join_finish(uint64_t within_ns, void (*done)(void));
/* Before the loop is freed. */
void join_close(void);

/* For --admin, and at the end. */
void join_metrics(struct text *out, bool open);
void join_status(struct text *out);

#endif
