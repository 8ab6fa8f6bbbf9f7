/* Exit status: the same for every command, and documented in tenon(1). */
#ifndef TENON_STATUS_H
#define TENON_STATUS_H

enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1, /* the network or the peer */
	STATUS_USAGE = 2,  /* the command line, bad URLs included */
	STATUS_TIMEOUT = 3,
	STATUS_REFUSED = 4, /* data that is malformed or too large */
};

/* The exit status for one of the library's codes. */
enum status status_of(int err);

#endif
