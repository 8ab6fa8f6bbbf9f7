#include "log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker.h"
#include "clock.h"
#include "complain.h"
#include "json.h"
#include "options.h"
#include "paint.h"
#include "sandbox.h"
#include "status.h"
#include "tenon.h"
#include "text.h"
#include "workers.h"

#define HINT "Try: "
#define KINDS 64
#define BURST 20 /* messages of a kind, in each window */
#define WINDOW_S 10
#define STUCK_MS 100 /* how long a reader is waited for that has left no room */

enum form { FORM_PLAIN, FORM_TEXT, FORM_JSON, FORM_JOURNAL };

/* Behind those of complain.h. */
#define LEVEL_DEBUG 3
#define LEVELS 4

static const char *const levels[LEVELS] = {"error", "warning", "info", "debug"};
static const int priorities[LEVELS] = {3, 4, 6, 7}; /* of syslog(3) */

/* What was said by the same place of the program. */
struct kind {
	uintptr_t kind; /* 0: free */
	uint64_t since_ns, left_out;
	unsigned said;
	int level;
	char last[256]; /* the last one that was left out */
};

static struct {
	const char *file;
	enum form form;
	bool kept;
	int level;
	pthread_mutex_t lock; /* of all that follows */
	int fd;
	uint64_t lost; /* records that could not be written */
	int lost_err;
	bool cut;   /* the last record has no line feed: it was not written whole */
	bool stuck; /* nobody reads it: it is not waited for again */
	bool ready, armed;
	struct tn_timer *timer;
	struct kind kinds[KINDS];
} state = {.level = COMPLAINT_NOTICE, .lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

/* ---- options ---- */

const char *log_set_form(const char *value, void *to)
{
	static const char *const names[] = {[FORM_TEXT] = "text", [FORM_JSON] = "json", [FORM_JOURNAL] = "journal"};

	(void)to;
	for (int i = FORM_TEXT; i <= FORM_JOURNAL; i++)
		if (strcmp(value, names[i]) == 0) {
			state.form = (enum form)i;
			state.kept = true;
			return NULL;
		}
	return "is none of text, json, journal";
}

const char *log_set_level(const char *value, void *to)
{
	(void)to;
	for (int i = 0; i < LEVELS; i++)
		if (strcmp(value, levels[i]) == 0) {
			state.level = i;
			state.kept = true;
			return NULL;
		}
	return "is none of error, warning, info, debug";
}

const char *log_set_file(const char *value, void *to)
{
	const char *why = option_set_file(value, &state.file);

	(void)to;
	state.kept |= !why;
	return why;
}

bool log_is_kept(void)
{
	return state.kept;
}

bool log_has_file(void)
{
	return state.file;
}

/* ---- records ---- */

static void times(struct text *out)
{
	uint64_t ns = clock_ns();

	json_time(out, "time");
	json_key(out, "monotonic");
	text_add(out, "%llu.%06llu", (unsigned long long)(ns / NS_PER_S),
		 (unsigned long long)(ns % NS_PER_S / NS_PER_US));
}

static void begin_json(struct text *out, int level)
{
	json_begin(out, NULL);
	times(out);
	json_text(out, "level", levels[level]);
}

static void begin_text(struct text *out, int level)
{
	uint64_t ns = clock_ns();

	text_time(out, clock_utc_ns());
	text_add(out, " [%5llu.%06llu] %s: ", (unsigned long long)(ns / NS_PER_S),
		 (unsigned long long)(ns % NS_PER_S / NS_PER_US), levels[level]);
}

/* As complain() would write it. */
static void begin_plain(struct text *out, const char *words)
{
	if (strncmp(words, HINT, strlen(HINT)) != 0)
		text_add(out, "%stenon: %s", paint_code(STDERR_FILENO, PAINT_BOLD),
			 paint_code(STDERR_FILENO, PAINT_NONE));
}

/* Each line of words of several: those of a record belong together, and the journal has levels of lines. */
static void lines(struct text *out, int level, const char *words)
{
	bool plain = state.form == FORM_PLAIN;
	size_t len;

	for (bool first = true; first || *words; first = false) {
		if (state.form == FORM_JOURNAL)
			text_add(out, "<%d>", priorities[level]);
		else if (first && state.form == FORM_TEXT)
			begin_text(out, level);
		else if (first && plain)
			begin_plain(out, words);
		else if (!plain)
			text_add(out, "%s", first ? "tenon: " : "    ");
		len = strcspn(words, "\n");
		text_bytes(out, words, len);
		text_bytes(out, "\n", 1);
		words += len + (words[len] == '\n');
	}
}

/* A pipe, socket or terminal takes a piece of this size at once if it takes anything; a file takes all. */
static size_t piece(size_t len)
{
	struct stat st;

	return fstat(state.fd, &st) == 0 && S_ISREG(st.st_mode) ? len : len < PIPE_BUF ? len : PIPE_BUF;
}

/* Loops do not wait for who reads the log: once, and for a moment, if it has just stopped. */
static bool has_room(void)
{
	struct pollfd out = {.fd = state.fd, .events = POLLOUT};

	state.stuck = poll(&out, 1, state.stuck ? 0 : STUCK_MS) == 0;
	return !state.stuck;
}

static int write_all(const char *data, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t done = has_room() ? write(state.fd, data + at, piece(len - at)) : -1;
		if (state.stuck)
			return -EAGAIN;
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (done > 0) {
			at += (size_t)done;
			state.cut = data[at - 1] != '\n';
		}
	}
	return 0;
}

