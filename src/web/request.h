/*
 * HTTP/1.1 as a layer of a server: each request, its head and its body, is a message, as it came. What is sent goes out
 * as it stands: whoever answers writes whole responses, in the order of the requests. No socket, no clock.
 *
 * A request that breaks a rule, that asks under a name which is not served, or comes from a stranger's page, is
 * answered with a status and words, behind the answers to those before it, and the connection ends.
 */
#ifndef TNI_WEB_REQUEST_H
#define TNI_WEB_REQUEST_H

#include "web/websocket.h"

#include <errno.h>

#ifdef TNI_HAVE_TLS

/* A layer for one connection. Of the configuration it needs max, hosts and origins. 0; -ENOMEM. */
int tni_requests_new(const struct tni_ws_config *config, struct tni_layer **out);

#else /* no endpoint is HTTP: none is reached */

static inline int tni_requests_new(const struct tni_ws_config *config, struct tni_layer **out)
{
	(void)config;
	*out = NULL;
	return -EOPNOTSUPP;
}

#endif

#endif
