/* What every server tells: where it listens, and what went wrong. As text, or as events (json_is_wanted()). */
#ifndef TENON_REPORT_H
#define TENON_REPORT_H

#include <stdbool.h>

struct tn_server;

/* A listener. `handler`: what it does, in the event; `shown`: the same to people. */
void report_listener(const char *url, const char *handler, const char *shown);

/* All has ended. */
void report_stopped(void);

/*
 * Whether people are told in words what an event tells too: with --json the event is enough, unless a log was asked
 * for, in which all messages stand.
 */
bool report_in_words(void);

/* Inside tn_watch's on_trouble. `url`: the server's first listener; NULL: it has none. */
void report_trouble(const struct tn_server *server, const char *url, int err, const char *text);

#endif
