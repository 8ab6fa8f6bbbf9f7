/*
 * A client's side of CONNECT (RFC 9110 9.3.6): what is asked of an HTTP proxy, and what it answers. Read and written
 * without a socket. The server's side is proxy/request.h.
 */
#ifndef TNI_PROXY_CONNECT_H
#define TNI_PROXY_CONNECT_H

#include "proxy/socks.h"

#define TNI_CONNECT_SAID_MAX 400

/* One conversation. All zero at first, but for what its owner fills in; its texts must stay. */
struct tni_connect {
	const struct tni_proxy_target *target;
	const char *authorization;       /* Proxy-Authorization: "Basic ..."; NULL: none */
	bool done;                       /* the proxy has connected: what comes next is the target's */
	int err;                         /* it has not: why, of which the text behind its head tells more */
	char said[TNI_CONNECT_SAID_MAX]; /* with err */
	size_t left;                     /* with err: bytes of that text that may come */
	bool chunked;                    /* with err: it begins with the size of a chunk */
};

/* The request goes to the end of `net`. 0, -ENOMEM, or TN_ETOOBIG with words. */
int tni_connect_begin(struct tni_connect *connect, struct tn_buf *net);

/*
 * Reads the next part of the answer at the front of `data`. Its length; 0: it is not whole yet; < 0: why the proxy has
 * not connected, in words that continue "the proxy ": -EACCES, -EHOSTUNREACH, -ETIMEDOUT, -ECONNREFUSED; TN_EFORMAT or
 * TN_ETOOBIG: this is no HTTP.
 */
long tni_connect_read(struct tni_connect *connect, const char *data, size_t len);

/* No more comes, or not in time. < 0: the same, when its head has come; 0: it has not. */
int tni_connect_end(const struct tni_connect *connect);

#endif
