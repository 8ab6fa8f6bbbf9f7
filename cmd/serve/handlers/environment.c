#include "environment.h"

#include "tenon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN_MAX 12 /* variables of ours */

/* Theirs, from a tenon above this one, are not ours. src/conn/program.c takes out the same. */
static bool is_ours(const char *variable)
{
	static const char *const names[] = {
		"TENON_PEER=",     "TENON_LOCAL=",    "TENON_VIA=",         "TENON_URL=",
		"TENON_TLS=",      "TENON_ALPN=",     "TENON_SERVER_NAME=", "TENON_IDENTITY=",
		"TENON_PEER_UID=", "TENON_PEER_GID=", "TENON_PEER_PID=",    "TENON_FDS="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static bool add(char **env, size_t *count, const char *name, const char *value)
{
	if (asprintf(&env[*count], "%s=%s", name, value) < 0)
		return false;
	++*count;
	return true;
}

/* A variable whose value would be empty is left out: a script asks whether it is set. */
static bool add_known(char **env, size_t *count, const char *name, const char *value)
{
	return !*value || add(env, count, name, value);
}

static bool add_number(char **env, size_t *count, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return add(env, count, name, text);
}

/* Whose process is at the other end of a Unix socket. */
static bool add_credentials(char **env, size_t *count, const struct tn_conn_info *info)
{
	if (!info->peer_known)
		return true;
	return add_number(env, count, "TENON_PEER_UID", info->peer_uid) &&
	       add_number(env, count, "TENON_PEER_GID", info->peer_gid) &&
	       (!info->peer_pid || add_number(env, count, "TENON_PEER_PID", (uint64_t)info->peer_pid));
}

/* What TLS has agreed upon. Only an identity that was proved is told. */
static bool add_security(char **env, size_t *count, const struct tn_conn *conn)
{
	struct tn_security s;

	if (tn_conn_security(conn, &s) < 0)
		return true;
	return add(env, count, "TENON_TLS", s.protocol) && add_known(env, count, "TENON_ALPN", s.alpn) &&
	       add_known(env, count, "TENON_SERVER_NAME", s.server_name) &&
	       add_known(env, count, "TENON_IDENTITY", s.identity);
}

/* An address in the words of the URL beside it: udp://192.0.2.1:53. */
static void url_of(const char *like, const struct tn_addr *addr, char *out, size_t cap)
{
	const char *colon = strchr(like, ':');
	int len = colon ? (int)(colon - like) + (strncmp(colon, "://", 3) ? 1 : 3) : 0;
	char text[128];

	snprintf(out, cap, "%.*s%s", len, like, tn_addr_text(addr, text, sizeof(text)));
}

char **environment_of(const struct tn_conn *conn, const struct tn_msg *msg, unsigned fds)
{
	size_t count = 0, theirs = 0;
	struct tn_conn_info info;
	struct tn_proxy proxy;
	struct tn_addr local;
	char **env, via[128];
	bool done;

	while (environ && environ[theirs])
		theirs++;
	env = calloc(theirs + OWN_MAX + 1, sizeof(*env));
	tn_conn_info(conn, &info);
	if (msg && msg->peer) {
		url_of(info.local, msg->peer, info.peer, sizeof(info.peer));
		if (tn_msg_local(conn, msg, &local) >= 0 && local.len) {
			char like[sizeof(info.local)];

			memcpy(like, info.local, sizeof(like));
			url_of(like, &local, info.local, sizeof(info.local));
		}
	}
	done = env && add(env, &count, "TENON_PEER", info.peer) && add(env, &count, "TENON_LOCAL", info.local);
	if (done && tn_conn_proxy(conn, &proxy) == 0)
		done = add(env, &count, "TENON_VIA", tn_addr_text(&proxy.sender, via, sizeof(via)));
	if (done && tn_conn_server(conn) && tn_server_nurls(tn_conn_server(conn)) > 0)
		done = add(env, &count, "TENON_URL", tn_server_url(tn_conn_server(conn), 0));
	done = done && add_credentials(env, &count, &info) && add_security(env, &count, conn);
	done = done && (!fds || add_number(env, &count, "TENON_FDS", fds));
	for (size_t i = 0; i < theirs && done; i++) {
		if (is_ours(environ[i]))
			continue;
		env[count] = strdup(environ[i]);
		done = env[count++];
	}
	if (done)
		return env;
	environment_free(env);
	return NULL;
}

void environment_free(char **env)
{
	for (size_t i = 0; env && env[i]; i++)
		free(env[i]);
	free(env);
}
