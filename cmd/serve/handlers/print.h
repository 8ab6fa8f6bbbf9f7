/* The handler print: messages are handed to who shows them. */
#ifndef TENON_HANDLER_PRINT_H
#define TENON_HANDLER_PRINT_H

struct tn_conn;
struct tn_msg;

/* Sets who is told of each message that comes, on the thread of the connection's loop. Before the loops run. */
void handler_watch_messages(void (*fn)(struct tn_conn *conn, const struct tn_msg *msg));

#endif
