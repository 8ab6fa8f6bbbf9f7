#include "screen.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "output.h"
#include "paint.h"
#include "tenon.h"
#include "text.h"

#define COLUMNS 100 /* where there is no terminal to ask */
#define COLUMNS_MIN 60

static struct {
	unsigned short rows, columns;
	bool drawn;
} shown;

static struct {
	struct tn_signal *sig;
	void (*fn)(void *arg);
	void *arg;
} resize;

bool screen_is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

static struct winsize size_now(void)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	return size;
}

unsigned screen_columns(void)
{
	unsigned columns = isatty(STDOUT_FILENO) ? size_now().ws_col : COLUMNS;

	return columns < COLUMNS_MIN ? COLUMNS_MIN : columns;
}

/* The bytes of a line that fit; colours take no room. */
static size_t fitting(const char *line, size_t len, unsigned columns)
{
	unsigned at = 0;
	size_t i = 0;

	while (i < len) {
		if (line[i] == '\033') {
			while (i < len && line[i] != 'm')
				i++;
			i += i < len;
			continue;
		}
		at += ((unsigned char)line[i] & 0xc0) != 0x80;
		if (at > columns)
			break;
		i++;
	}
	return i;
}

static unsigned lines_of(const struct text *text)
{
	unsigned lines = 0;

	for (size_t i = 0; i < text->len; i++)
		lines += text->data[i] == '\n';
	return lines;
}

static void draw_line(struct text *page, const char *line, size_t len, unsigned columns)
{
	size_t fit = fitting(line, len, columns);

	text_bytes(page, line, fit);
	text_add(page, "%s\033[K\r\n", fit < len ? paint_code(STDOUT_FILENO, PAINT_NONE) : "");
}

void screen_draw(const struct text *text)
{
	struct winsize size = size_now();
	unsigned lines = lines_of(text), room = size.ws_row > 1 ? size.ws_row - 1U : 1, n = 0;
	unsigned most = lines <= room ? lines : room - 1;
	struct text page = {0};
	const char *at = text->data;

	text_add(&page, "\033[H");
	if (!shown.drawn || size.ws_row != shown.rows || size.ws_col != shown.columns)
		text_add(&page, "\033[2J"); /* a terminal that was resized has moved what was on it */
	for (; n < most; n++) {
		const char *end = memchr(at, '\n', text->len - (size_t)(at - text->data));

		draw_line(&page, at, (size_t)(end - at), size.ws_col);
		at = end + 1;
	}
	if (n < lines)
		text_add(&page, "... and %u more lines\033[K\r\n", lines - n);
	text_add(&page, "\033[J");
	shown.drawn = true;
	shown.rows = size.ws_row;
	shown.columns = size.ws_col;
	out_text(&page);
}

void screen_end(void)
{
	struct text text = {0};

	if (shown.drawn) { /* the cursor stands below the page, behind the ^C that the terminal has echoed */
		text_add(&text, "\r\033[K");
		out_text(&text);
	}
	shown.drawn = false;
}

static void on_resize(int signo, void *arg)
{
	(void)signo, (void)arg;
	resize.fn(resize.arg);
}

int screen_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	resize.fn = fn;
	resize.arg = arg;
	return tn_signal_start(loop, SIGWINCH, on_resize, NULL, &resize.sig);
}

void screen_unwatch(void)
{
	tn_signal_stop(resize.sig);
	resize.sig = NULL;
}
