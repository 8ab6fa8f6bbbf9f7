/*
 * Option --trace: what passes, as lines that people or programs read. One thread writes; what it has not written yet
 * waits in memory up to a bound, and what does not fit there is left out and counted: no session ever waits.
 */
#ifndef TENON_TRACE_H
#define TENON_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tenon.h"

struct sandbox;
struct text;

#define TRACE_MEANING "show what passes, each message with its time, peer and direction: text, hex or json"
#define TRACE_TO_MEANING "write that to the end of this file, opened again at SIGHUP (default: to standard error)"
#define TRACE_TO_ONCE_MEANING "write that to the end of this file (default: to standard error)"
#define TRACE_BYTES_MEANING "show so many bytes of a message at most (default 1KiB)"

const char *trace_set_form(const char *value, void *to);
const char *trace_set_file(const char *value, void *to);
const char *trace_set_bytes(const char *value, void *to);

bool trace_is_wanted(void);
bool trace_has_file(void);

/* So many bytes of a message are shown, or kept for --admin. */
size_t trace_bytes(void);

/* Opens the file: before the sandbox. `kept`: messages are kept for --admin. Returns the exit status, after printing an
 * error. */
int trace_open(const char *command, bool kept);

/* What the sandbox has to allow. */
void trace_allow(struct sandbox *box);

/* Starts writing: in the sandbox, before anything passes. Returns the exit status, after printing an error. */
int trace_start(void);

/* Opens the file again: it has been renamed, or removed. */
void trace_reopen(void);

/* Writes what is left, for as long as its reader goes on reading, and tells what was left out. */
void trace_close(void);

/* ---- what passes ---- */

/* What a message has passed on, or will have been sent by. */
struct traced {
	uint64_t id;
	char *peer;   /* its address as a URL; NULL: each message has its own */
	char *target; /* of a relay: where the session goes; NULL: nowhere yet, or it is none */
};

/* A message of a session. `format`: it is in, or NULL. From any thread. */
void trace_message(const struct traced *traced, bool in, const struct tn_msg *msg, const char *format);

/*
 * The same as members of a JSON object: value, or data, or with `both` data beside a value; and what was cut. `len`: of
 * the whole message, of which `kept` are there.
 */
void trace_data_json(struct text *out, const void *data, size_t kept, size_t len, const char *format, bool both);

#endif
