/* The loop: engine, timers, ready queue, inbox. One thread's; nothing in it is shared but the inbox. */
#ifndef TNI_IO_LOOP_H
#define TNI_IO_LOOP_H

#include "base/clock.h"
#include "io/inbox.h"
#include "io/io.h"
#include "io/timer.h"
#include "tenon.h"
#include "tenon_value.h"

#include <pthread.h>
#include <stdatomic.h>

/* Work for the ready queue: the only place from which user code is called. */
struct tni_task {
	struct tni_list node; /* must be initialised; linked while queued */
	void (*run)(struct tni_task *task);
};

struct tni_slot {
	struct tni_fd *fd;
	uint32_t generation;
	uint32_t next; /* of those that are free, or pending; TNI_SLOT_ALONE */
};

#define TNI_SLOT_ALONE UINT32_MAX

/* Adaptive spinning before sleep: see spin.c. */
struct tni_spin {
	uint64_t max_ns; /* 0: never spin */
	uint32_t credit; /* how far recent gaps were short enough to be worth spinning for */
	uint32_t skip;   /* idle periods to sleep through before trying again */
	uint32_t backoff;
	uint64_t idle_ns;  /* spent on polls that found nothing */
	bool again;        /* of an embedded loop: it is to be stepped again at once, to look for events */
	uint64_t quiet_ns; /* the same: when its last turn with events was over */
};

/* A loop inside another one. */
struct tni_embed {
	bool on;
	int fd;
	pthread_t thread;
};

/* Work of one connection that takes long enough for others to notice: a handshake. */
struct tni_costly {
	struct tni_list node;
	struct tni_task *task; /* run when it is its turn */
};

struct tni_pipe;

struct tn_loop {
	const struct tni_engine_ops *engine;
	void *engine_state;
	int (*extra_layers)(struct tn_conn *conn); /* a test's: puts its own layers below new connections */
	struct tni_fault *fault;                   /* the fault engine's, above the state of the one beneath */
	struct tni_mem mem;
	struct tni_timers timers;
	uint64_t now_ns;
	struct tni_list ready, later;   /* tasks of this turn and of the next */
	struct tni_list hot;            /* descriptors whose memory is looked at: io/memory.h */
	uint64_t asked_ns;              /* when the engine was last asked while there were some */
	uint32_t pending, last_pending; /* slots of descriptors to try without an event: io/ready.c; 0: none */
	struct tni_list starved;        /* tasks waiting for memory */
	struct tni_list costly;         /* struct tni_costly: those that wait for their turn */
	_Atomic(unsigned) ncostly;      /* how many those are; an acceptor of several loops looks at all */
	struct tni_costly *its_turn;    /* one of them, while it runs */
	uint64_t costly_ns;             /* what such work has taken in this turn */
	uint64_t pushed;                /* bytes that have gone out inside callbacks in this turn */
	struct tni_timer starved_retry;
	struct tni_timer trim;             /* memory that is not needed is given back */
	uint64_t short_since_ns, short_ns; /* since when memory is short, and when that was last seen */
	struct tni_slot *slots;
	uint32_t nslots, cap_slots, free_slot; /* nslots: ever used; those beyond are not touched */
	struct tni_spin spin;
	struct tni_embed embed;
	unsigned alive; /* what keeps tn_loop_run() running */
	unsigned dying; /* connections that only wait for the kernel to give back what is in flight */
	bool ending;    /* being freed: nothing new begins */
	bool turning;   /* inside a turn: another one must not begin */
	_Atomic(bool) stop;
	struct tni_inbox *inbox;
	struct tni_fd wake;
	uint64_t completions, tasks_run;
	uint32_t limit;                /* most bytes of the next stream call; 0: no limit. The sim engine's */
	struct tni_list owned;         /* struct tni_owned: what tn_loop_free() must end */
	struct tni_list helpers;       /* the same for the user's timers and polls, which end last */
	struct tni_resolver *resolver; /* net/resolve.c's, made on first use, one of `owned` */
	struct tni_dialler *dialler;   /* the same, conn/dialler.c's */
	struct tni_pipe *pipes;        /* that nobody uses now: io/pipes.c */
	unsigned pipes_kept, pipes_out;
	bool sigpipe_known, sigpipe_ignored; /* in this turn: io/attempt.c */
	void *overflow;                      /* attempt.c's: the far part of a huge message; made on first use */
	void *dgram_batch;                   /* net/dgram.c's scratch, made on first use; plain memory */
	struct tn_bytes encoded;             /* conn/format.c's scratch: the text of the last tn_reply_value() */
};

/* Largest message of a seqpacket socket, beyond a large block: the kernel's own limit (wmem_max) is far below. */
#define TNI_OVERFLOW_CAP (4 * 1024 * 1024)

/* Something that lives on a loop and must be ended before it. */
struct tni_owned {
	struct tni_list node;
	void (*destroy)(struct tni_owned *owned);
};

/* Queues a task to run in this turn. One that waits for memory or for the next turn is brought forward. */
static inline void tni_loop_ready(struct tn_loop *loop, struct tni_task *task)
{
	tni_list_del(&task->node);
	tni_list_add_tail(&loop->ready, &task->node);
}

/* Queues a task for the next turn, after the descriptors had theirs: for work that would go on for ever in this one. */
static inline void tni_loop_later(struct tn_loop *loop, struct tni_task *task)
{
	if (tni_list_empty(&task->node))
		tni_list_add_tail(&loop->later, &task->node);
}

/*
 * Whether costly work may begin: in each turn there is 1 ms for it, and those that came first go first. If not, the
 * task is run when it may. What the work takes must be told to tni_loop_cost().
 */
bool tni_loop_may_cost(struct tn_loop *loop, struct tni_costly *costly);

/* It does not wait any more. */
void tni_loop_cost_no_more(struct tn_loop *loop, struct tni_costly *costly);

static inline void tni_loop_cost(struct tn_loop *loop, uint64_t ns)
{
	loop->costly_ns += ns;
}

/* Queues a task for when memory for bytes has come back. */
void tni_loop_starve(struct tn_loop *loop, struct tni_task *task);

/* Whether there has been none for so long that waiting is no answer any more. */
bool tni_loop_lacks_memory(const struct tn_loop *loop);

/* tn_loop_post() of memory that is the caller's. TN_ESTATE: the loop is being freed, and it will not be run. */
int tni_loop_put(struct tn_loop *loop, struct tni_post *post);

/* Runs the ready queue until it is empty. Engines call it between completions to keep hot memory hot. */
void tni_loop_settle(struct tn_loop *loop);

static inline void tni_loop_timer(struct tn_loop *loop, struct tni_timer *timer, uint64_t delay_ns)
{
	/* From the clock, not the turn's start: the turn may have been long, or over for long when the caller is
	 * outside one. Never "now": a timer that re-arms itself must not keep the loop from its descriptors. */
	tni_timer_arm(&loop->timers, timer, tni_ns_add(tni_clock_ns(), delay_ns ? delay_ns : 1));
}

static inline void tni_loop_untimer(struct tn_loop *loop, struct tni_timer *timer)
{
	tni_timer_disarm(&loop->timers, timer);
}

#endif
