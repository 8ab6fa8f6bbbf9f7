/* What has changed between two looks: --delta. */
#ifndef TENON_INSPECT_DELTA_H
#define TENON_INSPECT_DELTA_H

#include "sock.h"

/*
 * Leaves in `now` what differs from `before`: sockets that have come (change '+'), that have gone ('-', as they were),
 * and those whose state, queues or counts are others ('~'). `before` becomes all that there is now. -ENOMEM or 0.
 */
int delta_take(struct socks *before, struct socks *now);

#endif
