/* What a shell asks when the user presses Tab: completions/ has its side. */
#ifndef TENON_COMPLETE_H
#define TENON_COMPLETE_H

#include <stddef.h>

struct command;

/*
 * `words` is a command line behind the program's name; the last one, which may be empty, is being typed. Prints what
 * may stand there: one a line, behind a tab what it means. Nothing: whatever the shell would offer, such as files.
 * Returns the exit status.
 */
int complete(const struct command *const *commands, size_t ncommands, char **words, int count);

#endif
