#include "endpoint/endpoint.h"

#include "base/clock.h"
#include "base/err.h"
#include "endpoint/access.h"
#include "endpoint/parse.h"
#include "endpoint/via.h"
#include "endpoint/web.h"
#include "net/netns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef TNI_HAVE_TLS
#define HAVE_TLS true
#else
#define HAVE_TLS false
#endif

#ifdef TNI_HAVE_RAW
#define HAVE_RAW true
#else
#define HAVE_RAW false
#endif

#define DTLS_IDLE_NS (300 * TNI_NS_PER_S)

static int secure(const struct tni_parse *p)
{
	struct tni_endpoint *ep = p->ep;

	if (!HAVE_TLS)
		return tni_parse_fail(p, 0, TNI_NOT_BUILT("TLS", "tls"));
	ep->tls = malloc(sizeof(*ep->tls));
	if (!ep->tls)
		return tni_parse_no_memory();
	*ep->tls =
		(struct tni_creds_spec){.min_version = 12, .tickets = 2, .datagrams = ep->scheme->type == SOCK_DGRAM};
	if (ep->tls->datagrams && ep->role == TN_SERVE) /* nothing else tells that a peer has gone */
		ep->idle_ns = DTLS_IDLE_NS;
	return 0;
}

/* What the system says of a service or an interface now it may not say later. */
static bool is_lasting(const struct tni_parse *p)
{
	const struct tni_endpoint *ep = p->ep;

	if ((ep->scheme->place != TNI_AT_HOST && ep->scheme->place != TNI_AT_PATH) || p->url->service ||
	    tni_endpoint_netns(ep) || (ep->bind && strchr(ep->bind->text, '%')))
		return false;
	for (size_t i = 0; i < ep->noptions; i++)
		if (tni_sockopt_looks_up(ep->options[i].opt))
			return false;
	return true;
}

#ifdef TNI_HAVE_PROXY

/* A proxy is served. What its clients say is not its own, and with keys for TLS it stands behind TLS. */
static int choose_gate(const struct tni_parse *p)
{
	struct tni_endpoint *ep = p->ep;

	if (ep->role != TN_SERVE)
		return tni_parse_fail(p, 0, "a proxy can be served but not dialled");
	for (size_t i = 0; i < p->url->nparams; i++)
		if (!strcmp(p->url->params[i].key, "frame") || !strcmp(p->url->params[i].key, "format"))
			return tni_parse_fail_key(p, &p->url->params[i],
						  "cannot apply: a proxy passes on what its clients say as it is");
	if (ep->scheme->place == TNI_AT_HOST && (tni_url_get(p->url, "cert") || tni_url_get(p->url, "psk-file")))
		ep->scheme = tni_scheme_find("tls+proxy");
	return 0;
}

/* Where it may connect to, read now: a dial takes as long as it takes. */
static int read_reach(const struct tni_endpoint *ep, struct tni_access **reach)
{
	if (ep->role != TN_DIAL || !ep->access || (!ep->access->allow_to && !ep->access->deny_to))
		return 0;
	return tni_access_new(ep, reach);
}

#else

static int choose_gate(const struct tni_parse *p)
{
	(void)p;
	return 0; /* there is no such scheme */
}

static int read_reach(const struct tni_endpoint *ep, struct tni_access **reach)
{
	(void)ep, (void)reach;
	return 0;
}

#endif

static int understand(const struct tni_parse *p)
{
	int rc = 0;

	p->ep->scheme = p->proxy ? tni_scheme_proxy(p->url->scheme) : tni_scheme_find(p->url->scheme);
	if (!p->ep->scheme || (p->ep->scheme->web == TNI_WEB_REQUESTS && p->ep->role == TN_DIAL))
		return tni_parse_fail_scheme(p);
	if (!HAVE_RAW && tni_scheme_raw(p->ep->scheme))
		return tni_parse_fail(p, 0, TNI_NOT_BUILT("raw, icmp and packet", "raw"));
	if (p->ep->scheme->gate)
		rc = choose_gate(p);
	if (rc == 0 && p->ep->scheme->secure)
		rc = secure(p);
	if (rc == 0 && p->ep->scheme->web)
		rc = tni_web_begin(p);
	if (rc == 0)
		rc = tni_parse_place(p);
	if (rc == 0)
		rc = tni_parse_params(p);
	if (rc == 0 && p->ep->scheme->web)
		rc = tni_web_complete(p);
	if (rc == 0)
		rc = read_reach(p->ep, &p->ep->reach);
	p->ep->lasting = p->ep->lasting && rc == 0 && !p->ep->reach && is_lasting(p);
	return rc;
}

