/* What the keys of a WebSocket endpoint say: paths, pages, subprotocols, pings. */
#ifndef TNI_ENDPOINT_WEB_H
#define TNI_ENDPOINT_WEB_H

#include "base/err.h"
#include "endpoint/parse.h"
#include "web/websocket.h"

/* What messages are sent as. */
enum tni_web_kind {
	TNI_WEB_BY_FORMAT, /* text where the format is */
	TNI_WEB_TEXT,
	TNI_WEB_BINARY,
};

struct tni_web_spec {
	/* as they were given; NULL: not given */
	char *path, *subprotocol, *origin, *hosts, *header;
	bool deflate;
	enum tni_web_kind kind;
	uint32_t deflate_min;
	uint64_t ping_ns, dead_ns;
	/* what connections begin with; its strings are this spec's */
	struct tni_ws_config config;
	char *target, *host; /* the path as it goes through HTTP; Host */
	char **lists[4];     /* what the texts with commas become */
};

#ifdef TNI_HAVE_TLS

/* Whether an endpoint may be WebSocket or HTTP at all. */
#define TNI_WEB_BUILT true

/* Before the keys are read: the defaults. 0 or -ENOMEM. */
int tni_web_begin(const struct tni_parse *p);

/* After them. 0, TN_EURL with detail or -ENOMEM. */
int tni_web_complete(const struct tni_parse *p);

void tni_web_free(struct tni_web_spec *spec);

#else /* its handshake needs OpenSSL's SHA-1 */

#define TNI_WEB_BUILT false

static inline int tni_web_begin(const struct tni_parse *p)
{
	return tni_parse_fail(p, 0,
			      p->ep->scheme->web == TNI_WEB_REQUESTS ? TNI_NOT_BUILT("HTTP", "tls")
								     : TNI_NOT_BUILT("WebSocket", "tls"));
}

static inline int tni_web_complete(const struct tni_parse *p)
{
	(void)p;
	return 0;
}

static inline void tni_web_free(struct tni_web_spec *spec)
{
	(void)spec;
}

#endif

#endif
