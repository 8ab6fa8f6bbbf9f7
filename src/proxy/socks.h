/*
 * A client's side of SOCKS4, SOCKS4a ("SOCKS 4A: A Simple Extension to SOCKS 4 Protocol") and SOCKS5 (RFC 1928,
 * passwords RFC 1929): what it says, and what the proxy answers. Read and written without a socket. The server's side
 * is proxy/request.h.
 */
#ifndef TNI_PROXY_SOCKS_H
#define TNI_PROXY_SOCKS_H

#include "base/buf.h"

#define TNI_SOCKS_TEXT_MAX 255 /* bytes of a name, a user or a password */

/* Where a proxy is asked to connect to. */
struct tni_proxy_target {
	const char *name;     /* looked up by the proxy, or the text of an address, without brackets */
	unsigned char ip[16]; /* looked up already: 4 or 16 bytes in network order */
	size_t ip_len;        /* 0: there is the name alone */
	int port;
};

/* One conversation. All zero at first, but for what its owner fills in; its texts must stay. */
struct tni_socks {
	int version; /* 4 or 5 */
	const struct tni_proxy_target *target;
	const char *user, *password; /* NULL: none. SOCKS4 has no passwords */
	bool offered;                /* SOCKS5: the user has been offered */
	bool done;                   /* the proxy has connected: what comes next is the target's */
	int step;
};

/* The first that the client says goes to the end of `net`. 0, -ENOMEM, or TN_EURL with words: SOCKS cannot say it. */
int tni_socks_begin(struct tni_socks *socks, struct tn_buf *net);

/*
 * Reads the next answer at the front of `data`, and puts what is said to it at the end of `net`. Its length; 0: it is
 * not whole yet; < 0: the code of what the proxy says in words, which continue "the proxy ": -ECONNREFUSED and others
 * of connect(2), -EACCES; TN_EFORMAT: it speaks something else; -ENOMEM.
 */
long tni_socks_read(struct tni_socks *socks, const unsigned char *data, size_t len, struct tn_buf *net);

#endif
