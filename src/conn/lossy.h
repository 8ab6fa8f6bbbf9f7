/*
 * What a layer over datagrams (DTLS) has beside one over a stream: it goes through a socket that may be its server's,
 * what got lost goes out again by the loop's timers, and its last word is repeated, since nobody acknowledges that.
 */
#ifndef TNI_CONN_LOSSY_H
#define TNI_CONN_LOSSY_H

#include "conn/conn.h"

#define TNI_BYE_MAX 64

struct tni_peer;

struct tni_lossy {
	struct tn_conn *conn;
	struct tn_conn
		*socket; /* through which it goes: its own when dialled, otherwise its server's; NULL: that has gone */
	struct tni_peer *peer;          /* its place among the server's; NULL when dialled */
	uint64_t lost;                  /* datagrams for which there was no room */
	unsigned char bye[TNI_BYE_MAX]; /* our close_notify as it was sent: as often as it comes, it counts once */
	uint8_t bye_len, byes;
};

/* Makes a connection's layer one over datagrams. 0 or -ENOMEM. */
int tni_lossy_new(struct tn_conn *conn, struct tn_conn *socket);

/* A datagram of the peer's has come. No user code runs. */
void tni_lossy_take(struct tn_conn *conn, const struct tn_addr *peer, const void *data, size_t len);

/* From the task: what is to go is sealed and handed to the socket, as far as that has room. */
void tni_lossy_flush(struct tn_conn *conn);

/* Our close_notify stands at the end of the wire. */
void tni_lossy_note_bye(struct tn_conn *conn);

/* Whether our close_notify is to be repeated, when, and that. */
bool tni_lossy_may_say_bye(const struct tni_lossy *lossy);
uint64_t tni_lossy_bye_ns(const struct tni_lossy *lossy);
void tni_lossy_repeat_bye(struct tni_lossy *lossy);

/* Whether a message can be sent at all: 0, or -EMSGSIZE or TN_EFORMAT with words. */
int tni_lossy_fits(size_t len);

/* The connection ends: the peer is told, if it does not know yet, and nothing goes through the socket any more. */
void tni_lossy_part(struct tn_conn *conn);

void tni_lossy_free(struct tn_conn *conn);

/* Whose descriptor a connection goes through: itself, its server's socket, or NULL. */
const struct tn_conn *tni_conn_socket(const struct tn_conn *conn);

#endif
