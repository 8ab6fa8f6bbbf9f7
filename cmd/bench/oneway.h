/* A connection of --mode one-way: its flow, and what the receiver says of it. */
#ifndef TENON_BENCH_ONEWAY_H
#define TENON_BENCH_ONEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker.h"

/* Its socket is open: begins a flow. The link is open once the receiver has answered. */
void oneway_begin(struct link *link);

/* Writes a message's head in front of the payload. `counts`: it belongs to the time that is measured. */
void oneway_head(struct link *link, char *data, size_t size, bool counts);

/* The message has been taken by the connection, and counts. */
void oneway_sent(struct link *link);

void oneway_take(struct link *link, const struct tn_msg *msg);

/* Asks again, or gives up: now and then, in every phase. */
void oneway_tick(struct link *link, uint64_t now_ns);

/* The end: asks how much has come. link->waited is 1 until that is known. */
void oneway_ask_last(struct link *link);

/* Its socket has closed, with on_close's err: what is known of the flow is added to what the worker has. */
void oneway_end(struct link *link, int err);

void oneway_free(struct link *link);

#endif
