/* What a command is told of its client: environment variables. */
#ifndef TENON_HANDLER_ENVIRONMENT_H
#define TENON_HANDLER_ENVIRONMENT_H

struct tn_conn;
struct tn_msg;

/*
 * The environment of this process with TENON_PEER and TENON_LOCAL, as URLs; TENON_URL, which is served; TENON_VIA where
 * a proxy has told of the client (key proxy): the proxy's address; of a secured connection TENON_TLS (the version),
 * TENON_ALPN, TENON_SERVER_NAME and TENON_IDENTITY, where there is one. `msg`: the datagram that is answered, or NULL.
 * NULL without memory; environment_free() afterwards.
 */
char **environment_of(const struct tn_conn *conn, const struct tn_msg *msg, unsigned fds);
void environment_free(char **env);

#endif
