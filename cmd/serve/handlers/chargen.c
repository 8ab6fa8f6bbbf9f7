#include <pthread.h>
#include <sys/random.h>

#include "answer.h"
#include "handler.h"

#define CHARS 95 /* the printable ones of ASCII, space to tilde */
#define WIDTH 72 /* of a line */
#define LINE_LEN (WIDTH + 2)
#define DATAGRAM_MAX 512
#define PATTERN_LEN (CHARS * LINE_LEN) /* after so many lines it starts again: sent whole, it needs no state */

static char pattern[PATTERN_LEN + DATAGRAM_MAX];

static void pattern_make(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++) {
		size_t line = i / LINE_LEN, column = i % LINE_LEN;

		if (column < WIDTH)
			pattern[i] = (char)(' ' + (line + column) % CHARS);
		else
			pattern[i] = column == WIDTH ? '\r' : '\n';
	}
}

static void pattern_ready(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, pattern_make);
}

static void fill(struct tn_conn *conn, void *arg)
{
	int err;

	(void)arg;
	pattern_ready();
	do
		err = tn_send(conn, pattern, PATTERN_LEN);
	while (err == 0);
	if (err < 0 && err != TN_EFULL)
		handler_unanswered(conn, NULL, err);
}

/* What comes in is dropped, as the RFC says. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg, (void)arg;
}

/* A client that has ended its direction still wants to read: it ends the stream by closing. */
static void on_end(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
}

/* Random enough for a length, and no system call a datagram. */
static uint32_t random_next(void)
{
	static _Thread_local uint32_t state;

	while (!state)
		if (getrandom(&state, sizeof(state), 0) != sizeof(state))
			state = 2463534242U;
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	uint32_t dice = random_next();

	(void)arg;
	if (!handler_may_answer(conn, msg))
		return;
	pattern_ready();
	if (tn_reply(conn, msg, pattern + (dice >> 16) % CHARS * LINE_LEN, dice % (DATAGRAM_MAX + 1)) < 0)
		return; /* dropped and counted, as networks drop datagrams */
}

const struct handler_spec handler_chargen = {
	.name = "chargen",
	.meaning = "sends lines of characters without end; to each datagram 0 to 512 of them (RFC 864)",
	.stream = {.on_open = fill, .on_msg = on_msg, .on_drain = fill, .on_end = on_end},
	.datagrams = {.on_open = handler_on_datagrams_open, .on_msg = on_datagram},
};
