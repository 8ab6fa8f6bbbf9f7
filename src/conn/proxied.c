#include "conn/proxied.h"

#include "base/err.h"
#include "conn/pump.h"
#include "base/random.h"
#include "proxy/header.h"
#include "secure/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_BYTES 16

static struct tni_proxy_told **told_of(const struct tn_conn *c)
{
	struct tn_conn *conn = (struct tn_conn *)(uintptr_t)c;

	if (!c->ep->proxy)
		return NULL;
	if (c->part && !c->kind->ends)
		return c->dgram ? &c->dgram->told : NULL;
	return &tni_container_of(conn, struct tni_proxied_conn, conn)->told;
}

const struct tni_proxy_told *tni_proxied_told(const struct tn_conn *c)
{
	struct tni_proxy_told **told = told_of(c);

	return told ? *told : NULL;
}

void tni_proxied_free(struct tn_conn *c)
{
	struct tni_proxy_told **told = told_of(c);

	if (!told)
		return;
	free(*told);
	*told = NULL;
}

/* ---- addresses ---- */

/* An IPv4 address in IPv6's words is that IPv4 address. */
static void from_in6(struct tn_addr *addr, const struct tni_proxy_addr *from)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(from->port)};

	memcpy(&in6.sin6_addr, from->ip, sizeof(in6.sin6_addr));
	tni_addr_from(addr, (const struct sockaddr *)&in6, sizeof(in6));
	if (tni_addr_is_mapped(addr))
		tni_addr_unmap(addr);
}

static void from_in(struct tn_addr *addr, const struct tni_proxy_addr *from)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(from->port)};

	memcpy(&in.sin_addr, from->ip, sizeof(in.sin_addr));
	tni_addr_from(addr, (const struct sockaddr *)&in, sizeof(in));
}

/* A path ends at its first zero byte; an abstract name, which begins with one, behind its last byte that is none. */
static void from_unix(struct tn_addr *addr, const struct tni_proxy_addr *from)
{
	const char *path = (const char *)from->path;
	size_t len = sizeof(from->path);
	char name[sizeof(from->path) + 1];

	if (*path)
		len = strnlen(path, len - 1);
	while (!*path && len && !path[len - 1])
		len--;
	snprintf(name, sizeof(name), "%.*s", (int)len, path);
	if (!*path && len) { /* @ in place of the first zero byte */
		memcpy(name, path, len);
		name[0] = '@';
	}
	(void)tni_addr_unix(addr, name, len < sizeof(from->path) ? len : sizeof(from->path) - 1);
}

static void read_addr(struct tn_addr *addr, const struct tni_proxy *proxy, const struct tni_proxy_addr *from)
{
	*addr = (struct tn_addr){0};
	if (proxy->family == TNI_PROXY_INET)
		from_in(addr, from);
	else if (proxy->family == TNI_PROXY_INET6)
		from_in6(addr, from);
	else if (proxy->family == TNI_PROXY_UNIX)
		from_unix(addr, from);
}

static void to_ip(struct tni_proxy_addr *out, const struct tn_addr *addr, bool ipv6)
{
	const struct sockaddr_in6 *in6 = (const void *)tn_addr_sockaddr(addr);
	const struct sockaddr_in *in = (const void *)in6;

	out->port = (uint16_t)tni_addr_port(addr);
	if (tni_addr_family(addr) == AF_INET6) {
		memcpy(out->ip, &in6->sin6_addr, 16);
	} else if (ipv6) {
		out->ip[10] = out->ip[11] = 0xff;
		memcpy(out->ip + 12, &in->sin_addr, 4);
	} else {
		memcpy(out->ip, &in->sin_addr, 4);
	}
}

static void to_unix(struct tni_proxy_addr *out, const struct tn_addr *addr)
{
	size_t len = 0;
	const char *path = addr->len ? tni_addr_path(addr, &len) : NULL;

	if (path)
		memcpy(out->path, path, len < sizeof(out->path) ? len : sizeof(out->path));
}

static void unmap(struct tn_addr *addr)
{
	if (tni_addr_family(addr) == AF_INET6 && tni_addr_is_mapped(addr))
		tni_addr_unmap(addr);
}

