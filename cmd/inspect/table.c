/* Sockets as a table for people: a line each, and a second one for what does not fit or was set. */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/paint.h"
#include "common/text.h"
#include "columns.h"
#include "sock.h"
#include "words.h"

#define GAP 2 /* between columns, and before a second line */

static const enum column columns[] = {COLUMN_PID,   COLUMN_FD,     COLUMN_COMMAND, COLUMN_KIND,
				      COLUMN_STATE, COLUMN_UNREAD, COLUMN_UNSENT,  COLUMN_BACKLOG};

#define NCOLUMNS (sizeof(columns) / sizeof(columns[0]))
#define BACKLOG (NCOLUMNS - 1)

struct cells {
	struct cell of[NCOLUMNS];
};

static void cells_of(const struct sock *sock, struct cells *c)
{
	for (size_t i = 0; i < NCOLUMNS; i++)
		columns_fill(columns[i], sock, &c->of[i]);
}

struct table {
	unsigned widths[NCOLUMNS];
	unsigned width; /* of all */
};

static void measure(struct table *table, const struct socks *socks)
{
	bool listeners = false;
	struct cells c = {0};

	for (size_t i = 0; i < NCOLUMNS; i++)
		table->widths[i] = columns_width(columns_title(columns[i]));
	for (size_t n = 0; n < socks->count; n++) {
		cells_of(&socks->list[n], &c);
		listeners |= socks->list[n].listening;
		for (size_t i = 0; i < NCOLUMNS; i++)
			if (columns_width(c.of[i].text) > table->widths[i])
				table->widths[i] = columns_width(c.of[i].text);
	}
	if (!listeners)
		table->widths[BACKLOG] = 0;
}

/* Writes the cells and returns how wide they are. */
static unsigned put_cells(const struct table *table, const struct cells *c, struct text *text)
{
	unsigned at = 0;

	for (size_t i = 0; i < NCOLUMNS; i++) {
		unsigned pad = table->widths[i] - columns_width(c->of[i].text);

		if (!table->widths[i])
			continue;
		text_add(text, "%*s%s%*s", columns_is_right(columns[i]) ? (int)pad : 0, "", c->of[i].text,
			 (columns_is_right(columns[i]) ? 0 : (int)pad) + GAP, "");
		at += table->widths[i] + GAP;
	}
	return at;
}

static void put_head(const struct table *table, struct text *text)
{
	struct cells head;

	for (size_t i = 0; i < NCOLUMNS; i++)
		snprintf(head.of[i].text, sizeof(head.of[i].text), "%s", columns_title(columns[i]));
	text_add(text, "%s", paint_code(STDOUT_FILENO, PAINT_DIM));
	put_cells(table, &head, text);
	text_add(text, "ADDRESSES%s\n", paint_code(STDOUT_FILENO, PAINT_NONE));
}

/* ---- the second line ---- */

/* A line that is begun when there is something to put on it, and ends before it is too wide. */
struct second {
	struct text *text;
	unsigned at, width;
	unsigned left_out;
};

static bool fits(const struct second *line, const char *part, unsigned reserve)
{
	return line->at + GAP + columns_width(part) + reserve <= line->width;
}

static void put_part(struct second *line, const char *part, enum paint paint)
{
	if (!line->at)
		text_add(line->text, "\n");
	text_add(line->text, "%*s%s%s%s", GAP, "", paint ? paint_code(STDOUT_FILENO, paint) : "", part,
		 paint ? paint_code(STDOUT_FILENO, PAINT_NONE) : "");
	line->at += GAP + columns_width(part);
}

/* As much of it as there is room for. */
static void put_cut(struct second *line, const char *part)
{
	char cut[800];
	unsigned most = line->width > line->at + GAP + 3 ? line->width - line->at - GAP - 3 : 0, n = 0;
	size_t len = 0;

	if (fits(line, part, 0)) {
		put_part(line, part, PAINT_NONE);
		return;
	}
	while (len < sizeof(cut) - 8 && part[len]) {
		n += ((unsigned char)part[len] & 0xc0) != 0x80;
		if (n > most)
			break;
		len++;
	}
	snprintf(cut, sizeof(cut), "%.*s...", (int)len, part);
	put_part(line, cut, PAINT_NONE);
}

