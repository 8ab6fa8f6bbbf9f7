#include "proxy/header.h"

#include "base/err.h"
#include "base/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

#define V1_START "PROXY "
#define UNIX_LEN 216 /* two paths of 108 bytes */

static unsigned get16(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(unsigned char *p, unsigned n)
{
	p[0] = (unsigned char)(n >> 8);
	p[1] = (unsigned char)n;
}

static void put32(unsigned char *p, uint32_t n)
{
	put16(p, n >> 16);
	put16(p + 2, n & 0xffff);
}

/* CRC32C (RFC 3720 B.4). `skip`: where the four bytes of the checksum itself stand, which count as zero. */
static uint32_t crc32c(const unsigned char *p, size_t len, size_t skip)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= i - skip < 4 ? 0 : p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* ---- version 1: a line ---- */

/* The next word of the line, ended by one space or by the line's end. */
static bool next_word(const char **p, const char *end, const char **word, size_t *len)
{
	const char *space = memchr(*p, ' ', (size_t)(end - *p));

	*word = *p;
	*len = (size_t)((space ? space : end) - *p);
	*p = space ? space + 1 : end;
	return *len > 0;
}

static bool read_number(const char *p, size_t len, unsigned max, unsigned *out)
{
	*out = 0;
	if (!len || len > 5 || (len > 1 && *p == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (unsigned)(p[i] - '0');
	}
	return *out <= max;
}

static bool read_ip4(const char *p, size_t len, unsigned char ip[4])
{
	const char *end = p + len;

	for (int i = 0; i < 4; i++) {
		const char *dot = i < 3 ? memchr(p, '.', (size_t)(end - p)) : end;
		unsigned byte;

		if (!dot || !read_number(p, (size_t)(dot - p), 255, &byte))
			return false;
		ip[i] = (unsigned char)byte;
		p = dot + 1;
	}
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 4291 2.2, also with an IPv4 address at its end. */
static bool read_ip6(const char *p, size_t len, unsigned char ip[16])
{
	const char *end = p + len;
	int n = 0, gap = -1;

	if (len >= 2 && p[0] == ':' && p[1] == ':') {
		gap = 0;
		p += 2;
	}
	while (p < end) {
		unsigned group = 0;
		int digits = 0;

		if (n <= 12 && memchr(p, '.', (size_t)(end - p)) && !memchr(p, ':', (size_t)(end - p))) {
			if (!read_ip4(p, (size_t)(end - p), ip + n))
				return false;
			n += 4;
			break;
		}
		for (; p < end && hex_digit(*p) >= 0; p++, digits++)
			group = group << 4 | (unsigned)hex_digit(*p);
		if (!digits || digits > 4 || n == 16)
			return false;
		put16(ip + n, group);
		n += 2;
		if (p == end)
			break;
		if (*p++ != ':' || p == end)
			return false;
		if (*p == ':') {
			if (gap >= 0)
				return false;
			gap = n;
			p++;
		}
	}
	if (gap < 0)
		return n == 16;
	if (n > 14)
		return false;
	memmove(ip + 16 - (n - gap), ip + gap, (size_t)(n - gap));
	memset(ip + gap, 0, (size_t)(16 - n));
	return true;
}

static bool read_endpoints(struct tni_proxy *proxy, const char *p, const char *end)
{
	struct tni_proxy_addr *addrs[2] = {&proxy->source, &proxy->target};
	bool four = proxy->family == TNI_PROXY_INET;
	const char *word;
	size_t len;

	for (int i = 0; i < 2; i++)
		if (!next_word(&p, end, &word, &len) ||
		    !(four ? read_ip4(word, len, addrs[i]->ip) : read_ip6(word, len, addrs[i]->ip)))
			return false;
	for (int i = 0; i < 2; i++) {
		unsigned port;

		if (!next_word(&p, end, &word, &len) || !read_number(word, len, 65535, &port))
			return false;
		addrs[i]->port = (uint16_t)port;
	}
	return p == end && end[-1] != ' ';
}

static long read_v1(struct tni_proxy *proxy, const char *data, size_t len)
{
	const char *lf = memchr(data, '\n', len < TNI_PROXY_V1_MAX ? len : TNI_PROXY_V1_MAX);
	const char *p = data + sizeof(V1_START) - 1, *end, *word;
	size_t n;

	if (!lf)
		return len < TNI_PROXY_V1_MAX
			       ? 0
			       : tni_err(TN_EFORMAT, "the PROXY header is longer than %d bytes", TNI_PROXY_V1_MAX);
	end = lf - 1;
	if (*end != '\r' || end < p)
		return tni_err(TN_EFORMAT, "the PROXY header does not end with CR LF");
	proxy->version = 1;
	if (!next_word(&p, end, &word, &n))
		return tni_err(TN_EFORMAT, "the PROXY header names no protocol");
	if (n == 7 && !memcmp(word, "UNKNOWN", 7))
		return lf + 1 - data;
	proxy->family = n == 4 && !memcmp(word, "TCP4", 4)   ? TNI_PROXY_INET
			: n == 4 && !memcmp(word, "TCP6", 4) ? TNI_PROXY_INET6
							     : TNI_PROXY_UNSPEC;
	if (!proxy->family)
		return tni_err(TN_EFORMAT, "the PROXY header's protocol is neither TCP4, TCP6 nor UNKNOWN");
	if (!read_endpoints(proxy, p, end))
		return tni_err(TN_EFORMAT, "the PROXY header's addresses and ports cannot be read");
	return lf + 1 - data;
}

/* ---- version 2: binary ---- */

bool tni_proxy_tlv(const unsigned char *tlvs, size_t tlvs_len, size_t *at, unsigned *type, const unsigned char **value,
		   size_t *len)
{
	if (tlvs_len - *at < 3 || get16(tlvs + *at + 1) > tlvs_len - *at - 3)
		return false;
	*type = tlvs[*at];
	*len = get16(tlvs + *at + 1);
	*value = tlvs + *at + 3;
	*at += 3 + *len;
	return true;
}

bool tni_proxy_ssl(const struct tni_proxy *proxy, struct tni_proxy_ssl *ssl)
{
	const unsigned char *value;
	size_t at = 0, len;
	unsigned type;

	while (tni_proxy_tlv(proxy->tlvs, proxy->tlvs_len, &at, &type, &value, &len)) {
		if (type != TN_PROXY_SSL)
			continue;
		*ssl = (struct tni_proxy_ssl){.tls = value[0] & 1,
					      .has_cert = value[0] & 6,
					      .verified = value[0] & 6 && get32(value + 1) == 0,
					      .tlvs = value + 5,
					      .tlvs_len = len - 5};
		return true;
	}
	return false;
}

/* Every length fits, the checksum is right, and what has parts of its own is whole. */
static int check_tlvs(const struct tni_proxy *proxy, const unsigned char *data, size_t len)
{
	const unsigned char *value, *inner;
	size_t at = 0, n, in, inner_len;
	unsigned type, inner_type;

	while (tni_proxy_tlv(proxy->tlvs, proxy->tlvs_len, &at, &type, &value, &n)) {
		size_t place = (size_t)(value - data);

		if (type == TN_PROXY_CRC32C && (n != 4 || get32(value) != crc32c(data, len, place)))
			return tni_err(TN_EFORMAT, "the PROXY header's checksum is wrong");
		if (type != TN_PROXY_SSL)
			continue;
		in = 0;
		if (n < 5)
			return tni_err(TN_EFORMAT, "the PROXY header's TLV 0x20 is too short");
		while (tni_proxy_tlv(value + 5, n - 5, &in, &inner_type, &inner, &inner_len))
			;
		if (in != n - 5)
			return tni_err(TN_EFORMAT, "a TLV within the PROXY header's TLV 0x20 is longer than that");
	}
	return at == proxy->tlvs_len ? 0 : tni_err(TN_EFORMAT, "a TLV is longer than the PROXY header");
}

static size_t addresses_len(enum tni_proxy_family family)
{
	static const size_t lens[] = {0, 12, 36, UNIX_LEN};

	return lens[family];
}

static void take_addresses(struct tni_proxy *proxy, const unsigned char *p)
{
	size_t ip = proxy->family == TNI_PROXY_INET ? 4 : 16;

	if (proxy->family == TNI_PROXY_UNIX) {
		memcpy(proxy->source.path, p, sizeof(proxy->source.path));
		memcpy(proxy->target.path, p + 108, sizeof(proxy->target.path));
	} else if (proxy->family != TNI_PROXY_UNSPEC) {
		memcpy(proxy->source.ip, p, ip);
		memcpy(proxy->target.ip, p + ip, ip);
		proxy->source.port = (uint16_t)get16(p + 2 * ip);
		proxy->target.port = (uint16_t)get16(p + 2 * ip + 2);
	}
}

static long read_v2(struct tni_proxy *proxy, const unsigned char *data, size_t len)
{
	size_t all, addresses;
	int rc;

	if (len > 12 && data[12] != 0x20 && data[12] != 0x21)
		return tni_err(TN_EFORMAT, "the PROXY header has version %d and command %d", data[12] >> 4,
			       data[12] & 15);
	/* Families and transports that it does not know a receiver takes for UNSPEC only where the specification says
	 * so: 0x00. All others are refused. */
	if (len > 13 && data[12] == 0x21 &&
	    (data[13] >> 4 > TNI_PROXY_UNIX || (data[13] & 15) > 2 || !(data[13] >> 4) != !(data[13] & 15)))
		return tni_err(TN_EFORMAT, "the PROXY header has the family and transport 0x%02x", data[13]);
	if (len < TNI_PROXY_V2_MIN)
		return 0;
	all = TNI_PROXY_V2_MIN + get16(data + 14);
	if (all > TNI_PROXY_V2_MAX)
		return tni_err(TN_EFORMAT, "the PROXY header is longer than %d bytes", TNI_PROXY_V2_MAX);
	proxy->version = 2;
	proxy->local = data[12] == 0x20;
	if (proxy->local) /* what stands behind it, the family included, is skipped */
		return len < all ? 0 : (long)all;
	proxy->family = data[13] >> 4;
	proxy->datagram = (data[13] & 15) == 2;
	addresses = addresses_len(proxy->family);
	if (all - TNI_PROXY_V2_MIN < addresses)
		return tni_err(TN_EFORMAT, "the PROXY header is too short for its addresses");
	if (len < all)
		return 0;
	take_addresses(proxy, data + TNI_PROXY_V2_MIN);
	proxy->tlvs = data + TNI_PROXY_V2_MIN + addresses;
	proxy->tlvs_len = all - TNI_PROXY_V2_MIN - addresses;
	rc = check_tlvs(proxy, data, all);
	return rc < 0 ? rc : (long)all;
}

long tni_proxy_read(struct tni_proxy *proxy, const unsigned char *data, size_t len)
{
	size_t v1 = sizeof(V1_START) - 1, v2 = sizeof(signature);

	memset(proxy, 0, sizeof(*proxy));
	if (!len)
		return 0;
	if (!memcmp(data, V1_START, len < v1 ? len : v1))
		return len <= v1 ? 0 : read_v1(proxy, (const char *)data, len);
	if (!memcmp(data, signature, len < v2 ? len : v2))
		return len <= v2 ? 0 : read_v2(proxy, data, len);
	return tni_err(TN_EFORMAT, "a PROXY header is expected, and this is none");
}

/* ---- writing ---- */

/* RFC 5952 asks for the short form; a receiver reads this one as well, and no inet_ntop() is near. */
static int write_ip(enum tni_proxy_family family, const unsigned char *ip, char *out, size_t cap)
{
	if (family == TNI_PROXY_INET)
		return snprintf(out, cap, "%d.%d.%d.%d", ip[0], ip[1], ip[2], ip[3]);
	return snprintf(out, cap, "%x:%x:%x:%x:%x:%x:%x:%x", get16(ip), get16(ip + 2), get16(ip + 4), get16(ip + 6),
			get16(ip + 8), get16(ip + 10), get16(ip + 12), get16(ip + 14));
}

static long write_v1(const struct tni_proxy *proxy, unsigned char *out, size_t cap)
{
	char line[TNI_PROXY_V1_MAX + 1], source[40], target[40];
	int n;

	if (proxy->tlvs_len)
		return tni_err(TN_EFORMAT, "version 1 of the PROXY header has no TLVs");
	if (proxy->family == TNI_PROXY_UNIX || proxy->datagram)
		return tni_err(TN_EFORMAT, "version 1 of the PROXY header is for TCP alone");
	if (proxy->family == TNI_PROXY_UNSPEC) {
		n = snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
	} else {
		write_ip(proxy->family, proxy->source.ip, source, sizeof(source));
		write_ip(proxy->family, proxy->target.ip, target, sizeof(target));
		n = snprintf(line, sizeof(line), "PROXY TCP%c %s %s %u %u\r\n",
			     proxy->family == TNI_PROXY_INET ? '4' : '6', source, target, proxy->source.port,
			     proxy->target.port);
	}
	if ((size_t)n > cap)
		return tni_err(TN_ETOOBIG, "the PROXY header has no room");
	memcpy(out, line, (size_t)n);
	return n;
}

static void put_addresses(const struct tni_proxy *proxy, unsigned char *p)
{
	size_t ip = proxy->family == TNI_PROXY_INET ? 4 : 16;

	if (proxy->family == TNI_PROXY_UNIX) {
		memcpy(p, proxy->source.path, 108);
		memcpy(p + 108, proxy->target.path, 108);
	} else if (proxy->family != TNI_PROXY_UNSPEC) {
		memcpy(p, proxy->source.ip, ip);
		memcpy(p + ip, proxy->target.ip, ip);
		put16(p + 2 * ip, proxy->source.port);
		put16(p + 2 * ip + 2, proxy->target.port);
	}
}

long tni_proxy_put_tlv(unsigned char *out, size_t cap, size_t at, unsigned type, const void *value, size_t len)
{
	if (len > UINT16_MAX || at > cap || cap - at < 3 + len)
		return tni_err(TN_ETOOBIG, "a TLV of the PROXY header has no room");
	out[at] = (unsigned char)type;
	put16(out + at + 1, (unsigned)len);
	if (len)
		memcpy(out + at + 3, value, len);
	return (long)(at + 3 + len);
}

long tni_proxy_write(const struct tni_proxy *proxy, bool checksum, unsigned char *out, size_t cap)
{
	size_t addresses = addresses_len(proxy->family), len;

	if (proxy->version == 1)
		return write_v1(proxy, out, cap);
	len = TNI_PROXY_V2_MIN + addresses + proxy->tlvs_len + (checksum ? 7 : 0);
	if (len > cap || len > TNI_PROXY_V2_MAX)
		return tni_err(TN_ETOOBIG, "the PROXY header has no room");
	memcpy(out, signature, sizeof(signature));
	out[12] = proxy->local ? 0x20 : 0x21;
	out[13] =
		proxy->family == TNI_PROXY_UNSPEC ? 0 : (unsigned char)(proxy->family << 4 | (proxy->datagram ? 2 : 1));
	put16(out + 14, (unsigned)(len - TNI_PROXY_V2_MIN));
	put_addresses(proxy, out + TNI_PROXY_V2_MIN);
	if (proxy->tlvs_len)
		memcpy(out + TNI_PROXY_V2_MIN + addresses, proxy->tlvs, proxy->tlvs_len);
	if (checksum) {
		(void)tni_proxy_put_tlv(out, cap, len - 7, TN_PROXY_CRC32C, "\0\0\0\0", 4);
		put32(out + len - 4, crc32c(out, len, len - 4));
	}
	return (long)len;
}

/* ---- layers ---- */

struct reader {
	struct tni_layer layer;
	struct tni_header header;
};

static int reader_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct reader *r = tni_container_of(layer, struct reader, layer);
	size_t len = in->len < TNI_PROXY_V2_MAX ? in->len : TNI_PROXY_V2_MAX;
	unsigned char *data, *copy;
	struct tni_proxy proxy;
	long n;

	(void)out, (void)net, (void)max;
	if (!len)
		return 0;
	data = tni_buf_pullup(in, len);
	if (!data)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	n = tni_proxy_read(&proxy, data, len);
	if (n <= 0)
		return (int)n;
	copy = malloc((size_t)n);
	if (!copy)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	memcpy(copy, data, (size_t)n);
	r->header = (struct tni_header){.data = copy, .len = (size_t)n};
	tni_buf_consume(in, (size_t)n);
	layer->open = layer->done = true;
	return 0;
}

struct sender {
	struct tni_layer layer;
	size_t len;
	unsigned char header[];
};

static int sender_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct sender *s = tni_container_of(layer, struct sender, layer);

	if (tni_buf_append(net, s->header, s->len, false) < 0)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	layer->open = layer->done = true;
	return 0;
}

/* Never reached: a layer that is done is not asked any more. */
static int sender_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	(void)layer, (void)net, (void)max;
	return tni_buf_move(out, in, in->len) < 0 ? tni_err(-ENOMEM, "PROXY header: out of memory") : 0;
}

