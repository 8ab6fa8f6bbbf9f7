#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "options.h"
#include "tenon.h"

#define BEHIND_MAX (4U << 20) /* bytes that wait for a slow reader of the events */

/* ---- text ---- */

static bool text_room(struct text *text, size_t more)
{
	size_t cap = text->cap ? text->cap : 256;
	char *grown;

	if (text->failed || more <= text->cap - text->len)
		return !text->failed;
	while (cap - text->len < more)
		cap *= 2;
	grown = realloc(text->data, cap);
	text->failed = !grown;
	if (grown) {
		text->data = grown;
		text->cap = cap;
	}
	return grown;
}

void text_bytes(struct text *text, const void *data, size_t len)
{
	if (len == 0 || !text_room(text, len))
		return;
	memcpy(text->data + text->len, data, len);
	text->len += len;
}

static void text_vadd(struct text *text, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0 || !text_room(text, (size_t)len + 1))
		return;
	vsnprintf(text->data + text->len, (size_t)len + 1, fmt, ap);
	text->len += (size_t)len;
}

void text_add(struct text *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_vadd(text, fmt, ap);
	va_end(ap);
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}

/* ---- JSON ---- */

/* The length of the UTF-8 sequence that begins here, or 0 when none does. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf8 ? 0 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	uint32_t point;

	if (len <= 1 || len > left)
		return len <= 1 ? len : 0;
	point = s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3f);
	}
	return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

/* One that a terminal takes for a command: C0, DEL, and C1 (U+0080 to U+009F). */
static bool is_control(const unsigned char *s, size_t len)
{
	return len == 1 ? s[0] < ' ' || s[0] == 0x7f : len == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

void text_clean(struct text *text, const char *said)
{
	const unsigned char *s = (const unsigned char *)said;
	size_t left = strlen(said), len;

	for (; left; s += len, left -= len) {
		len = utf8_len(s, left);
		if (len && !is_control(s, len)) {
			text_bytes(text, s, len);
			continue;
		}
		len = len ? len : 1;
		for (size_t i = 0; i < len; i++)
			text_add(text, "\\x%02x", s[i]);
	}
}

static void json_escape(struct text *text, unsigned char c)
{
	static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff";
	const char *at = c ? strchr(letters, c) : NULL;

	/* The letters that name an escape stand at odd places and are never escaped themselves */
	if (at && (at - letters) % 2 == 0)
		text_add(text, "\\%c", at[1]);
	else
		text_add(text, "\\u%04x", c >= 0x80 ? 0xfffdU : c);
}

void json_string(struct text *text, const void *data, size_t len)
{
	const unsigned char *s = data;
	size_t plain = 0, i = 0;

	text_bytes(text, "\"", 1);
	while (i < len) {
		size_t step = utf8_len(s + i, len - i);

		if (step > 1 || (step == 1 && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && s[i] != 0x7f)) {
			i += step;
			continue;
		}
		text_bytes(text, s + plain, i - plain);
		json_escape(text, s[i]);
		plain = ++i;
	}
	text_bytes(text, s + plain, len - plain);
	text_bytes(text, "\"", 1);
}

static void json_key(struct text *text, const char *key)
{
	bool first = text->len == 0 || text->data[text->len - 1] == '{';

	text_add(text, "%s\"%s\":", first ? "" : ",", key);
}

void json_begin(struct text *text, const char *event)
{
	text_bytes(text, "{", 1);
	if (event)
		json_text(text, "event", event);
}

void json_text(struct text *text, const char *key, const char *value)
{
	json_key(text, key);
	if (value)
		json_string(text, value, strlen(value));
	else
		text_add(text, "null");
}

static bool is_utf8(const void *data, size_t len)
{
	const unsigned char *s = data;
	size_t step = 1;

	for (size_t i = 0; i < len && step; i += step)
		step = utf8_len(s + i, len - i);
	return step;
}

static void text_base64(struct text *text, const unsigned char *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;
		char four[4];

		if (i + 1 < len)
			bits |= (uint32_t)data[i + 1] << 8;
		if (i + 2 < len)
			bits |= data[i + 2];
		for (int n = 0; n < 4; n++)
			four[n] = digits[bits >> (18 - 6 * n) & 63];
		for (size_t n = len - i + 1; n < 4; n++)
			four[n] = '=';
		text_bytes(text, four, 4);
	}
}

void json_bytes(struct text *text, const char *key, const void *data, size_t len)
{
	json_key(text, key);
	json_string(text, data, len);
	if (is_utf8(data, len))
		return;
	text_add(text, ",\"%s_base64\":\"", key);
	text_base64(text, data, len);
	text_bytes(text, "\"", 1);
}

void json_number(struct text *text, const char *key, uint64_t value)
{
	json_key(text, key);
	text_add(text, "%llu", (unsigned long long)value);
}

