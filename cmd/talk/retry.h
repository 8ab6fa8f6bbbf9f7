/* --retry and --every: dialling again while nobody answers. */
#ifndef TENON_TALK_RETRY_H
#define TENON_TALK_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct tn_loop;

struct retry {
	uint64_t left;     /* attempts; UINT64_MAX: without end */
	uint64_t every_ns; /* 0: not given */
	bool wanted;
	uint64_t nth; /* the attempt that failed last */
};

/* Setters of options: `to` is a struct retry. */
const char *retry_set_count(const char *value, void *to);
const char *retry_set_every(const char *value, void *to);

/* Whether the two options go together; otherwise an error has been printed. Call it before the others below. */
bool retry_check(struct retry *retry, const char *command);

bool retry_is_wanted(const struct retry *retry);

/*
 * In on_close of a connection that has not opened: whether dial(NULL) will be called on the loop, after the time and a
 * quarter more or less. It is told on standard error. Not where `err` cannot become better by waiting.
 */
bool retry_after(struct retry *retry, struct tn_loop *loop, int err, void (*dial)(void *arg));

#endif
