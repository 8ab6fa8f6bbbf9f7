/*
 * The way through a proxy as a layer (layer.h): it asks the proxy to connect to a target, and leaves. What comes then
 * is the target's.
 */
#ifndef TNI_PROXY_VIA_H
#define TNI_PROXY_VIA_H

#include "layer.h"
#include "proxy/socks.h"
#include "web/login.h"

enum tni_via_kind {
	TNI_VIA_NONE,
	TNI_VIA_SOCKS4, /* the target by its address */
	TNI_VIA_SOCKS4A,
	TNI_VIA_SOCKS5, /* the target by its address */
	TNI_VIA_SOCKS5H,
	TNI_VIA_HTTP,
};

/* Whether the proxy is told an address, and the name is looked up here. */
static inline bool tni_via_wants_address(enum tni_via_kind kind)
{
	return kind == TNI_VIA_SOCKS4 || kind == TNI_VIA_SOCKS5;
}

/*
 * `host` (a name, or an address as text without brackets) and `port` are the target. `login`, who asks, is handed over
 * in every case. 0, -ENOMEM, or TN_EURL with words that continue the proxy's name: it cannot be asked so.
 */
int tni_via_new(enum tni_via_kind kind, const char *host, int port, struct tni_login *login, struct tni_layer **layer);

/* The address of the target, of 4 or 16 bytes, for a proxy that wants one: before the layer is opened. */
void tni_via_set_address(struct tni_layer *layer, const void *ip, size_t len);

#endif
