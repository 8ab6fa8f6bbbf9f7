/*
 * What passes in a session, for who looks on: --record, --trace and --admin-trace. A command calls this in one place
 * and none of them; without any of them there is nothing to be called.
 */
#ifndef TENON_TAP_H
#define TENON_TAP_H

#include <stdbool.h>
#include <stdint.h>

#include "record/recorder.h"

struct tap;
struct text;

/* Whether anybody looks on. */
bool tap_is_wanted(void);

/*
 * Of --trace and --admin-trace, in the order of a command's life: see trace.h. tap_close() when all sessions have
 * ended. --record has functions of its own: record/recorder.h.
 */
int tap_open(const char *command, bool has_admin);
void tap_allow(struct sandbox *box);
int tap_start(void);
void tap_reopen(void);
void tap_close(void);

/*
 * A connection is open: what passes on it is looked at until it closes. `url`: of its endpoint, which stays. Does
 * nothing if nobody looks on.
 */
enum tap_flags { TAP_SERVED = 1 /* its peer is the client */, TAP_MESSAGES = 2 /* have bounds */ };
void tap_conn(struct tn_conn *conn, const char *url, unsigned flags);

/* What is kept of a connection, as members of a JSON object; nothing without --admin-trace. On its loop. */
void tap_conn_json(struct text *out, const struct tn_conn *conn);

/* ---- a session that the command itself tells of: as recording_...() in record/recorder.h, each with NULL too ---- */

/* `conn`: the client's, by which tap_conn_json() finds it. */
struct tap *tap_begin(const struct tn_conn *conn, const struct recording_ends *ends);
void tap_number(struct tap *tap, uint64_t id); /* it is shown under another one */
/* With which connection its last messages are shown, if not with that of tap_begin(): it may not end before. */
void tap_show_at(struct tap *tap, const struct tn_conn *conn);
void tap_reached(struct tap *tap, const char *target);
void tap_data(struct tap *tap, enum recording_side from, const struct tn_msg *msg, const char *format);
void tap_ended(struct tap *tap, enum recording_side from);
void tap_end(struct tap *tap, enum recording_side side, const char *by, const char *why, bool reset);

#endif
