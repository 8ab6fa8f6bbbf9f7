/* How many sockets of each kind are in each state. */
#ifndef TENON_INSPECT_SUMMARY_H
#define TENON_INSPECT_SUMMARY_H

#include "sock.h"

struct text;

/* A table: kind, state, number; the last line has the total. */
void summary_show(const struct socks *socks, struct text *text);

/* The same as one object on a line of standard output. */
void summary_show_json(const struct socks *socks);

#endif
