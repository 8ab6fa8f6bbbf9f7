#include "packet.h"

#include <string.h>

#define VLAN_TAGS_MAX 8 /* more are not used in practice; a packet made of tags must not keep us busy */
#define EXT_HEADERS_MAX 16

/* What is left of the packet, from the header that comes next. */
struct rest {
	const unsigned char *at;
	uint32_t cap, len; /* captured, on the wire */
};

static void skip(struct rest *rest, uint32_t bytes)
{
	rest->at += bytes;
	rest->cap -= bytes;
	rest->len -= bytes;
}

/* A header says how long all is that it heads: what lies behind is padding. */
static void limit(struct rest *rest, uint32_t len)
{
	rest->len = len;
	if (rest->cap > len)
		rest->cap = len;
}

/* Whether `bytes` were captured; if not, says whose header is missing. */
static bool has(struct packet *p, const struct rest *rest, uint32_t bytes, const char *whose)
{
	if (rest->cap >= bytes)
		return true;
	if (rest->len < bytes)
		p->bad = "the packet ends inside a header";
	p->cut = whose;
	return false;
}

static void carry(struct packet *p, const struct rest *rest)
{
	p->payload = rest->at;
	p->payload_len = rest->len;
	p->payload_cap = rest->cap;
}

/* ---- transport ---- */

static void take_ports(struct packet *p, const struct rest *rest)
{
	if (rest->cap < 4)
		return;
	p->ports = true;
	p->sport = be16(rest->at);
	p->dport = be16(rest->at + 2);
}

static void decode_tcp(struct packet *p, struct rest rest)
{
	uint32_t head;

	take_ports(p, &rest);
	if (!has(p, &rest, 20, "tcp"))
		return;
	p->seq = be32(rest.at + 4);
	p->ack = be32(rest.at + 8);
	p->flags = rest.at[13];
	p->window = be16(rest.at + 14);
	p->urgent = be16(rest.at + 18);
	head = (rest.at[12] >> 4) * 4U;
	if (head < 20 || head > rest.len) {
		p->bad = "tcp: the header's length cannot be true";
		return;
	}
	p->kind = PACKET_TCP;
	p->options = rest.at + 20;
	skip(&rest, 20);
	head -= 20;
	if (head > rest.cap) { /* what options there are, and nothing behind them */
		p->cut = "tcp options";
		p->options_len = (uint8_t)rest.cap;
		rest.at += rest.cap;
		rest.cap = 0;
		rest.len -= head;
	} else {
		p->options_len = (uint8_t)head;
		skip(&rest, head);
	}
	carry(p, &rest);
}

static void decode_udp(struct packet *p, struct rest rest)
{
	uint32_t len;

	take_ports(p, &rest);
	if (!has(p, &rest, 8, "udp"))
		return;
	p->kind = PACKET_UDP;
	len = be16(rest.at + 4);
	skip(&rest, 8);
	if (len >= 8 && len - 8 <= rest.len)
		limit(&rest, len - 8);
	else if (len != 0 && !p->fragment) /* 0: a jumbogram, or one that the card has still to cut */
		p->bad = "udp: the length cannot be true";
	carry(p, &rest);
}

static bool is_echo(const struct packet *p)
{
	return p->kind == PACKET_ICMP ? p->type == 8 || p->type == 0 : p->type == 128 || p->type == 129;
}

static void decode_icmp(struct packet *p, struct rest rest, enum packet_kind kind)
{
	if (!has(p, &rest, 4, "icmp"))
		return;
	p->kind = (uint8_t)kind;
	p->type = rest.at[0];
	p->code = rest.at[1];
	if (rest.cap >= 8 && is_echo(p)) {
		p->ack = be16(rest.at + 4);
		p->seq = be16(rest.at + 6);
	}
	carry(p, &rest);
}

static void decode_transport(struct packet *p, struct rest rest)
{
	carry(p, &rest);
	p->ip_data = rest.at;
	p->ip_len = rest.len;
	p->ip_cap = rest.cap;
	if (p->fragment_at > 0)
		return; /* what stands here is the middle of something */
	if (p->proto == PROTO_TCP)
		decode_tcp(p, rest);
	else if (p->proto == PROTO_UDP)
		decode_udp(p, rest);
	else if (p->proto == PROTO_ICMP && p->ip == 4)
		decode_icmp(p, rest, PACKET_ICMP);
	else if (p->proto == PROTO_ICMP6 && p->ip == 6)
		decode_icmp(p, rest, PACKET_ICMP6);
}

/* ---- network ---- */

