/*
 * A listener that comes and goes while the relay runs, with a target of its own and faults that change. It lives on one
 * loop: what is done to it is posted there, and the answer comes back to the first loop.
 */
#ifndef TENON_RELAY_SERVED_H
#define TENON_RELAY_SERVED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tenon.h"

struct chaos_set;
struct listener;
struct served;

/* What its servers have counted, one after the other; from any thread. Made by served_told_begin(). */
struct served_told {
	pthread_mutex_t lock;
	const struct tn_server *server; /* NULL: none listens */
	struct tn_counts before;        /* of those that have ended: accepted and bytes alone */
};

void served_told_begin(struct served_told *told);
void served_told_end(struct served_told *told);
void served_count(struct served_told *told, struct tn_counts *counts);

/* What is to be done, filled in by the caller, who keeps it until done(). One is under way for a served at a time. */
struct served_job {
	enum { SERVED_START, SERVED_CHANGE, SERVED_STOP } what;
	int loop;
	struct served_told *told;
	struct served *served; /* START: comes back, NULL after an error; STOP: gone afterwards */
	/* START: URLs, the target also as it was given. */
	const char *listen, *target, *given;
	/* START, CHANGE: taken over, and freed by free(3) when it is of no use any more. */
	struct chaos_set *set;
	/* STOP: sessions may finish for so long; 0: they are closed at once. */
	uint64_t drain_ns;
	/* On the first loop. START: `err` 0, or why it does not listen, with words. */
	void (*done)(struct served_job *job);
	int err;
	char words[256];
	char at[128]; /* where it listens: an address and a port */
};

/* When one of its connections has closed, as struct listener has it. Before the first job. */
void served_watch_closed(void (*closed)(struct listener *listener, int err));

/* From the first loop. done() is called later; if the other loop has gone, never, and false is returned. */
bool served_post(struct served_job *job);

/* When the loops have gone. NULL is allowed. */
void served_free(struct served *served);

#endif
