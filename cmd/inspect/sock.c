#include "sock.h"

#include <stdlib.h>
#include <string.h>

struct sock *socks_add(struct socks *socks)
{
	size_t cap = socks->cap ? socks->cap * 2 : 64;
	struct sock *sock;

	if (socks->count == socks->cap) {
		sock = realloc(socks->list, cap * sizeof(*sock));
		if (!sock)
			return NULL;
		socks->list = sock;
		socks->cap = cap;
	}
	sock = &socks->list[socks->count++];
	memset(sock, 0, sizeof(*sock));
	sock->uid = sock->unread = sock->unsent = sock->memory_in = sock->memory_out = sock->drops = -1;
	sock->limit_in = sock->limit_out = -1;
	sock->cred_pid = sock->cred_uid = sock->cred_gid = -1;
	return sock;
}

void socks_free(struct socks *socks)
{
	for (size_t i = 0; i < socks->count; i++)
		free(socks->list[i].options);
	free(socks->list);
	*socks = (struct socks){0};
}