#ifdef TNI_HAVE_SOCKOPTS

/* In the network that it is about, for names of interfaces. */
static int understand_there(const struct tni_parse *p)
{
	const char *netns = tni_url_get(p->url, "netns");
	int home, rc = netns && !*netns ? -EINVAL : tni_netns_enter(netns, &home);

	if (rc == 0) {
		rc = understand(p);
		tni_netns_leave(home);
		return rc;
	}
	for (size_t i = 0; i < p->url->nparams; i++)
		if (!strcmp(p->url->params[i].key, "netns"))
			return *netns ? tni_parse_fail_told(p, p->url->params[i].value_at)
				      : tni_parse_fail_value(p, &p->url->params[i], "it is empty");
	return rc;
}

#else

static int understand_there(const struct tni_parse *p)
{
	return understand(p);
}

#endif

static struct tni_endpoint *with_defaults(const char *text, enum tn_role role)
{
	struct tni_endpoint *ep = malloc(sizeof(*ep));

	if (!ep)
		return NULL;
	*ep = (struct tni_endpoint){
		.url = strdup(text),
		.refs = 1,
		.role = role,
		.fd = -1,
		.lasting = true,
		.frame = {.ops = tni_frame_at(0), .max = 1 << 20},
		.queue = 128 * 1024,
		.ring = 64 * 1024,
		.codec_opts = {.max_depth = TNI_DEPTH_DEFAULT},
		.connect_ns = 30 * TNI_NS_PER_S,
		.drain_ns = 5 * TNI_NS_PER_S,
		.spin_ns = TNI_NEVER,
		.handshake_ns = 10 * TNI_NS_PER_S,
		.backlog = 4096,
#ifdef TNI_HAVE_SOCKOPTS
		.fin = true,
		.connected = true,
#endif
		.mode = -1,
		.user = -1,
		.group = -1,
	};
	if (ep->url)
		return ep;
	free(ep);
	return NULL;
}

static int endpoint_new(const char *text, enum tn_role role, bool proxy, struct tni_endpoint **out)
{
	struct tni_endpoint *ep = with_defaults(text, role);
	struct tni_url url;
	struct tni_parse p = {.text = text, .url = &url, .ep = ep, .proxy = proxy};
	int rc;

	if (!ep)
		return tni_parse_no_memory();
	rc = proxy ? tni_url_parse(&url, text) : tni_parse_split(text, &url);
	if (rc == 0) {
		rc = understand_there(&p);
		tni_url_free(&url);
	}
	if (rc != 0) {
		tni_endpoint_unref(ep);
		return rc;
	}
	*out = ep;
	return 0;
}

int tni_endpoint_new(const char *text, enum tn_role role, struct tni_endpoint **out)
{
	return endpoint_new(text, role, false, out);
}

int tni_endpoint_new_proxy(const char *text, struct tni_endpoint **out)
{
	return endpoint_new(text, TN_DIAL, true, out);
}

struct tni_endpoint *tni_endpoint_ref(struct tni_endpoint *ep)
{
	atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
	return ep;
}

void tni_endpoint_unref(struct tni_endpoint *ep)
{
	if (!ep || atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) > 1)
		return;
	free(ep->url);
	tni_frame_drop(&ep->frame);
	free(ep->host);
	free(ep->options);
	free(ep->to);
#ifdef TNI_HAVE_SOCKOPTS
	free(ep->netns);
#endif
	tni_access_spec_free(ep->access);
	tni_access_unref(ep->reach);
	if (ep->bind)
		free(ep->bind->text);
	free(ep->bind);
	if (ep->tls)
		tni_creds_spec_free(ep->tls);
	free(ep->tls);
	tni_web_free(ep->web);
#ifdef TNI_HAVE_FILES
	free(ep->device);
#endif
	free(ep);
}

int tn_endpoint_new(const char *url, struct tn_endpoint **out)
{
	struct tni_endpoint *ep;
	int rc = tni_endpoint_new(url, TN_DIAL, &ep);

	if (rc == 0)
		*out = (struct tn_endpoint *)ep;
	return rc;
}

struct tn_endpoint *tn_endpoint_ref(struct tn_endpoint *ep)
{
	tni_endpoint_ref((struct tni_endpoint *)ep);
	return ep;
}

void tn_endpoint_unref(struct tn_endpoint *ep)
{
	tni_endpoint_unref((struct tni_endpoint *)ep);
}
