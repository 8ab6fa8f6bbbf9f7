/* What a WebSocket's peer has said at its end. */
#ifndef TENON_TALK_CLOSED_H
#define TENON_TALK_CLOSED_H

struct tn_conn;

#define CLOSED_MAX 160

/* " with 4008: not today", where its Close says more than that all is well; otherwise "". In on_end and on_close. */
const char *closed_words(const struct tn_conn *conn, char out[CLOSED_MAX]);

#endif
