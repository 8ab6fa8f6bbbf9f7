/*
 * --chaos-api URL: the HTTP API of Toxiproxy, by which programs make proxies and their faults while the relay runs. It
 * lives on the first loop.
 */
#ifndef TENON_RELAY_TOXIPROXY_H
#define TENON_RELAY_TOXIPROXY_H

#include <stdbool.h>

struct sandbox;

const char *toxiproxy_set(const char *value, void *to);
bool toxiproxy_is_wanted(void);

/* Begins to serve. STATUS_DONE, or another status after an error was printed. */
int toxiproxy_open(void);

/* What it needs: files of its endpoint, and to listen while it runs. */
void toxiproxy_allow(struct sandbox *box);

/* Says where it answers. */
void toxiproxy_ready(void);

/* The relay ends: nothing is changed from now on. */
void toxiproxy_draining(void);

/* On the first loop, before it is freed. */
void toxiproxy_close(void);

#endif
