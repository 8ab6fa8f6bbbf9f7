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

typedef bool (*taker_fn)(enum complaint level, uintptr_t kind, const char *words);

static _Atomic(taker_fn) taker;

void complain_to(taker_fn fn)
{
	taker = fn;
}

/* Whether what this thread has said last stands on standard error, where more may be put below it. */
static _Thread_local bool is_shown;

/* A level, who says it, and what stands before it on standard error. */
struct speech {
	enum complaint level;
	uintptr_t kind;
	const char *prefix;
	enum paint paint;
};

static bool is_taken(const struct speech *speech, const char *words)
{
	taker_fn fn = taker;

	is_shown = !fn || !fn(speech->level, speech->kind, words);
	return !is_shown;
}

/* Without memory, perhaps to report just that. */
static void complain_briefly(const struct speech *speech, const char *fmt, va_list ap)
{
	char line[2048];
	size_t n = (size_t)snprintf(line, sizeof(line), "%s", speech->prefix);
	int len = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);

	if (len < 0)
		return;
	tn_hide_passwords(line + n);
	if (is_taken(speech, line + n))
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
	rest = tn_hide_passwords(words->data);
	while ((line = strsep(&rest, "\n"))) {
		text_clean(text, line);
		if (rest)
			text_bytes(text, "\n", 1);
	}
}

static void complain_line(const struct speech *speech, const char *fmt, va_list ap)
{
	struct text text = {0}, words = {0};
	va_list again;
	size_t begin;

	progress_end();
	va_copy(again, ap);
	text_add(&text, "%s%s%s", paint_code(STDERR_FILENO, speech->paint), speech->prefix,
		 paint_code(STDERR_FILENO, PAINT_NONE));
	begin = text.len;
	text_vadd(&words, fmt, ap);
	text_lines(&text, &words);
	text_bytes(&text, "", 1);
	text_free(&words);
	if (text.failed) {
		complain_briefly(speech, fmt, again);
	} else if (!is_taken(speech, text.data + begin)) {
		text.data[text.len - 1] = '\n';
		fd_write(STDERR_FILENO, text.data, text.len);
	}
	va_end(again);
	text_free(&text);
}

/* Places of the program, not formats: many have the same one ("%s"). */
#define PLACE ((uintptr_t)__builtin_return_address(0))

#define SAY(level, kind)                                                           \
	do {                                                                       \
		const struct speech speech = {level, kind, "tenon: ", PAINT_BOLD}; \
		va_list ap;                                                        \
                                                                                   \
		va_start(ap, fmt);                                                 \
		complain_line(&speech, fmt, ap);                                   \
		va_end(ap);                                                        \
	} while (0)

void complain(const char *fmt, ...)
{
	SAY(COMPLAINT_ERROR, PLACE);
}

void complain_warning(const char *fmt, ...)
{
	SAY(COMPLAINT_WARNING, PLACE);
}

void complain_notice(const char *fmt, ...)
{
	if (!settings.quiet)
		SAY(COMPLAINT_NOTICE, PLACE);
}

void complain_about(int what, const char *fmt, ...)
{
	SAY(COMPLAINT_WARNING, (uintptr_t)1 + (unsigned)-what);
}

void complain_hint(const char *fmt, ...)
{
	static const struct speech hint = {COMPLAINT_NOTICE, 0, "Try: ", PAINT_NONE};
	va_list ap;

	va_start(ap, fmt);
	complain_line(&hint, fmt, ap);
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
	text_bytes(&text, "", 1);
	if (!text.failed)
		fd_write(STDERR_FILENO, tn_hide_passwords(text.data), text.len - 1);
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
	if (err == TN_EURL && position >= 0 && url && is_shown)
		complain_place(url, position);
	return status_of(err);
}
