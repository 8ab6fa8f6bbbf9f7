/* Option --chaos: the faults of sessions (chaos/), in time: what is in force when, and what each session makes of it.
 */
#ifndef TENON_RELAY_FAULTS_H
#define TENON_RELAY_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos/chaos.h"

struct tn_loop;
struct tn_msg;

/* Options --chaos and --chaos-script. */
const char *faults_add(const char *value, void *to);
const char *faults_set_script(const char *value, void *to);

/* Reads what was given. Returns the exit status, after printing an error. */
int faults_read(void);

/* What is in force for the sessions of a listener. */
struct faults_source {
	_Atomic(const struct chaos_set *) set;
	_Atomic(uint64_t) sessions; /* that have begun */
	bool scripted;              /* another set may be in force soon */
};

/* What was given is in force for all listeners of the command line. NULL: nothing was given. */
struct faults_source *faults_given(void);

/* Whether all of it has an effect on what this listener carries: the exit status, after printing an error. */
int faults_check(const char *url, enum chaos_carries carries);

/* Starts the clock of the script, on the first loop. Returns the exit status. */
int faults_start(struct tn_loop *loop);
void faults_stop(void);
void faults_free(void);

/* ---- one session ---- */

struct faults;

/* What a session does when it is due. `direction`: CHAOS_UP or CHAOS_DOWN. */
struct faults_hooks {
	void (*pass)(void *session, int direction, const struct tn_msg *msg);
	void (*end)(void *session, int direction);
	void (*close)(void *session);
	void (*reset)(void *session);
	/* Whether it takes no more for now. */
	bool (*full)(void *session, int direction);
	/* Whether too much waits: then its source is not to be read. */
	void (*hold)(void *session, int direction, bool hold);
};

/* NULL: there is no memory. `source` outlives it. */
struct faults *faults_begin(struct faults_source *source, struct tn_loop *loop, enum chaos_carries carries,
			    const struct faults_hooks *hooks, void *session);

/* Whether a direction's source is not to be read, as its hook has been told. NULL is allowed. */
bool faults_hold(const struct faults *faults, int direction);

/* Whether something that was said has not been passed on yet. NULL is allowed. */
bool faults_wait(const struct faults *faults);

/* Whether it is to be refused. */
bool faults_refuse(const struct faults *faults);

void faults_put(struct faults *faults, int direction, const struct tn_msg *msg);
void faults_put_end(struct faults *faults, int direction);

/* Looks whether another set is in force: now and then where the source is scripted, otherwise when it has changed. */
void faults_look(struct faults *faults);

/* What has happened so far. */
struct chaos_counts faults_counts(const struct faults *faults);

/* NULL is allowed. From a hook too. */
void faults_over(struct faults *faults);

#endif
