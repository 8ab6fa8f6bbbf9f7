/*
 * SOCKS5's UDP ASSOCIATE (RFC 1928 7): a socket for the datagrams of one client, each with a header that says where it
 * goes. It belongs to the connection that has asked for it, and ends with that.
 */
#ifndef TENON_RELAY_ASSOCIATION_H
#define TENON_RELAY_ASSOCIATION_H

#include <stdint.h>

struct association;
struct pace;
struct record;
struct tn_asked;
struct tn_conn;

/*
 * Opens the socket, at the address that the client has connected to, and answers the client. `pace`: the session's,
 * which the datagrams are held to, until association_end(); NULL: there are no limits. `record`: the session's, until
 * then too, or NULL. 0, or < 0 with words in tn_errmsg(): the client is to be answered.
 */
int association_begin(struct tn_conn *client, const struct tn_asked *asked, struct pace *pace,
		      const struct record *record, struct association **association);

/* Bytes of datagrams that have passed so far. */
uint64_t association_moved(const struct association *association);

/* Ends what has been idle for too long, and lets go on what has waited for a limit. */
void association_tick(struct association *association, uint64_t now_ns);

/* The client has gone. What was counted goes into the record, which may be NULL. */
void association_end(struct association *association, struct record *record);

#endif
