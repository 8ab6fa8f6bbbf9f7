#include "select.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/tcp_state.h"
#include "tenon.h"
#include "words.h"

#define TCP_STATES 12 /* tcp_states.h of the kernel, from 1 on; behind it a name comes again */

static const char *const other_states[] = {"connected", "connecting", "unconnected", "bound", "unbound"};

/* "listen" is enough for "listening", and "estab" for "established". */
static bool begins(const char *name, const char *with)
{
	return strncasecmp(name, with, strlen(with)) == 0;
}

const char *select_set_state(const char *value, void *to)
{
	static char why[256];
	const char *names[TCP_STATES + 5];
	size_t count = 0, used;

	for (unsigned i = 1; i < TCP_STATES; i++)
		names[count++] = tcp_state_name(i);
	for (size_t i = 0; i < sizeof(other_states) / sizeof(other_states[0]); i++)
		names[count++] = other_states[i];
	*(const char **)to = value;
	for (size_t i = 0; i < count && *value; i++)
		if (begins(names[i], value))
			return NULL;
	used = (size_t)snprintf(why, sizeof(why), "is no state; there are");
	for (size_t i = 0; i < count && used < sizeof(why); i++)
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s %s", i ? "," : "", names[i]);
	return why;
}

const char *select_set_port(const char *value, void *to)
{
	char *end;
	unsigned long port = strtoul(value, &end, 10);

	*(unsigned *)to = (unsigned)port;
	return *value < '0' || *value > '9' || *end || !port || port > 65535 ? "is no port from 1 to 65535" : NULL;
}

static void map_ipv4(const void *address, unsigned char out[16])
{
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, address, 4);
}

const char *select_set_peer(const char *value, void *to)
{
	struct network *network = to;
	const char *slash = strchr(value, '/');
	char text[INET6_ADDRSTRLEN] = "", *end = NULL;
	unsigned char ipv4[4];
	unsigned long most = 128, bits;

	if (slash ? (size_t)(slash - value) < sizeof(text) : strlen(value) < sizeof(text))
		memcpy(text, value, slash ? (size_t)(slash - value) : strlen(value));
	if (inet_pton(AF_INET, text, ipv4) == 1) {
		map_ipv4(ipv4, network->address);
		most = 32;
	} else if (inet_pton(AF_INET6, text, network->address) != 1) {
		return "is neither an IP address nor a network (192.0.2.0/24, 2001:db8::/32)";
	}
	bits = slash ? strtoul(slash + 1, &end, 10) : most;
	if (slash && (slash[1] < '0' || slash[1] > '9' || *end || bits > most))
		return most == 32 ? "has no prefix length from 0 to 32" : "has no prefix length from 0 to 128";
	network->bits = (unsigned)(bits + 128 - most);
	network->given = true;
	return NULL;
}

static bool is_in(const struct sock_addr *addr, const struct network *network)
{
	unsigned char ip[16];
	unsigned whole = network->bits / 8, rest = network->bits % 8;

	if (addr->len && addr->sa.ss_family == AF_INET)
		map_ipv4(&((const struct sockaddr_in *)&addr->sa)->sin_addr, ip);
	else if (addr->len && addr->sa.ss_family == AF_INET6)
		memcpy(ip, &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr, sizeof(ip));
	else
		return false;
	return memcmp(ip, network->address, whole) == 0 &&
	       (!rest || (ip[whole] ^ network->address[whole]) >> (8 - rest) == 0);
}

bool select_is_any(const struct selection *wanted)
{
	return wanted->state || wanted->kind || wanted->process || wanted->port || wanted->peer.given;
}

static unsigned port_of(const struct sock_addr *addr)
{
	struct sockaddr_in6 in6; /* the port is at the same place in both */

	if (!addr->len || (addr->sa.ss_family != AF_INET && addr->sa.ss_family != AF_INET6))
		return 0;
	memcpy(&in6, &addr->sa, sizeof(in6));
	return ntohs(in6.sin6_port);
}

static bool is_of(const struct sock *sock, const char *process)
{
	char name[32];

	return sock->holder.pid && process_name(sock->holder.pid, name, sizeof(name)) == 0 &&
	       strcmp(name, process) == 0;
}

static bool is_wanted(const struct sock *sock, const struct selection *wanted)
{
	char kind[64];

	return (!wanted->state || begins(sock->state, wanted->state)) &&
	       (!wanted->kind || strcmp(sock_kind(sock, kind, sizeof(kind)), wanted->kind) == 0) &&
	       (!wanted->process || is_of(sock, wanted->process)) &&
	       (!wanted->port || port_of(&sock->local) == wanted->port || port_of(&sock->peer) == wanted->port) &&
	       (!wanted->peer.given || is_in(&sock->peer, &wanted->peer));
}

void select_from(struct socks *socks, const struct selection *wanted)
{
	size_t kept = 0;

	for (size_t i = 0; i < socks->count; i++) {
		if (is_wanted(&socks->list[i], wanted))
			socks->list[kept++] = socks->list[i];
		else
			free(socks->list[i].options);
	}
	socks->count = kept;
}