#define MORE_ROOM 22 /* for "and 99 more (--all)" */

static void put_options(struct second *line, const struct sock *sock)
{
	bool labelled = false;
	char one[128];

	for (size_t i = 0; i < sock->noptions; i++) {
		const struct sock_option *o = &sock->options[i];

		if (!o->differs || o->by_kernel)
			continue;
		snprintf(one, sizeof(one), "%s%s=%s", labelled ? "" : "set: ", o->key, o->value);
		if (line->left_out || !fits(line, one, MORE_ROOM)) {
			line->left_out++;
			continue;
		}
		put_part(line, one, PAINT_BOLD);
		labelled = true;
	}
	if (!line->left_out)
		return;
	snprintf(one, sizeof(one), "%s%u %s (--all)", labelled ? "and " : "", line->left_out,
		 labelled ? "more" : "options set");
	put_part(line, one, PAINT_NONE);
}

static void put_addresses(const struct sock *sock, unsigned at, struct second *line)
{
	char local[384], peer[384], far[96] = "", both[800];
	bool whole;

	sock_addr_text(sock, &sock->local, local, sizeof(local));
	sock_addr_text(sock, &sock->peer, peer, sizeof(peer));
	sock_clean(local, sizeof(local));
	sock_clean(peer, sizeof(peer));
	if (sock->family == AF_NETLINK)
		peer[0] = '\0';
	if (sock->far.pid)
		snprintf(far, sizeof(far), "(%s %d)", sock->far.command, sock->far.pid);
	sock_clean(far, sizeof(far));
	snprintf(both, sizeof(both), "%s%s%s%s", local, *peer && *local ? " " : "", *peer ? "-> " : "", peer);
	whole = at + columns_width(both) <= line->width;
	if (whole) {
		text_add(line->text, "%s", both);
		at += columns_width(both);
	} else if (at + columns_width(local) <= line->width) {
		text_add(line->text, "%s", local);
		snprintf(both, sizeof(both), "-> %s", peer);
	}
	if (whole && *far && at + 1 + columns_width(far) <= line->width)
		text_add(line->text, "%s%s", *both ? " " : "", far);
	else if (whole && *far)
		put_cut(line, far);
	if (whole)
		return;
	put_cut(line, both);
	if (*far && fits(line, far, 0))
		put_part(line, far, PAINT_NONE);
}

static void put_sock(const struct table *table, const struct sock *sock, struct text *text)
{
	struct second line = {.text = text, .width = table->width};
	struct cells c = {0};
	char dropped[48];

	cells_of(sock, &c);
	put_addresses(sock, put_cells(table, &c, text), &line);
	if (sock->drops > 0) {
		snprintf(dropped, sizeof(dropped), "%" PRId64 " dropped for lack of room", sock->drops);
		if (fits(&line, dropped, 0))
			put_part(&line, dropped, PAINT_RED);
	}
	put_options(&line, sock);
	text_add(text, "\n");
}

/* Lines have no blanks at their ends, whatever cells were empty. */
static void trim(struct text *text)
{
	size_t to = 0;

	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] == '\n')
			while (to > 0 && text->data[to - 1] == ' ')
				to--;
		text->data[to++] = text->data[i];
	}
	text->len = to;
}

void table_show(const struct socks *socks, unsigned width, struct text *out)
{
	struct table table = {.width = width};
	struct text text = {0};

	if (!socks->count)
		return;
	measure(&table, socks);
	put_head(&table, &text);
	for (size_t i = 0; i < socks->count; i++)
		put_sock(&table, &socks->list[i], &text);
	trim(&text);
	text_bytes(out, text.data, text.len);
	out->failed |= text.failed;
	text_free(&text);
}
