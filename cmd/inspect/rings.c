#include "rings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "sock.h"

/* The library names the memory after the socket of the end that has made it, the server's: src/shm/memory.c. */
#define MADE_FOR "/memfd:tenon-shm:"

struct ring {
	uint64_t inode;
	int64_t bytes;
};

/* The process that was asked for last: sockets are shown by process, and one can have mapped a lot. */
static struct {
	int pid;
	struct ring *list; /* by inode */
	size_t count, cap;
} last;

void rings_forget(void)
{
	free(last.list);
	memset(&last, 0, sizeof(last));
}

/* What there is no memory for is not known. */
static void add(uint64_t inode, int64_t bytes)
{
	size_t cap = last.cap ? last.cap * 2 : 16;
	struct ring *grown;

	if (last.count == last.cap) {
		grown = realloc(last.list, cap * sizeof(*grown));
		if (!grown)
			return;
		last.list = grown;
		last.cap = cap;
	}
	last.list[last.count++] = (struct ring){inode, bytes};
}

static int by_inode(const void *a, const void *b)
{
	const struct ring *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static void read_process(int pid)
{
	char path[48], line[512];
	FILE *maps;

	rings_forget();
	last.pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		const char *name = strstr(line, MADE_FOR);
		uint64_t inode, from, to;

		if (name && sscanf(name + strlen(MADE_FOR), "%" SCNu64, &inode) == 1 &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2)
			add(inode, (int64_t)(to - from));
	}
	if (maps)
		fclose(maps);
	if (last.count)
		qsort(last.list, last.count, sizeof(*last.list), by_inode);
}

static const struct ring *find(uint64_t inode)
{
	const struct ring key = {.inode = inode};

	return last.count ? bsearch(&key, last.list, last.count, sizeof(key), by_inode) : NULL;
}

int64_t rings_of(const struct sock *sock)
{
	const struct ring *ring;

	if (sock->family != AF_UNIX || sock->type != SOCK_STREAM || sock->listening || !sock->holder.pid)
		return -1;
	if (sock->holder.pid != last.pid)
		read_process(sock->holder.pid);
	ring = find(sock->inode);
	if (!ring)
		ring = find(sock->peer_inode);
	return ring ? ring->bytes : -1;
}
