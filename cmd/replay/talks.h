/* A recording as conversations: what each side has said, and when. */
#ifndef TENON_REPLAY_TALKS_H
#define TENON_REPLAY_TALKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum said_what { SAID_DATA, SAID_END, SAID_RESET };

struct said {
	struct said *next;
	uint64_t ns;
	enum said_what what;
	bool by_client;
	uint8_t kind;       /* enum tn_msg_kind */
	const char *format; /* NULL: not known */
	unsigned number;    /* among its side's, from 0 */
	long answers;       /* of the server: the client's message that this is the first answer to; -1: none */
	uint64_t upto;      /* bytes of its side, with this */
	size_t len;
	unsigned char data[];
};

struct talk {
	struct talk *next, *same; /* same: in its bucket, while it is read */
	unsigned number;          /* from 1 */
	bool messages;            /* have bounds */
	bool damaged;             /* bytes of it are missing */
	uint64_t begin_ns;
	struct said *first, **last;
	unsigned asked, answered;
	uint64_t bytes[2]; /* of server, client */
};

struct talks {
	struct talk *first, **last;
	unsigned count, damaged;
	uint64_t begin_ns, end_ns, asked, answered, bytes_asked;
	size_t memory;
};

/*
 * Reads a capture file: a recording (--record), or any other with the streams and datagrams of the endpoint's kind, by
 * whose frame they are taken apart. Returns the exit status, after printing an error.
 */
int talks_read(struct talks *talks, const char *path, const char *url, size_t memory_max);
void talks_free(struct talks *talks);

#endif
