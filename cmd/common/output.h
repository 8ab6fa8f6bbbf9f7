/* Standard output: whole lines, and whether anybody still reads them. */
#ifndef TENON_OUTPUT_H
#define TENON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct text;
struct tn_loop;

/* Adds a line feed, writes the line to standard output at once and in one piece, and frees it. From any thread. */
void out_line(struct text *text);

/* Writes bytes to standard output; blocks while it is full. Returns 0 or -errno; see out_lost(). */
int out_bytes(const void *data, size_t len);

/* The same with a text, which is freed. Without memory for it: -ENOMEM. */
int out_text(struct text *text);

/*
 * Why standard output cannot be written any more. -EPIPE: its reader has gone, which is not an error. Any other code:
 * an error has been printed. 0: it can be written.
 */
int out_lost(void);

/*
 * Whether standard output is a pipe or socket whose reader has gone, also if nothing is written. From then on
 * out_lost() returns -EPIPE.
 */
bool out_abandoned(void);

/* Whether standard output is not open for writing (>&-): what is written there would be lost. */
bool out_is_shut(void);

/*
 * Calls fn(arg) once when the reader of standard output has gone, even if nothing is written. A command without a
 * reader ends at once, without an error. One at a time; out_unwatch() before the loop is freed. Returns 0 or -ENOMEM.
 */
int out_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg);
void out_unwatch(void);

/*
 * From now on a thread of its own writes the lines, so that a slow reader delays nobody. Lines beyond some megabytes
 * are dropped and counted. lost(arg) is called from that thread when the reader has gone.
 */
int out_thread_start(void (*lost)(void *arg), void *arg);

/* Writes what is left, for at most a second, and ends the thread. */
void out_thread_stop(void);

#endif
