/* Packets as they pass an interface, by libpcap. */
#ifndef TENON_CAPTURE_LIVE_H
#define TENON_CAPTURE_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "packet/capfile.h"

/* The version of libpcap, or why there is none: for --version. */
const char *live_library(void);

struct live;

struct live_counts {
	uint64_t received, dropped, iface_dropped;
};

enum live_direction { LIVE_BOTH, LIVE_IN, LIVE_OUT };

/* Which device, and how it is read. */
struct live_spec {
	const char *iface;
	const char *filter;       /* NULL: all packets */
	uint64_t snaplen, buffer; /* bytes; snaplen 0: whole packets */
	bool promiscuous;
	enum live_direction direction;
};

/* Who receives packets. */
struct live_user {
	int (*take)(void *arg,
		    struct capfile_record *record); /* 0; 1: no more are wanted; < 0: the output has failed */
	int (*before)(void *arg);                   /* before packets that have waited; 0 or < 0 */
	int (*flush)(void *arg);                    /* no packet waits; 0 or < 0 */
	void *arg;
	bool writes_stdout; /* lines or packets go there: the end of its reader is the end */
};

/* Opens the device. Returns 0, or the exit status after printing an error. */
int live_open(struct live **live, const struct live_spec *spec);
const struct capfile_iface *live_iface(const struct live *live);

/* The interface of this number, as cooked packets of `any` tell it; NULL: there is none any more. */
const char *live_iface_name(struct live *live, unsigned index);

/* Hands packets to the user until it wants no more or a signal comes. Returns the exit status. */
int live_run(struct live *live, const struct live_user *user);
void live_counts(struct live *live, struct live_counts *counts);
void live_free(struct live *live);

#endif