static void decode_ip4(struct packet *p, struct rest rest)
{
	uint32_t head, total, fragment;

	carry(p, &rest);
	if (!has(p, &rest, 20, "ip"))
		return;
	head = (rest.at[0] & 15) * 4U;
	total = be16(rest.at + 2);
	fragment = be16(rest.at + 6);
	if (rest.at[0] >> 4 != 4 || head < 20) {
		p->bad = "ip: neither version nor header length can be true";
		return;
	}
	p->ip = 4;
	p->kind = PACKET_IP;
	p->tos = rest.at[1];
	p->ttl = rest.at[8];
	p->proto = rest.at[9];
	p->src = rest.at + 12;
	p->dst = rest.at + 16;
	p->fragment_id = be16(rest.at + 4);
	p->fragment_at = (fragment & 0x1fff) * 8;
	p->more_fragments = fragment & 0x2000;
	p->fragment = p->more_fragments || p->fragment_at;
	if (total == 0)
		total = rest.len; /* handed to a card that cuts it into packets */
	if (total > rest.len)
		p->bad = "ip: says that it is longer than the packet";
	else if (total < head)
		p->bad = "ip: says that it is shorter than its own header";
	else
		limit(&rest, total);
	if (head > rest.len || !has(p, &rest, head, "ip options"))
		return;
	skip(&rest, head);
	decode_transport(p, rest);
}

/* Returns the header's length, or 0 for what is none: then `next` is the protocol carried. */
static uint32_t ext_length(unsigned next, const unsigned char *at)
{
	switch (next) {
	case 0:   /* hop by hop */
	case 43:  /* routing */
	case 60:  /* destination */
	case 135: /* mobility */
	case 139: /* host identity */
	case 140: /* shim6 */
		return (at[1] + 1U) * 8;
	case 44:
		return 8;
	case 51:
		return (at[1] + 2U) * 4;
	default:
		return 0;
	}
}

static void note_ext(struct packet *p, unsigned next, const unsigned char *at)
{
	p->ext |= next == 0    ? EXT_HOP
		  : next == 43 ? EXT_ROUTING
		  : next == 44 ? EXT_FRAGMENT
		  : next == 60 ? EXT_DESTINATION
		  : next == 51 ? EXT_AUTH
			       : EXT_OTHER;
	if (next != 44)
		return;
	p->fragment_at = be16(at + 2) & 0xfff8U;
	p->more_fragments = at[3] & 1;
	p->fragment = p->more_fragments || p->fragment_at;
	p->fragment_id = be32(at + 4);
}

static void decode_ip6(struct packet *p, struct rest rest)
{
	uint32_t len, head;
	unsigned next;

	carry(p, &rest);
	if (!has(p, &rest, 40, "ip6"))
		return;
	if (rest.at[0] >> 4 != 6) {
		p->bad = "ip6: the version is not 6";
		return;
	}
	p->ip = 6;
	p->kind = PACKET_IP;
	p->tos = (uint8_t)(be16(rest.at) >> 4);
	p->ttl = rest.at[7];
	p->src = rest.at + 8;
	p->dst = rest.at + 24;
	len = be16(rest.at + 4);
	next = rest.at[6];
	skip(&rest, 40);
	if (len > rest.len)
		p->bad = "ip6: says that it is longer than the packet";
	else if (len > 0) /* 0: a jumbogram, or one that the card has still to cut */
		limit(&rest, len);
	for (unsigned n = 0; p->fragment_at == 0 && rest.cap >= 8; n++) {
		head = ext_length(next, rest.at);
		if (head == 0)
			break;
		if (n == EXT_HEADERS_MAX) {
			p->bad = "ip6: more extension headers than make sense";
			break;
		}
		p->proto = (uint8_t)next;
		if (head > rest.len)
			p->bad = "ip6: an extension header is longer than the packet";
		if (head > rest.len || !has(p, &rest, head, "ip6 extension header"))
			break;
		note_ext(p, next, rest.at);
		next = rest.at[0];
		skip(&rest, head);
	}
	p->proto = (uint8_t)next;
	decode_transport(p, rest);
}

static void decode_arp(struct packet *p, struct rest rest)
{
	carry(p, &rest);
	if (!has(p, &rest, 8, "arp"))
		return;
	p->kind = PACKET_ARP;
	p->arp_op = be16(rest.at + 6);
	/* Ethernet's six bytes and IPv4's four; others exist on paper */
	if (rest.at[4] != 6 || rest.at[5] != 4 || be16(rest.at + 2) != ETHERTYPE_IP4 || !has(p, &rest, 28, "arp"))
		return;
	p->arp_hard = rest.at + 8;
	p->src = rest.at + 14;
	p->dst = rest.at + 24;
}

/* ---- link ---- */

static bool is_vlan(unsigned ethertype)
{
	return ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100 || ethertype == 0x9200;
}

static void decode_ethertype(struct packet *p, struct rest rest, uint16_t ethertype)
{
	for (unsigned n = 0; is_vlan(ethertype) && n < VLAN_TAGS_MAX; n++) {
		if (!has(p, &rest, 4, "vlan"))
			break;
		if (p->nvlans < 2)
			p->vlan[p->nvlans++] = be16(rest.at) & 0xfff;
		ethertype = be16(rest.at + 2);
		skip(&rest, 4);
	}
	p->ethertype = ethertype;
	carry(p, &rest);
	if (ethertype == ETHERTYPE_IP4)
		decode_ip4(p, rest);
	else if (ethertype == ETHERTYPE_IP6)
		decode_ip6(p, rest);
	else if (ethertype == ETHERTYPE_ARP_)
		decode_arp(p, rest);
}

