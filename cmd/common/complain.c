#include "complain.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "paint.h"
#include "settings.h"
#include "status.h"
#include "text.h"
#include "tenon.h"
#include "write.h"

/* A line on a terminal that is written over, until it ends. Other lines replace it. */
static _Atomic(bool) progress_shown;

bool progress_wanted(void)
{
	return !settings.quiet && isatty(STDERR_FILENO);
}

void progress_show(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	progress_shown = true;
	fd_write(STDERR_FILENO, "\r\033[K", 4);
	fd_write(STDERR_FILENO, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

void progress_end(void)
{
	if (progress_shown)
		fd_write(STDERR_FILENO, "\r\033[K", 4);
	progress_shown = false;
}

/* Without memory, perhaps to report just that. */
static void complain_briefly(const char *prefix, const char *fmt, va_list ap)
{
	char line[2048];
	size_t n = (size_t)snprintf(line, sizeof(line), "%s", prefix);
	int len = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);

	if (len < 0)
		return;
	n += (size_t)len < sizeof(line) - n - 1 ? (size_t)len : sizeof(line) - n - 2;
	line[n++] = '\n';
	fd_write(STDERR_FILENO, line, n);
}

/* Our own text may have several lines. The line feeds of a peer's text have been escaped before. */
static void text_lines(struct text *text, struct text *words)
{
	char *rest, *line;

	text_bytes(words, "", 1);
	text->failed |= words->failed;
	if (text->failed)
		return;
	rest = words->data;
	while ((line = strsep(&rest, "\n"))) {
		text_clean(text, line);
		if (rest)
			text_bytes(text, "\n", 1);
	}
}

static void complain_line(const char *prefix, enum paint paint, const char *fmt, va_list ap)
{
	struct text text = {0}, words = {0};
	va_list again;

	progress_end();
	va_copy(again, ap);
	text_add(&text, "%s%s%s", paint_code(STDERR_FILENO, paint), prefix, paint_code(STDERR_FILENO, PAINT_NONE));
	text_vadd(&words, fmt, ap);
	text_lines(&text, &words);
	text_bytes(&text, "\n", 1);
	text_free(&words);
	if (!text.failed)
		fd_write(STDERR_FILENO, text.data, text.len);
	else
		complain_briefly(prefix, fmt, again);
	va_end(again);
	text_free(&text);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain_line("tenon: ", PAINT_BOLD, fmt, ap);
	va_end(ap);
}

void complain_hint(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain_line("Try: ", PAINT_NONE, fmt, ap);
	va_end(ap);
}

/* The URL again, with a caret under the place. Columns are counted in characters, not bytes. */
static void complain_place(const char *url, long position)
{
	size_t len = strlen(url), column = 0;

	for (size_t i = 0; i < (size_t)position && i < len; i++)
		column += ((unsigned char)url[i] & 0xc0) != 0x80;
	struct text text = {0};
	text_add(&text, "    %s\n    %*s%s^%s\n", url, (int)column, "", paint_code(STDERR_FILENO, PAINT_RED),
		 paint_code(STDERR_FILENO, PAINT_NONE));
	if (!text.failed)
		fd_write(STDERR_FILENO, text.data, text.len);
	text_free(&text);
}

static char own_failure[256];

void complain_of(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(own_failure, sizeof(own_failure), fmt, ap);
	va_end(ap);
}

int complain_library(int err, const char *url)
{
	long position = tn_errpos();

	if (own_failure[0]) {
		complain("%s", own_failure);
		own_failure[0] = '\0';
		return status_of(err);
	}
	complain("%s", *tn_errmsg() ? tn_errmsg() : tn_strerror(err));
	if (err == TN_EURL && position >= 0 && url)
		complain_place(url, position);
	return status_of(err);
}
