/* Sockets in a table. */
#ifndef TENON_INSPECT_TABLE_H
#define TENON_INSPECT_TABLE_H

#include "sock.h"

struct text;

/* One or two lines a socket, of at most `width` columns. */
void table_show(const struct socks *socks, unsigned width, struct text *text);

#endif
