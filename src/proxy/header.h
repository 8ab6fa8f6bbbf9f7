/*
 * The PROXY protocol of HAProxy, versions 1 and 2 ("The PROXY protocol", doc/proxy-protocol.txt of HAProxy): a header
 * in front of a connection's bytes, in which a proxy tells from where the connection really comes. Read and written
 * without a socket, and as a layer that does this once and leaves.
 *
 * Whoever may send such a header may claim any address. So it is read only where that has been asked for, from
 * senders that are trusted, and never guessed: with a header expected, a connection without one is refused.
 */
#ifndef TNI_PROXY_HEADER_H
#define TNI_PROXY_HEADER_H

#include "layer.h"
#include "tenon.h"

#define TNI_PROXY_V1_MAX 107         /* bytes of a header of version 1, with its CR LF */
#define TNI_PROXY_V2_MIN 16          /* bytes before the addresses of version 2 */
#define TNI_PROXY_V2_MAX (16 + 2048) /* longer ones are refused, though 64 KiB could be told */

enum tni_proxy_family {
	TNI_PROXY_UNSPEC, /* no addresses: those of the connection itself count */
	TNI_PROXY_INET,
	TNI_PROXY_INET6,
	TNI_PROXY_UNIX,
};

/* An address as it stands in the header. */
struct tni_proxy_addr {
	unsigned char ip[16];    /* INET: the first four; network order */
	uint16_t port;           /* host order */
	unsigned char path[108]; /* UNIX: as in struct sockaddr_un, filled with zero bytes */
};

struct tni_proxy {
	int version;   /* 1 or 2 */
	bool local;    /* from the proxy itself, a health check: `family` is UNSPEC */
	bool datagram; /* version 2: it stands for a datagram */
	enum tni_proxy_family family;
	struct tni_proxy_addr source, target;
	const unsigned char *tlvs; /* version 2: what stands behind the addresses; checked */
	size_t tlvs_len;
};

/*
 * Reads the header at the front of `data`. Its length; 0: it is not whole yet; < 0: TN_EFORMAT with words, as soon as
 * it can be no header. `proxy->tlvs` points into `data`.
 */
long tni_proxy_read(struct tni_proxy *proxy, const unsigned char *data, size_t len);

/* Walks through TLVs, of a header or of one TLV of the kind SSL: begin with `at` 0. False: that was all. */
bool tni_proxy_tlv(const unsigned char *tlvs, size_t tlvs_len, size_t *at, unsigned *type, const unsigned char **value,
		   size_t *len);

/*
 * What the TLV SSL tells: `tls` when the client came by TLS, `verified` when its certificate was found good, and where
 * the TLVs within it stand. False: there is none.
 */
struct tni_proxy_ssl {
	bool tls, has_cert, verified;
	const unsigned char *tlvs;
	size_t tlvs_len;
};
bool tni_proxy_ssl(const struct tni_proxy *proxy, struct tni_proxy_ssl *ssl);

/*
 * Writes a header. `tlvs` are put behind the addresses as they are; `checksum` adds a CRC32C. `out` holds `cap` bytes.
 * Its length, or < 0 with words: version 1 knows only TCP over IP, and no TLVs; TN_ETOOBIG: it does not fit.
 */
long tni_proxy_write(const struct tni_proxy *proxy, bool checksum, unsigned char *out, size_t cap);

/* Puts one TLV at `out + at`. The new length, or < 0: it does not fit. */
long tni_proxy_put_tlv(unsigned char *out, size_t cap, size_t at, unsigned type, const void *value, size_t len);

/* The layer that expects a header, and is done with it. It answers TNI_ASK_PROXY. 0 or -ENOMEM. */
int tni_proxy_reader(struct tni_layer **out);

/* The layer that sends a header (its bytes are copied), and is done with it. 0 or -ENOMEM. */
int tni_proxy_sender(const unsigned char *header, size_t len, struct tni_layer **out);

#endif
