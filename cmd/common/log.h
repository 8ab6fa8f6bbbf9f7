/*
 * The log of a server: its messages, which are what complain.h says, as records with a time and a level. Without one
 * they stand on standard error as those of any command do. What happens to connections are events (json.h): they go to
 * standard output, and into the log from level debug on.
 */
#ifndef TENON_LOG_H
#define TENON_LOG_H

#include <stdbool.h>

struct sandbox;

/* Options --log, --log-level, --log-file. */
#define LOG_MEANING \
	"messages as records with time and level: text, json (an object a line), or journal (systemd's levels)"
#define LOG_LEVEL_MEANING "the least that is logged: error, warning, info (default), debug (events too)"
#define LOG_FILE_MEANING "log to the end of this file instead of standard error; SIGHUP opens it again"
const char *log_set_form(const char *value, void *to);
const char *log_set_level(const char *value, void *to);
const char *log_set_file(const char *value, void *to);

/* Whether a log was asked for: any of these options was given. */
bool log_is_kept(void);

/*
 * Before anything else. Where standard error is the journal, its levels are used without being asked for.
 * STATUS_DONE, or another status after an error was printed.
 */
int log_open(void);

/* Whether it is a file, which SIGHUP opens again; and the file of it that the sandbox has to leave. */
bool log_has_file(void);
void log_allow(struct sandbox *box);

/*
 * The server is ready. Until now a log in a file was not the only place of errors and warnings: who starts it reads
 * standard error. From now on what is said too often is counted instead, and the number follows.
 */
void log_ready(void);

/* On SIGHUP. A file that cannot be opened leaves the old one in use. */
void log_reopen(void);

/* On the first loop, before it is freed. */
void log_stop(void);

/* After the last message. */
void log_close(void);

#endif
