/* A connection of the load: what it owes and is owed. */
#ifndef TENON_BENCH_LINK_H
#define TENON_BENCH_LINK_H

#include <stdint.h>

#include "worker.h"

int link_open(struct link *link);
void link_pump(struct link *link, uint64_t now_ns);
void link_sweep(struct link *link, uint64_t now_ns); /* datagrams: gives up what has been waited for too long */
void link_settle(struct link *link);                 /* the end: what is still waited for is unanswered */
void link_close(struct link *link);
void link_free(struct link *link);

#endif
