/*
 * What a client's first bytes say: which protocol it speaks, and of TLS which server and which application protocol it
 * asks for (RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1). Nothing is ended or answered. Pure: no socket, no memory.
 */
#ifndef TENON_RELAY_FIRST_H
#define TENON_RELAY_FIRST_H

#include <stdbool.h>
#include <stddef.h>

/* Most bytes that are looked at: a ClientHello may be 64 KiB, in records of at least some bytes each. */
#define FIRST_MAX 65536
#define FIRST_NAME_MAX 255
#define FIRST_ALPN_MAX 1024

enum first_protocol {
	FIRST_OTHER, /* none of these, or one of them that is broken */
	FIRST_TLS,
	FIRST_SSH,
	FIRST_HTTP,
};

struct first {
	enum first_protocol protocol;
	char server_name[FIRST_NAME_MAX + 1]; /* in lower case; "": none was asked for */
	unsigned char alpn[FIRST_ALPN_MAX];   /* names, a byte with the length in front of each; those that fit */
	size_t alpn_len;
	size_t need; /* after a 0: looking again makes sense when so many bytes are there */
};

/* Looks at the `len` bytes that have come. Returns 1: `first` says what they are; 0: that cannot be said yet. */
int first_look(const unsigned char *data, size_t len, struct first *first);

/* Whether the client offers this application protocol. */
bool first_offers(const struct first *first, const char *name);

/*
 * Whether a name of a server fits: "www.example.org", or with a wildcard "*.example.org", which stands for one label or
 * more. Returns how well: 0 not at all, more for a longer pattern, most for one without a wildcard.
 */
size_t first_fits(const char *pattern, const char *name);

#endif
