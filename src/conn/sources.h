/*
 * How many connections each source holds: an IPv4 address, the /64 of an IPv6 one (which one machine has all of), or
 * the user of a Unix socket's other end. Only who holds some is known, so the table is never larger than the
 * connections are many. All loops of a server share it, under a lock that is taken when a connection comes and when it
 * goes.
 */
#ifndef TNI_CONN_SOURCES_H
#define TNI_CONN_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

struct tn_addr;
struct tni_sources;

/* At most `max` for each. NULL without memory. */
struct tni_sources *tni_sources_new(uint32_t max);
void tni_sources_free(struct tni_sources *sources);

/* What an IP address counts as; 0 for any other. */
uint64_t tni_source_of(const struct tn_addr *addr);

/* One more connection of this source: false when it holds as many as it may, or without memory. */
bool tni_sources_enter(struct tni_sources *sources, uint64_t source);

/* One that entered has gone. */
void tni_sources_leave(struct tni_sources *sources, uint64_t source);

/* How many sources hold a connection now. */
uint32_t tni_sources_count(struct tni_sources *sources);

#endif