static bool is_ip(const struct tn_addr *addr)
{
	return addr->len && (tni_addr_family(addr) == AF_INET || tni_addr_family(addr) == AF_INET6);
}

/* Both are written in the words of one family: of two IP versions in those of the newer. */
static void put_addrs(struct tni_proxy *proxy, struct tn_addr *source, struct tn_addr *target)
{
	bool ipv6;

	unmap(source);
	unmap(target);
	if (is_ip(source) && is_ip(target)) {
		ipv6 = tni_addr_family(source) == AF_INET6 || tni_addr_family(target) == AF_INET6;
		proxy->family = ipv6 ? TNI_PROXY_INET6 : TNI_PROXY_INET;
		to_ip(&proxy->source, source, ipv6);
		to_ip(&proxy->target, target, ipv6);
	} else if (!is_ip(source) && target->len && tni_addr_family(target) == AF_UNIX && proxy->version == 2) {
		proxy->family = TNI_PROXY_UNIX;
		to_unix(&proxy->source, source);
		to_unix(&proxy->target, target);
	}
}

/* ---- a header that came ---- */

static int read_told(const struct tni_proxy_told *told, struct tni_proxy *proxy)
{
	return told && tni_proxy_read(proxy, told->header, told->len) > 0 ? 0 : -EOPNOTSUPP;
}

int tni_proxied_take(struct tn_conn *c, const struct tni_header *header, struct tn_addr *peer)
{
	struct tni_proxy_told *told = malloc(sizeof(*told) + header->len), **kept = told_of(c);
	struct tni_proxy proxy;

	if (!told)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	told->sender_len = c->peer_len;
	memcpy(told->sender, c->peer, sizeof(told->sender));
	told->len = (uint32_t)header->len;
	memcpy(told->header, header->data, header->len);
	free(*kept);
	*kept = told;
	if (read_told(told, &proxy) < 0 || proxy.family == TNI_PROXY_UNSPEC)
		return -EOPNOTSUPP;
	read_addr(peer, &proxy, &proxy.source);
	return 0;
}

/* All that was told before is of another datagram. */
static struct tni_proxy_told *dgram_told(struct tn_conn *socket)
{
	struct tni_dgram *d = socket->dgram;

	if (!d->told)
		d->told = malloc(sizeof(*d->told) + TNI_PROXY_V2_MAX);
	return d->told;
}

int tni_proxied_unwrap(struct tn_conn *socket, const struct tn_addr *sender, const void **data, size_t *len,
		       struct tn_addr *client)
{
	struct tni_proxy_told *told = dgram_told(socket);
	struct tni_proxy proxy;
	long n;

	if (!told)
		return tni_err(-ENOMEM, "out of memory");
	if (sender->len > sizeof(told->sender))
		return tni_err(TN_EFORMAT, "datagrams of Unix sockets have no PROXY headers");
	n = tni_proxy_read(&proxy, *data, *len);
	if (n == 0)
		n = tni_err(TN_EFORMAT, "a PROXY header is expected, and this datagram ends within it");
	if (n > 0 && proxy.version == 1)
		n = tni_err(TN_EFORMAT, "version 1 of the PROXY header is for streams alone");
	if (n < 0)
		return (int)n;
	told->sender_len = (unsigned char)sender->len;
	memcpy(told->sender, sender->bytes, sender->len);
	told->len = (uint32_t)n;
	memcpy(told->header, *data, (size_t)n);
	*data = (const unsigned char *)*data + n;
	*len -= (size_t)n;
	*client = *sender;
	if (proxy.family != TNI_PROXY_UNSPEC) {
		read_addr(client, &proxy, &proxy.source);
		tni_addr_set_via(client, sender);
	}
	return 0;
}

bool tni_proxied_client(const struct tn_conn *c, struct tn_addr *client)
{
	struct tni_proxy proxy;

	if (!c->part || read_told(tni_proxied_told(c), &proxy) < 0 || proxy.family == TNI_PROXY_UNSPEC)
		return false;
	read_addr(client, &proxy, &proxy.source);
	return true;
}

