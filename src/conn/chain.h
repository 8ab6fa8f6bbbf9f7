/*
 * A chain of layers (layer.h) between the bytes of a socket and a frame. Pure: no socket, no clock, no loop.
 * It knows no layer by name.
 *
 * The lowest layer is next to the socket. Each has a queue of what came from below (`in`) and one of what goes to
 * below (`net`): the `in` of the lowest is what the socket received, its `net` is what the socket sends. A layer is
 * opened when the one below it is open, and says its last word when nothing above it has anything left to send. One
 * that is `done` hands through what it still has, and leaves.
 */
#ifndef TNI_CONN_CHAIN_H
#define TNI_CONN_CHAIN_H

#include "layer.h"

struct tni_chain {
	struct tni_layer *bottom, *top; /* NULL: all layers have left */
	struct tni_mem *mem;
	bool repeats : 1; /* what got lost is sent again, also behind the last word: over datagrams */
	bool cut : 1;     /* a layer was broken */
	uint8_t hop;      /* of the layer that failed: struct tni_layer */
	bool more : 1;    /* a layer has stopped at its bound and has more to hand up */
};

void tni_chain_init(struct tni_chain *chain, struct tni_mem *mem);

/* Puts a layer on top, which is handed over. */
void tni_chain_push(struct tni_chain *chain, struct tni_layer *layer);

void tni_chain_free(struct tni_chain *chain);

/* What the socket has received, and what it is to send: for reading and taking from, until the chain is used again. */
struct tn_buf *tni_chain_received(const struct tni_chain *chain);
struct tn_buf *tni_chain_wire(const struct tni_chain *chain);

/* What it has received is put here. NULL without memory. */
struct tn_buf *tni_chain_in(struct tni_chain *chain);

/* Gives back the queues that are empty. */
void tni_chain_rest(struct tni_chain *chain);

/* A layer wants the time, now or later. */
bool tni_chain_is_timed(const struct tni_chain *chain);

/*
 * Every step returns 0, or the error of the first layer that failed, with its words (tni_err). What had come before
 * the failure has been handed up. After it nothing but tni_chain_free() may follow.
 */

/* Opens the lowest layer, and those above it as far as they open at once. */
int tni_chain_open(struct tni_chain *chain);

/* Handles what came from the socket. `more` is set when a layer stopped at the bound of one step: call it again. */
int tni_chain_up(struct tni_chain *chain, struct tn_buf *out);

/* Takes from the front of `from` until it is empty or `max` bytes are to be sent. Answers of the layers go along. */
int tni_chain_down(struct tni_chain *chain, struct tn_buf *from, size_t max);

/* There is nothing more to send: each layer says its last word once those above it have. */
int tni_chain_shut(struct tni_chain *chain);

/*
 * After up, where no more comes from below the layer that it is about (`eof` of the lowest is the pump's to set). The
 * error of the first layer whose peer has not said by its own word that this is the end; 0: there is none. The chain
 * has ended in both cases.
 */
int tni_chain_cut(struct tni_chain *chain);

/* When tni_chain_tick() is due, on the clock of `now_ns`; UINT64_MAX: never. Asked after every step. */
uint64_t tni_chain_due_ns(const struct tni_chain *chain, uint64_t now_ns);
int tni_chain_tick(struct tni_chain *chain, uint64_t now_ns);

/* Whether what comes is read at present. Before it is called it is. */
void tni_chain_set_unread(struct tni_chain *chain, bool unread);

/* Asks the layers from the top down, but for those that speak to a proxy: what it is says nothing of the peer.
 * -EOPNOTSUPP: none knows. */
int tni_chain_query(const struct tni_chain *chain, enum tni_question what, void *answer);

/* Why all of it ends: see refuse() in layer.h. Whether the highest layer tells the peer so with its last word. */
bool tni_chain_refuse(struct tni_chain *chain, int err);

/* Removes the layers that are done and have handed on all they had. */
void tni_chain_leave(struct tni_chain *chain);

/* Bytes go through all of it. */
bool tni_chain_is_open(const struct tni_chain *chain);

/* The peer has said, by the word of the highest layer, that it sends no more. */
bool tni_chain_has_ended(const struct tni_chain *chain);

/* Every layer has said its last word. */
bool tni_chain_is_shut(const struct tni_chain *chain);

/* What goes from a layer of the chain to those below it, the socket at last. NULL without memory. */
struct tn_buf *tni_chain_net(struct tni_chain *chain, struct tni_layer *layer);

/* Something has come that is not whole. */
bool tni_chain_has_part(const struct tni_chain *chain);

/* Bytes that wait to be sent. */
size_t tni_chain_queued(const struct tni_chain *chain);

/* The lowest layer that is not open; NULL: all are. */
const struct tni_layer *tni_chain_opening(const struct tni_chain *chain);

/* Nothing can be sent any more: what waits is dropped, and no last word is said. */
void tni_chain_mute(struct tni_chain *chain);

#endif
