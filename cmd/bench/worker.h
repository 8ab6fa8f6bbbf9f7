/* A thread of the load: its connections, and what it counts. */
#ifndef TENON_BENCH_WORKER_H
#define TENON_BENCH_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/text.h"
#include "path.h"
#include "plan.h"
#include "result.h"

enum phase { PHASE_DIAL, PHASE_READY, PHASE_RUN, PHASE_DRAIN, PHASE_OVER };

/*
 * What is known of a message that has been sent and not answered: when it was sent and, for datagrams, whether its
 * reply is still awaited.
 */
enum flight { FLIGHT_NONE, FLIGHT_WAITED, FLIGHT_ANSWERED, FLIGHT_LOST };

struct flight_slot {
	uint64_t sent_ns;
	enum flight state;
};

/* One connection of the load; its socket may be closed and dialled again. */
struct link {
	struct worker *worker;
	struct tn_conn *conn;
	struct link *next_todo;
	struct tn_timer *redial;
	unsigned index;  /* over all threads */
	unsigned target; /* of the plan's */
	struct tn_timer *think;
	bool open, full, todo, gone_once, thinks;
	uint64_t next, oldest; /* messages: to send next, longest without an answer */
	uint64_t waited;       /* how many are under way */
	uint64_t highest;      /* datagrams: one more than the highest that was answered */
	size_t got;            /* bytes of the reply that is coming */
	struct flight_slot *flights;
	uint32_t nflights; /* a power of two */
	uint64_t backoff_ms;
	uint64_t dialled_ns, due_ns; /* mode connect */
	struct text *reply;          /* --expect REGEX on a stream: what has come of it */
	struct oneway *oneway;       /* --mode one-way */
};

struct worker {
	struct plan *plan;
	struct tn_loop *loop;
	struct link *links;
	unsigned nlinks, index, nopen, ndialling, next_dial;
	unsigned closing; /* connections that have not closed yet */
	char *data;       /* the message template, this thread's copy */
	enum phase phase;
	uint64_t start_ns, begin_ns, end_ns, drain_until_ns;
	double interval_ns; /* between two messages of all threads */
	unsigned cursor;    /* the schedule: link */
	uint64_t round;     /* and how often all have had their turn */
	uint64_t budget;    /* messages that may still be begun */
	uint64_t events;    /* anything that happened: a turn without was idle */
	uint64_t moved_ns;  /* when something was last sent or came */
	uint64_t idle_ns;
	struct link *todo; /* links that can go on */
	uint64_t waited;   /* under way, over all links */
	struct sample *sample, *other;
	struct slices slices;
	_Atomic(bool) handed; /* `other` is the main thread's until it says false */
	uint64_t sample_until_ns;
	uint64_t taken_ns; /* the main thread's: to where it has what this one measured */
	struct message_counts counts;
	struct kinds errors;
	struct target_counts *targets; /* as many as the plan has, if these are several; otherwise NULL */
	struct path path;              /* of its first connection */
	bool has_path;
	struct received received; /* --mode one-way */
	uint64_t answered;        /* ever, warm-up included */
	struct text scratch;      /* a reply, for its regular expression */
	int failed;               /* it cannot begin, or not go on */
	char failure[512];
	uint64_t cpu_begin_ns, cpu_end_ns, spun_begin_ns, spun_end_ns;
	_Atomic(bool) ready, over;
	pthread_t thread;
};

void worker_fail(struct worker *worker, int err, const char *text);
void worker_error(struct worker *worker, const char *text, uint64_t count);
void worker_error_of(struct link *link, const char *text); /* one of a connection's */
void worker_opened(struct link *link);
uint64_t worker_due_ns(const struct worker *worker, const struct link *link, uint64_t number);
/* `n` messages with all times in common have their replies; or were sent. `bytes`: all of theirs. */
void worker_answered(struct link *link, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns, uint64_t n, size_t bytes);
void worker_sent(struct link *link, uint64_t due_ns, uint64_t now_ns, uint64_t n, size_t bytes);
void worker_todo(struct link *link);

static inline bool worker_counts(const struct worker *worker, uint64_t when_ns)
{
	return when_ns >= worker->begin_ns && when_ns < worker->end_ns;
}

#endif
