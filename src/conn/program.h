/* A program that was dialled: it ends with its connection, and how it has ended is told when that closes. */
#ifndef TNI_CONN_PROGRAM_H
#define TNI_CONN_PROGRAM_H

#include "conn/conn.h"

struct tni_exec;

static inline bool tni_conn_is_program(const struct tn_conn *conn)
{
#ifdef TNI_HAVE_FILES
	return conn->ep->scheme->place == TNI_AT_EXEC;
#else
	(void)conn;
	return false;
#endif
}

#ifdef TNI_HAVE_FILES

/* Starts it. `of`, `msg`: for whom, as in tn_dial_for(). 0, or < 0 with detail. */
int tni_exec_open(struct tn_conn *conn, const struct tn_conn *of, const struct tn_msg *msg);

/* It reads no more: what is still to go is dropped, which is its own business. No send is in flight. */
void tni_exec_mute(struct tn_conn *conn);

/* So it was: something has been dropped. */
bool tni_exec_is_deaf(const struct tn_conn *conn);

/*
 * Before the last step of a connection with nothing in flight. True: its program goes on; its descriptor is closed,
 * and the connection's task runs again when the program has ended, which is soon.
 */
bool tni_exec_lingers(struct tn_conn *conn);

/* Nobody waits for it: one that lingers is ended now. */
void tni_exec_hurry(struct tn_conn *conn);

void tni_exec_tell(const struct tn_conn *conn, struct tn_conn_info *info);
void tni_exec_free(struct tni_exec *exec);

#else

static inline void tni_exec_mute(struct tn_conn *conn)
{
	(void)conn;
}

static inline bool tni_exec_is_deaf(const struct tn_conn *conn)
{
	(void)conn;
	return false;
}

static inline bool tni_exec_lingers(struct tn_conn *conn)
{
	(void)conn;
	return false;
}

static inline void tni_exec_hurry(struct tn_conn *conn)
{
	(void)conn;
}

static inline void tni_exec_tell(const struct tn_conn *conn, struct tn_conn_info *info)
{
	(void)conn, (void)info;
}

#endif

#endif
