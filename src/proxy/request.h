/*
 * What a client asks of a proxy, in the three protocols that clients speak: SOCKS4 and 4a ("SOCKS 4A: A Simple
 * Extension to SOCKS 4 Protocol"), SOCKS5 (RFC 1928, passwords RFC 1929) and CONNECT of HTTP/1.1 (RFC 9110 9.3.6). The
 * first byte tells them apart. Read and answered without a socket.
 */
#ifndef TNI_PROXY_REQUEST_H
#define TNI_PROXY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#define TNI_REQUEST_REPLY_MAX 512 /* bytes of the longest answer */
#define TNI_REQUEST_NAME_MAX 255  /* of a host, a user or a password */

enum tni_request_protocol {
	TNI_REQUEST_UNKNOWN, /* nothing has come yet */
	TNI_REQUEST_SOCKS4,
	TNI_REQUEST_SOCKS4A,
	TNI_REQUEST_SOCKS5,
	TNI_REQUEST_HTTP,
};

/* Who may ask. */
struct tni_request_rules {
	bool passwords; /* a name and its password are wanted, which knows() judges; in constant time */
	bool (*knows)(const void *arg, const char *user, size_t user_len, const char *password, size_t password_len);
	const void *arg;
};

/* Bytes that are sent to the client. */
struct tni_request_reply {
	unsigned char bytes[TNI_REQUEST_REPLY_MAX];
	size_t len;
};

/* All zero at first. */
struct tni_request {
	enum tni_request_protocol protocol;
	bool whole;                          /* all of it has been read */
	bool wrong;                          /* a password was wrong: the reply, which says so, is for later */
	bool udp;                            /* SOCKS5's UDP ASSOCIATE; otherwise a connection */
	int step;                            /* of SOCKS5: what has to come next */
	int port;                            /* with udp: of the socket that the client will send from, or 0 */
	char host[TNI_REQUEST_NAME_MAX + 1]; /* an address without brackets, or a name in ASCII */
	char user[TNI_REQUEST_NAME_MAX + 1]; /* who has shown a password, or SOCKS4's user; otherwise "" */
};

/*
 * Reads the next part at the front of `data`. Its length; 0: it is not whole yet; < 0: TN_EFORMAT or -EACCES with
 * words. In each case `reply` is what the client is to be sent now (with `wrong`: later); `len` 0: nothing.
 */
long tni_request_read(struct tni_request *request, const struct tni_request_rules *rules, const unsigned char *data,
		      size_t len, struct tni_request_reply *reply);

/*
 * The answer to a whole request. `err`: 0, or why it cannot be had. `ip`: the address of 4 or 16 bytes and the port
 * that the proxy uses for it; NULL: none.
 */
void tni_request_answer(const struct tni_request *request, int err, const unsigned char *ip, size_t ip_len, int port,
			struct tni_request_reply *reply);

/* Whether bytes can be the name or address of a host: letters, digits, '-', '_', '.' and, in addresses, ':'. */
bool tni_request_is_host(const char *host, size_t len);

/* "socks5" */
const char *tni_request_protocol(enum tni_request_protocol protocol);

#endif
