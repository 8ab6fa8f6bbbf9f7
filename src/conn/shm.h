/* Connections through shared memory (shm:): what conn/stream asks of their rings. */
#ifndef TNI_CONN_SHM_H
#define TNI_CONN_SHM_H

#include "conn/kind.h"

/*
 * What dialling asks when the server has said something: takes its hello and its memory, for tni_shm_open(). 0;
 * -EAGAIN: it is not there yet; < 0 with detail. `arg`: the connection.
 */
int tni_shm_greeted(int fd, void *arg);

/* Over a connected Unix socket: makes its memory and says so, if a server has accepted it. 0, or -errno. */
int tni_shm_open(struct tn_conn *conn, int fd, const struct tni_fd_done *done);

/* The rest is struct tni_kind's. */
void tni_shm_shut(struct tn_conn *conn);
void tni_shm_reset(const struct tn_conn *conn);
void tni_shm_leave(struct tn_conn *conn);
size_t tni_shm_unsent(const struct tn_conn *conn);
int tni_shm_error(const struct tn_conn *conn);
bool tni_shm_has_unread(const struct tn_conn *conn);

#endif
