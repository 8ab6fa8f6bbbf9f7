/* --fd: descriptors that are passed to who is at the other end of a Unix socket (unix(7), SCM_RIGHTS). */
#ifndef TENON_TALK_PASSED_H
#define TENON_TALK_PASSED_H

#include <stddef.h>

#define PASSED_MAX 64

struct passed {
	int fd[PASSED_MAX];
	unsigned count;
};

/* The setter of the option, which may be given several times. */
const char *passed_add(const char *value, void *to);

/* Sends them with the first bytes of a message, with all of it where the socket keeps it whole. Returns how many bytes
 * have gone with them, or -errno; -EAGAIN: there is no room for them yet. */
long passed_send(const struct passed *passed, int sock, const void *data, size_t len);

#endif