static void describe(const struct tni_proxy *proxy, struct tn_proxy *out)
{
	struct tni_proxy_ssl ssl;

	*out = (struct tn_proxy){.version = proxy->version,
				 .local = proxy->family == TNI_PROXY_UNSPEC,
				 .tlvs = proxy->tlvs,
				 .tlvs_len = proxy->tlvs_len};
	read_addr(&out->client, proxy, &proxy->source);
	read_addr(&out->target, proxy, &proxy->target);
	if (!proxy->tlvs_len || !tni_proxy_ssl(proxy, &ssl))
		return;
	out->tls = ssl.tls;
	out->has_cert = ssl.has_cert;
	out->verified = ssl.verified;
}

int tn_conn_proxy(const struct tn_conn *c, struct tn_proxy *out)
{
	const struct tni_proxy_told *told = tni_proxied_told(c);
	struct tni_proxy proxy;

	if (read_told(told, &proxy) < 0)
		return tni_err(-EOPNOTSUPP, "%s: this connection has no PROXY header", c->ep->url);
	describe(&proxy, out);
	if (told->sender_len)
		tni_addr_from(&out->sender, (const struct sockaddr *)(const void *)told->sender, told->sender_len);
	return 0;
}

static bool find_tlv(const unsigned char *tlvs, size_t tlvs_len, unsigned type, const unsigned char **value,
		     size_t *len)
{
	unsigned found;
	size_t at = 0;

	while (tni_proxy_tlv(tlvs, tlvs_len, &at, &found, value, len))
		if (found == type)
			return true;
	return false;
}

int tn_proxy_tlv(const struct tn_proxy *proxy, unsigned type, const unsigned char **value, size_t *len)
{
	struct tni_proxy tlvs = {.tlvs = proxy->tlvs, .tlvs_len = proxy->tlvs_len};
	struct tni_proxy_ssl ssl;
	bool found = proxy->tlvs_len && find_tlv(proxy->tlvs, proxy->tlvs_len, type, value, len);

	if (!found && type > TN_PROXY_SSL && type < TN_PROXY_NETNS && proxy->tlvs_len && tni_proxy_ssl(&tlvs, &ssl))
		found = find_tlv(ssl.tlvs, ssl.tlvs_len, type, value, len);
	return found ? 0 : -ENOENT;
}

/* ---- a header that is sent ---- */

struct tlvs {
	unsigned char bytes[TNI_PROXY_V2_MAX];
	size_t len;
};

/* 0, or TN_ETOOBIG with words. */
static int put(struct tlvs *t, unsigned type, const void *value, size_t len)
{
	long rc = tni_proxy_put_tlv(t->bytes, sizeof(t->bytes), t->len, type, value, len);

	t->len = rc < 0 ? t->len : (size_t)rc;
	return rc < 0 ? (int)rc : 0;
}

static bool has(const struct tlvs *t, unsigned type)
{
	const unsigned char *value;
	size_t len;

	return find_tlv(t->bytes, t->len, type, &value, &len);
}

/* What the client's own header has told goes on. The checksum was that of the other header. */
static int put_told(struct tlvs *t, const struct tn_proxy *told)
{
	const unsigned char *value;
	size_t at = 0, len;
	unsigned type;
	int rc = 0;

	while (rc == 0 && tni_proxy_tlv(told->tlvs, told->tlvs_len, &at, &type, &value, &len))
		if (type != TN_PROXY_CRC32C && type != TN_PROXY_NOOP)
			rc = put(t, type, value, len);
	return rc;
}

static int put_text(struct tlvs *t, unsigned type, const char *text)
{
	return *text && !has(t, type) ? put(t, type, text, strlen(text)) : 0;
}

/* PP2_TYPE_SSL: one byte of flags, four that are 0 where the client's certificate is good, then what TLS has. */
static int put_ssl(struct tlvs *t, const struct tn_conn *of, const struct tn_security *security)
{
	enum { BY_TLS = 1, CERT_HERE = 2, CERT_IN_SESSION = 4 };
	unsigned char *der = NULL;
	struct tlvs inner = {.bytes = {BY_TLS}, .len = 5};
	char name[256] = "";
	size_t len = 0;
	bool has_cert = tn_conn_peer_cert(of, 0, &der, &len) == 0;
	int rc;

	if (has_cert)
		inner.bytes[0] |= CERT_IN_SESSION | (security->resumed ? 0 : CERT_HERE);
	if (!has_cert || !*security->identity)
		inner.bytes[4] = 1;
	if (has_cert)
		tni_tls_common_name(der, len, name, sizeof(name));
	free(der);
	rc = put_text(&inner, TN_PROXY_SSL_VERSION, security->protocol);
	if (rc == 0)
		rc = put_text(&inner, TN_PROXY_SSL_CIPHER, security->cipher);
	if (rc == 0)
		rc = put_text(&inner, TN_PROXY_SSL_CN, name);
	return rc < 0 ? rc : put(t, TN_PROXY_SSL, inner.bytes, inner.len);
}

