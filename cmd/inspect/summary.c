#include "summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/paint.h"
#include "common/text.h"
#include "words.h"

/* One kind in one state. */
struct row {
	char kind[48], state[24];
	size_t count;
};

struct rows {
	struct row *list;
	size_t count, total;
	bool failed; /* without memory */
};

static int by_name(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = strcmp(x->kind, y->kind);

	return order ? order : strcmp(x->state, y->state);
}

/* Sorted, equal ones stand together, and are counted. */
static struct rows count_all(const struct socks *socks)
{
	struct rows rows = {.total = socks->count};

	rows.list = socks->count ? calloc(socks->count, sizeof(*rows.list)) : NULL;
	rows.failed = socks->count && !rows.list;
	if (!rows.list)
		return rows;
	for (size_t i = 0; i < socks->count; i++) {
		sock_kind(&socks->list[i], rows.list[i].kind, sizeof(rows.list[i].kind));
		snprintf(rows.list[i].state, sizeof(rows.list[i].state), "%s", socks->list[i].state);
	}
	qsort(rows.list, socks->count, sizeof(*rows.list), by_name);
	for (size_t i = 0; i < socks->count; i++) {
		if (!rows.count || by_name(&rows.list[rows.count - 1], &rows.list[i]) != 0)
			rows.list[rows.count++] = rows.list[i];
		rows.list[rows.count - 1].count++;
	}
	return rows;
}

void summary_show(const struct socks *socks, struct text *text)
{
	struct rows rows = count_all(socks);
	int kind = 5, state = 5;

	for (size_t i = 0; i < rows.count; i++) {
		kind = (int)strlen(rows.list[i].kind) > kind ? (int)strlen(rows.list[i].kind) : kind;
		state = (int)strlen(rows.list[i].state) > state ? (int)strlen(rows.list[i].state) : state;
	}
	text_add(text, "%s%-*s  %-*s  SOCKETS%s\n", paint_code(STDOUT_FILENO, PAINT_DIM), kind, "KIND", state, "STATE",
		 paint_code(STDOUT_FILENO, PAINT_NONE));
	for (size_t i = 0; i < rows.count; i++)
		text_add(text, "%-*s  %-*s  %7zu\n", kind, rows.list[i].kind, state, rows.list[i].state,
			 rows.list[i].count);
	text_add(text, "%-*s  %-*s  %7zu\n", kind, "total", state, "", rows.total);
	text->failed |= rows.failed;
	free(rows.list);
}

void summary_show_json(const struct socks *socks)
{
	struct rows rows = count_all(socks);
	struct text line = {0};

	json_begin(&line, NULL);
	json_number(&line, "total", rows.total);
	json_object(&line, "kinds");
	for (size_t i = 0; i < rows.count; i++) {
		if (!i || strcmp(rows.list[i].kind, rows.list[i - 1].kind) != 0)
			json_object(&line, rows.list[i].kind);
		json_number(&line, rows.list[i].state, rows.list[i].count);
		if (i + 1 == rows.count || strcmp(rows.list[i].kind, rows.list[i + 1].kind) != 0)
			json_object_end(&line);
	}
	json_object_end(&line);
	line.failed |= rows.failed;
	json_line(&line);
	free(rows.list);
}
