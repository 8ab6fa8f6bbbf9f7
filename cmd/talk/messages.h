/* The messages that `tenon send` sends: its arguments, or lines as they come; the list as often as asked for. */
#ifndef TENON_MESSAGES_H
#define TENON_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>

struct sizes;

struct message {
	const char *data;
	size_t len;
	char *memory; /* what is to be freed; NULL: an argument */
};

struct messages {
	struct message *list;
	size_t count, cap;
	size_t next;
	size_t waiting;  /* bytes not yet taken */
	unsigned rounds; /* still to go, this one included */
	bool complete;   /* no more are added */
};

/* Adds an argument: a text, @FILE for a file's contents, @@TEXT for @TEXT. Returns 0, or -1 after printing an error. */
int messages_add_argument(struct messages *messages, const char *argument);

/* Adds a copy of the bytes. Returns 0 or -ENOMEM. */
int messages_add(struct messages *messages, const void *data, size_t len);

/* Adds as many messages of random letters and digits. Returns 0, -EFBIG: together they are longer than 256 MiB;
 * -ENOMEM. */
int messages_generate(struct messages *messages, const struct sizes *sizes, unsigned count);

/* Takes the next message, valid until the next call; false: there is none (yet), and the last one is gone too. */
bool messages_take(struct messages *messages, struct message *message);

/* Whether there is one to take. */
bool messages_ready(const struct messages *messages);

/* Whether the one last taken was the last of all. */
bool messages_over(const struct messages *messages);

#endif
