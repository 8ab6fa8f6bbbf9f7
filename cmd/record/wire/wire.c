#include "wire.h"

#include <string.h>

enum { TCP = 6, UDP = 17 };

static void put16(unsigned char *at, unsigned value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static void put32(unsigned char *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

/* RFC 1071; the sum of words in any byte order, folded at the end. */
static uint64_t add_up(uint64_t sum, const void *data, size_t len)
{
	const unsigned char *at = data;
	uint64_t words[4], low[4] = {0}, high[4] = {0};
	uint32_t word;
	uint16_t rest = 0;

	for (; len >= sizeof(words); at += sizeof(words), len -= sizeof(words)) { /* the compiler does all at a time */
		memcpy(words, at, sizeof(words));
		for (int i = 0; i < 4; i++) {
			low[i] += words[i] & UINT32_MAX;
			high[i] += words[i] >> 32;
		}
	}
	for (int i = 0; i < 4; i++)
		sum += low[i] + high[i];
	for (; len >= 4; at += 4, len -= 4) {
		memcpy(&word, at, 4);
		sum += word;
	}
	if (len >= 2) {
		memcpy(&rest, at, 2);
		sum += rest;
		at += 2;
		len -= 2;
	}
	rest = 0;
	if (len)
		memcpy(&rest, at, 1);
	return sum + rest;
}

/* As it stands in memory. */
static uint16_t folded(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void wire_make_up(struct wire *wire, uint64_t number)
{
	static const unsigned char server[4] = {127, 0, 0, 1};
	const uint64_t ports = 65535 - 1024;
	const unsigned char client[4] = {127, (unsigned char)(1 + number / ports / 256 % 254),
					 (unsigned char)(number / ports), 2};

	wire->ip = 4;
	memcpy(wire->addr[WIRE_CLIENT], client, 4);
	memcpy(wire->addr[WIRE_SERVER], server, 4);
	wire->port[WIRE_CLIENT] = (uint16_t)(1024 + number % ports);
	wire->port[WIRE_SERVER] = 1;
}

static size_t put_ip(const struct wire *wire, int from, size_t len, unsigned char *out)
{
	unsigned proto = wire->datagrams ? UDP : TCP;
	size_t alen = wire->ip == 4 ? 4 : 16, head = wire->ip == 4 ? 20 : 40;
	unsigned char *addrs = out + head - 2 * alen;
	uint16_t sum;

	memset(out, 0, head);
	memcpy(addrs, wire->addr[from], alen);
	memcpy(addrs + alen, wire->addr[!from], alen);
	if (wire->ip == 4) {
		out[0] = 0x45;
		put16(out + 2, (unsigned)(head + len));
		out[6] = 0x40; /* not to be fragmented */
		out[8] = 64;
		out[9] = (unsigned char)proto;
		sum = folded(add_up(0, out, head));
		memcpy(out + 10, &sum, 2);
	} else {
		out[0] = 0x60;
		put16(out + 4, (unsigned)len);
		out[6] = (unsigned char)proto;
		out[7] = 64;
	}
	return head;
}

size_t wire_head(struct wire *wire, int from, unsigned flags, const void *data, size_t len, unsigned char *out)
{
	size_t own = wire->datagrams ? 8 : 20, alen = wire->ip == 4 ? 4 : 16;
	size_t ip = put_ip(wire, from, own + len, out);
	unsigned char *head = out + ip, pseudo[8] = {0};
	uint16_t sum;

	memset(head, 0, own);
	put16(head, wire->port[from]);
	put16(head + 2, wire->port[!from]);
	if (wire->datagrams) {
		put16(head + 4, (unsigned)(own + len));
	} else {
		put32(head + 4, wire->seq[from]);
		put32(head + 8, flags & WIRE_ACK ? wire->seq[!from] : 0);
		head[12] = 0x50;
		head[13] = (unsigned char)flags;
		put16(head + 14, 65535);
		wire->seq[from] += (uint32_t)len + ((flags & WIRE_SYN) != 0) + ((flags & WIRE_FIN) != 0);
	}
	put32(pseudo, (uint32_t)(own + len));
	pseudo[7] = wire->datagrams ? UDP : TCP;
	sum = folded(add_up(add_up(add_up(add_up(0, out + ip - 2 * alen, 2 * alen), pseudo, 8), head, own), data, len));
	if (wire->datagrams && !sum)
		sum = 0xffff;
	memcpy(head + (wire->datagrams ? 6 : 16), &sum, 2);
	return ip + own;
}
