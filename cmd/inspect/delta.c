#include "delta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcp.h"

static int by_name(const void *a, const void *b)
{
	const struct sock *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	if (x->holder.pid != y->holder.pid)
		return x->holder.pid < y->holder.pid ? -1 : 1;
	if (x->holder.fd != y->holder.fd)
		return x->holder.fd < y->holder.fd ? -1 : 1;
	/* What no process has any more has no inode; what came between the table and the descriptors has no id */
	return x->inode ? 0 : memcmp(&x->id, &y->id, sizeof(x->id));
}

static bool is_same_addr(const struct sock_addr *a, const struct sock_addr *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

/* -1 is not known, and no change */
static bool is_other(int64_t now, int64_t before)
{
	return now != before && now >= 0 && before >= 0;
}

static bool is_changed(struct sock *now, const struct sock *before)
{
	struct tcp_figures a = {0}, b = {0};

	(void)tcp_figures_of(before, &a);
	(void)tcp_figures_of(now, &b);
	now->before_sent = (uint64_t)a.sent;
	now->before_received = (uint64_t)a.received;
	now->before_resent = (uint64_t)a.resent;
	return a.sent != b.sent || a.received != b.received || a.resent != b.resent ||
	       strcmp(now->state, before->state) != 0 || is_other(now->unread, before->unread) ||
	       is_other(now->unsent, before->unsent) || is_other(now->drops, before->drops) ||
	       !is_same_addr(&now->local, &before->local) || !is_same_addr(&now->peer, &before->peer);
}

static int copy(struct socks *to, const struct socks *from)
{
	for (size_t i = 0; i < from->count; i++) {
		struct sock *sock = socks_add(to);

		if (!sock)
			return -ENOMEM;
		*sock = from->list[i];
		sock->options = NULL;
		sock->noptions = 0;
	}
	return 0;
}

int delta_take(struct socks *before, struct socks *now)
{
	struct socks all = {0}, gone = {0};
	size_t kept = 0, at = 0;
	int err;

	if (now->count)
		qsort(now->list, now->count, sizeof(*now->list), by_name);
	err = copy(&all, now);
	for (size_t i = 0; i < now->count && err == 0; i++) {
		struct sock *sock = &now->list[i];
		int order = -1;

		while (at < before->count && (order = by_name(&before->list[at], sock)) < 0)
			err |= copy(&gone, &(struct socks){.list = &before->list[at++], .count = 1});
		if (at < before->count && order == 0)
			sock->change = is_changed(sock, &before->list[at++]) ? '~' : 0;
		else
			sock->change = '+';
		if (sock->change)
			now->list[kept++] = *sock;
		else
			free(sock->options);
	}
	while (at < before->count && err == 0)
		err = copy(&gone, &(struct socks){.list = &before->list[at++], .count = 1});
	if (err == 0) {
		now->count = kept;
		for (size_t i = 0; i < gone.count; i++)
			gone.list[i].change = '-';
		err = copy(now, &gone);
	}
	socks_free(&gone);
	socks_free(before);
	*before = all;
	return err < 0 ? -ENOMEM : 0;
}
