/* Sockets that wait for others: made, bound, and for streams set listening. */
#ifndef TNI_NET_LISTEN_H
#define TNI_NET_LISTEN_H

#include "net/addr.h"

struct tni_listen_spec {
	int type, protocol;
	int backlog;
	bool shared; /* SO_REUSEPORT among our own loops; a stranger's use of the port is still an error */
	/* Of a Unix socket's file; -1: as it comes. */
	int mode, user, group;
	bool join; /* another of our loops has bound this very address already */
	/* Opens the socket in the place of socket(2), or NULL. A descriptor, or < 0 with its detail. */
	int (*open)(int family, void *arg);
	/* Sets options between socket(2) and bind(2). < 0 fails, with its detail. */
	int (*prepare)(int fd, int family, void *arg);
	/* The same between bind(2) and listen(2), for streams. */
	int (*prepare_listen)(int fd, int family, void *arg);
	void *arg;
};

/*
 * Opens a bound socket, listening unless it is a datagram one; non-blocking, close-on-exec. `addr` gets the real
 * address. A Unix socket file that a dead server left is replaced; one that is served, or is no socket, never.
 * Returns the descriptor or -errno with detail.
 */
int tni_listen_open(const struct tni_listen_spec *spec, struct tn_addr *addr);

/* The next connection that waits at a listener of tni_listen_open(), or -errno: -EAGAIN when none does. */
int tni_listen_take(int fd);

/* What was bound to a path, so that only that is removed later. */
struct tni_unix_file {
	uint64_t device, inode; /* 0: no file */
};

void tni_unix_file_note(struct tni_unix_file *file, const struct tn_addr *addr);
void tni_unix_file_remove(const struct tni_unix_file *file, const struct tn_addr *addr);

#endif