static void decode_ethernet(struct packet *p, struct rest rest)
{
	uint16_t ethertype;

	if (!has(p, &rest, 14, "ethernet"))
		return;
	p->mac_dst = rest.at;
	p->mac_src = rest.at + 6;
	ethertype = be16(rest.at + 12);
	skip(&rest, 14);
	if (ethertype >= 1536)
		decode_ethertype(p, rest, ethertype);
	else /* 802.3: a length, and LLC behind it */
		carry(p, &rest);
}

/* Linux's cooked headers: what any interface can give, the sender's address alone among it. */
static void decode_cooked(struct packet *p, struct rest rest, bool second)
{
	uint32_t head = second ? 20 : 16;
	unsigned hatype, halen;
	uint16_t ethertype;

	if (!has(p, &rest, head, "cooked"))
		return;
	ethertype = be16(rest.at + (second ? 0 : 14));
	hatype = be16(rest.at + (second ? 8 : 2));
	halen = second ? rest.at[11] : be16(rest.at + 4);
	p->cooked = (uint8_t)(1 + (second ? rest.at[10] : rest.at[1] & 0x7f));
	p->ifindex = second ? be32(rest.at + 4) : 0;
	if (halen == 6)
		p->mac_src = rest.at + (second ? 12 : 6);
	skip(&rest, head);
	if (hatype == 824 || ethertype < 1536) /* netlink; LLC and other things of no ethertype */
		carry(p, &rest);
	else
		decode_ethertype(p, rest, ethertype);
}

static void decode_family(struct packet *p, struct rest rest)
{
	uint32_t family;

	if (!has(p, &rest, 4, "loopback"))
		return;
	family = be32(rest.at);
	if (family > 0xffff) /* in the byte order of whatever machine it was */
		family = __builtin_bswap32(family);
	skip(&rest, 4);
	/* AF_INET6 has a number of its own in every BSD, in Linux and in Darwin */
	if (family == 2)
		decode_ethertype(p, rest, ETHERTYPE_IP4);
	else if (family == 10 || family == 24 || family == 28 || family == 30)
		decode_ethertype(p, rest, ETHERTYPE_IP6);
	else
		carry(p, &rest);
}

static void decode_version(struct packet *p, struct rest rest)
{
	unsigned version;

	if (!has(p, &rest, 1, "ip"))
		return;
	version = rest.at[0] >> 4;
	if (version == 4 || version == 6)
		decode_ethertype(p, rest, version == 4 ? ETHERTYPE_IP4 : ETHERTYPE_IP6);
	else
		p->bad = "ip: the version is neither 4 nor 6";
}

static struct rest begin(struct packet *p, const void *data, uint32_t caplen, uint32_t len)
{
	struct rest rest = {.at = data, .cap = caplen, .len = len > caplen ? len : caplen};

	memset(p, 0, sizeof(*p));
	p->data = data;
	p->caplen = caplen;
	p->len = rest.len;
	carry(p, &rest);
	return rest;
}

void packet_decode(struct packet *p, unsigned link, const void *data, uint32_t caplen, uint32_t len)
{
	struct rest rest = begin(p, data, caplen, len);

	p->link = (uint16_t)link;
	switch (link) {
	case LINK_ETHERNET:
		decode_ethernet(p, rest);
		break;
	case LINK_SLL:
	case LINK_SLL2:
		decode_cooked(p, rest, link == LINK_SLL2);
		break;
	case LINK_NULL:
	case LINK_LOOP:
		decode_family(p, rest);
		break;
	case LINK_IPV4:
	case LINK_IPV6:
		decode_ethertype(p, rest, link == LINK_IPV4 ? ETHERTYPE_IP4 : ETHERTYPE_IP6);
		break;
	case LINK_RAW:
	case LINK_RAW_BSD:
	case LINK_RAW_OPENBSD:
		decode_version(p, rest);
		break;
	default:
		break;
	}
}

void packet_decode_ip(struct packet *p, const void *data, uint32_t caplen, uint32_t len)
{
	struct rest rest = begin(p, data, caplen, len);

	p->link = LINK_RAW;
	decode_version(p, rest);
}

int packet_tcp_option(const struct packet *p, unsigned *at, struct tcp_option *option)
{
	const unsigned char *o = p->options;
	unsigned left;

	while (*at < p->options_len && o[*at] == TCPOPT_NOP_)
		++*at;
	if (*at >= p->options_len || o[*at] == TCPOPT_END_)
		return 0;
	left = p->options_len - *at;
	if (left < 2 || o[*at + 1] < 2 || o[*at + 1] > left)
		return -1;
	*option = (struct tcp_option){.kind = o[*at], .len = (uint8_t)(o[*at + 1] - 2), .data = o + *at + 2};
	*at += o[*at + 1];
	return 1;
}
