#include "columns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/human.h"
#include "common/paint.h"
#include "common/text.h"
#include "container.h"
#include "tcp.h"
#include "tenon.h"
#include "timer.h"
#include "words.h"

#define GAP 2 /* between columns */

unsigned columns_width(const char *text)
{
	unsigned width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* ---- what each says ---- */

static void put_number(struct cell *cell, int64_t value)
{
	cell->numeric = true;
	cell->number = value;
	if (value < 0)
		snprintf(cell->text, sizeof(cell->text), "-");
	else
		snprintf(cell->text, sizeof(cell->text), "%" PRId64, value);
}

static void put_text(struct cell *cell, const char *text)
{
	snprintf(cell->text, sizeof(cell->text), "%s", text && *text ? text : "-");
	sock_clean(cell->text, sizeof(cell->text));
}

static void fill_change(const struct sock *sock, struct cell *cell)
{
	char change[2] = {sock->change, '\0'};

	put_text(cell, change);
}

static void fill_netns(const struct sock *sock, struct cell *cell)
{
	put_text(cell, sock->netns);
}

static void fill_pid(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->holder.pid ? sock->holder.pid : -1);
}

static void fill_fd(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->holder.pid ? sock->holder.fd : -1);
}

static void fill_command(const struct sock *sock, struct cell *cell)
{
	put_text(cell, sock->holder.pid ? sock->holder.command : NULL);
}

static void fill_container(const struct sock *sock, struct cell *cell)
{
	char container[CONTAINER_MAX] = "";

	if (sock->holder.pid)
		(void)container_of_process(sock->holder.pid, container);
	put_text(cell, container);
}

static void fill_uid(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->uid);
}

static void fill_kind(const struct sock *sock, struct cell *cell)
{
	char kind[48];

	put_text(cell, sock_kind(sock, kind, sizeof(kind)));
}

static void fill_state(const struct sock *sock, struct cell *cell)
{
	put_text(cell, sock->state);
}

static void fill_unread(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->listening ? -1 : sock->unread);
}

static void fill_unsent(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->listening ? -1 : sock->unsent);
}

static void fill_backlog(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->listening ? sock->unread : -1);
	if (cell->number >= 0)
		snprintf(cell->text, sizeof(cell->text), "%" PRId64 "/%" PRId64, sock->unread, sock->unsent);
}

static void fill_memory(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->memory_in < 0 ? -1 : sock->memory_in + sock->memory_out);
}

static void fill_drops(const struct sock *sock, struct cell *cell)
{
	put_number(cell, sock->drops);
}

static void fill_timer(const struct sock *sock, struct cell *cell)
{
	struct text text = {0};

	timer_words(sock, &text);
	text_bytes(&text, "", 1);
	put_text(cell, text.failed ? "" : text.data);
	text_free(&text);
	cell->numeric = true;
	cell->number = sock->timer ? (int64_t)sock->timer_ms : -1;
}

static void fill_rtt(const struct sock *sock, struct cell *cell)
{
	struct tcp_figures figures;
	char text[32];

	put_number(cell, tcp_figures_of(sock, &figures) ? figures.rtt_us : -1);
	if (cell->number >= 0)
		snprintf(cell->text, sizeof(cell->text), "%s", human_us((double)cell->number, text, sizeof(text)));
}

/* With --delta since the last look, of which a socket that has gone tells no more; otherwise all that there was. */
static int64_t passed(const struct sock *sock, int64_t all, uint64_t since)
{
	return sock->change == '-' ? -1 : sock->change ? all - (int64_t)since : all;
}

static void fill_sent(const struct sock *sock, struct cell *cell)
{
	struct tcp_figures figures;

	put_number(cell, tcp_figures_of(sock, &figures) ? passed(sock, figures.sent, sock->before_sent) : -1);
}

static void fill_received(const struct sock *sock, struct cell *cell)
{
	struct tcp_figures figures;

	put_number(cell, tcp_figures_of(sock, &figures) ? passed(sock, figures.received, sock->before_received) : -1);
}

static void fill_resent(const struct sock *sock, struct cell *cell)
{
	struct tcp_figures figures;

	put_number(cell, tcp_figures_of(sock, &figures) ? passed(sock, figures.resent, sock->before_resent) : -1);
}

