/* Numbers of TCP, counted from the beginning of each direction. */
#ifndef TENON_CAPTURE_RELATIVE_H
#define TENON_CAPTURE_RELATIVE_H

#include <stdint.h>

#include "packet/packet.h"

struct relative;

int relative_new(struct relative **relative); /* -1: no memory */
void relative_free(struct relative *relative);

/* Makes seq and ack of a TCP packet relative; the numbers of its SACK options are by `sack_base`. Others stay as they
 * are. */
void relative_make(struct relative *relative, struct packet *packet, uint32_t *sack_base);

#endif
