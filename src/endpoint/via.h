/*
 * Key via: the proxies that a dialled connection goes through, one behind the other. Each is a URL of its own, with
 * keys of its own; the grammar is in docs/man/tenon-url.7.md.
 */
#ifndef TNI_ENDPOINT_VIA_H
#define TNI_ENDPOINT_VIA_H

#include "endpoint/endpoint.h"
#include "endpoint/parse.h"
#include "proxy/via.h"

#define TNI_VIA_MAX 8

struct tni_via_hop {
	struct tni_endpoint *ep;
	char *user, *password; /* of its URL; NULL: none */
	char *label;           /* for words: "proxy socks5h://gate:1080", "proxy 2 of 3, http://gate:3128" */
};

struct tni_via_spec {
	char *text;   /* as it was given */
	char *places; /* socks5h://gate:1080,http://gate:3128; "": the environment has no proxy for this */
	size_t count;
	struct tni_via_hop hops[TNI_VIA_MAX];
};

#ifdef TNI_HAVE_PROXY

/* What the key says, and of env what the environment says. 0, TN_EURL with detail or -ENOMEM. */
int tni_via_parse(const struct tni_parse *p, const struct tni_url_param *param, struct tni_via_spec **via);

/* What it means for other keys, once all are read. 0 or TN_EURL with detail. */
int tni_via_check(const struct tni_parse *p, const struct tni_url_param *param);

/* NULL is allowed. */
void tni_via_free(struct tni_via_spec *via);

/* Where an endpoint is, in its own words: socks5h://gate:1080, http+unix:/run/proxy.sock, tcp://host:22. */
void tni_via_place(const struct tni_endpoint *ep, char out[TNI_URL_TEXT]);

#else

static inline int tni_via_check(const struct tni_parse *p, const struct tni_url_param *param)
{
	(void)p, (void)param;
	return 0;
}

static inline void tni_via_free(struct tni_via_spec *via)
{
	(void)via;
}

static inline void tni_via_place(const struct tni_endpoint *ep, char out[TNI_URL_TEXT])
{
	(void)ep, (void)out;
}

#endif

#ifdef TNI_HAVE_PROXY
#define TNI_VIA_BUILT true
#else
#define TNI_VIA_BUILT false
#endif

/* Without the key, and where it names nobody: 0. */
static inline size_t tni_via_count(const struct tni_endpoint *ep)
{
	return TNI_VIA_BUILT && tni_endpoint_via(ep) ? tni_endpoint_via(ep)->count : 0;
}

/* Whom a proxy is asked for: the next one, or the endpoint's own host. */
static inline const struct tni_endpoint *tni_via_target(const struct tni_endpoint *ep, size_t hop)
{
	return hop + 1 < tni_endpoint_via(ep)->count ? tni_endpoint_via(ep)->hops[hop + 1].ep : ep;
}

static inline const char *tni_endpoint_host(const struct tni_endpoint *ep)
{
	return ep->scheme->place == TNI_AT_HOST && *ep->host ? ep->host : "localhost";
}

/* ---- who we are: login.c ---- */

#if defined(TNI_HAVE_PROXY) || defined(TNI_HAVE_TLS)

/* Reads the file of key auth, and takes the line of `user`, if that is given. 0, or < 0 with words; TN_EURL. */
int tni_endpoint_login(const struct tni_endpoint *ep, const char *user, struct tni_login *login);

/* Whether the files of key auth, and the credentials of proxies, can be used, for tn_url_check(). 0, or < 0 with words
 * that name the URL and the key. */
int tni_endpoint_check_logins(const struct tni_endpoint *ep);

/* The same of a proxy: from its file, or from its URL alone. Nobody without either. */
int tni_via_login(const struct tni_via_hop *hop, struct tni_login *login);

#else

static inline int tni_endpoint_login(const struct tni_endpoint *ep, const char *user, struct tni_login *login)
{
	(void)ep, (void)user, (void)login;
	return 0;
}

static inline int tni_endpoint_check_logins(const struct tni_endpoint *ep)
{
	(void)ep;
	return 0;
}

#endif

#endif
