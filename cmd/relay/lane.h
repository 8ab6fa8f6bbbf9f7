/* The sessions of one loop, and the time that passes for them. */
#ifndef TENON_RELAY_LANE_H
#define TENON_RELAY_LANE_H

#include <stdbool.h>
#include <stdint.h>

struct tn_loop;

/* What is in a lane; a session begins with it. */
struct member {
	struct member *next, **link;
};

/* May end it. */
typedef void (*member_tick)(struct member *member, uint64_t now_ns, bool draining);

/* Puts a member into the lane of this thread's loop. All have the same `tick`. */
void lane_join(struct tn_loop *loop, struct member *member, member_tick tick);
void lane_leave(struct member *member);

/* Calls fn() with each member of this thread's lane, which it may end. */
void lane_each(void (*fn)(struct member *member, void *arg), void *arg);

/* From now on the members of this lane get ticks, for as long as there are any. */
void lane_start_ticking(struct tn_loop *loop);

/* The relay ends: all members of all lanes get ticks. From the first loop's thread. */
void lanes_drain(void);

#endif
