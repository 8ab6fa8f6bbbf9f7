/* What came of one flow (cmd/flow/message.h), and the messages found in a stream's bytes. Pure: the time is told. */
#ifndef TENON_FLOW_TALLY_H
#define TENON_FLOW_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct tn_hist;

#define TALLY_WINDOW 65536 /* messages: one that comes this far behind the highest cannot be told from a duplicate */

struct tally {
	uint64_t flow;
	uint64_t messages, bytes, duplicates, reordered;
	uint64_t first_ns, last_ns; /* when the first and the last came */
	uint64_t next;              /* one more than the highest number */
	uint64_t heard_ns;          /* when anything of the flow came last */
	uint64_t sent;              /* as the last question had it */
	bool over;                  /* it has asked for the last time */
	bool has_transit;           /* a message has come before */
	int64_t transit_ns; /* of the message before: from the sender's clock to ours, whatever lies between them */
	double jitter_ns;
	struct tn_hist *latency; /* NULL: the two clocks are not the same */
	uint64_t window[TALLY_WINDOW / 64];
};

/* Makes one for a flow; NULL: no memory. */
struct tally *tally_new(uint64_t flow);
void tally_free(struct tally *tally);

/* A message of the flow. */
void tally_take(struct tally *tally, const struct flow_head *head, uint64_t now_ns);

/*
 * A question (FLOW_ASK bytes, of this flow): writes the answer, of FLOW_ASK bytes. `clock` is our own; where it is the
 * sender's as well, latencies are measured from the first question on. Returns false for a question that is not well
 * formed: it gets no answer.
 */
bool tally_ask(struct tally *tally, const char *question, const struct flow_head *head, uint64_t clock,
	       uint64_t dropped, uint64_t now_ns, char *answer);

/* What an answer says now. */
void tally_facts(const struct tally *tally, uint64_t dropped, struct flow_facts *facts);

/* A stream's bytes, as they come; all zero at first. A stream that does not begin with a question is none of a flow. */
struct tally_stream {
	struct tally *tally; /* once it has asked; the stream's own */
	struct flow_head head;
	uint64_t rest; /* bytes of the message that still come */
	size_t have;
	bool is_other; /* no flow: it is not looked at */
	char bytes[FLOW_ASK];
};

/*
 * Takes bytes up to the next question. Returns how many were taken: less than `len` means that a whole question stands
 * in `bytes` (and in `head`), which is answered by tally_ask() before the next call.
 */
size_t tally_stream_take(struct tally_stream *stream, const char *data, size_t len, uint64_t now_ns, bool *asked);
void tally_stream_free(struct tally_stream *stream); /* from malloc(3), or NULL */

#endif
