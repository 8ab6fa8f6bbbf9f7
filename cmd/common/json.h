/*
 * The command's JSON writer. It writes into a text and sets the commas itself.
 *
 * What comes out is valid JSON in UTF-8 whatever the strings hold: a byte that is not part of valid UTF-8 becomes
 * U+FFFD. Where the bytes matter, json_bytes() adds them in base64 as well.
 *
 * Everywhere `key` is the name of a member; NULL: the value is an item of a list.
 */
#ifndef TENON_JSON_H
#define TENON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* An object of its own, on one line: json_begin(), members, json_line(). `event`: its first member; NULL: none. */
void json_begin(struct text *text, const char *event);
void json_line(struct text *text); /* ends it, writes it to standard output as out_line() does, and frees it */

/* Who wants the lines besides standard output. */
enum json_tap { JSON_TAP_ADMIN, JSON_TAP_LOG, JSON_TAPS };

/*
 * From now on each line goes to fn() too, without its line feed, and is written to standard output with --json alone.
 * From any thread; fn() is called on the thread of the event. NULL: no more.
 */
void json_tap(enum json_tap who, void (*fn)(const char *line, size_t len));

/* Whether anybody wants events as JSON: standard output (--json), or who has tapped. */
bool json_is_wanted(void);

/* An event that has nothing but its name and the time. */
void json_event(const char *event);

void json_key(struct text *text, const char *key);                     /* before a value that the caller writes */
void json_text(struct text *text, const char *key, const char *value); /* NULL: null */
void json_bytes(struct text *text, const char *key, const void *data, size_t len); /* not UTF-8: also KEY_base64 */
void json_string(struct text *text, const void *data, size_t len);                 /* the value alone */
void json_null(struct text *text, const char *key);
void json_bool(struct text *text, const char *key, bool value);
void json_number(struct text *text, const char *key, uint64_t value);
void json_signed(struct text *text, const char *key, int64_t value);
void json_signed_or_null(struct text *text, const char *key, bool known, int64_t value);
void json_real(struct text *text, const char *key, double value);       /* null unless it is finite */
void json_share(struct text *text, const char *key, double value);      /* 0 to 1, with six decimals */
void json_ms(struct text *text, const char *key, uint64_t ns);          /* milliseconds with three decimals */
void json_time(struct text *text, const char *key);                     /* now, in UTC */
void json_time_at(struct text *text, const char *key, uint64_t utc_ns); /* since 1970 */

void json_list(struct text *text, const char *key);
void json_list_end(struct text *text);
void json_object(struct text *text, const char *key);
void json_object_end(struct text *text);

#endif
