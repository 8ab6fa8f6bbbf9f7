#include "address.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tenon.h"

static uint64_t hash(const void *data, size_t len)
{
	const unsigned char *bytes = data;
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3ULL;
	return h;
}

const void *address_ip(const struct tn_addr *addr, size_t *len)
{
	const struct sockaddr *sa = tn_addr_sockaddr(addr);

	*len = 0;
	if (addr->len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		*len = sizeof(struct in_addr);
		return &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
	}
	if (addr->len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		*len = sizeof(struct in6_addr);
		return &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	}
	return NULL;
}

unsigned address_port(const struct tn_addr *addr)
{
	const struct sockaddr *sa = tn_addr_sockaddr(addr);

	if (sa->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
	return sa->sa_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port) : 0;
}

uint64_t source_of(const struct tn_addr *peer)
{
	size_t len;
	const void *ip = address_ip(peer, &len);

	return ip ? hash(ip, len) : hash(peer->bytes, peer->len);
}

/* ---- the relay itself ---- */

#define NOTED_MAX 256

static struct {
	struct tn_place *list;
	int count;
} noted;

int address_note_listener(const struct tn_server *server)
{
	for (int i = 0; i < tn_server_nurls(server) && noted.count < NOTED_MAX; i++) {
		if (!noted.list)
			noted.list = calloc(NOTED_MAX, sizeof(*noted.list));
		if (!noted.list)
			return -ENOMEM;
		if (tn_url_place(tn_server_url(server, i), &noted.list[noted.count]) == 0)
			noted.count++;
	}
	return 0;
}

void address_forget_all(void)
{
	free(noted.list);
	noted.list = NULL;
	noted.count = 0;
}

/* 0.0.0.0 or [::] */
static bool is_any(const void *ip, size_t len)
{
	static const unsigned char zero[sizeof(struct in6_addr)];

	return memcmp(ip, zero, len) == 0;
}

/*
 * Of a Unix socket the address is compared; of others the port too, and a listener on any address is at all of this
 * host: of a connection to one of those, both ends have the same.
 */
static bool is_there(const struct tn_place *place, const struct tn_addr *peer, const struct tn_addr *own)
{
	size_t len, own_len, place_len;
	const void *ip = address_ip(peer, &len), *own_ip = address_ip(own, &own_len);
	bool here = ip && own_ip && len == own_len && memcmp(ip, own_ip, len) == 0;

	for (int i = 0; i < place->naddrs; i++) {
		const void *at = address_ip(&place->addrs[i], &place_len);

		if (!ip && !at && peer->len == place->addrs[i].len &&
		    memcmp(peer->bytes, place->addrs[i].bytes, peer->len) == 0)
			return true;
		if (ip && at && address_port(peer) == (unsigned)place->port && len == place_len &&
		    (memcmp(ip, at, len) == 0 || (here && is_any(at, len))))
			return true;
	}
	return !place->naddrs && here && address_port(peer) == (unsigned)place->port;
}

static int type_of(const struct tn_conn *conn)
{
	struct tn_conn_info info;
	socklen_t len = sizeof(int);
	int type = -1;

	tn_conn_info(conn, &info);
	return getsockopt(info.fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ? -1 : type;
}

/* Asked of each connection: what is cheap comes first. */
bool address_is_ours(const struct tn_conn *target)
{
	struct tn_addr peer, own = {0};
	size_t len;
	bool ip;

	if (tn_conn_peer(target, &peer) < 0 || !peer.len)
		return false;
	ip = address_ip(&peer, &len) != NULL;
	for (int i = 0; i < noted.count; i++) {
		if (ip && address_port(&peer) != (unsigned)noted.list[i].port)
			continue;
		if (ip && !own.len && tn_conn_local(target, &own) < 0)
			return false;
		if (is_there(&noted.list[i], &peer, &own) && noted.list[i].type == type_of(target))
			return true;
	}
	return false;
}
