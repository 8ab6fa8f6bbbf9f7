/* The clients' side of conversations, said again. */
#ifndef TENON_REPLAY_PLAY_H
#define TENON_REPLAY_PLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/result.h"
#include "compare.h"

struct talks;

enum comparison { COMPARE_MESSAGES, COMPARE_BYTES, COMPARE_NONE };

struct play {
	const char *url;
	const struct talks *talks;
	bool closed;          /* as fast as replies come */
	double speed;         /* otherwise: of the recorded times */
	unsigned conns;       /* conversations at a time; 0: any number */
	unsigned repeat;      /* how often in all */
	uint64_t patience_ns; /* for a reply */
	unsigned shown;       /* differences */
	enum comparison comparison;
	struct ignored ignored;
	/* out */
	uint64_t sessions, replies, differences, failed;
};

/* Plays all of it, and adds what is measured. Returns 0 or a negative code, after printing an error. */
int play_run(struct play *play, struct result *result);

#endif
