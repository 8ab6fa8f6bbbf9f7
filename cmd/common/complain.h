/* What the command says on standard error: errors, hints, progress. */
#ifndef TENON_COMPLAIN_H
#define TENON_COMPLAIN_H

#include <stdbool.h>
#include <stdint.h>

enum complaint { COMPLAINT_ERROR, COMPLAINT_WARNING, COMPLAINT_NOTICE };

/*
 * "tenon: ..." as one line, in one piece; cleaned as text_clean() does. An error: something was not done. A warning:
 * it goes on, but not as it should. A notice: nothing is wrong; there are none with --quiet.
 */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void complain_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void complain_notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A warning that is told apart from others of the same place by `what`, a code of the library's. */
void complain_about(int what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "Try: ...", below an error. */
void complain_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * From now on all of this goes to fn() first, and to standard error if that returns false. `kind` is the same for what
 * the same place of the program says (of complain_about(): with the same code); 0: a hint, which belongs to what this
 * thread has said before. From any thread. NULL: no more.
 */
void complain_to(bool (*fn)(enum complaint level, uintptr_t kind, const char *words));

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