static bool put(struct text *record)
{
	bool made = !record->failed;
	int err = made && state.cut ? write_all("\n", 1) : 0;

	if (made && err == 0)
		err = write_all(record->data, record->len);

	if (err < 0) {
		state.lost++;
		state.lost_err = err;
	}
	text_free(record);
	return made;
}

/* False: there is no memory for it. */
static bool say(int level, const char *words, uint64_t left_out)
{
	struct text record = {0};

	if (state.form != FORM_JSON) {
		lines(&record, level, words);
		return put(&record);
	}
	begin_json(&record, level);
	json_text(&record, "message", words);
	if (left_out)
		json_number(&record, "left_out", left_out);
	text_add(&record, "}\n");
	return put(&record);
}

static void say_lost(void)
{
	uint64_t lost = state.lost;
	char words[256];

	if (!lost)
		return;
	snprintf(words, sizeof(words), "%llu records were lost: %s", (unsigned long long)lost,
		 state.lost_err == -EAGAIN ? "nobody reads them" : tn_strerror(state.lost_err));
	state.lost = 0;
	say(COMPLAINT_WARNING, words, 0);
	if (state.lost) /* nor could this */
		state.lost = lost;
}

static void say_left_out(struct kind *kind)
{
	char words[320];

	if (!kind->left_out)
		return;
	snprintf(words, sizeof(words), "left out: %llu more like: %s", (unsigned long long)kind->left_out, kind->last);
	say(kind->level, words, kind->left_out);
	kind->left_out = 0;
}

/* An event: the object that --json prints. */
static void on_event(const char *line, size_t len)
{
	struct text record = {0};

	pthread_mutex_lock(&state.lock);
	say_lost();
	if (state.form == FORM_JSON) {
		begin_json(&record, LEVEL_DEBUG);
		json_key(&record, "event");
	} else if (state.form == FORM_JOURNAL) {
		text_add(&record, "<%d>", priorities[LEVEL_DEBUG]);
	} else {
		begin_text(&record, LEVEL_DEBUG);
	}
	text_bytes(&record, line, len);
	text_add(&record, state.form == FORM_JSON ? "}\n" : "\n");
	put(&record);
	pthread_mutex_unlock(&state.lock);
}

/* ---- too many ---- */

/* NULL: all are in use, and then nothing is left out. */
static struct kind *find(uintptr_t kind, uint64_t now)
{
	struct kind *best = NULL;

	for (int i = 0; i < KINDS; i++) {
		struct kind *at = &state.kinds[(kind + (unsigned)i) % KINDS];

		if (at->kind == kind)
			return at;
		if (!best && (!at->kind || (!at->left_out && now - at->since_ns >= WINDOW_S * NS_PER_S)))
			best = at;
	}
	if (best)
		*best = (struct kind){.kind = kind, .since_ns = now};
	return best;
}

/* Whether one more of this kind is said now. */
static bool admits(uintptr_t number, int level, const char *words)
{
	uint64_t now = clock_ns();
	struct kind *kind = state.ready ? find(number, now) : NULL;

	if (!kind)
		return true;
	if (now - kind->since_ns >= WINDOW_S * NS_PER_S) {
		say_left_out(kind);
		kind->since_ns = now;
		kind->said = 0;
	}
	if (kind->said++ < BURST)
		return true;
	kind->left_out++;
	kind->level = level;
	snprintf(kind->last, sizeof(kind->last), "%s", words);
	return false;
}

static void arm(void *arg);

