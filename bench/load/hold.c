/*
 * Holds connections open and idle, for measuring what they cost the server. Each one has been used once, as a server
 * may put off what a connection needs until its first byte.
 */
#include "load.h"

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TOUCH_SIZE = 64, TOUCH_TIMEOUT_S = 10, HOLD_MS = 120000 };

static void touch_tls(int fd)
{
	struct ssl_st *ssl = tls_connect(fd);
	char back[TOUCH_SIZE];

	if (tls_send(ssl, load_pattern, TOUCH_SIZE) != TOUCH_SIZE || tls_recv(ssl, back, TOUCH_SIZE) != TOUCH_SIZE)
		err(1, "no echo");
}

static void touch(const struct options *options)
{
	struct timeval limit = {.tv_sec = TOUCH_TIMEOUT_S};
	int fd = lane_connect(options);
	char back[TOUCH_SIZE];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (options->proto == PROTO_TLS) {
		touch_tls(fd);
		return;
	}
	if (send(fd, load_pattern, TOUCH_SIZE, MSG_NOSIGNAL) != TOUCH_SIZE)
		err(1, "send");
	if (recv(fd, back, TOUCH_SIZE, MSG_WAITALL) != TOUCH_SIZE)
		err(1, "no echo");
}

/* Says `holding N` and stays until its standard input ends. */
int hold_conns(const struct options *options)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	for (unsigned i = 0; i < options->conns; i++)
		touch(options);
	printf("holding %u\n", options->conns);
	fflush(stdout);
	poll(&input, 1, HOLD_MS);
	return 0;
}