void json_signed(struct text *text, const char *key, int64_t value)
{
	json_key(text, key);
	text_add(text, "%lld", (long long)value);
}

void json_share(struct text *text, const char *key, double value)
{
	json_key(text, key);
	text_add(text, "%.6f", value);
}

void json_bool(struct text *text, const char *key, bool value)
{
	json_key(text, key);
	text_add(text, value ? "true" : "false");
}

void json_list(struct text *text, const char *key)
{
	json_key(text, key);
	text_bytes(text, "[", 1);
}

void json_item(struct text *text, const char *value)
{
	if (text->len > 0 && text->data[text->len - 1] != '[')
		text_bytes(text, ",", 1);
	json_string(text, value, strlen(value));
}

void json_list_end(struct text *text)
{
	text_bytes(text, "]", 1);
}

void json_object(struct text *text, const char *key)
{
	json_key(text, key);
	text_bytes(text, "{", 1);
}

void json_object_end(struct text *text)
{
	text_bytes(text, "}", 1);
}

void json_ms(struct text *text, const char *key, uint64_t ns)
{
	json_key(text, key);
	text_add(text, "%llu.%03llu", (unsigned long long)(ns / 1000000), (unsigned long long)(ns / 1000 % 1000));
}

void json_time(struct text *text, const char *key)
{
	struct timespec now;
	struct tm tm;
	char when[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	json_key(text, key);
	text_add(text, "\"%s.%03ldZ\"", when, now.tv_nsec / 1000000);
}

void json_line(struct text *text)
{
	text_bytes(text, "}", 1);
	out_line(text);
}

/* ---- standard output ---- */

static _Atomic(int) lost_err;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct text waiting;
	uint64_t dropped;
	bool running, stopping;
	void (*lost)(void *arg);
	void *lost_arg;
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* Others may have made the descriptor non-blocking, so that is not an error but a reason to wait. */
static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, data, len);

		if (done < 0 && errno == EAGAIN)
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		else if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			data += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

static int out_note(int err)
{
	if (err == -ECONNRESET) /* a socket whose reader has gone, rather than a pipe */
		err = -EPIPE;
	if (err < 0 && !lost_err) {
		lost_err = err;
		if (err != -EPIPE)
			complain("standard output: %s", tn_strerror(err));
	}
	return err;
}

int out_bytes(const void *data, size_t len)
{
	return out_note(lost_err ? lost_err : write_all(STDOUT_FILENO, data, len));
}

int out_text(struct text *text)
{
	int err = text->failed ? out_note(-ENOMEM) : out_bytes(text->data, text->len);

	text_free(text);
	return err;
}

int out_lost(void)
{
	return lost_err;
}

bool out_abandoned(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	if (!lost_err && poll(&out, 1, 0) > 0 && out.revents & (POLLERR | POLLHUP))
		out_note(-EPIPE);
	return lost_err == -EPIPE;
}

