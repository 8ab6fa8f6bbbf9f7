/* The input on its way to the peer: line feeds that become CR LF, and the key that leaves. */
#ifndef TENON_TALK_TYPED_H
#define TENON_TALK_TYPED_H

#include <stdbool.h>
#include <stddef.h>

struct lines;

struct typed {
	bool crlf;     /* --crlf */
	bool after_cr; /* what came last was a CR: a line feed behind it needs none */
	int escape;    /* the byte that leaves; TYPED_NO_ESCAPE */
	bool escape_given;
};

enum { TYPED_NO_ESCAPE = -1 };

/* The setter of --escape: ^] and the like, or off. `to`: a struct typed. */
const char *typed_set_escape(const char *value, void *to);

/* How the byte is typed: "^]". */
const char *typed_escape_text(const struct typed *typed, char text[static 3]);

/* Adds what has been read, up to the byte that leaves. Returns 0; 1: it has come; -ENOMEM. */
int typed_add(struct typed *typed, struct lines *lines, const char *data, size_t len);

#endif
