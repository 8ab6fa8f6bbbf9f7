/*
 * What a connection stands on decides how its messages come and go. There is a table of functions for each kind. A
 * connection gets its own when it is made, and keeps it; fd:N gets it when the descriptor has been looked at.
 */
#ifndef TNI_CONN_KIND_H
#define TNI_CONN_KIND_H

#include "conn/conn.h"

struct tni_kind {
	/* It is opened and closed with its peer, so it has an idle time, a drain time and an end of each direction.
	 * false: a socket for datagrams as they are. */
	bool ends;
	/* After our end the peer's is waited for: to close before that could be a reset. */
	bool awaits_end;
	/* It can be reset, which tells the peer that this was not all. */
	bool resets;
	/* Each piece that comes is a whole message, and each that goes. */
	bool messages;
	/* Nobody knows of it while its first handshake goes on: dialled, it needs no end before. */
	bool unseen;

	/* Gives it its connected descriptor. `fd_flags`: for tni_fd_init(). 0, or a negative code with detail. */
	int (*open)(struct tn_conn *conn, int fd, unsigned fd_flags);
	/* From the task, where nothing holds it: receives from now on. < 0: it cannot, for good. */
	int (*receive)(struct tn_conn *conn);
	/* From the task: hands over what has come; and whether something has that was not handed over. */
	void (*deliver)(struct tn_conn *conn);
	bool (*has_received)(const struct tn_conn *conn);
	/* Puts a message into the queue. `answered` is as in tn_reply(). 1: it is lost already, which is no error. */
	int (*put)(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count);
	/* The same with a received or a shared message, without a copy. 1: it cannot be done, or does not pay, and
	 * nothing has happened. NULL: never. */
	int (*link)(struct tn_conn *conn, enum tn_msg_kind kind, const struct tni_view *view);
	/* Sends what is queued. `now`: by system calls of its own, inside a call of the user's, instead of with all
	 * that leaves at the end of the turn. */
	void (*flush)(struct tn_conn *conn, bool now);
	/* All is sent, and our direction ends. NULL: nothing is to be done. */
	void (*shut)(struct tn_conn *conn);
#ifdef TNI_HAVE_SHM
	/* It is about to be closed by a reset. NULL: closing its socket is one. */
	void (*reset)(const struct tn_conn *conn);
	/* Bytes that were sent and that the peer has not read; and whether some have come that were not read. NULL: the
	 * kernel knows. */
	size_t (*unsent)(const struct tn_conn *conn);
	bool (*unread)(const struct tn_conn *conn);
	/* 0, or what has become of a connection on which nothing is read any more. NULL: SO_ERROR says it. */
	int (*error)(const struct tn_conn *conn);
#endif
	/* Its descriptor is about to be closed. NULL: nothing is to be done. */
	void (*leave)(struct tn_conn *conn);
	/* Others still need it, so a draining server does not close it. NULL: they never do. */
	bool (*is_needed)(const struct tn_conn *conn);
	/* A datagram has come that is not a message by itself (DTLS). NULL: each is, or there are none. No user code
	 * runs. */
	void (*take)(struct tn_conn *conn, const struct tn_addr *peer, const void *data, size_t len);

	/* The connection whose descriptor it uses. NULL: its own. */
	const struct tn_conn *(*socket)(const struct tn_conn *conn);
	/* Its messages are of several peers. NULL: never. */
	bool (*has_many_peers)(const struct tn_conn *conn);
	/* Adds what only it knows to tn_conn_info(). NULL: nothing. */
	void (*info)(const struct tn_conn *conn, struct tn_conn_info *info);
};

extern const struct tni_kind tni_kind_bytes;       /* a stream: TCP, Unix */
extern const struct tni_kind tni_kind_memory;      /* a stream through shared memory: conn/shm.c */
extern const struct tni_kind tni_kind_packets;     /* SOCK_SEQPACKET */
extern const struct tni_kind tni_kind_file;        /* a pipe, terminal, device or regular file */
extern const struct tni_kind tni_kind_datagrams;   /* a socket whose datagrams are the messages */
extern const struct tni_kind tni_kind_shared;      /* a served socket, of associations */
extern const struct tni_kind tni_kind_association; /* DTLS: datagrams below, a connection above */

/* A stream of bytes. */
static inline bool tni_kind_is_stream(const struct tni_kind *kind)
{
#ifdef TNI_HAVE_SHM
	if (kind == &tni_kind_memory)
		return true;
#endif
	return kind == &tni_kind_bytes;
}

/* Of a scheme of streams or packets. */
static inline const struct tni_kind *tni_kind_of_stream(const struct tni_scheme *scheme)
{
	if (tni_scheme_is_memory(scheme))
		return &tni_kind_memory;
	return scheme->type == SOCK_SEQPACKET ? &tni_kind_packets : &tni_kind_bytes;
}

#endif
