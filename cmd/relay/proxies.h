/*
 * The proxies that the HTTP API of Toxiproxy has made: what they are, and what is done to them, one thing after the
 * other. All of it on the first loop.
 */
#ifndef TENON_RELAY_PROXIES_H
#define TENON_RELAY_PROXIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos/toxic.h"
#include "served.h"

struct proxy {
	struct proxy *next;
	char *name;
	char *asked;    /* where it was to listen */
	char *listen;   /* the same, or where it does listen */
	char *upstream; /* a host and a port */
	bool enabled;   /* it listens */
	bool fresh;     /* it has to listen, or else it goes again */
	struct toxic toxics[CHAOS_SPECS_MAX];
	int ntoxics;
	struct served_job job;
	struct served_told told;
};

/* In the order they were made. */
struct proxy *proxies_first(void);
struct proxy *proxies_find(const char *name);

/* What --admin tells of them. */
struct text;
void proxies_metrics(struct text *out, bool open);
void proxies_status(struct text *out);

/* Makes one, which does not listen yet; changes one; removes one, which may not listen. False: *error tells why, and
 * nothing has changed. `listen` may be empty: any address, any port. */
struct proxy *proxies_add(const char *name, const char *listen, const char *upstream, struct toxic_error *error);
bool proxy_change(struct proxy *proxy, const char *listen, const char *upstream, struct toxic_error *error);
void proxies_remove(struct proxy *proxy);

/* Whether the two are those of a proxy. */
bool proxy_check(const char *listen, const char *upstream, struct toxic_error *error);

/* Whether it is at these places already. */
bool proxy_is_at(const struct proxy *proxy, const char *listen, const char *upstream);

/* The toxics. What is in force changes by the next step. The toxic is taken over. */
struct toxic *proxy_toxic(struct proxy *proxy, const char *name);
struct toxic *proxy_add_toxic(struct proxy *proxy, const struct toxic *toxic, struct toxic_error *error);
void proxy_remove_toxic(struct proxy *proxy, struct toxic *toxic);
void proxy_remove_toxics(struct proxy *proxy);

/* ---- steps ---- */

/* A step that changes nothing is passed over. */
enum proxy_step { PROXY_STOP, PROXY_START, PROXY_CHANGE };

/* Adds a step to those that proxies_run() runs. False: no memory. */
bool proxies_step(struct proxy *proxy, enum proxy_step step);

/* Those that were added are not run after all; or they are run, and this is what has failed before. */
void proxies_forget_steps(void);
void proxies_fail(const struct toxic_error *error);

/*
 * Runs them, one after the other, until one fails. Then done() is called, from inside this or later: with NULL, or with
 * what has failed. A proxy that was to listen for the first time and cannot is removed by then.
 */
void proxies_run(void (*done)(const struct toxic_error *error));

/*
 * The relay ends: what is under way is over soon, and nothing is begun any more. All proxies stop, whose sessions may
 * finish for so long; then done() is called.
 */
void proxies_close(uint64_t drain_ns, void (*done)(void));

/* When the loops have gone. */
void proxies_free(void);

#endif
