/* What the handler count has counted. */
#ifndef TENON_HANDLER_COUNT_H
#define TENON_HANDLER_COUNT_H

#include <stdint.h>

struct flow_facts;
struct tn_addr;
struct tn_conn;

/* Of a connection, or of all senders to a datagram socket. */
struct handler_count {
	const struct tn_conn *conn;
	uint64_t messages; /* on a stream without a frame: pieces, which say nothing */
	uint64_t bytes;
	uint64_t first_ns, last_ns; /* when the first and the last of them came; 0: none did */
};

/* Of a flow of `tenon bench --mode one-way` that has asked for the last time. */
struct handler_flow {
	const struct tn_conn *conn;
	const struct tn_addr *peer; /* the sender of datagrams; NULL: it is the connection's peer */
	const struct flow_facts *facts;
};

/* Sets who is told of each, once, inside on_close of its connection, on the thread of its loop. Before the loops run.
 */
void handler_watch_counts(void (*fn)(const struct handler_count *count));

/* Sets who is told of each flow, once, on the thread of its loop. Before the loops run. */
void handler_watch_flows(void (*fn)(const struct handler_flow *flow));

#endif
