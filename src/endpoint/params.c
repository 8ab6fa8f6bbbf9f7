/* All the keys of a URL: each by itself, then what they mean for each other. */
#include "base/clock.h"
#include "base/err.h"
#include "endpoint/keys.h"
#include "endpoint/via.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_NS (60 * TNI_NS_PER_S)

/* NULL: it is not given. */
static const struct tni_url_param *param_of(const struct tni_parse *p, const char *key)
{
	for (size_t i = 0; i < p->url->nparams; i++)
		if (!strcmp(p->url->params[i].key, key))
			return &p->url->params[i];
	return NULL;
}

/* ---- socket options ---- */

/* The table's order is the one in which they can be set without undoing each other; then those that it does not know,
 * as they stand in the URL. */
static bool goes_before(const struct tni_sockopt *a, const struct tni_sockopt *b)
{
#ifdef TNI_HAVE_SOCKOPTS
	if (a == &tni_sockopt_any || b == &tni_sockopt_any)
		return a != b && b == &tni_sockopt_any;
#endif
	return a < b;
}

static void swap(struct tni_option_value *a, struct tni_option_value *b)
{
	struct tni_option_value kept = *a;

	*a = *b;
	*b = kept;
}

/* One value, which begins at a byte of the key's. */
static int add_option(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_sockopt *opt,
		      const char *text, long at)
{
	struct tni_endpoint *ep = p->ep;
	struct tni_option_value *grown, *slot;

	grown = realloc(ep->options, (ep->noptions + 1) * sizeof(*grown));
	if (!grown)
		return tni_parse_no_memory();
	ep->options = grown;
	slot = &grown[ep->noptions];
	if (tni_sockopt_parse(opt, text, &slot->value) < 0)
		return tni_parse_fail_told(p, tni_parse_byte_of(p, param, at));
	slot->opt = opt;
	for (ep->noptions++; slot > ep->options && goes_before(slot->opt, slot[-1].opt); slot--)
		swap(slot, slot - 1);
	return 0;
}

static int add_options(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_sockopt *opt)
{
	char *text = strdup(param->value), *from = text, *comma;
	int rc = text ? 0 : tni_parse_no_memory();

	for (; rc == 0 && from; from = comma) {
		comma = strchr(from, ',');
		if (comma)
			*comma++ = '\0';
		rc = add_option(p, param, opt, from, from - text);
	}
	free(text);
	return rc;
}

int tni_parse_sockopt(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_sockopt *opt)
{
	const struct tni_endpoint *ep = p->ep;
	const struct tni_scheme *scheme = ep->scheme;
	char applies[128], why[256];

	if (tni_scheme_via(scheme))
		return tni_parse_fail_key(p, param, "belongs to the URL that is dialled, not to a proxy's");
	if (!tni_sockopt_applies(opt, scheme->kinds, tni_endpoint_role_bit(ep), scheme->family)) {
		snprintf(why, sizeof(why), "cannot apply to %s when %s; it applies to: %s", scheme->name,
			 ep->role == TN_SERVE ? "served" : "dialled",
			 tni_sockopt_applies_text(opt, applies, sizeof(applies)));
		return tni_parse_fail_key(p, param, why);
	}
	return tni_sockopt_is_list(opt) ? add_options(p, param, opt) : add_option(p, param, opt, param->value, 0);
}

/* ---- keys that depend on each other, wherever they stand ---- */

/* Formats that tell themselves where a message ends have a frame of their name; the others need one on a stream. */
static int frame_for_format(const struct tni_parse *p)
{
	struct tni_endpoint *ep = p->ep;
	const struct tni_url_param *format = param_of(p, "format");
	char why[256];

	if (!ep->codec || !format || ep->frame.ops != tni_frame_at(0) || !tni_endpoint_is_stream(ep))
		return 0;
	if (!param_of(p, "frame") && tni_frame_find(ep->codec->name, &ep->frame) == 0)
		return 0;
	snprintf(why, sizeof(why), "key 'format': where does a message of %s end? Add frame=line, frame=u32, ...",
		 ep->codec->name);
	return tni_parse_fail(p, format->key_at, why);
}

/* What cannot be shorter than max allows. */
static int check_least(const struct tni_parse *p)
{
	if (tni_frame_least(&p->ep->frame) <= p->ep->frame.max)
		return 0;
	return tni_parse_fail_value(p, param_of(p, "frame"),
				    "such messages are longer than max allows; set max as well");
}

/* Only where messages have an end can one be late. */
static int check_request(const struct tni_parse *p)
{
	const struct tni_url_param *request = param_of(p, "request");
	bool framed = p->ep->frame.ops != tni_frame_at(0) || p->ep->scheme->web;

	if (request && !framed)
		return tni_parse_fail_key(p, request, "applies to framed streams only; set frame as well");
	if (!request && framed && p->ep->role == TN_SERVE)
		p->ep->request_ns = REQUEST_NS;
	return 0;
}

#ifdef TNI_HAVE_RECONNECT
/* A heartbeat is a message; and nothing says how often to try what is not tried. */
static int check_again(const struct tni_parse *p)
{
	const struct tni_url_param *heartbeat = param_of(p, "heartbeat"), *tries = param_of(p, "reconnect-tries");
	bool framed = p->ep->frame.ops != tni_frame_at(0) || p->ep->scheme->web;

	if (heartbeat && (!framed || p->ep->scheme->web == TNI_WEB_REQUESTS))
		return tni_parse_fail_key(p, heartbeat, "applies to framed streams only; set frame as well");
	if (tries && !tni_endpoint_comes_back(p->ep))
		return tni_parse_fail_key(p, tries, "means nothing without reconnect");
	return 0;
}
#endif

