#include "trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/emit.h"
#include "common/json.h"
#include "common/options.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "common/text.h"
#include "tenon_value.h"

#define MEMORY (4u << 20) /* records that wait to be written */
#define PIECE (64u << 10) /* is handed to the writer as one */
#define LATEST_MS 20      /* what has passed is written after so long, at the latest */
#define LAST_MS 2000      /* at the end a reader that does not read is waited for so long */
#define AT_ONCE 4096      /* PIPE_BUF: lines of others do not come between those of one write */
#define BYTES 1024
#define BYTES_MAX (256u << 10)

enum form { FORM_NONE, FORM_TEXT, FORM_HEX, FORM_JSON };

struct piece {
	struct piece *next;
	size_t len, cap;
	uint64_t records;
	uint64_t told; /* records that it says were left out */
	char data[];
};

/* What a thread writes a record with. */
struct scratch {
	struct text line;
	struct tn_value *value;
	struct tn_bytes bytes;
	uint64_t second; /* the one that stands in `time` */
	char time[24];
	struct tn_addr addr; /* the one that stands in `peer` */
	char peer[128];
};

static struct {
	enum form form;
	const char *file;
	uint64_t bytes;
	char hex[256][2];
	pthread_key_t key; /* frees a thread's scratch */
	pthread_t writer;
	pthread_mutex_t lock;
	pthread_cond_t more, over;
	bool running;
	/* Under the lock */
	bool ending, ended;
	struct piece *first, *last;
	size_t waiting;      /* bytes in pieces, those that are being written included */
	uint64_t lost, told; /* records; and how many of them the trace itself has told */
	int next_fd;         /* in the place of `fd`; -1: none */
	/* The writer's */
	int fd;
	bool is_file, complained;
	bool reopens;       /* set once: a pipe is not opened again, which would wait for a reader */
	_Atomic(bool) gone; /* nobody reads it any more */
} trace = {.bytes = BYTES,
	   .lock = PTHREAD_MUTEX_INITIALIZER,
	   .more = PTHREAD_COND_INITIALIZER,
	   .over = PTHREAD_COND_INITIALIZER,
	   .next_fd = -1,
	   .fd = STDERR_FILENO};

/* ---- options ---- */

const char *trace_set_form(const char *value, void *to)
{
	static const char *const names[] = {[FORM_TEXT] = "text", [FORM_HEX] = "hex", [FORM_JSON] = "json"};

	(void)to;
	for (int i = FORM_TEXT; i <= FORM_JSON; i++)
		if (strcmp(value, names[i]) == 0) {
			trace.form = (enum form)i;
			return NULL;
		}
	return "is none of text, hex, json";
}

const char *trace_set_file(const char *value, void *to)
{
	(void)to;
	return option_set_file(value, &trace.file);
}

const char *trace_set_bytes(const char *value, void *to)
{
	(void)to;
	if (tn_parse_size(value, &trace.bytes) < 0 || trace.bytes > BYTES_MAX)
		return "is no size up to 256KiB";
	return NULL;
}

bool trace_is_wanted(void)
{
	return trace.form != FORM_NONE;
}

bool trace_has_file(void)
{
	return trace.form != FORM_NONE && trace.file;
}

size_t trace_bytes(void)
{
	return trace.bytes;
}

/* ---- the writer ---- */

