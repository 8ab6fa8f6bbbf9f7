/* TLS that begins in the middle of a connection, when the program says so. */
#include "base/err.h"
#include "conn/layered.h"
#include "conn/server.h"
#include "secure/tls.h"

#include <errno.h>

#ifdef TNI_HAVE_TLS

static int refused(const struct tni_endpoint *ep)
{
	return tni_err(-EOPNOTSUPP, "%s: TLS cannot begin later here: it stands below no plain stream", ep->url);
}

int tn_server_tls_later(struct tn_server *server, bool optional)
{
	const struct tni_endpoint *ep = server->parts[0].ep;

	if (!ep->scheme->secure || ep->scheme->web || ep->scheme->gate || ep->tls->datagrams)
		return refused(ep);
	server->tls_later = true;
	server->tls_optional = optional;
	return 0;
}

int tn_tls_later(struct tn_conn *c)
{
	struct tni_layer *tls = tni_layered_tls(c);

	if (!tls)
		return refused(c->ep);
	if (tls->begun)
		return tni_err(TN_ESTATE, "%s: TLS has begun", c->ep->url);
	tni_tls_wait(tls, false);
	return 0;
}

int tn_start_tls(struct tn_conn *c)
{
	struct tni_layer *tls = tni_layered_tls(c);

	if (!tls || !tni_tls_is_plain(tls))
		return tni_err(tls ? TN_ESTATE : -EOPNOTSUPP, "%s: no TLS waits to begin", c->ep->url);
	if (!tni_layered_is_open(c->layered) || c->layered->err || c->flags & (TNI_DEAD | TNI_CLOSING))
		return tni_err(TN_ESTATE, "%s: the connection is not open", c->ep->url);
	return tni_layered_begin_tls(c, tls);
}

#else

static int left_out(void)
{
	return tni_err(-EOPNOTSUPP, "%s", TNI_NOT_BUILT("TLS", "tls"));
}

int tn_server_tls_later(struct tn_server *server, bool optional)
{
	(void)server, (void)optional;
	return left_out();
}

int tn_tls_later(struct tn_conn *c)
{
	(void)c;
	return left_out();
}

int tn_start_tls(struct tn_conn *c)
{
	(void)c;
	return left_out();
}

#endif
