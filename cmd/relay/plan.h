/* What a relay is to do: made of the command line, then read by all threads. */
#ifndef TENON_RELAY_PLAN_H
#define TENON_RELAY_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/privileges.h"

struct targets;

struct plan {
	char **listen; /* URLs */
	int nlisten;
	struct targets *targets;
	unsigned max_sessions;                    /* at a time, on each listener; 0: no limit but that of datagrams */
	uint64_t idle_ns;                         /* of sessions over datagrams */
	uint64_t longest_ns;                      /* a session may last; 0: for ever */
	uint64_t first_byte_ns;                   /* a client may take to say something; 0: for ever */
	uint64_t rate_in, rate_out;               /* bytes a second from a client and to it; 0: no limit */
	uint64_t source_rate_in, source_rate_out; /* the same of all clients with one address */
	uint64_t drain_ns;                        /* for sessions to finish when the relay ends */
	struct {
		uint64_t every_ns;         /* 0: targets are not probed */
		const char *send, *expect; /* NULL: nothing is sent; any reply will do */
		unsigned rise, fall;       /* so many probes in a row make a target work, or fail */
	} probe;
	const char *connect;         /* a duration: how long a target may take */
	const char *asked_keys;      /* of what is dialled for the clients of a proxy */
	bool told;                   /* the end of each session is */
	struct privileges_user user; /* without a name: none was given */
	bool no_sandbox;
};

extern struct plan plan;

#endif
