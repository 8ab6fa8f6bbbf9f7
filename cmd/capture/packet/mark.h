/* What option --record says of a packet, in its comment: where messages end, and what their format is. */
#ifndef PACKET_MARK_H
#define PACKET_MARK_H

#include <stddef.h>

enum marked { MARK_NOTHING, MARK_PART, MARK_MESSAGE };

struct mark {
	enum marked what; /* this packet has a part of a message, or its end */
	int kind;         /* enum tn_msg_kind */
	char format[32];  /* "": none */
	char session[24]; /* that begins with this datagram; "": it is not told */
};

/* Reads a comment of `len` bytes, which may be anybody's, or NULL. */
struct mark mark_read(const char *comment, size_t len);

#endif
