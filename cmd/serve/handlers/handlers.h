/* All handlers, by name. */
#ifndef TENON_HANDLER_HANDLERS_H
#define TENON_HANDLER_HANDLERS_H

#include <stdbool.h>

#include "handler.h"

struct rlimit;

/* The table of all handlers: what names each ("exec:COMMAND"), in memory of this thread until the next call, and one
 * line about it in `meaning`. NULL past the end. */
const char *handler_at(int index, const char **meaning);

/*
 * The handler that `text` (echo, exec:cat -n, ...) names, and its argument, which points into `text` or is NULL: the
 * `arg` of tn_serve(). NULL when there is none; then `*why` is a text for the user, in memory of this thread.
 */
const struct handler_spec *handler_find(const char *text, const char **argument, const char **why);

/* Whether a handler's name, or NULL, is that of served proxies. */
bool handler_is_of_proxies(const char *name);

/* Whether it is the one that stands for a command of its own. */
bool handler_is_relay(const struct handler_spec *spec);

/* What an endpoint does by default: ack for datagrams, echo for all others, discard below the transports. */
const struct handler_spec *handler_default(const char *url);

/* Whether a good URL is a datagram endpoint: one connection, many senders. */
bool handler_is_datagrams(const char *url);

/* Whether what is sent to it can be lost on the way: datagrams, DTLS's too. */
bool handler_is_lossy(const char *url);

/* The callbacks for the URL. NULL: this handler does not answer HTTP. */
const struct tn_handler *handler_face(const struct handler_spec *spec, const char *url);

/* The limit of open files that children are given back when the caller has raised its own. Before the loops run. */
void handler_set_child_files(const struct rlimit *limit);

/* Ends what handlers have started on this thread and reaps it. After the thread's loop has been freed. */
void handler_finish(void);

#endif
