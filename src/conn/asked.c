#include "conn/asked.h"

#include "base/err.h"
#include "conn/layered.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "endpoint/access.h"
#include "endpoint/via.h"
#include "proxy/gate.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool knows(const void *arg, const char *user, size_t user_len, const char *password, size_t password_len)
{
	const struct tn_conn *c = arg;

	return tni_users_know(&tni_part_access(c->part)->users, user, user_len, password, password_len);
}

int tni_asked_layer(struct tn_conn *c, struct tni_layer **out)
{
	const struct tni_request_rules rules = {
		.passwords = c->ep->access && c->ep->access->users, .knows = knows, .arg = c};

	return tni_gate_new(&rules, out);
}

static bool find(const struct tn_conn *c, struct tni_gate_facts *facts)
{
	return c->ep->scheme->gate && c->layered && tni_chain_query(&c->layered->chain, TNI_ASK_GATE, facts) == 0 &&
	       !facts->answered;
}

bool tni_asked_waits(const struct tn_conn *c)
{
	struct tni_gate_facts facts;

	return find(c, &facts);
}

static int nobody_asks(const struct tn_conn *c)
{
	return tni_err(-EOPNOTSUPP, "%s: no client of a proxy waits for an answer", c->ep->url);
}

int tn_conn_asked(const struct tn_conn *c, struct tn_asked *asked)
{
	struct tni_gate_facts facts;

	if (!find(c, &facts))
		return nobody_asks(c);
	*asked = (struct tn_asked){.what = facts.request->udp ? TN_ASKED_UDP : TN_ASKED_CONNECT,
				   .protocol = tni_request_protocol(facts.request->protocol),
				   .host = facts.request->host,
				   .port = facts.request->port,
				   .user = facts.request->user};
	return 0;
}

/* ---- where it may go ---- */

/* The endpoint of what is asked for. Nothing of it but checked bytes becomes a URL, which is shown without the keys. */
static int endpoint_of(enum tn_asked_what what, const char *host, int port, const char *keys, struct tni_endpoint **ep)
{
	const struct tni_scheme *scheme = tni_scheme_for(TNI_AT_HOST, what == TN_ASKED_UDP ? SOCK_DGRAM : SOCK_STREAM);
	bool brackets = strchr(host, ':') != NULL;
	char *url;
	int rc;

	if (asprintf(&url, "%s://%s%s%s:%d%s%s", scheme->name, brackets ? "[" : "", host, brackets ? "]" : "", port,
		     keys ? "?" : "", keys ? keys : "") < 0)
		return tni_err(-ENOMEM, "proxy: out of memory");
	rc = tni_endpoint_new(url, TN_DIAL, ep);
	if (rc == 0)
		(*ep)->url[strcspn((*ep)->url, "?")] = '\0';
	free(url);
	if (rc < 0 || !tni_via_count(*ep))
		return rc;
	tni_endpoint_unref(*ep);
	return tni_err(-EINVAL, "key 'via': behind another proxy it cannot be told where the clients go");
}

int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port, const char *keys,
		  const struct tn_handler *handler, void *arg, struct tn_conn **out)
{
	const struct tni_access *access;
	struct tni_endpoint *ep;
	int rc;

	if (!client->part || !client->ep->scheme->gate)
		return tni_err(-EOPNOTSUPP, "%s: this is no client of a served proxy", client->ep->url);
	/* Others have written it: what it is made of is judged before it is shown. */
	if (!tni_request_is_host(host, strlen(host)) || port < 1 || port > 65535)
		return tni_err(-EINVAL, "what the client asks for is no host and port");
	access = tni_part_access(client->part);
	if (!tni_ports_have(&access->ports, port))
		return tni_err(-EACCES, "%s:%d: this port may not be connected to (key ports)", host, port);
	rc = endpoint_of(what, host, port, keys, &ep);
	if (rc < 0)
		return rc;
	tni_access_unref(ep->reach);
	ep->reach = tni_access_ref((struct tni_access *)(uintptr_t)access);
	rc = tni_dial_endpoint_for(client->loop, ep, handler, arg, client, out);
	tni_endpoint_unref(ep);
	return rc;
}

/* ---- the answer ---- */

/* Our end of a connection or socket, of IP. Where it stands in `addr`; NULL: there is none. */
static const unsigned char *own_ip(const struct tn_conn *used, struct tn_addr *addr, size_t *len)
{
	const struct sockaddr_in6 *in6 = (const void *)addr->bytes;
	const struct sockaddr_in *in = (const void *)addr->bytes;

	if (!used || tn_conn_local(used, addr) < 0)
		return NULL;
	if (tni_addr_family(addr) == AF_INET6 && tni_addr_is_mapped(addr))
		tni_addr_unmap(addr);
	*len = tni_addr_family(addr) == AF_INET ? 4 : 16;
	if (tni_addr_family(addr) == AF_INET)
		return (const unsigned char *)&in->sin_addr;
	return tni_addr_family(addr) == AF_INET6 ? (const unsigned char *)&in6->sin6_addr : NULL;
}

int tn_conn_answer(struct tn_conn *c, int err, const struct tn_conn *used)
{
	struct tni_gate_facts facts;
	const unsigned char *ip;
	struct tn_addr addr;
	size_t len = 0;
	struct tn_buf *net;
	int rc;

	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return TN_ESTATE;
	if (!find(c, &facts))
		return nobody_asks(c);
	ip = err ? NULL : own_ip(used, &addr, &len);
	net = tni_chain_net(&c->layered->chain, facts.layer);
	rc = net ? tni_gate_answer(facts.layer, err, ip, len, ip ? tni_addr_port(&addr) : 0, net)
		 : tni_err(-ENOMEM, "out of memory");
	if (rc == 0)
		tn_resume(c);
	return rc;
}
