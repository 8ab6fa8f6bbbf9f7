/* What a run of `tenon bench` is to do. */
#ifndef TENON_BENCH_PLAN_H
#define TENON_BENCH_PLAN_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/sizes.h"

enum bench_mode { MODE_ECHO, MODE_SEND, MODE_RECV, MODE_CONNECT, MODE_ONEWAY, MODE_BOTH };
enum expect { EXPECT_AUTO, EXPECT_ANY, EXPECT_ECHO, EXPECT_REGEX };

/* Messages: a template whose first bytes are changed to number them. */
struct payload {
	char *data; /* size_max bytes */
	struct sizes sizes;
	size_t size_min, size_max; /* of these */
	bool numbered;
	size_t number_at;
	bool from_file;
};

#define TARGETS_MAX 64
#define WEIGHT_MAX 100

/* Where to, and how many of the connections. */
struct target {
	const char *url;
	unsigned weight, conns;
};

struct plan {
	const char *url; /* the first one's */
	struct target *targets;
	unsigned ntargets;
	unsigned char deal[TARGETS_MAX * WEIGHT_MAX]; /* which target each of the connections is of, over and over */
	unsigned ndeal;
	enum bench_mode mode;
	unsigned conns, depth, threads; /* depth 0 with a rate: no limit */
	double rate; /* messages a second by schedule; 0: a message follows the reply to the one before */
	uint64_t duration_ns, warmup_ns, timeout_ns;
	uint64_t interval_ns;                /* of what is told while it runs */
	uint64_t think_min_ns, think_max_ns; /* between a reply and the next message; 0: none */
	uint64_t start_at_ns;                /* UTC; 0: as soon as the connections are open */
	uint64_t requests;                   /* 0: until the time is over */
	uint64_t seed;
	enum expect expect;
	const char *expect_text;
	regex_t regex;
	struct payload payload;
	bool keeps;    /* the endpoint keeps messages whole */
	bool memory;   /* what is sent is with the other side at once, without a system call */
	FILE *hlog;    /* the histogram of each second; NULL: nowhere */
	bool may_lose; /* datagrams that can be lost, doubled and reordered */
};

/* Whose connection number `index` is. */
static inline struct target *plan_target(const struct plan *plan, unsigned index)
{
	return &plan->targets[plan->deal[index % plan->ndeal]];
}

#endif
