/*
 * A server that shares its addresses with another process (key reuseport) ends without refusing anybody: what is new
 * goes to the other process, and what has reached this one is still served. A build without all options of sockets has
 * none of it.
 */
#ifndef TNI_CONN_HANDOVER_H
#define TNI_CONN_HANDOVER_H

#include "conn/server.h"

#ifdef TNI_HAVE_SOCKOPTS

/* A part begins to drain. */
void tni_handover_begin(struct tni_part *part);

/* Whether it accepts still: handshakes that had begun may yet be finished. */
bool tni_handover_lingers(const struct tni_part *part);

/* From its timer while it drains. */
void tni_handover_tick(struct tni_part *part);

/* A client has been accepted. */
void tni_handover_admit(const struct tni_part *part, int fd);

/* Whether its sockets of datagrams may be closed: nothing comes to any of them now. Others have none of this. */
bool tni_handover_is_quiet(const struct tni_part *part);

/* Its sockets are about to be closed. */
void tni_handover_end(struct tni_part *part);

#else

static inline void tni_handover_begin(struct tni_part *part)
{
	(void)part;
}

static inline bool tni_handover_lingers(const struct tni_part *part)
{
	(void)part;
	return false;
}

static inline void tni_handover_tick(struct tni_part *part)
{
	(void)part;
}

static inline void tni_handover_admit(const struct tni_part *part, int fd)
{
	(void)part, (void)fd;
}

static inline bool tni_handover_is_quiet(const struct tni_part *part)
{
	(void)part;
	return true;
}

static inline void tni_handover_end(struct tni_part *part)
{
	(void)part;
}

#endif

#endif
