/*
 * Messages of a one-way test (`tenon bench --mode one-way`) and what their receiver (`tenon serve --handler count`)
 *says of them. Letters, digits and spaces, so that every frame can carry them.
 *
 * A message begins with a head of FLOW_HEAD characters; what follows is filling:
 *
 *	0   "tnb1"  magic; its last character is the version
 *	4   kind    w: warm-up, not counted; d: counted; q: a question; r: its answer
 *	5   size    5 digits: bytes of the whole message, head included
 *	10  flow    8 digits: drawn at random by the sender, one for each connection
 *	18  number  8 digits: of the message from 0 up; of a question, repeated in its answer
 *	26  time    10 digits: nanoseconds of the sender's clock when it was sent
 *
 * Digits are those of base 64 with the letters A-Z a-z 0-9 - _, the most significant one first. The size makes it
 * possible to find messages on a stream without a frame.
 *
 * A flow begins with a question, and its receiver knows no flow that has not asked. Questions and answers are of
 * FLOW_ASK bytes each: an answer is never longer than what it answers, and comes only to a question. Behind the head
 * stand NAME=NUMBER, separated by spaces (struct flow_facts), and spaces to the end. Names that are not known are
 *passed over. The sender repeats a question on datagrams until it is answered, for a bounded time.
 */
#ifndef TENON_FLOW_MESSAGE_H
#define TENON_FLOW_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOW_HEAD 36
#define FLOW_FIRST 't' /* the first character of each */
#define FLOW_ASK 512
#define FLOW_SIZE_MAX ((1U << 30) - 1)
#define FLOW_ID_MASK ((UINT64_C(1) << 48) - 1)

enum flow_kind { FLOW_WARMUP = 'w', FLOW_DATA = 'd', FLOW_QUESTION = 'q', FLOW_ANSWER = 'r' };

struct flow_head {
	enum flow_kind kind;
	uint32_t size;
	uint64_t flow, number, sent_ns;
};

/* What questions and answers say. What does not apply is 0. */
struct flow_facts {
	/* of a question */
	uint64_t clock; /* which clock the sender has: flow_clock() */
	uint64_t sent;  /* messages of kind d so far */
	uint64_t last;  /* 1: no more messages and questions but this one follow */
	/* of an answer: messages of kind d */
	uint64_t messages, bytes;       /* each once */
	uint64_t duplicates, reordered; /* reordered: came behind a message with a higher number */
	uint64_t span_ns;               /* from the first to the last that came */
	uint64_t jitter_ns;             /* RFC 3550 6.4.1 */
	uint64_t dropped; /* datagrams that the kernel dropped before the receiver read them, of all flows */
	uint64_t timed;   /* how many of them the times that follow are of; 0: the clocks are not the same */
	uint64_t p50_ns, p90_ns, p99_ns, p999_ns, max_ns; /* from the sending to the receiving */
};

/* What a digit stands for; -1: it is none. In the header, as bench asks for each character of a reply. */
static inline int flow_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

void flow_head_write(char *to, const struct flow_head *head);

/* Returns whether a head begins here. */
bool flow_head_read(const char *from, size_t len, struct flow_head *head);

/* A question or an answer: FLOW_ASK bytes. */
void flow_facts_write(char *to, const struct flow_head *head, const struct flow_facts *facts);

/* Of a whole question or answer. Returns whether all of it is as it must be. */
bool flow_facts_read(const char *from, size_t len, struct flow_facts *facts);

#endif