bool out_is_shut(void)
{
	return (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

static struct {
	int fd; /* of its own: the loop may have standard output as a connection too */
	struct tn_poll *poll;
	void (*fn)(void *arg);
	void *arg;
} reader = {.fd = -1};

static void on_reader(void *arg)
{
	(void)arg;
	if (!reader.fn || !out_abandoned())
		return;
	reader.fn(reader.arg);
	reader.fn = NULL;
}

int out_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	int err;

	reader.fn = fn;
	reader.arg = arg;
	reader.fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	err = reader.fd < 0 ? -errno : tn_poll_start(loop, reader.fd, on_reader, NULL, &reader.poll);
	if (err < 0)
		reader.poll = NULL;
	return err == -ENOMEM ? err : 0; /* a file has no reader that could go */
}

void out_unwatch(void)
{
	tn_poll_stop(reader.poll);
	reader.poll = NULL;
	reader.fn = NULL;
	if (reader.fd >= 0)
		close(reader.fd);
	reader.fd = -1;
}

static void writer_add(const struct text *text)
{
	pthread_mutex_lock(&writer.lock);
	/* One line too many, or one that there is no memory for, is missed; it does not end the server. */
	if (text->failed || writer.waiting.len + text->len > BEHIND_MAX || !text_room(&writer.waiting, text->len))
		writer.dropped++;
	else
		text_bytes(&writer.waiting, text->data, text->len);
	writer.waiting.failed = false;
	pthread_cond_signal(&writer.more);
	pthread_mutex_unlock(&writer.lock);
}

void out_line(struct text *text)
{
	text_bytes(text, "\n", 1);
	if (writer.running)
		writer_add(text);
	else
		out_text(text);
	text_free(text);
}

static void writer_write(struct text *lines, uint64_t dropped)
{
	/* A disk that is full is no reason for a server to stop serving; a reader that has gone is. */
	if (out_bytes(lines->data, lines->len) == -EPIPE && writer.lost) {
		writer.lost(writer.lost_arg);
		writer.lost = NULL;
	}
	if (dropped)
		complain("%llu events were dropped: nobody reads them fast enough, or memory is short",
			 (unsigned long long)dropped);
	lines->len = 0;
	lines->failed = false;
}

static void *writer_run(void *arg)
{
	struct text lines = {0}, swap;
	uint64_t dropped;
	bool over;

	do {
		pthread_mutex_lock(&writer.lock);
		while (!writer.waiting.len && !writer.stopping)
			pthread_cond_wait(&writer.more, &writer.lock);
		swap = writer.waiting;
		writer.waiting = lines;
		lines = swap;
		dropped = writer.dropped;
		writer.dropped = 0;
		over = writer.stopping;
		pthread_mutex_unlock(&writer.lock);
		writer_write(&lines, dropped);
	} while (!over);
	text_free(&lines);
	return arg;
}

int out_thread_start(void (*lost)(void *arg), void *arg)
{
	int err;

	writer.lost = lost;
	writer.lost_arg = arg;
	err = pthread_create(&writer.thread, NULL, writer_run, NULL);
	writer.running = err == 0;
	return -err;
}

void out_thread_stop(void)
{
	struct timespec until;

	if (!writer.running)
		return;
	pthread_mutex_lock(&writer.lock);
	writer.stopping = true;
	pthread_cond_signal(&writer.more);
	pthread_mutex_unlock(&writer.lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	if (pthread_timedjoin_np(writer.thread, NULL, &until) == 0)
		text_free(&writer.waiting);
	writer.running = false;
}

/* ---- colour and complaints ---- */

static enum colour colour_when;

void out_colour(enum colour when)
{
	colour_when = when;
}

static bool colour_on(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (colour_when != COLOUR_AUTO)
		return colour_when == COLOUR_ALWAYS;
	return !(no && *no) && isatty(fd) && term && strcmp(term, "dumb") != 0;
}

const char *out_paint(int fd, enum paint paint)
{
	static const char *const sequences[] = {"\033[0m",  "\033[1m",  "\033[2m", "\033[31m",
						"\033[32m", "\033[33m", "\033[36m"};

	return colour_on(fd) ? sequences[paint] : "";
}

/* A line on a person's terminal that is written over, until it ends; other lines take its place. */
static _Atomic(bool) progress_stands;

bool out_progress_wanted(void)
{
	return !settings.quiet && isatty(STDERR_FILENO);
}

void out_progress(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	progress_stands = true;
	write_all(STDERR_FILENO, "\r\033[K", 4);
	write_all(STDERR_FILENO, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

void out_progress_end(void)
{
	if (progress_stands)
		write_all(STDERR_FILENO, "\r\033[K", 4);
	progress_stands = false;
}

/* Without memory, perhaps to say just that. */
static void complain_briefly(const char *prefix, const char *fmt, va_list ap)
{
	char line[2048];
	size_t n = (size_t)snprintf(line, sizeof(line), "%s", prefix);
	int len = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);

	if (len < 0)
		return;
	n += (size_t)len < sizeof(line) - n - 1 ? (size_t)len : sizeof(line) - n - 2;
	line[n++] = '\n';
	write_all(STDERR_FILENO, line, n);
}

/* What we say in several lines stays so. What a peer says has its line feeds escaped before,
 * by those who pass it on. */
static void text_lines(struct text *text, struct text *words)
{
	char *rest, *line;

	text->failed |= words->failed || !text_room(words, 1);
	if (text->failed)
		return;
	words->data[words->len] = '\0';
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

	out_progress_end();
	va_copy(again, ap);
	text_add(&text, "%s%s%s", out_paint(STDERR_FILENO, paint), prefix, out_paint(STDERR_FILENO, PAINT_NONE));
	text_vadd(&words, fmt, ap);
	text_lines(&text, &words);
	text_bytes(&text, "\n", 1);
	text_free(&words);
	if (!text.failed)
		write_all(STDERR_FILENO, text.data, text.len);
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

/* The URL again with a caret beneath the place. Columns are counted in characters, not bytes. */
static void complain_place(const char *url, long position)
{
	size_t len = strlen(url), column = 0;

	for (size_t i = 0; i < (size_t)position && i < len; i++)
		column += ((unsigned char)url[i] & 0xc0) != 0x80;
	struct text text = {0};
	text_add(&text, "    %s\n    %*s%s^%s\n", url, (int)column, "", out_paint(STDERR_FILENO, PAINT_RED),
		 out_paint(STDERR_FILENO, PAINT_NONE));
	if (!text.failed)
		write_all(STDERR_FILENO, text.data, text.len);
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
