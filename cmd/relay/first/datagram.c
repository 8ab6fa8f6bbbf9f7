#include "datagram.h"

#include <stdio.h>
#include <string.h>

enum { IPV4 = 1, NAME = 3, IPV6 = 4 };

/* Where the address begins: behind two bytes that are 0, the fragment's number and the kind of address. */
#define ADDRESS_AT 4

static size_t address_len(const unsigned char *data)
{
	switch (data[3]) {
	case IPV4:
		return 4;
	case IPV6:
		return 16;
	case NAME:
		return 1 + (size_t)data[ADDRESS_AT];
	default:
		return 0;
	}
}

static void write_host(const unsigned char *data, size_t len, char *host, size_t cap)
{
	const unsigned char *ip = data + ADDRESS_AT;
	size_t at = 0;

	if (data[3] == NAME)
		snprintf(host, cap, "%.*s", (int)len - 1, (const char *)ip + 1);
	else if (data[3] == IPV4)
		snprintf(host, cap, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
	for (size_t i = 0; data[3] == IPV6 && i < 16 && at < cap; i += 2)
		at += (size_t)snprintf(host + at, cap - at, "%s%x", i ? ":" : "", (unsigned)(ip[i] << 8 | ip[i + 1]));
}

long datagram_read(const unsigned char *data, size_t len, char *host, size_t cap, int *port)
{
	size_t address, whole;

	if (len <= ADDRESS_AT || data[0] || data[1] || data[2])
		return -1;
	address = address_len(data);
	whole = ADDRESS_AT + address + 2;
	if (!address || len < whole || (data[3] == NAME && (address == 1 || address > cap)) ||
	    (data[3] == NAME && memchr(data + ADDRESS_AT + 1, '\0', address - 1)))
		return -1;
	write_host(data, address, host, cap);
	*port = data[whole - 2] << 8 | data[whole - 1];
	return (long)whole;
}

size_t datagram_write(unsigned char out[DATAGRAM_HEADER_MAX], const unsigned char *ip, size_t ip_len, int port)
{
	memset(out, 0, 3);
	out[3] = ip_len == 4 ? IPV4 : IPV6;
	memcpy(out + ADDRESS_AT, ip, ip_len);
	out[ADDRESS_AT + ip_len] = (unsigned char)(port >> 8);
	out[ADDRESS_AT + ip_len + 1] = (unsigned char)port;
	return ADDRESS_AT + ip_len + 2;
}
