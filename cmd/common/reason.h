/* Why a connection has ended, in one word of the events of servers. */
#ifndef TENON_REASON_H
#define TENON_REASON_H

/* `err`: as on_close has it. */
const char *reason_of(int err);

#endif
