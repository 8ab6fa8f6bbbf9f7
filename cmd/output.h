/* What the command writes: whole lines, data to standard output, everything else to standard error. */
#ifndef TENON_OUTPUT_H
#define TENON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_loop;

/* A text that grows. Without memory it stays as it is and is marked. */
struct text {
	char *data;
	size_t len, cap;
	bool failed;
};

void text_add(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_bytes(struct text *text, const void *data, size_t len);
/* What a stranger has said: control characters and bytes that are no UTF-8 become \xff, for a terminal's sake. */
void text_clean(struct text *text, const char *said);
void text_free(struct text *text);

/*
 * One JSON object on one line: json_begin(), members, json_line(). Every line is valid JSON in UTF-8, whatever the
 * strings hold: a byte that is no part of valid UTF-8 becomes U+FFFD. Where the bytes matter, json_bytes() gives them
 * as well.
 */
void json_begin(struct text *text, const char *event);                             /* NULL: no member "event" */
void json_text(struct text *text, const char *key, const char *value);             /* NULL: null */
void json_bytes(struct text *text, const char *key, const void *data, size_t len); /* not UTF-8: also KEY_base64 */
void json_string(struct text *text, const void *data, size_t len);                 /* without a key */
void json_number(struct text *text, const char *key, uint64_t value);
void json_signed(struct text *text, const char *key, int64_t value);
void json_share(struct text *text, const char *key, double value); /* 0 to 1 */
void json_bool(struct text *text, const char *key, bool value);
void json_list(struct text *text, const char *key); /* begins one; then its texts, then its end */
void json_item(struct text *text, const char *value);
void json_list_end(struct text *text);
void json_object(struct text *text, const char *key); /* begins a member that is an object; then its members, its end */
void json_object_end(struct text *text);
void json_ms(struct text *text, const char *key, uint64_t ns);
void json_time(struct text *text, const char *key); /* now, in UTC */
void json_line(struct text *text);                  /* writes it out and frees it */

/* Adds a line feed, writes the line to standard output at once and in one piece, and frees it. From any thread. */
void out_line(struct text *text);

/* Writes bytes to standard output; blocks while it is full. Returns 0 or -errno; see out_lost(). */
int out_bytes(const void *data, size_t len);

/* The same with a text, which is freed. One that there was no memory for counts as lost: -ENOMEM. */
int out_text(struct text *text);

/*
 * Standard output cannot be written any more. -EPIPE: its reader has gone, which is its right; anything else has been
 * complained of. 0: all is well.
 */
int out_lost(void);

/*
 * Whether standard output is a pipe or socket whose reader has gone. It is noticed although nothing is written, and
 * out_lost() says -EPIPE from then on.
 */
bool out_abandoned(void);

/* Whether standard output is not open for writing (>&-): what is written there would be lost. */
bool out_is_shut(void);

/*
 * Calls fn(arg) once when the reader of standard output has gone, although nothing is written: a command without a
 * reader ends at once, without words. One at a time; out_unwatch() before the loop is freed. Returns 0 or -ENOMEM.
 */
int out_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg);
void out_unwatch(void);

/*
 * Lets a thread of its own write the lines from now on, so that a slow reader holds nobody up: what is more than some
 * megabytes behind is dropped and counted. lost(arg) is called from that thread when there is no reader any more.
 */
int out_thread_start(void (*lost)(void *arg), void *arg);

/* Writes what is left, for at most a second, and ends the thread. */
void out_thread_stop(void);

enum colour { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };
enum paint { PAINT_NONE, PAINT_BOLD, PAINT_DIM, PAINT_RED, PAINT_GREEN, PAINT_YELLOW, PAINT_CYAN };

void out_colour(enum colour when);

/* The sequence that begins a colour on a descriptor, or "" where there are no colours. */
const char *out_paint(int fd, enum paint paint);

/*
 * What a person sees while something takes long: one line on standard error that is written over. Only where
 * out_progress_wanted(): standard error is a terminal, and no --quiet. A complaint takes its place.
 */
bool out_progress_wanted(void);
void out_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void out_progress_end(void);

/* "tenon: ..." as one line on standard error, in one piece; cleaned as text_clean() does. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "Try: ...", beneath a complaint. */
void complain_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The words for complain_library() where it is a system call of the command's own that has failed. */
void complain_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The library's last failure, with the place in the URL when it has one. Returns the exit status for `err`. */
int complain_library(int err, const char *url);

#endif