static void fill_local(const struct sock *sock, struct cell *cell)
{
	char addr[384];

	put_text(cell, sock_addr_text(sock, &sock->local, addr, sizeof(addr)));
}

static void fill_peer(const struct sock *sock, struct cell *cell)
{
	char addr[384];

	put_text(cell, sock->family == AF_NETLINK ? "" : sock_addr_text(sock, &sock->peer, addr, sizeof(addr)));
}

static void fill_far(const struct sock *sock, struct cell *cell)
{
	char far[48] = "";

	if (sock->far.pid)
		snprintf(far, sizeof(far), "%s %d", sock->far.command, sock->far.pid);
	put_text(cell, far);
}

/* Names are what --columns and --sort take. */
static const struct {
	const char *name, *title;
	bool right;
	void (*fill)(const struct sock *sock, struct cell *cell);
} all[COLUMNS] = {
	[COLUMN_CHANGE] = {"change", "", false, fill_change},
	[COLUMN_NETNS] = {"netns", "NETNS", false, fill_netns},
	[COLUMN_PID] = {"pid", "PID", true, fill_pid},
	[COLUMN_FD] = {"fd", "FD", true, fill_fd},
	[COLUMN_COMMAND] = {"command", "COMMAND", false, fill_command},
	[COLUMN_CONTAINER] = {"container", "CONTAINER", false, fill_container},
	[COLUMN_UID] = {"uid", "UID", true, fill_uid},
	[COLUMN_KIND] = {"kind", "KIND", false, fill_kind},
	[COLUMN_STATE] = {"state", "STATE", false, fill_state},
	[COLUMN_UNREAD] = {"unread", "UNREAD", true, fill_unread},
	[COLUMN_UNSENT] = {"unsent", "UNSENT", true, fill_unsent},
	[COLUMN_BACKLOG] = {"backlog", "BACKLOG", true, fill_backlog},
	[COLUMN_MEMORY] = {"memory", "MEMORY", true, fill_memory},
	[COLUMN_DROPS] = {"drops", "DROPS", true, fill_drops},
	[COLUMN_TIMER] = {"timer", "TIMER", false, fill_timer},
	[COLUMN_RTT] = {"rtt", "RTT", true, fill_rtt},
	[COLUMN_SENT] = {"sent", "SENT", true, fill_sent},
	[COLUMN_RECEIVED] = {"received", "RECEIVED", true, fill_received},
	[COLUMN_RESENT] = {"resent", "RESENT", true, fill_resent},
	[COLUMN_LOCAL] = {"local", "LOCAL", false, fill_local},
	[COLUMN_PEER] = {"peer", "PEER", false, fill_peer},
	[COLUMN_FAR] = {"far", "FAR", false, fill_far},
};

const char *columns_title(enum column column)
{
	return all[column].title;
}

bool columns_is_right(enum column column)
{
	return all[column].right;
}

void columns_fill(enum column column, const struct sock *sock, struct cell *cell)
{
	*cell = (struct cell){.number = -1};
	all[column].fill(sock, cell);
}

/* ---- options ---- */

static const char *unknown(const char *name, size_t len)
{
	static char why[512];
	const char *names[COLUMNS], *near;
	char word[32];
	size_t used;

	for (int i = 0; i < COLUMNS; i++)
		names[i] = all[i].name;
	snprintf(word, sizeof(word), "%.*s", (int)len, name);
	near = tn_nearest(word, names, COLUMNS);
	if (near) {
		snprintf(why, sizeof(why), "names what is no column: '%s' (did you mean %s?)", word, near);
		return why;
	}
	used = (size_t)snprintf(why, sizeof(why), "names what is no column: '%s'; there are", word);
	for (int i = 0; i < COLUMNS && used < sizeof(why); i++)
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s %s", i ? "," : "", names[i]);
	return why;
}

static bool find(const char *name, size_t len, enum column *column)
{
	for (int i = 0; i < COLUMNS; i++)
		if (strlen(all[i].name) == len && memcmp(all[i].name, name, len) == 0) {
			*column = (enum column)i;
			return true;
		}
	return false;
}

const char *columns_set(const char *value, void *to)
{
	struct columns *columns = to;
	size_t len;

	columns->count = 0;
	for (;; value += len + 1) {
		enum column column;

		len = strcspn(value, ",");
		if (!find(value, len, &column))
			return unknown(value, len);
		if (columns_have(columns, column))
			return "names a column twice";
		columns->list[columns->count++] = column;
		if (!value[len])
			return NULL;
	}
}

