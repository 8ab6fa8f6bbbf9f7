#include "destroy.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "diag.h"

#define PENDING 1 /* not an errno that is negated: it has not been found, or not been tried */

struct order {
	struct nlmsghdr head;
	struct inet_diag_req_v2 request;
};

static bool has_cookie(const struct sock *sock)
{
	return sock->id.idiag_cookie[0] || sock->id.idiag_cookie[1];
}

static bool is_same(const struct sock *a, const struct sock *b)
{
	return memcmp(a->id.idiag_cookie, b->id.idiag_cookie, sizeof(a->id.idiag_cookie)) == 0;
}

/* The kernel's answer: 0 or -errno. */
static int read_answer(int fd)
{
	union {
		struct nlmsghdr head;
		char room[1024];
	} answer;
	const struct nlmsgerr *result = NLMSG_DATA(&answer.head);
	ssize_t n;

	do
		n = recv(fd, &answer, sizeof(answer), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < NLMSG_LENGTH(sizeof(*result)) || answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return result->error;
}

static int destroy(int fd, const struct sock *sock)
{
	struct order order = {.head = {.nlmsg_len = sizeof(order),
				       .nlmsg_type = SOCK_DESTROY,
				       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
			      .request = {.sdiag_family = (uint8_t)sock->family,
					  .sdiag_protocol = (uint8_t)sock->protocol,
					  .idiag_states = ~0U,
					  .id = sock->id}};

	if (!has_cookie(sock) || sock->protocol > UINT8_MAX)
		return -EOPNOTSUPP; /* not IP, or MPTCP, whose number does not fit */
	if (sock->type == SOCK_RAW) {
		order.request.sdiag_protocol = IPPROTO_RAW;
		order.request.pad = (uint8_t)sock->protocol; /* struct inet_diag_req_raw */
	}
	while (send(fd, &order, sizeof(order), 0) < 0)
		if (errno != EINTR)
			return -errno;
	return read_answer(fd);
}

/*
 * Of several sockets with one address (SO_REUSEPORT) the kernel finds one, whichever is asked for. When that one has
 * been closed it finds the next: so it is tried as long as there is progress. Returns how many were closed.
 */
static size_t destroy_round(int fd, const struct socks *socks, int *results)
{
	size_t closed = 0;

	for (size_t i = 0; i < socks->count; i++) {
		if (results[i] != PENDING)
			continue;
		results[i] = destroy(fd, &socks->list[i]);
		closed += results[i] == 0;
		if (results[i] == -EPERM)
			break;
		if (results[i] == -ENOENT || results[i] == -ESTALE)
			results[i] = PENDING;
	}
	return closed;
}

/* Those that were not found: are they still there? */
static void count_lost(const struct socks *socks, const int *results, struct destroyed *others)
{
	struct socks now = {0};
	int err = diag_all(&now);

	for (size_t i = 0; i < socks->count; i++) {
		bool there = false;

		for (size_t k = 0; k < now.count && results[i] == PENDING && !there; k++)
			there = is_same(&now.list[k], &socks->list[i]);
		if (results[i] == PENDING && (there || err < 0))
			others->hidden++;
		else if (results[i] == PENDING)
			others->gone++;
	}
	socks_free(&now);
}

/* Keeps those that were closed, and counts the others. */
static void sort_out(struct socks *socks, const int *results, struct destroyed *others)
{
	size_t kept = 0;
	bool lost = false;

	for (size_t i = 0; i < socks->count; i++) {
		lost |= results[i] == PENDING;
		if (results[i] == -EOPNOTSUPP)
			others->unable++;
		else if (results[i] < 0)
			others->failed++, others->err = results[i];
	}
	if (lost)
		count_lost(socks, results, others);
	for (size_t i = 0; i < socks->count; i++) {
		if (results[i] == 0)
			socks->list[kept++] = socks->list[i];
		else
			free(socks->list[i].options);
	}
	socks->count = kept;
}

int destroy_all(struct socks *socks, struct destroyed *others)
{
	int *results = calloc(socks->count + 1, sizeof(*results)), fd, err = 0;

	*others = (struct destroyed){0};
	if (!results)
		return -ENOMEM;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		err = -errno;
	for (size_t i = 0; i < socks->count; i++)
		results[i] = PENDING;
	while (err == 0 && destroy_round(fd, socks, results) > 0)
		;
	for (size_t i = 0; i < socks->count && err == 0; i++)
		if (results[i] == -EPERM)
			err = -EPERM; /* it is asked before anything else: none was closed */
	if (err == 0)
		sort_out(socks, results, others);
	if (fd >= 0)
		close(fd);
	free(results);
	return err;
}
