/* What a table of sockets can show: --columns, --sort. */
#ifndef TENON_INSPECT_COLUMNS_H
#define TENON_INSPECT_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#include "sock.h"

struct text;

enum column {
	COLUMN_CHANGE,
	COLUMN_NETNS,
	COLUMN_PID,
	COLUMN_FD,
	COLUMN_COMMAND,
	COLUMN_CONTAINER,
	COLUMN_UID,
	COLUMN_KIND,
	COLUMN_STATE,
	COLUMN_UNREAD,
	COLUMN_UNSENT,
	COLUMN_BACKLOG,
	COLUMN_MEMORY,
	COLUMN_DROPS,
	COLUMN_TIMER,
	COLUMN_RTT,
	COLUMN_SENT,
	COLUMN_RECEIVED,
	COLUMN_RESENT,
	COLUMN_LOCAL,
	COLUMN_PEER,
	COLUMN_FAR,
	COLUMNS,
};

/* What stands in one place of the table. Numbers are compared as such; -1: there is none. */
struct cell {
	char text[384];
	int64_t number;
	bool numeric;
};

const char *columns_title(enum column column);
bool columns_is_right(enum column column); /* aligned */
void columns_fill(enum column column, const struct sock *sock, struct cell *cell);

/* Which, and in which order. */
struct columns {
	enum column list[COLUMNS];
	unsigned count;
};

struct sorting {
	enum column column;
	bool wanted, down; /* down: the largest first */
};

/* Setters of options: why not, or NULL. */
const char *columns_set(const char *value, void *to);      /* `to`: a struct columns */
const char *columns_set_sort(const char *value, void *to); /* `to`: a struct sorting */

bool columns_have(const struct columns *columns, enum column column);
void columns_sort(struct socks *socks, const struct sorting *sorting);

/* A line each, with nothing but these; of at most `width` columns; 0: as wide as they are. */
void columns_show(const struct socks *socks, const struct columns *columns, unsigned width, bool head,
		  struct text *text);

/* Characters, not bytes. */
unsigned columns_width(const char *text);

#endif
