/*
 * The targets of a relay, and which of them the next session gets. All threads share them.
 *
 * A target that fails is left out for a while (passive ejection): for a second at first, then twice as long each time,
 * a minute at most, and each time up to a quarter more or less, so that not all relays come back at once.
 */
#ifndef TENON_RELAY_TARGETS_H
#define TENON_RELAY_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balance.h"

struct targets *targets_new(void);
void targets_free(struct targets *targets);

/* A target's URL as it is dialled: it is given up after `connect`, unless it says itself when. The caller frees it. */
char *targets_url(const char *url, const char *connect);

/* Adds a URL, which people know as `given`. False: there are too many, or there is no memory. */
bool targets_add(struct targets *targets, const char *url, const char *given);

/* tn_errmsg() in words about the target as it was given; -1: about none. Returns `out`. */
const char *targets_why(const struct targets *targets, int index, char *out, size_t cap);

/*
 * Chooses a target for a session, which then counts there until targets_leave(). `tried`: a bit for each that this
 * session has tried in vain. `source`: a number for the client's address. Those that are left out are chosen when there
 * is no other. -1: all have been tried.
 */
int targets_choose(struct targets *targets, uint64_t tried, uint64_t source);
void targets_leave(struct targets *targets, int index);

/* How it went. `err`, `why`: for what is told to people when a target is left out; what we lack does not count. */
void targets_failed(struct targets *targets, int index, int err, const char *why);
void targets_worked(struct targets *targets, int index);

/* What a probe says. Several in a row decide (plan.probe.rise, fall). */
void targets_probed(struct targets *targets, int index, bool works, int err, const char *why);

/* It leads back to this relay. */
void targets_loops(struct targets *targets, int index);

#endif
