/* Which target is next: pure, no lock and no clock. */
#ifndef TENON_RELAY_BALANCE_H
#define TENON_RELAY_BALANCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define TARGETS_MAX 64

enum balance {
	BALANCE_ROUND_ROBIN,
	BALANCE_FIRST,  /* the first that is alive */
	BALANCE_LEAST,  /* the one with the fewest sessions */
	BALANCE_SOURCE, /* the same target for the same address, as long as that target is alive */
};

struct target {
	char *url, *given;  /* with what options add to it, and as it was given */
	bool closes_at_bad; /* key bad */
	unsigned sessions;  /* open or being opened */
	unsigned failures;  /* in a row */
	uint64_t out_until_ns;
	bool out;          /* it was said that it has failed */
	bool down;         /* probes say so: it is used when there is no other */
	unsigned in_a_row; /* probes that say the other thing */
	bool loops;        /* it is this relay itself: it is never chosen again */
};

struct targets {
	struct target list[TARGETS_MAX];
	int count;
	int number; /* of its rule, from 1; 0: of none */
	int next;   /* round robin */
	enum balance balance;
	pthread_mutex_t lock; /* of all that changes */
};

/* Of those whose bit is set in `able`. -1: there is none. */
int balance_choose(const struct targets *targets, uint64_t able, uint64_t source);

/* How long a target with so many failures in a row is left out. `chance`: any random number. */
uint64_t balance_backoff_ns(unsigned failures, uint64_t chance);

#endif
