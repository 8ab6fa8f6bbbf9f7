/* The messages in packets. */
#ifndef TENON_CAPTURE_FOLLOW_H
#define TENON_CAPTURE_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet/packet.h"
#include "sink.h"

struct follow;

/*
 * `url` gives the frame and format of messages. `most`: show at most so many messages (0: all). Returns 0, or the exit
 * status after printing an error.
 */
int follow_new(struct follow **follow, struct sink *sink, const char *url, size_t memory, uint64_t most);

/* Whether as many messages as wanted have been shown. */
bool follow_is_full(const struct follow *follow);

/*
 * `comment`: of the packet, `comment_len` bytes, or NULL. That of a recording (option --record) says where messages end
 * and what their format is; the frame of the URL is not looked for there.
 */
int follow_packet(struct follow *follow, const struct packet *packet, uint64_t ns, bool nanoseconds,
		  const char *comment, size_t comment_len);

/* Ends every stream and adds the summary. Returns whether every message was good. */
bool follow_over(struct follow *follow, uint64_t ns);
void follow_free(struct follow *follow);

#endif