static int put_security(struct tlvs *t, const struct tn_conn *of)
{
	struct tn_security security;
	int rc;

	if (tn_conn_security(of, &security) < 0)
		return 0;
	rc = put_text(t, TN_PROXY_ALPN, security.alpn);
	if (rc == 0)
		rc = put_text(t, TN_PROXY_AUTHORITY, security.server_name);
	return rc < 0 || has(t, TN_PROXY_SSL) ? rc : put_ssl(t, of, &security);
}

static int put_id(struct tlvs *t)
{
	unsigned char id[ID_BYTES];
	char text[2 * ID_BYTES + 1];

	if (!tni_random(id, sizeof(id)))
		return tni_err(-EIO, "no random bytes");
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	return put_text(t, TN_PROXY_UNIQUE_ID, text);
}

/* What the URL wants besides. */
static int put_own(struct tlvs *t, const struct tni_tlv_spec *spec)
{
	int rc = spec->unique_id ? put_id(t) : 0;

	if (rc == 0 && sizeof(t->bytes) - t->len < spec->len)
		rc = tni_err(TN_ETOOBIG, "the TLVs of the PROXY header have no room");
	if (rc == 0) {
		memcpy(t->bytes + t->len, spec->bytes, spec->len);
		t->len += spec->len;
	}
	return rc;
}

/* The client of a connection, or of a datagram, and where it wanted to go. */
static int put_client(struct tni_proxy *proxy, struct tlvs *t, const struct tn_conn *of, const struct tn_msg *msg)
{
	struct tn_addr source = {0}, target = {0};
	struct tn_proxy told;
	bool passed_on = tn_conn_proxy(of, &told) == 0;
	int rc = passed_on ? put_told(t, &told) : 0;

	proxy->datagram = of->ep->scheme->type == SOCK_DGRAM;
	if (passed_on && !told.local) {
		source = told.client;
		target = told.target;
	} else if (msg && msg->peer) {
		source = *msg->peer;
		(void)tn_msg_local(of, msg, &target);
	} else {
		if (tn_conn_peer(of, &source) < 0)
			source.len = 0;
		if (tn_conn_local(of, &target) < 0)
			target.len = 0;
	}
	put_addrs(proxy, &source, &target);
	return rc < 0 ? rc : put_security(t, of);
}

int tni_proxied_make(struct tn_conn *c, const struct tn_conn *of, const struct tn_msg *msg)
{
	const struct tni_tlv_spec *spec = c->ep->access ? c->ep->access->tlvs : NULL;
	struct tni_proxy proxy = {.version = c->ep->proxy == TNI_PROXIED_V1 ? 1 : 2, .local = !of};
	unsigned char header[TNI_PROXY_V2_MAX];
	struct tlvs t = {.len = 0};
	struct tni_proxy_told *told;
	long len = 0;

	if (of)
		len = put_client(&proxy, &t, of, msg);
	if (len == 0 && spec)
		len = put_own(&t, spec);
	proxy.tlvs = t.bytes;
	proxy.tlvs_len = proxy.version == 2 ? t.len : 0;
	proxy.datagram = proxy.datagram && proxy.version == 2;
	if (len == 0)
		len = tni_proxy_write(&proxy, spec && spec->checksum, header, sizeof(header));
	if (len < 0)
		return tni_err_prefix((int)len, "%s", c->ep->url);
	told = calloc(1, sizeof(*told) + (size_t)len);
	if (!told)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	told->len = (uint32_t)len;
	memcpy(told->header, header, (size_t)len);
	*told_of(c) = told;
	return 0;
}
