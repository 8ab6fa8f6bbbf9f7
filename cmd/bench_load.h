/* The generator's inside: what its threads and their connections know of each other. */
#ifndef TENON_BENCH_LOAD_H
#define TENON_BENCH_LOAD_H

#include <pthread.h>

#include "bench.h"
#include "output.h"

enum phase { PHASE_DIAL, PHASE_READY, PHASE_RUN, PHASE_DRAIN, PHASE_OVER };

/* What is known of a message that is under way: when it went, and for datagrams whether it is still waited for. */
enum flight { FLIGHT_NONE, FLIGHT_WAITED, FLIGHT_ANSWERED, FLIGHT_LOST };

struct flight_slot {
	uint64_t sent_ns;
	enum flight state;
};

/* One connection of the load; its socket comes and goes. */
struct link {
	struct worker *worker;
	struct tn_conn *conn;
	struct link *next_todo;
	struct tn_timer *redial;
	unsigned index; /* over all threads */
	bool open, full, todo, gone_once;
	uint64_t next, oldest; /* messages: to send next, longest without an answer */
	uint64_t waited;       /* how many are under way */
	uint64_t highest;      /* datagrams: one more than the highest that was answered */
	size_t got;            /* bytes of the reply that is coming */
	struct flight_slot *flights;
	uint32_t nflights; /* a power of two */
	uint64_t backoff_ms;
	uint64_t dialled_ns, due_ns; /* mode connect */
	struct text *reply;          /* --expect REGEX on a stream: what has come of it */
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
	uint64_t idle_ns;
	struct link *todo; /* links that can go on */
	uint64_t waited;   /* under way, over all links */
	struct sample *sample, *other;
	struct slices slices;
	_Atomic(bool) handed; /* `other` is the main thread's until it says false */
	uint64_t sample_until_ns;
	uint64_t taken_ns; /* the main thread's: to where it has what this one measured */
	struct counts counts;
	struct kinds errors;
	uint64_t answered;   /* ever, warm-up included */
	struct text scratch; /* a reply, for its regular expression */
	int failed;          /* it cannot begin, or not go on */
	char failure[512];
	uint64_t cpu_begin_ns, cpu_end_ns, spun_begin_ns, spun_end_ns;
	_Atomic(bool) ready, over;
	pthread_t thread;
};

/* bench_link.c */
int link_open(struct link *link);
void link_pump(struct link *link, uint64_t now_ns);
void link_sweep(struct link *link, uint64_t now_ns); /* datagrams: gives up what has been waited for too long */
void link_settle(struct link *link);                 /* the end: what is still waited for is unanswered */
void link_close(struct link *link);
void link_free(struct link *link);

/* bench_load.c */
void worker_fail(struct worker *worker, int err, const char *text);
void worker_error(struct worker *worker, const char *text, uint64_t count);
void worker_opened(struct link *link);
uint64_t worker_due_ns(const struct worker *worker, const struct link *link, uint64_t number);
void worker_answered(struct worker *worker, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns, size_t size);
void worker_sent(struct worker *worker, uint64_t due_ns, uint64_t now_ns, size_t size);
void worker_todo(struct link *link);

static inline bool worker_counts(const struct worker *worker, uint64_t when_ns)
{
	return when_ns >= worker->begin_ns && when_ns < worker->end_ns;
}

#endif