static int down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	(void)layer, (void)max;
	return tni_buf_move(net, in, in->len) < 0 ? tni_err(-ENOMEM, "PROXY header: out of memory") : 0;
}

static int shut(struct tni_layer *layer, struct tn_buf *net)
{
	(void)layer, (void)net;
	return 0;
}

static int cut(struct tni_layer *layer)
{
	(void)layer;
	return tni_err(TN_EFORMAT, "a PROXY header is expected, and the peer has ended before it was whole");
}

static int reader_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	const struct reader *r = tni_container_of((struct tni_layer *)(uintptr_t)layer, struct reader, layer);

	if (what != TNI_ASK_PROXY)
		return -EOPNOTSUPP;
	*(struct tni_header *)answer = r->header;
	return r->header.data ? 0 : -EAGAIN;
}

static void reader_free(struct tni_layer *layer)
{
	struct reader *r = tni_container_of(layer, struct reader, layer);

	free((void *)(uintptr_t)r->header.data);
	free(r);
}

static void sender_free(struct tni_layer *layer)
{
	free(tni_container_of(layer, struct sender, layer));
}

static const struct tni_layer_ops reader_ops = {
	.name = "PROXY header",
	.opening = "PROXY header",
	.up = reader_up,
	.down = down,
	.shut = shut,
	.cut = cut,
	.query = reader_query,
	.free = reader_free,
};

static const struct tni_layer_ops sender_ops = {
	.name = "PROXY header",
	.opening = "PROXY header",
	.open = sender_open,
	.up = sender_up,
	.down = down,
	.shut = shut,
	.cut = cut,
	.free = sender_free,
};

int tni_proxy_reader(struct tni_layer **out)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	r->layer.ops = &reader_ops;
	*out = &r->layer;
	return 0;
}

int tni_proxy_sender(const unsigned char *header, size_t len, struct tni_layer **out)
{
	struct sender *s = calloc(1, sizeof(*s) + len);

	if (!s)
		return tni_err(-ENOMEM, "PROXY header: out of memory");
	s->layer.ops = &sender_ops;
	s->len = len;
	memcpy(s->header, header, len);
	*out = &s->layer;
	return 0;
}
