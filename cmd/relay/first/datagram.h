/* The header of SOCKS5 in front of each datagram that goes through a proxy (RFC 1928 7). Pure. */
#ifndef TENON_RELAY_DATAGRAM_H
#define TENON_RELAY_DATAGRAM_H

#include <stddef.h>

#define DATAGRAM_HEADER_MAX 22 /* of those that are written */

/*
 * Reads the header in front of a datagram: where it goes. `host` has room for `cap` bytes (256 are enough) and becomes
 * a name, as it stands there, or an address without brackets. Returns its length, or -1: it is none, or the datagram is
 * a fragment, of which there are none here.
 */
long datagram_read(const unsigned char *data, size_t len, char *host, size_t cap, int *port);

/* Writes the header of a datagram that has come from an address of 4 or 16 bytes. Returns its length. */
size_t datagram_write(unsigned char out[DATAGRAM_HEADER_MAX], const unsigned char *ip, size_t ip_len, int port);

#endif
