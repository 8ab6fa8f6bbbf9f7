/*
 * Faults: what passes in one direction is delayed, slowed down, cut into slices, lost, doubled, reordered or damaged.
 * Pure: time is told, nothing waits here. The same seed and the same bytes at the same times give the same result.
 */
#ifndef CHAOS_H
#define CHAOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHAOS_UP, CHAOS_DOWN }; /* from the client, and to it */

#define CHAOS_SPECS_MAX 32
#define CHAOS_NEVER UINT64_MAX

/* What is done in one direction; 0 and NEVER: nothing of that kind. */
struct chaos_rule {
	uint64_t latency_ns, jitter_ns; /* each is delayed by latency, more or less by up to jitter */
	uint64_t bandwidth;             /* bytes a second */
	uint64_t slice, slice_jitter;   /* bytes: of a slice, more or less */
	uint64_t slice_delay_ns;        /* between slices */
	uint64_t silent_ns;             /* nothing passes, and the session is closed after this time; 0: never */
	uint64_t reset_ns;              /* the session is reset after this time */
	uint64_t reset_after, limit;    /* after so many bytes it is reset, closed */
	uint64_t slow_close_ns;         /* the end of a side passes so much later */
	double loss, duplicate, reorder, corrupt;
	uint64_t corrupt_bits;
	bool when_said; /* reset_ns begins when something is said, which is lost */
	bool stalled;   /* nothing goes on */
};

struct chaos_spec {
	struct chaos_rule rules[2];
	bool refuse;        /* sessions are reset at once */
	double probability; /* that a session has any of this */
	uint64_t first;     /* sessions that may have it; NEVER: all */
	uint64_t messages;  /* of each of its directions that may have it; NEVER: all */
	uint64_t seed;
	bool has_seed;
	uint64_t id;      /* of a live set: the same in the sets that follow it */
	unsigned version; /* another one when it has been changed */
};

/* What is in force at a time. */
struct chaos_set {
	struct chaos_spec specs[CHAOS_SPECS_MAX];
	int count;
	/* What waits follows the sets: in each stage it waits for that one alone, and goes on when its spec has gone or
	 * was changed. All sets of a pipe are live, or none is. */
	bool live;
};

/* What sessions carry. */
enum chaos_carries { CHAOS_BYTES, CHAOS_MESSAGES, CHAOS_DATAGRAMS };

/*
 * Reads `latency=10ms,jitter=2ms,up.loss=5%`. Returns NULL, or why not, with the byte of `text` in *at. The words are
 * valid until the next call.
 */
const char *chaos_parse(const char *text, struct chaos_spec *spec, size_t *at);

/* A spec of which nothing is done. */
void chaos_spec_init(struct chaos_spec *spec);

/* Reads a probability, 5% or 0.05. Returns why not, or NULL. */
const char *chaos_chance(const char *text, double *chance);

/* A key of it that has no effect on what is carried; NULL: there is none. */
const char *chaos_unfit(const struct chaos_spec *spec, enum chaos_carries carries);

/* ---- one direction of a session ---- */

enum chaos_what { CHAOS_DATA, CHAOS_END, CHAOS_CLOSE, CHAOS_RESET };

struct chaos_item {
	struct chaos_item *before, *next;
	uint64_t due_ns;
	enum chaos_what what;
	bool held;  /* until the next has overtaken it */
	bool timed; /* it happens whatever passes, as long as the set is in force */
	uint8_t kind;
	size_t len;
	unsigned char data[];
};

struct chaos_counts {
	uint64_t lost, duplicated, reordered, corrupted;
};

struct chaos_stage {
	uint64_t rng, free_ns, bytes, messages;
	uint64_t began_ns;
	bool closed; /* nothing goes through any more */
};

struct chaos_pipe {
	const struct chaos_set *set; /* must stay as long as it is used */
	uint64_t number, active;     /* of the session; a bit for each spec that it has */
	int direction;
	enum chaos_carries carries;
	uint64_t began_ns, last_ns;
	struct chaos_stage stages[CHAOS_SPECS_MAX];
	struct chaos_list {
		struct chaos_item *first, *last;
	} queue; /* by the times that are due */
	/* Of a live set, what waits before each stage: to leave the one before, or, the last, all. In the order it was
	 * said. In the queue is what happens whatever waits. */
	struct chaos_list waits[CHAOS_SPECS_MAX + 1];
	size_t bytes, items, held; /* that wait */
	bool over;                 /* nothing is taken any more */
	bool unheard;              /* its end was lost, and nobody hears of it */
	struct chaos_counts counts;
};

/* Which specs a session has, the `number`-th from 0: a bit for each. */
uint64_t chaos_draw(const struct chaos_set *set, uint64_t number);

/* Whether a session with these is refused. */
bool chaos_refuses(const struct chaos_set *set, uint64_t active);

/* Begins, or goes on under another set: what waits is not touched, unless the sets are live. A spec with timeout that
 * is in force no more closes the session: what it has lost would be missing. */
void chaos_pipe_begin(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t number, int direction,
		      enum chaos_carries carries, uint64_t now_ns);
void chaos_pipe_change(struct chaos_pipe *pipe, const struct chaos_set *set, uint64_t now_ns);
void chaos_pipe_free(struct chaos_pipe *pipe);

/* Takes what a side has said now, and that it has ended. Returns 0 or -ENOMEM. */
int chaos_put(struct chaos_pipe *pipe, const void *data, size_t len, uint8_t kind, uint64_t now_ns);
int chaos_end(struct chaos_pipe *pipe, uint64_t now_ns);

/* Whether so much waits that its source is not to be read, and a datagram is lost. */
bool chaos_is_full(const struct chaos_pipe *pipe);

/* When something is due next; NEVER: nothing waits. And whether what comes first of all that is due is data. */
uint64_t chaos_due(const struct chaos_pipe *pipe);
bool chaos_is_data(const struct chaos_pipe *pipe, uint64_t now_ns);

/* What is due by now, in its order: the caller's to free. NULL: nothing is. */
struct chaos_item *chaos_take(struct chaos_pipe *pipe, uint64_t now_ns);

#endif
