/*
 * The listening socket of both bare stream loops: `tcp PORT` (loopback, 0 = the kernel chooses) or `unix PATH`.
 * It is opened once, long before anything is measured.
 */
#ifndef BENCH_LISTENER_H
#define BENCH_LISTENER_H

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENER_BACKLOG = 4096 };

static inline int open_tcp_listener(const char *port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Linux hands TCP_NODELAY down to every accepted socket: one call here instead of one a connection. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, len) || listen(fd, LISTENER_BACKLOG))
		err(1, "port %s", port);
	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		err(1, "getsockname");
	printf("listening %u\n", ntohs(addr.sin_port));
	return fd;
}

static inline int open_unix_listener(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	if (strlen(path) >= sizeof(addr.sun_path))
		errx(1, "%s: path too long", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, LISTENER_BACKLOG))
		err(1, "%s", path);
	printf("listening %s\n", path);
	return fd;
}

/* Descriptors are the one limit 10,000 connections run into first. */
static inline void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static inline int open_listener(const char *kind, const char *where)
{
	int fd;

	raise_descriptor_limit();
	if (!strcmp(kind, "tcp"))
		fd = open_tcp_listener(where);
	else if (!strcmp(kind, "unix"))
		fd = open_unix_listener(where);
	else
		errx(2, "%s: tcp or unix", kind);
	fflush(stdout);
	return fd;
}

#endif
