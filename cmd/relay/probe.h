/*
 * Active probes: each target is connected to now and then, with its handshake; and if the user wants that, sent a
 * message whose reply is looked at.
 */
#ifndef TENON_RELAY_PROBE_H
#define TENON_RELAY_PROBE_H

struct targets;
struct tn_loop;

/* Probes all targets of a group on this loop, if probes are wanted. Returns 0 or -ENOMEM. */
int probe_start(struct tn_loop *loop, struct targets *targets);

/* Ends all probes. On the loop's thread, or before any runs. */
void probe_stop(void);

/* When the loop has gone. */
void probe_free(void);

#endif
