/* How fast a session may go: it pauses the side that has said too much (limits.h), and lets it go on. */
#ifndef TENON_RELAY_PACE_H
#define TENON_RELAY_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

struct tn_conn;

struct pace {
	struct bucket in, out; /* from the client, and to it */
	struct share *share;
	bool in_waits, out_waits;
	unsigned times; /* that a side had to wait */
};

/* Whether the user has set any limit of this kind. */
bool pace_wanted(void);

void pace_begin(struct pace *pace, uint64_t source);
void pace_end(struct pace *pace);

/* So many bytes have passed from this side: it is paused if that was all for now. */
void pace_passed(struct pace *pace, struct tn_conn *from, bool in, size_t len);

/* Resumes who may go on. Each may be NULL. */
void pace_tick(struct pace *pace, struct tn_conn *client, struct tn_conn *target, uint64_t now_ns);

#endif
