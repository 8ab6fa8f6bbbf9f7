/* Sockets as a table for people: a line each, and a second one for what does not fit or was set. */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/paint.h"
#include "common/text.h"
#include "sock.h"
#include "words.h"

#define GAP 2 /* between columns, and before a second line */

enum column { PID, FD, COMMAND, KIND, STATE, UNREAD, UNSENT, BACKLOG, NCOLUMNS };

static const struct {
	const char *title;
	bool right; /* aligned */
} columns[NCOLUMNS] = {[PID] = {"PID", true},       [FD] = {"FD", true},          [COMMAND] = {"COMMAND", false},
		       [KIND] = {"KIND", false},    [STATE] = {"STATE", false},   [UNREAD] = {"UNREAD", true},
		       [UNSENT] = {"UNSENT", true}, [BACKLOG] = {"BACKLOG", true}};

struct cells {
	char text[NCOLUMNS][48];
};

/* Characters, not bytes. */
static unsigned width_of(const char *text)
{
	unsigned width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void number(char out[48], int64_t value)
{
	if (value < 0)
		snprintf(out, 48, "-");
	else
		snprintf(out, 48, "%" PRId64, value);
}

static void cells_of(const struct sock *sock, struct cells *c)
{
	bool held = sock->holder.pid;

	number(c->text[PID], held ? sock->holder.pid : -1);
	number(c->text[FD], held ? sock->holder.fd : -1);
	snprintf(c->text[COMMAND], 48, "%s", held ? sock->holder.command : "-");
	sock_clean(c->text[COMMAND], 48);
	sock_kind(sock, c->text[KIND], 48);
	snprintf(c->text[STATE], 48, "%s", sock->state);
	number(c->text[UNREAD], sock->listening ? -1 : sock->unread);
	number(c->text[UNSENT], sock->listening ? -1 : sock->unsent);
	snprintf(c->text[BACKLOG], 48, "-");
	if (sock->listening && sock->unread >= 0)
		snprintf(c->text[BACKLOG], 48, "%" PRId64 "/%" PRId64, sock->unread, sock->unsent);
}

struct table {
	unsigned widths[NCOLUMNS];
	unsigned width; /* of all */
};

static void measure(struct table *table, const struct socks *socks)
{
	bool listeners = false;
	struct cells c = {0};

	for (int i = 0; i < NCOLUMNS; i++)
		table->widths[i] = width_of(columns[i].title);
	for (size_t n = 0; n < socks->count; n++) {
		cells_of(&socks->list[n], &c);
		listeners |= socks->list[n].listening;
		for (int i = 0; i < NCOLUMNS; i++)
			if (width_of(c.text[i]) > table->widths[i])
				table->widths[i] = width_of(c.text[i]);
	}
	if (!listeners)
		table->widths[BACKLOG] = 0;
}

/* Writes the cells and returns how wide they are. */
static unsigned put_cells(const struct table *table, const struct cells *c, struct text *text)
{
	unsigned at = 0;

	for (int i = 0; i < NCOLUMNS; i++) {
		unsigned pad = table->widths[i] - width_of(c->text[i]);

		if (!table->widths[i])
			continue;
		text_add(text, "%*s%s%*s", columns[i].right ? (int)pad : 0, "", c->text[i],
			 (columns[i].right ? 0 : (int)pad) + GAP, "");
		at += table->widths[i] + GAP;
	}
	return at;
}

static void put_head(const struct table *table, struct text *text)
{
	struct cells head;

	for (int i = 0; i < NCOLUMNS; i++)
		snprintf(head.text[i], 48, "%s", columns[i].title);
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
	return line->at + GAP + width_of(part) + reserve <= line->width;
}

static void put_part(struct second *line, const char *part, enum paint paint)
{
	if (!line->at)
		text_add(line->text, "\n");
	text_add(line->text, "%*s%s%s%s", GAP, "", paint ? paint_code(STDOUT_FILENO, paint) : "", part,
		 paint ? paint_code(STDOUT_FILENO, PAINT_NONE) : "");
	line->at += GAP + width_of(part);
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
	whole = at + width_of(both) <= line->width;
	if (whole) {
		text_add(line->text, "%s", both);
		at += width_of(both);
	} else if (at + width_of(local) <= line->width) {
		text_add(line->text, "%s", local);
		snprintf(both, sizeof(both), "-> %s", peer);
	}
	if (whole && *far && at + 1 + width_of(far) <= line->width)
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
