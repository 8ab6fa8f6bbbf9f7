/* A packet as one line for people, and the parts of it. */
#ifndef TENON_CAPTURE_LINE_H
#define TENON_CAPTURE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet/packet.h"
#include "relative.h"
#include "sink.h"

/* What to show besides the packet itself. */
struct line_extra {
	const char *iface; /* printable; NULL: not shown */
	bool nanoseconds, verbose, hex;
	const char *comment;
	uint32_t comment_len;
};

/*
 * How lines look from now on: with colours or without, and on a terminal no wider than its `columns` (0: no terminal),
 * with numbers of TCP counted from each direction's beginning (`relative`, which stays the caller's; NULL: as they
 * are).
 */
void line_style(bool colours, unsigned columns, struct relative *relative);

/* How times look. */
enum line_clock {
	LINE_LOCAL,
	LINE_DATE, /* local, with the date */
	LINE_UTC,
	LINE_EPOCH,    /* seconds since 1970 */
	LINE_DELTA,    /* since the line before */
	LINE_RELATIVE, /* since the first line */
	LINE_NONE,
};

void line_times(enum line_clock clock);

/* Colours among the parts of a line: nothing where there are none. */
char *line_paint(char *p, int paint);

void line_packet(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra);

/* Their parts. A time is nothing where none is shown, and then there is no gap behind it. */
char *line_time(char *p, uint64_t ns, bool nanoseconds);
char *line_gap(char *p);
char *line_endpoint(char *p, unsigned ip, const unsigned char *addr, bool has_port, uint16_t port);
char *line_flags(char *p, unsigned flags);
char *line_icmp(char *p, const struct packet *packet);
const char *line_protocol(const struct packet *packet);
const char *line_link(unsigned link);

/* Adds bytes as text that is safe on a terminal: \n, \x1b, \\. */
void line_escaped(struct sink *sink, const void *data, size_t len);

#endif
