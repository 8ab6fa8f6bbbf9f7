/*
 * The NATS client protocol as a client has it: what a server sends, taken apart, and the lines that it is sent. Pure,
 * but for the frame that tells a stream's operations apart.
 */
#ifndef TENON_HUB_NATS_LINE_H
#define TENON_HUB_NATS_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"

struct tn_conn;
struct tn_value;

#define NATS_PORT "4222"
#define NATS_LINE_MAX 4096 /* arguments of a line, as nats-server has it by default (max_control_line) */

enum nats_op { NATS_MSG, NATS_INFO, NATS_PING, NATS_PONG, NATS_ERR, NATS_OTHER };

/* One operation; all of it lies in the bytes that it was read from. */
struct nats_line {
	enum nats_op op;
	struct span sid;        /* NATS_MSG */
	struct message message; /* NATS_MSG */
	struct span text;       /* of INFO: the object; of -ERR: why, without the quotes */
	bool nobody;            /* NATS_MSG: it says that nobody responds to what was asked */
};

/* Registers the frame "nats-client", whose messages are whole operations. Returns 0 or a negative code. */
int nats_line_frame(void);

/* Reads an operation as that frame hands it over. What is no operation is NATS_OTHER. */
void nats_line_read(struct nats_line *line, const void *data, size_t len);

/*
 * What a server's first INFO says of TLS, and whether that suits. `late`: TLS is to begin now, and does; `secured`: it
 * has begun before. Returns why not, or NULL.
 */
const char *nats_line_secure(struct tn_conn *conn, const struct tn_value *info, bool late, bool secured);

/*
 * Writes what stands in front of a message's body, PUB or HPUB; "\r\n" stands behind the body. `extra`: bytes of
 * headers that the caller puts into the body in addition. Returns the length, or 0: it does not fit into `cap`.
 */
size_t nats_line_publish(char *out, size_t cap, const struct message *m, size_t extra);

/* SUB. `group` of length 0: none. Returns as nats_line_publish(). */
size_t nats_line_subscribe(char *out, size_t cap, struct span pattern, struct span group, uint64_t sid);

/* The value of a header; names are compared as they are. False: it is not there. */
bool nats_line_header(const struct message *m, const char *name, struct span *value);

#endif