const char *columns_set_sort(const char *value, void *to)
{
	struct sorting *sorting = to;

	sorting->wanted = true;
	sorting->down = *value == '-';
	value += sorting->down;
	return find(value, strlen(value), &sorting->column) ? NULL : unknown(value, strlen(value));
}

bool columns_have(const struct columns *columns, enum column column)
{
	for (unsigned i = 0; i < columns->count; i++)
		if (columns->list[i] == column)
			return true;
	return false;
}

/* ---- in order ---- */

struct place {
	struct cell cell;
	size_t index;
};

static int by_cell(const void *a, const void *b, void *arg)
{
	const struct place *x = a, *y = b;
	const struct sorting *sorting = arg;
	int order = x->cell.numeric ? (x->cell.number > y->cell.number) - (x->cell.number < y->cell.number)
				    : strcmp(x->cell.text, y->cell.text);

	if (order)
		return sorting->down ? -order : order;
	return (x->index > y->index) - (x->index < y->index);
}

void columns_sort(struct socks *socks, const struct sorting *sorting)
{
	struct place *places = sorting->wanted && socks->count ? calloc(socks->count, sizeof(*places)) : NULL;
	struct sock *sorted = places ? calloc(socks->count, sizeof(*sorted)) : NULL;

	for (size_t i = 0; i < socks->count && sorted; i++) {
		places[i].index = i;
		columns_fill(sorting->column, &socks->list[i], &places[i].cell);
	}
	if (sorted) {
		qsort_r(places, socks->count, sizeof(*places), by_cell, (void *)sorting);
		for (size_t i = 0; i < socks->count; i++)
			sorted[i] = socks->list[places[i].index];
		memcpy(socks->list, sorted, socks->count * sizeof(*sorted));
	}
	free(sorted);
	free(places);
}

/* ---- lines ---- */

static void put_line(const struct columns *columns, const unsigned *widths, unsigned width,
		     void (*fill)(enum column column, const void *from, struct cell *cell), const void *from,
		     struct text *text)
{
	struct text line = {0};
	struct cell cell;

	for (unsigned i = 0; i < columns->count; i++) {
		unsigned pad;

		fill(columns->list[i], from, &cell);
		pad = widths[i] - columns_width(cell.text);
		text_add(&line, "%*s%*s%s%*s", i ? GAP : 0, "", all[columns->list[i]].right ? (int)pad : 0, "",
			 cell.text, all[columns->list[i]].right ? 0 : (int)pad, "");
	}
	while (line.len && line.data[line.len - 1] == ' ')
		line.len--;
	for (size_t at = 0, column = 0; width && at < line.len; at++) {
		column += ((unsigned char)line.data[at] & 0xc0) != 0x80;
		if (column > width)
			line.len = at;
	}
	text_bytes(text, line.data, line.len);
	text_add(text, "\n");
	text->failed |= line.failed;
	text_free(&line);
}

static void fill_title(enum column column, const void *from, struct cell *cell)
{
	(void)from;
	snprintf(cell->text, sizeof(cell->text), "%s", all[column].title);
}

static void fill_sock(enum column column, const void *from, struct cell *cell)
{
	columns_fill(column, from, cell);
}

void columns_show(const struct socks *socks, const struct columns *columns, unsigned width, bool head,
		  struct text *text)
{
	unsigned widths[COLUMNS];
	struct cell cell;

	for (unsigned i = 0; i < columns->count; i++)
		widths[i] = columns_width(all[columns->list[i]].title);
	for (size_t n = 0; n < socks->count; n++)
		for (unsigned i = 0; i < columns->count; i++) {
			columns_fill(columns->list[i], &socks->list[n], &cell);
			if (columns_width(cell.text) > widths[i])
				widths[i] = columns_width(cell.text);
		}
	if (head && socks->count) {
		text_add(text, "%s", paint_code(STDOUT_FILENO, PAINT_DIM));
		put_line(columns, widths, width, fill_title, NULL, text);
		text_add(text, "%s", paint_code(STDOUT_FILENO, PAINT_NONE));
	}
	for (size_t n = 0; n < socks->count; n++)
		put_line(columns, widths, width, fill_sock, &socks->list[n], text);
}
