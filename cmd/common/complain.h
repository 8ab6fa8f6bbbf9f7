/* What the command says on standard error: errors, hints, progress. */
#ifndef TENON_COMPLAIN_H
#define TENON_COMPLAIN_H

#include <stdbool.h>

/* "tenon: ..." as one line, in one piece; cleaned as text_clean() does. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "Try: ...", below an error. */
void complain_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Sets the words for the next complain_library(), where a system call of the command's own has failed. */
void complain_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The library's last failure, with the place in the URL when it has one. Returns the exit status for `err`. */
int complain_library(int err, const char *url);

/*
 * Progress of something that takes long: one line that is written over, and that an error replaces. Only where
 * progress_wanted(): standard error is a terminal, and there is no --quiet.
 */
bool progress_wanted(void);
void progress_show(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void progress_end(void);

#endif
