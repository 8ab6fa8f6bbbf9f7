/*
 * --admin URL: what a running server tells over HTTP, to Prometheus, to a browser, to a program. It only tells: nothing
 * can be changed through it. It lives on the first loop, as the servers that it tells of do.
 */
#ifndef TENON_ADMIN_ADMIN_H
#define TENON_ADMIN_ADMIN_H

#include <stdbool.h>

struct sandbox;
struct text;
struct tn_conn;
struct tn_server;

/* Option --admin, which may be given several times. */
#define ADMIN_MEANING "tell over HTTP how it goes, for browsers, curl and Prometheus: http://localhost:9990, unix:/PATH"
const char *admin_set(const char *value, void *to);

/* Whether --admin was given. */
bool admin_is_wanted(void);

/*
 * What stands before the values of a metric, in either form. `type`: counter (then the name ends with _total), gauge,
 * histogram.
 */
void metrics_family(struct text *out, bool open, const char *name, const char *type, const char *help);

/* The value of a label, as it stands between quotes. */
void metrics_label(struct text *out, const char *value);

/* What a command tells besides its servers. Each may be NULL. On the first loop, but for connection(). */
struct admin_more {
	void (*metrics)(struct text *out, bool open); /* in the form of Prometheus; open: in that of OpenMetrics */
	void (*status)(struct text *out);             /* members of the object of /status */
	/* Members of one connection's object in /connections?id=N; on the connection's loop. */
	void (*connection)(struct text *out, const struct tn_conn *conn);
};

/*
 * Begins to serve, when the command's loops have been made. `command` and `more` outlive it. STATUS_DONE, or another
 * status after an error was printed.
 */
int admin_open(const char *command, const struct admin_more *more);

/* A server of the command's: before the loops run. `handler`: what it does. Without memory it is not told of, which is
 * said. */
void admin_add(struct tn_server *server, const char *handler);

/* In done() of tn_server_close(): what the server has counted stays. */
void admin_closed(const struct tn_server *server);

/* The files that an endpoint of --admin needs. */
void admin_allow(struct sandbox *box);

/* All servers listen: prints where to look, and from now on /readyz says so, until the command drains. */
void admin_ready(void);
void admin_draining(void);

/* Ends. On the first loop, before it is freed; what is still to be sent is lost. */
void admin_close(void);

#endif
