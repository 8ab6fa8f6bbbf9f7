/*
 * One packet, taken apart: link, network and transport in one struct. Nothing a packet says about its own lengths is
 * trusted: every pointer here points to captured bytes, and what was not captured or cannot be true is said.
 */
#ifndef PACKET_PACKET_H
#define PACKET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Link types, by the numbers that stand in capture files (LINKTYPE_...). */
enum {
	LINK_NULL = 0,
	LINK_ETHERNET = 1,
	LINK_RAW_BSD = 12, /* DLT_RAW, which some wrote into files */
	LINK_RAW_OPENBSD = 14,
	LINK_RAW = 101,
	LINK_LOOP = 108,
	LINK_SLL = 113,
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_SLL2 = 276,
};

enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_ARP_ = 0x0806, ETHERTYPE_IP6 = 0x86dd };

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };

enum tcp_flag {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_PSH = 8,
	TCP_ACK = 16,
	TCP_URG = 32,
	TCP_ECE = 64,
	TCP_CWR = 128
};

/* How far it could be taken apart. */
enum packet_kind {
	PACKET_OTHER, /* no further than the link: `ethertype` says what it carries, if anything does */
	PACKET_ARP,
	PACKET_IP, /* no further than IP: `proto` says what it carries */
	PACKET_TCP,
	PACKET_UDP,
	PACKET_ICMP,
	PACKET_ICMP6,
};

enum packet_ext { EXT_HOP = 1, EXT_ROUTING = 2, EXT_FRAGMENT = 4, EXT_DESTINATION = 8, EXT_AUTH = 16, EXT_OTHER = 32 };

struct packet {
	/* As captured, link header first: `caplen` bytes of the `len` that were on the wire */
	const unsigned char *data;
	uint32_t caplen, len;
	uint16_t link;
	uint8_t kind; /* enum packet_kind */

	uint8_t nvlans; /* how many of `vlan` are set; the outer one first */
	uint16_t vlan[2];
	uint16_t ethertype;                     /* what the link carries, VLAN tags taken off; 0: it does not say */
	uint8_t cooked;                         /* 1 + the packet type of Linux's cooked header; 0: it has none */
	uint8_t ip;                             /* 4, 6, or 0: no IP */
	uint32_t ifindex;                       /* cooked v2: the interface, by its number there; 0: not told */
	const unsigned char *mac_dst, *mac_src; /* 6 bytes each; NULL: not there */
	const unsigned char *src, *dst;         /* IP: 4 or 16 bytes; ARP for IPv4: the 4 bytes of sender and target */
	const unsigned char *arp_hard;          /* ARP: the sender's hardware address, 6 bytes */
	uint16_t arp_op;
	uint8_t ttl, tos, proto, ext; /* ext: extension headers seen (enum packet_ext) */
	bool fragment, more_fragments;
	uint32_t fragment_id, fragment_at;
	const unsigned char
		*ip_data; /* what IP carries: ip_cap bytes captured of ip_len; NULL: nothing is known of it */
	uint32_t ip_len, ip_cap;

	bool ports;         /* sport and dport are known, which they may be though the header is cut */
	uint8_t flags;      /* enum tcp_flag */
	uint8_t type, code; /* ICMP */
	uint8_t options_len;
	uint16_t sport, dport, window, urgent;
	uint32_t seq, ack; /* TCP; ICMP echo: seq, and the identifier in ack */
	const unsigned char *options;

	/* What the innermost header that was understood carries: payload_cap bytes captured of payload_len */
	const unsigned char *payload;
	uint32_t payload_len, payload_cap;

	const char *cut; /* the header that was not captured as a whole, or NULL */
	const char *bad; /* what cannot be true, or NULL */
};

/* Takes a packet apart. Every member is set; `data` must stay where it is for as long as `packet` is used. */
void packet_decode(struct packet *packet, unsigned link, const void *data, uint32_t caplen, uint32_t len);

/* The same for what begins with an IP header, such as the packet that an ICMP error quotes. */
void packet_decode_ip(struct packet *packet, const void *data, uint32_t caplen, uint32_t len);

enum {
	TCPOPT_END_ = 0,
	TCPOPT_NOP_ = 1,
	TCPOPT_MSS = 2,
	TCPOPT_WSCALE = 3,
	TCPOPT_SACKOK = 4,
	TCPOPT_SACK_ = 5,
	TCPOPT_TS = 8
};

struct tcp_option {
	uint8_t kind, len; /* len: of `data` */
	const unsigned char *data;
};

/*
 * The option at `*at` (0 at first), which moves on behind it. 1; 0: there are no more; -1: its length cannot be true.
 */
int packet_tcp_option(const struct packet *packet, unsigned *at, struct tcp_option *option);

static inline uint16_t be16(const unsigned char *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