/* What sockets below the transports cannot do without. */
static int check_raw(const struct tni_parse *p)
{
	struct tni_endpoint *ep = p->ep;
	enum tni_raw_kind kind = tni_scheme_raw(ep->scheme);
	struct tn_addr at = {0}, to;

	if (kind == TNI_RAW_IP && !ep->protocol)
		return tni_parse_fail(p, (long)strlen(p->text),
				      "which protocol? Add ?proto=N (or its name: icmp, gre, ...)");
	if (kind == TNI_RAW_PACKET && !ep->protocol)
		ep->protocol = tni_raw_protocol(kind, "all");
	if (ep->to && tni_raw_neighbour(&to, &at, ep->to) < 0)
		return tni_parse_fail(p, param_of(p, "to")->value_at,
				      "an address of a link looks like aa:bb:cc:dd:ee:ff");
	if (kind == TNI_RAW_ICMP)
		ep->protocol = ep->scheme->protocol;
	if (kind == TNI_RAW_IP || kind == TNI_RAW_ICMP)
		ep->port = ep->protocol; /* where the kernel keeps it; without, it would not remember the peer */
	return 0;
}

/* Options that change what bind(2) does, and the IP versions of both ends. */
static int check_bind(const struct tni_parse *p)
{
	const struct tni_endpoint *ep = p->ep;
	int family = ep->bind ? tni_addr_family(&ep->bind->addr) : AF_UNSPEC, port = ep->bind ? ep->bind->port : 0;
	struct tn_addr host;

	if (ep->role != TN_DIAL)
		return 0;
	if (family != AF_UNSPEC &&
	    ((ep->scheme->family != AF_UNSPEC && ep->scheme->family != family) ||
	     (!tni_via_count(ep) && tni_addr_literal(&host, ep->host, 0) == 0 && tni_addr_family(&host) != family)))
		return tni_parse_fail_value(p, param_of(p, "bind"), "this address is of the other IP version");
	for (size_t i = 0; i < ep->noptions; i++) {
		const struct tni_option_value *o = &ep->options[i];
		const char *why = o->value.number ? tni_sockopt_no_effect(o->opt, family != AF_UNSPEC, port) : NULL;
		const struct tni_url_param *param = why ? param_of(p, o->opt->key) : NULL;

		if (param)
			return tni_parse_fail_key(p, param, why);
	}
	return 0;
}

/* What stands in front of the bytes, and who may send it. Anybody could claim any address. */
static int check_proxy(const struct tni_parse *p)
{
	const struct tni_url_param *trust = param_of(p, "trust"), *tlvs = param_of(p, "proxy-tlv");
	const struct tni_endpoint *ep = p->ep;

	if (trust && ep->proxy != TNI_PROXIED_ACCEPT)
		return tni_parse_fail_key(p, trust, "applies with proxy=accept only");
	if (tlvs && ep->proxy != TNI_PROXIED_V2)
		return tni_parse_fail_key(p, tlvs, "applies with proxy=v2 only");
	if (ep->proxy == TNI_PROXIED_V1 && ep->scheme->type == SOCK_DGRAM)
		return tni_parse_fail_value(p, param_of(p, "proxy"),
					    "version 1 is for streams alone; v2 has datagrams");
	if (ep->proxy == TNI_PROXIED_ACCEPT && !trust && ep->scheme->place != TNI_AT_PATH)
		return tni_parse_fail_key(p, param_of(p, "proxy"),
					  "from whom? Such a header can claim any address: add "
					  "trust=ADDRESS or trust=NETWORK of the proxies");
	return 0;
}

static int check_via(const struct tni_parse *p)
{
	const struct tni_url_param *via = param_of(p, "via");

	return via ? tni_via_check(p, via) : 0;
}

static int check_together(const struct tni_parse *p)
{
	int (*const checks[])(const struct tni_parse *p) = {
		frame_for_format, check_least, check_request, check_raw, check_bind, check_proxy, check_via,
#ifdef TNI_HAVE_RECONNECT
		check_again,
#endif
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && rc == 0; i++)
		rc = checks[i](p);
	return rc;
}

int tni_parse_params(const struct tni_parse *p)
{
	const struct tni_url_param *proxy = param_of(p, "proxy");
	const struct tni_key *first = tni_key_find("proxy"); /* what others apply to depends on it */
	struct tni_endpoint *ep = p->ep;
	int rc = proxy && first ? tni_key_parse(p, proxy, first) : 0;

	for (size_t i = 0; i < p->url->nparams && rc == 0; i++) {
		const struct tni_url_param *param = &p->url->params[i];
		const struct tni_key *key = tni_key_find(param->key);
		const struct tni_sockopt *opt = key ? NULL : tni_sockopt_find(param->key);

		if (key)
			rc = tni_key_parse(p, param, key);
		else
			rc = opt ? tni_parse_sockopt(p, param, opt) : tni_parse_fail_unknown_key(p, param);
	}
	if (rc == 0)
		rc = check_together(p);
	if (rc < 0)
		return rc;
	ep->frame.skips_blank = ep->codec && ep->codec->kind & TN_FORMAT_BLANK;
	return 0;
}
