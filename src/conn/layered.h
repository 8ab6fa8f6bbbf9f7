/* A connection with a layer below its frame (layer.h): the pump's part of it. */
#ifndef TNI_CONN_LAYERED_H
#define TNI_CONN_LAYERED_H

#include "conn/conn.h"
#include "layer.h"

struct tni_creds;
struct tni_lossy;

struct tni_layered {
	struct tni_layer *layer;
	struct tn_buf in;         /* from the peer, as it came */
	struct tn_buf wire;       /* to the peer, as it goes */
	uint32_t tx_max;          /* bound of tx and wire together */
	uint32_t bye;             /* bytes of our close_notify, at the end of the wire */
	int err;                  /* the layer has failed; what came before it is still to be handed over */
	char *words;              /* of that; malloc'ed */
	bool begun;               /* the first of the handshake is out: dialling has sent it */
	bool eof;                 /* no more comes from the socket */
	bool shut;                /* the peer has been told that we send no more */
	bool failed;              /* nothing goes through the layer any more */
	struct tni_costly costly; /* its handshake, which may have to wait for its turn */
	struct tni_lossy *lossy;  /* what it has beside over datagrams; NULL: it stands over a stream */
};

/* Puts TLS below a connection that is not open yet; the credentials' reference is handed over in every case. `host`:
 * the peer's, when dialled; otherwise NULL. 0 or -ENOMEM. */
int tni_layered_new(struct tn_conn *conn, struct tni_creds *creds, const char *host);

/* Puts a layer over datagrams, which is handed over in every case, below one that came through a served socket. 0 or
 * -ENOMEM. */
int tni_layered_join(struct tn_conn *conn, struct tni_layer *layer, struct tn_conn *socket);

/* The same for a connection that is about to be dialled, where its scheme wants it. 0, TN_EURL, -ENOMEM. */
int tni_layered_dial(struct tn_conn *conn);

/* What goes out first, where no connection of the socket's own shows whether the peer is there: over datagrams, to be
 * sent by whoever dials. Otherwise NULL. */
const struct tn_buf *tni_layered_first(struct tn_conn *conn);

void tni_layered_free(struct tn_conn *conn);

/* The socket is connected: begins the handshake and its deadline. */
void tni_layered_start(struct tn_conn *conn);

/* Whether so much has come while the handshake waits for its turn that no more is read. */
bool tni_layered_is_behind(const struct tn_conn *conn);

/* The deadline has passed. */
void tni_layered_timeout(struct tn_conn *conn);

/* What has not been answered is due to go again. */
void tni_layered_tick(struct tn_conn *conn);

/* Whether a closing connection still needs what comes: it has bytes to send, once the handshake is done. */
bool tni_layered_wants(const struct tn_conn *conn);

/* Takes a received block, whose reference is handed over. 0 or -ENOMEM. */
int tni_layered_take(struct tn_conn *conn, struct tni_blk *blk);

/* From the task: what has come is put into rx; the peer's end and failures are noted. */
void tni_layered_up(struct tn_conn *conn);

/* From the task, after messages have been handed over: acts upon a failure. */
void tni_layered_settle(struct tn_conn *conn);

/* From the task: moves what is to be sent to the wire, as much as makes one call. Returns the wire. */
struct tn_buf *tni_layered_seal(struct tn_conn *conn);

/* Nothing can be sent any more: what waits on the wire is dropped. */
void tni_layered_mute(struct tn_conn *conn);

/* Whether nothing but our goodbye (close_notify) has yet to go. */
bool tni_layered_lost_nothing(const struct tn_conn *conn);

/* Whether the layer has nothing to say before our direction ends. */
bool tni_layered_is_shut(const struct tn_conn *conn);

/* Whether that is so or can be said now: without a layer always. */
bool tni_layered_may_shut(const struct tn_conn *conn);

/* So many bytes of the wire have gone. */
void tni_layered_sent(struct tn_conn *conn, size_t len);

/* Whether the peer has begun to say something that is not whole. */
bool tni_layered_has_part(const struct tn_conn *conn);

/* Whether the task must run again: it was held while something came. */
bool tni_layered_owes(const struct tn_conn *conn);

#endif