static void note_kind(void)
{
	struct stat st;

	trace.is_file = fstat(trace.fd, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *name(void)
{
	return trace.file ? trace.file : "standard error";
}

/* Told once, until the file is opened again. */
static void fail(int err)
{
	trace.gone = err == -EPIPE;
	if (!trace.complained)
		complain_warning("--trace: %s: %s; %s", name(), tn_strerror(err),
				 trace.gone ? "nothing is traced any more" : "what does not fit is left out");
	trace.complained = true;
}

/* A line that was not written to its end is taken back: the next one must not begin in the middle of it. */
static void take_back(const char *from, const char *to)
{
	const char *line = to > from ? memrchr(from, '\n', (size_t)(to - from)) : NULL;
	off_t end = lseek(trace.fd, 0, SEEK_CUR), part = to - (line ? line + 1 : from);

	if (trace.is_file && part && end >= part)
		(void)!ftruncate(trace.fd, end - part);
}

/* So much of it goes out by one call: into a file all, otherwise whole lines as far as a pipe takes them at once. */
static size_t portion(const char *from, size_t len)
{
	const char *end;

	if (trace.is_file || len <= AT_ONCE)
		return len;
	end = memrchr(from, '\n', AT_ONCE);
	return end ? (size_t)(end - from) + 1 : AT_ONCE;
}

static int write_bytes(const char *from, size_t len)
{
	const char *at = from, *end = from + len;

	while (at < end) {
		ssize_t done = write(trace.fd, at, portion(at, (size_t)(end - at)));

		if (done < 0 && errno == EAGAIN) { /* another process has made it so */
			const struct timespec moment = {.tv_nsec = 10 * NS_PER_MS};

			nanosleep(&moment, NULL);
		} else if (done < 0 && errno != EINTR) {
			int err = -errno;

			take_back(from, at);
			return err;
		}
		if (done > 0)
			at += done;
	}
	return 0;
}

static void write_piece(const struct piece *piece)
{
	int err = trace.gone ? -EPIPE : write_bytes(piece->data, piece->len);

	if (err == 0)
		return;
	if (!trace.gone)
		fail(err);
	pthread_mutex_lock(&trace.lock);
	trace.lost += piece->records;
	trace.told -= piece->told;
	pthread_mutex_unlock(&trace.lock);
}

/* Under the lock. */
static void take_file(void)
{
	if (trace.next_fd < 0)
		return;
	close(trace.fd);
	trace.fd = trace.next_fd;
	trace.next_fd = -1;
	trace.complained = false;
	trace.gone = false;
	note_kind();
}

/* Waits until there is a whole piece, or until what there is has waited long enough. Under the lock. */
static void wait_for_more(void)
{
	struct timespec until;
	uint64_t due;

	while (!trace.first && !trace.ending)
		pthread_cond_wait(&trace.more, &trace.lock);
	due = clock_utc_ns() + LATEST_MS * NS_PER_MS;
	until = (struct timespec){(time_t)(due / NS_PER_S), (long)(due % NS_PER_S)};
	while (trace.first == trace.last && !trace.ending &&
	       pthread_cond_timedwait(&trace.more, &trace.lock, &until) == 0)
		;
}

static void *write_all(void *arg)
{
	struct piece *piece, *next;
	size_t len;

	(void)arg;
	pthread_mutex_lock(&trace.lock);
	while (trace.first || !trace.ending) {
		wait_for_more();
		take_file();
		piece = trace.first;
		trace.first = trace.last = NULL;
		while (piece) {
			pthread_mutex_unlock(&trace.lock);
			write_piece(piece);
			next = piece->next;
			len = piece->cap;
			free(piece);
			piece = next;
			pthread_mutex_lock(&trace.lock);
			trace.waiting -= len;
		}
	}
	trace.ended = true;
	pthread_cond_signal(&trace.over);
	pthread_mutex_unlock(&trace.lock);
	return NULL;
}

/* ---- the queue ---- */

/* Under the lock. */
static bool put(const void *data, size_t len)
{
	struct piece *piece = trace.last;
	size_t cap = len > PIECE ? len : PIECE;

	if (!piece || piece->cap - piece->len < len) {
		piece = trace.waiting + cap > MEMORY ? NULL : malloc(sizeof(*piece) + cap);
		if (!piece)
			return false;
		*piece = (struct piece){.cap = cap};
		*(trace.last ? &trace.last->next : &trace.first) = piece;
		trace.last = piece;
		trace.waiting += cap;
		pthread_cond_signal(&trace.more);
	}
	memcpy(piece->data + piece->len, data, len);
	piece->len += len;
	piece->records++;
	return true;
}

/* To the microsecond; the second is written when it changes. */
static char *put_time(struct scratch *s, char *p)
{
	uint64_t ns = clock_utc_ns(), second = ns / NS_PER_S;

	if (second != s->second) {
		time_t now = (time_t)second;
		struct tm tm;

		gmtime_r(&now, &tm);
		strftime(s->time, sizeof(s->time), "%Y-%m-%dT%H:%M:%S", &tm);
		s->second = second;
	}
	p = mempcpy(p, s->time, 19);
	*p++ = '.';
	p = emit_padded(p, (uint32_t)(ns % NS_PER_S / NS_PER_US), 6);
	*p++ = 'Z';
	return p;
}

/* The reader of the trace sees where something is missing. Under the lock. */
static void put_lost(void)
{
	uint64_t lost = trace.lost - trace.told;
	struct scratch now = {0};
	struct text line = {0};
	char time[32];

	*put_time(&now, time) = '\0';

	if (trace.form == FORM_JSON) {
		json_begin(&line, "trace-lost");
		json_number(&line, "messages", lost);
		json_text(&line, "time", time);
		text_add(&line, "}\n");
	} else {
		text_add(&line, "%s %llu messages were left out\n", time, (unsigned long long)lost);
	}
	if (!line.failed && put(line.data, line.len)) {
		trace.last->records--;
		trace.last->told += lost;
		trace.told += lost;
	}
	text_free(&line);
}

static void put_record(const struct text *line)
{
	pthread_mutex_lock(&trace.lock);
	if (trace.lost > trace.told)
		put_lost();
	if (line->failed || trace.lost > trace.told || !put(line->data, line->len))
		trace.lost++;
	pthread_mutex_unlock(&trace.lock);
}

/* ---- records ---- */

static void scratch_free(void *arg)
{
	struct scratch *s = arg;

	text_free(&s->line);
	tn_value_free(s->value);
	tn_bytes_free(&s->bytes);
	free(s);
}

static struct scratch *scratch(void)
{
	static _Thread_local struct scratch *own;

	if (!own && (own = calloc(1, sizeof(*own))) && pthread_setspecific(trace.key, own) != 0) {
		free(own);
		own = NULL;
	}
	return own;
}

/* Room for what is written without looking. */
static char *room(struct text *line, size_t len)
{
	char *grown = line->cap - line->len >= len ? line->data : realloc(line->data, line->len + len);

	line->failed |= !grown;
	if (!grown)
		return NULL;
	if (grown != line->data || line->cap < line->len + len)
		line->cap = line->len + len;
	line->data = grown;
	return grown + line->len;
}

/* A socket of many peers: who has sent this, or gets it. */
static const char *peer_of(struct scratch *s, const struct traced *traced, const struct tn_msg *msg)
{
	if (traced->peer)
		return traced->peer;
	if (!msg->peer)
		return "-";
	if (s->addr.len != msg->peer->len || memcmp(s->addr.bytes, msg->peer->bytes, s->addr.len) != 0) {
		s->addr = *msg->peer;
		tn_addr_text(msg->peer, s->peer, sizeof(s->peer));
	}
	return s->peer;
}

/* TIME #ID PEER in [to TARGET] LENGTH */
static void head(struct scratch *s, const struct traced *traced, bool in, const struct tn_msg *msg)
{
	const char *peer = peer_of(s, traced, msg), *target = traced->target;
	size_t len = strlen(peer) + (target ? strlen(target) : 0);
	struct text *line = &s->line;
	char *p = room(line, len + 128);

	if (!p)
		return;
	p = put_time(s, p);
	p = emit_number(EMIT(p, " #"), traced->id);
	*p++ = ' ';
	p = emit_text(p, peer);
	p = in ? EMIT(p, " in ") : EMIT(p, " out ");
	if (target) {
		p = emit_text(in ? EMIT(p, "to ") : EMIT(p, "from "), target);
		*p++ = ' ';
	}
	p = emit_number(p, msg->len);
	line->len = (size_t)(p - line->data);
}

static void cut(struct text *line, size_t left)
{
	text_add(line, "... %zu more\n", left);
}

/* 16 bytes a line, as `tenon capture --hex` shows them. */
static void hex(struct text *line, const unsigned char *data, size_t len)
{
	char *p = room(line, (len / 16 + 1) * 80);

	for (size_t at = 0; p && at < len; at += 16) {
		size_t n = len - at < 16 ? len - at : 16;
		char *shown = p + 8 + (at > 0xffff ? 4 : 0) + 3 * 16;

		p = emit_hex(EMIT(p, "  "), (uint32_t)at, at > 0xffff ? 8 : 4);
		*p++ = ' ';
		for (size_t i = 0; i < n; i++) {
			*p++ = ' ';
			p = mempcpy(p, trace.hex[data[at + i]], 2);
		}
		memset(p, ' ', (size_t)(shown + 1 - p));
		p = shown + 1;
		for (size_t i = 0; i < n; i++)
			*p++ = data[at + i] >= ' ' && data[at + i] < 0x7f ? (char)data[at + i] : '.';
		*p++ = '\n';
	}
	if (p)
		line->len = (size_t)(p - line->data);
}

/* As it is typed in JSON; NULL: it is in no format of values, or not all of it is there, or it is wrong. */
static const struct tn_bytes *decoded(struct scratch *s, const void *data, size_t kept, size_t len, const char *format)
{
	if (kept < len || !(tn_format_kind(format) & TN_FORMAT_VALUES) ||
	    tn_decode(format, data, kept, 0, &s->value) < 0 || tn_encode("json", s->value, 0, &s->bytes) < 0)
		return NULL;
	return &s->bytes;
}

static void text_record(struct scratch *s, const struct tn_msg *msg, size_t kept, const char *format)
{
	const struct tn_bytes *value = decoded(s, msg->data, kept, msg->len, format);
	const char *data = value ? value->data : msg->data;
	size_t len = value ? value->len : kept;

	text_bytes(&s->line, ": ", 2);
	/* One line feed at the end of what comes by lines is none of the text */
	text_clean_bytes(&s->line, data, len && kept == msg->len && data[len - 1] == '\n' ? len - 1 : len);
	if (kept < msg->len)
		cut(&s->line, msg->len - kept);
	else
		text_bytes(&s->line, "\n", 1);
}

static void hex_record(struct scratch *s, const struct tn_msg *msg, size_t kept)
{
	text_bytes(&s->line, "\n", 1);
	hex(&s->line, msg->data, kept);
	if (kept < msg->len) {
		text_bytes(&s->line, "  ", 2);
		cut(&s->line, msg->len - kept);
	}
}

void trace_data_json(struct text *out, const void *data, size_t kept, size_t len, const char *format, bool both)
{
	struct scratch *s = scratch();
	const struct tn_bytes *value = s ? decoded(s, data, kept, len, format) : NULL;

	json_number(out, "bytes", len);
	if (value) {
		json_key(out, "value");
		text_bytes(out, value->data, value->len);
	}
	if (!value || both)
		json_bytes(out, "data", data, kept);
	if (kept < len)
		json_number(out, "left_out", len - kept);
}

static void json_record(struct scratch *s, const struct traced *traced, bool in, const struct tn_msg *msg, size_t kept,
			const char *format)
{
	struct text *line = &s->line;
	char time[32];

	json_begin(line, "trace");
	json_number(line, "id", traced->id);
	json_text(line, "peer", peer_of(s, traced, msg));
	if (traced->target)
		json_text(line, "target", traced->target);
	json_text(line, "direction", in ? "in" : "out");
	if (msg->kind != TN_MSG_ANY)
		json_text(line, "kind", msg->kind == TN_MSG_TEXT ? "text" : "binary");
	trace_data_json(line, msg->data, kept, msg->len, format, false);
	*put_time(s, time) = '\0';
	json_text(line, "time", time);
	text_bytes(line, "}\n", 2);
}

void trace_message(const struct traced *traced, bool in, const struct tn_msg *msg, const char *format)
{
	size_t kept = msg->len < trace.bytes ? msg->len : (size_t)trace.bytes;
	struct scratch *s;

	if (!trace_is_wanted() || trace.gone || !(s = scratch()))
		return;
	s->line.len = 0;
	s->line.failed = false;
	if (trace.form == FORM_JSON) {
		json_record(s, traced, in, msg, kept, format);
	} else {
		head(s, traced, in, msg);
		if (trace.form == FORM_HEX)
			hex_record(s, msg, kept);
		else
			text_record(s, msg, kept, format);
	}
	put_record(&s->line);
}

/* ---- life ---- */

int trace_open(const char *command, bool kept)
{
	int fd;

	if (!trace_is_wanted() && (trace.file || (trace.bytes != BYTES && !kept))) {
		complain("%s: --%s is for --trace text, hex or json", command, trace.file ? "trace-to" : "trace-bytes");
		return STATUS_USAGE;
	}
	if (!trace_is_wanted())
		return STATUS_DONE;
	if (trace.file) {
		fd = broker_open(trace.file, TN_FILE_APPEND);
		if (fd < 0) {
			complain("%s: --trace-to: %s: %s", command, trace.file, broker_why(fd));
			return STATUS_FAILED;
		}
		trace.fd = fd;
	}
	note_kind();
	trace.reopens = trace.file && trace.is_file;
	return STATUS_DONE;
}

void trace_allow(struct sandbox *box)
{
	if (trace_has_file())
		sandbox_allow(box, trace.file, TN_FILE_APPEND);
}

int trace_start(void)
{
	static const char digits[] = "0123456789abcdef";
	int err;

	for (int i = 0; i < 256; i++) {
		trace.hex[i][0] = digits[i >> 4];
		trace.hex[i][1] = digits[i & 15];
	}
	err = pthread_key_create(&trace.key, scratch_free);
	if (err == 0 && trace_is_wanted()) {
		err = pthread_create(&trace.writer, NULL, write_all, NULL);
		trace.running = err == 0;
	}
	return err ? complain_library(-err, NULL) : STATUS_DONE;
}

void trace_reopen(void)
{
	int fd = trace.reopens ? broker_open(trace.file, TN_FILE_APPEND) : 0, old;

	if (!trace.reopens)
		return;
	if (fd < 0) {
		complain("--trace-to: %s: %s; the file that was open before stays", trace.file, broker_why(fd));
		return;
	}
	pthread_mutex_lock(&trace.lock);
	old = trace.next_fd;
	trace.next_fd = fd;
	trace.gone = false;
	pthread_mutex_unlock(&trace.lock);
	if (old >= 0)
		close(old);
}

/* Whether the writer has ended. It may be inside a write to somebody who does not read. */
static bool wait_for_end(void)
{
	uint64_t due = clock_utc_ns() + LAST_MS * NS_PER_MS;
	const struct timespec until = {(time_t)(due / NS_PER_S), (long)(due % NS_PER_S)};
	uint64_t left = 0;
	bool ended;

	pthread_mutex_lock(&trace.lock);
	trace.ending = true;
	pthread_cond_signal(&trace.more);
	while (!trace.ended && pthread_cond_timedwait(&trace.over, &trace.lock, &until) == 0)
		;
	ended = trace.ended;
	for (const struct piece *piece = trace.first; piece; piece = piece->next)
		left += piece->records;
	trace.lost += left;
	pthread_mutex_unlock(&trace.lock);
	return ended;
}

void trace_close(void)
{
	bool ended = !trace.running || wait_for_end();

	if (trace.running && ended)
		pthread_join(trace.writer, NULL);
	trace.running = false;
	if (trace.lost || !ended)
		complain_warning("--trace: %s: %llu messages%s are not in it", name(), (unsigned long long)trace.lost,
				 ended ? "" : ", and those that were being written,");
	trace.form = FORM_NONE;
	if (ended && trace.file && trace.fd != STDERR_FILENO) {
		close(trace.fd);
		trace.fd = STDERR_FILENO;
	}
}
