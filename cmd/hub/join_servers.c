#include "join_servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_NS UINT64_C(100000000)    /* the first pause, */
#define LONGEST_NS UINT64_C(2000000000) /* and the longest */

static bool add(struct join_servers *servers, char *url, char *given, bool secure, bool late, bool found)
{
	if (servers->count == JOIN_SERVERS_MAX || !url || !given) {
		free(url);
		free(given);
		return false;
	}
	servers->list[servers->count++] = (struct join_server){
		.url = url, .given = given, .secure = secure, .late = late, .found = found, .told = true};
	return true;
}

bool join_servers_add(struct join_servers *servers, const char *url, const char *given, bool secure, bool late)
{
	return add(servers, strdup(url), strdup(given), secure, late, false);
}

void join_servers_free(struct join_servers *servers)
{
	for (int i = 0; i < servers->count; i++) {
		free(servers->list[i].url);
		free(servers->list[i].given);
	}
	servers->count = 0;
}

void join_servers_begin(struct join_servers *servers)
{
	for (int i = 0; i < servers->count; i++)
		servers->list[i].told = false;
}

/* The text of a URL with another place in it. */
static char *moved(const char *url, struct span place, const char *key, struct span value)
{
	const char *from = strstr(url, "://"), *rest;
	char *out = NULL;

	if (!from)
		return NULL;
	from += 3;
	rest = from + strcspn(from, "/?#");
	if (asprintf(&out, "%.*s%.*s%s%s%s%.*s", (int)(from - url), url, (int)place.len, place.data, rest,
		     !value.len          ? ""
		     : strchr(rest, '?') ? "&"
					 : "?",
		     value.len ? key : "", (int)value.len, value.len ? value.data : "") < 0)
		return NULL;
	return out;
}

static bool is_at(const char *url, struct span place)
{
	const char *from = strstr(url, "://");

	return from && strcspn(from + 3, "/?#") == place.len && memcmp(from + 3, place.data, place.len) == 0;
}

/* The host of a URL, which is the name that a certificate must have. */
static struct span host_of(const char *url)
{
	const char *from = strstr(url, "://") + 3;
	size_t len = *from == '[' ? strcspn(from, "]") + 1 : strcspn(from, ":/?#");

	return (struct span){from, len};
}

void join_servers_found(struct join_servers *servers, int from, struct span place)
{
	const char *url = servers->list[from].url, *given = servers->list[from].given;
	bool tls = servers->list[from].secure && !strstr(url, "sni=");

	if (!place.len || place.len > 300 || strcspn(place.data, " /?#&") < place.len)
		return;
	for (int i = 0; i < servers->count; i++)
		if (is_at(servers->list[i].url, place)) {
			servers->list[i].told = true;
			return;
		}
	add(servers, moved(url, place, "sni=", tls ? host_of(url) : (struct span){0}),
	    moved(given, place, "", (struct span){0}), servers->list[from].secure, servers->list[from].late, true);
}

int join_servers_end(struct join_servers *servers, int from)
{
	int kept = 0, at = from;

	for (int i = 0; i < servers->count; i++) {
		struct join_server *server = &servers->list[i];

		if (server->found && !server->told && i != from) {
			free(server->url);
			free(server->given);
			continue;
		}
		if (i == from)
			at = kept;
		servers->list[kept++] = *server;
	}
	servers->count = kept;
	return at;
}

int join_servers_next(const struct join_servers *servers, int not_this, uint64_t now_ns, uint64_t chance,
		      uint64_t *wait_ns)
{
	uint64_t soonest = UINT64_MAX;
	int able = 0, others = 0;

	*wait_ns = 0;
	for (int i = 0; i < servers->count; i++) {
		const struct join_server *server = &servers->list[i];

		if (server->out_until_ns < soonest)
			soonest = server->out_until_ns;
		able += server->out_until_ns <= now_ns;
		others += server->out_until_ns <= now_ns && i != not_this;
	}
	if (!able) {
		*wait_ns = soonest - now_ns;
		return -1;
	}
	chance %= (uint64_t)(others ? others : able);
	for (int i = 0;; i++)
		if (servers->list[i].out_until_ns <= now_ns && (!others || i != not_this) && chance-- == 0)
			return i;
}

void join_servers_failed(struct join_servers *servers, int index, uint64_t now_ns, uint64_t chance)
{
	struct join_server *server = &servers->list[index];
	unsigned doubled = server->fails > 6 ? 6 : server->fails;
	uint64_t ns = FIRST_NS << doubled;

	server->fails++;
	if (ns > LONGEST_NS)
		ns = LONGEST_NS;
	server->out_until_ns = now_ns + ns / 2 + chance % (ns / 2 + 1);
}

void join_servers_worked(struct join_servers *servers, int index)
{
	servers->list[index].fails = 0;
	servers->list[index].out_until_ns = 0;
}

void join_servers_leave(struct join_servers *servers, int index, uint64_t until_ns)
{
	servers->list[index].out_until_ns = until_ns;
}