/* What was left out, and after which nothing more came. */
static void tick(void *arg)
{
	uint64_t now = clock_ns();
	bool more = false;

	pthread_mutex_lock(&state.lock);
	state.timer = NULL;
	for (int i = 0; i < KINDS; i++) {
		if (now - state.kinds[i].since_ns >= WINDOW_S * NS_PER_S)
			say_left_out(&state.kinds[i]);
		more |= state.kinds[i].left_out > 0;
	}
	state.armed = more;
	pthread_mutex_unlock(&state.lock);
	if (more)
		arm(arg);
}

static void arm(void *arg)
{
	/* Without memory the next message that is left out tries again */
	if (!state.timer && tn_timer_start(workers_loops()[0], WINDOW_S * 1000, tick, arg, &state.timer) < 0) {
		pthread_mutex_lock(&state.lock);
		state.armed = false;
		pthread_mutex_unlock(&state.lock);
	}
}

/* ---- messages ---- */

/* What this thread has said last: a hint belongs to it. */
static _Thread_local struct {
	bool left_out;
	enum complaint level;
} last;

/* True: standard error does not get it in the way of every command. */
static bool on_message(enum complaint level, uintptr_t kind, const char *words)
{
	bool post = false, taken = true;
	char hint[1024];

	if (!kind) {
		level = last.level;
		snprintf(hint, sizeof(hint), HINT "%s", words);
		words = hint;
	}
	pthread_mutex_lock(&state.lock);
	if (kind) {
		last.level = level;
		last.left_out = (int)level > state.level || !admits(kind, (int)level, words);
	}
	if (!last.left_out && state.form == FORM_PLAIN && !state.ready) { /* nothing runs that could not wait */
		taken = false;
	} else if (!last.left_out) {
		say_lost();
		taken = say((int)level, words, 0) && (state.ready || !state.file || level == COMPLAINT_NOTICE);
	} else if (state.ready && !state.armed && (int)level <= state.level) {
		state.armed = post = true;
	}
	pthread_mutex_unlock(&state.lock);
	if (post && !workers_post(arm, NULL)) {
		pthread_mutex_lock(&state.lock);
		state.armed = false;
		pthread_mutex_unlock(&state.lock);
	}
	return taken;
}

/* ---- life ---- */

/* sd-daemon(3): the journal tells by device and inode which stream is its own. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

int log_open(void)
{
	int fd;

	if (state.file && state.form == FORM_JOURNAL) {
		complain("--log journal: the journal reads standard error, not the file of --log-file");
		return STATUS_USAGE;
	}
	if (state.file && (fd = broker_open(state.file, TN_FILE_APPEND)) < 0) {
		complain("--log-file: %s: %s", state.file, broker_why(fd));
		return STATUS_USAGE;
	}
	if (state.file)
		state.fd = fd;
	if (state.form == FORM_PLAIN && !state.file && is_journal())
		state.form = FORM_JOURNAL;
	else if (state.form == FORM_PLAIN && state.kept)
		state.form = FORM_TEXT;
	complain_to(on_message);
	if (state.level == LEVEL_DEBUG)
		json_tap(JSON_TAP_LOG, on_event);
	return STATUS_DONE;
}

void log_allow(struct sandbox *box)
{
	if (state.file)
		sandbox_allow(box, state.file, TN_FILE_APPEND);
}

void log_ready(void)
{
	pthread_mutex_lock(&state.lock);
	state.ready = true;
	pthread_mutex_unlock(&state.lock);
}

void log_reopen(void)
{
	int fd = state.file ? broker_open(state.file, TN_FILE_APPEND) : 0, old;

	if (fd < 0)
		complain("--log-file: %s: %s; the file that was open before stays", state.file, broker_why(fd));
	if (!state.file || fd < 0)
		return;
	pthread_mutex_lock(&state.lock);
	old = state.fd;
	state.fd = fd;
	pthread_mutex_unlock(&state.lock);
	close(old);
}

void log_stop(void)
{
	tn_timer_stop(state.timer);
	pthread_mutex_lock(&state.lock);
	state.timer = NULL;
	for (int i = 0; i < KINDS; i++)
		say_left_out(&state.kinds[i]);
	pthread_mutex_unlock(&state.lock);
}

void log_close(void)
{
	json_tap(JSON_TAP_LOG, NULL);
	complain_to(NULL);
	pthread_mutex_lock(&state.lock);
	say_lost();
	if (state.file && state.fd != STDERR_FILENO)
		close(state.fd);
	state.fd = STDERR_FILENO;
	pthread_mutex_unlock(&state.lock);
}
