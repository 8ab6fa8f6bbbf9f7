#include "bind_error.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "common/complain.h"
#include "diag.h"
#include "process.h"
#include "sock.h"
#include "tenon.h"

static int port_of(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
	return addr->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)addr)->sin6_port) : -1;
}

/*
 * For a Unix socket the name is compared; for others any address on this port, since the kernel decides which of them
 * collide.
 */
static bool has_place(const struct sock *sock, const struct tn_place *place)
{
	if (sock->type != place->type || (!sock->listening && sock->type != SOCK_DGRAM))
		return false;
	if (place->family == AF_UNIX)
		return sock->family == AF_UNIX && sock->local.len == place->addrs[0].len &&
		       !memcmp(&sock->local.sa, tn_addr_sockaddr(&place->addrs[0]), sock->local.len);
	return place->port > 0 && port_of(&sock->local.sa) == place->port;
}

static void tell_holder(const struct tn_place *place)
{
	struct socks socks = {0};
	struct holders holders = {0};

	if (diag_all(&socks) == 0 && holders_find(&holders, 0) == 0)
		for (size_t i = 0; i < socks.count; i++) {
			size_t count = 0;
			const struct holder *holder = has_place(&socks.list[i], place)
							      ? holders_of(&holders, socks.list[i].inode, &count)
							      : NULL;

			if (!holder)
				continue;
			complain("it belongs to %s, process %d", holder->command, holder->pid);
			break;
		}
	holders_free(&holders);
	socks_free(&socks);
}

void bind_error_explain(int err, const char *url)
{
	struct tn_place place;

	if ((err != -EADDRINUSE && err != -EACCES && err != -EADDRNOTAVAIL) || tn_url_place(url, &place) < 0)
		return;
	if (err == -EADDRINUSE)
		tell_holder(&place);
	else if (err == -EADDRNOTAVAIL)
		complain_hint(
			"an address of this machine (`ip address` lists them), * for all, or key freebind for one "
			"that it will have");
	else if (place.family == AF_UNIX)
		complain_hint("a directory that you may write to");
	else if (place.port > 0 && place.port < 1024)
		complain_hint("a port from 1024 on; lower ones are for root "
			      "(sysctl net.ipv4.ip_unprivileged_port_start)");
}
