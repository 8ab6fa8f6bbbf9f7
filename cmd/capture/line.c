/* A packet as one line for people. Written for captures of gigabytes: no printf, no copy, one big buffer. */
#include "line.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/paint.h"
#include "common/emit.h"
#include "packet/packet.h"
#include "relative.h"
#include "sink.h"
#include "tenon.h"
#include "tenon_value.h"

#define QUARTER 900 /* seconds within which no local time changes its offset */

/* ---- how it looks ---- */

static struct {
	bool colours;
	unsigned columns;
	struct relative *relative;
	enum line_clock clock;
	uint32_t sack_base; /* of the packet at hand */
	bool stamps;        /* whether TCP's time stamps are shown */
} style;

void line_style(bool colours, unsigned columns, struct relative *relative)
{
	style.colours = colours;
	style.columns = columns;
	style.relative = relative;
}

char *line_paint(char *p, int paint)
{
	return style.colours ? emit_text(p, paint_code(STDOUT_FILENO, (enum paint)paint)) : p;
}

#define CONTINUED "    "

/* Breaks a line at its blanks where it is too wide for the terminal. Colours take no room. Returns its new end. */
static char *wrap(char *line, char *end, char *most)
{
	unsigned column = 0;
	char *blank = NULL;

	for (char *p = line; p < end; p++) {
		if (*p == '\033') {
			while (p < end && *p != 'm')
				p++;
			continue;
		}
		column += ((unsigned char)*p & 0xc0) != 0x80;
		if (*p == ' ' && column > sizeof(CONTINUED))
			blank = p;
		if (column <= style.columns || !blank || end + sizeof(CONTINUED) > most)
			continue;
		memmove(blank + sizeof(CONTINUED), blank + 1, (size_t)(end - blank - 1));
		memcpy(blank, "\n" CONTINUED, sizeof(CONTINUED));
		end += sizeof(CONTINUED) - 1;
		p = blank + sizeof(CONTINUED) - 1;
		column = sizeof(CONTINUED) - 1;
		blank = NULL;
	}
	return end;
}

/* ---- parts ---- */

static char *fraction(char *p, uint64_t ns, bool nanoseconds)
{
	*p++ = '.';
	return nanoseconds ? emit_padded(p, (uint32_t)(ns % NS_PER_S), 9)
			   : emit_padded(p, (uint32_t)(ns % NS_PER_S / NS_PER_US), 6);
}

/* Hours, minutes and seconds, behind the date where it is wanted. */
static char *time_of_day(char *p, uint64_t ns)
{
	static time_t quarter = -1;
	static unsigned base; /* seconds since midnight when the quarter began */
	static char date[16];
	bool dated = style.clock == LINE_DATE || style.clock == LINE_UTC;
	time_t now = (time_t)(ns / NS_PER_S);
	unsigned second;

	if (now / QUARTER != quarter) {
		time_t start = now / QUARTER * QUARTER;
		struct tm tm;

		quarter = now / QUARTER;
		if (style.clock == LINE_UTC)
			gmtime_r(&start, &tm);
		else
			localtime_r(&start, &tm);
		base = (unsigned)(tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
		strftime(date, sizeof(date), "%Y-%m-%d ", &tm);
	}
	second = (base + (unsigned)(now % QUARTER)) % 86400;
	if (dated)
		p = emit_text(p, date);
	p = emit_2(p, second / 3600);
	*p++ = ':';
	p = emit_2(p, second / 60 % 60);
	*p++ = ':';
	return emit_2(p, second % 60);
}

/* Since an earlier time, which may be a later one. */
static char *time_since(char *p, uint64_t ns, uint64_t since, bool nanoseconds)
{
	uint64_t passed = ns >= since ? ns - since : since - ns;

	if (ns < since)
		*p++ = '-';
	return fraction(emit_number(p, passed / NS_PER_S), passed, nanoseconds);
}

void line_times(enum line_clock clock)
{
	style.clock = clock;
}

char *line_time(char *p, uint64_t ns, bool nanoseconds)
{
	static uint64_t first, last;
	static bool begun;
	uint64_t before;

	if (!begun)
		first = last = ns;
	begun = true;
	before = last;
	last = ns;
	switch (style.clock) {
	case LINE_NONE:
		return p;
	case LINE_EPOCH:
		return fraction(emit_number(p, ns / NS_PER_S), ns, nanoseconds);
	case LINE_DELTA:
		return time_since(p, ns, before, nanoseconds);
	case LINE_RELATIVE:
		return time_since(p, ns, first, nanoseconds);
	case LINE_UTC:
		p = fraction(time_of_day(p, ns), ns, nanoseconds);
		return EMIT(p, "Z");
	default:
		return fraction(time_of_day(p, ns), ns, nanoseconds);
	}
}

char *line_gap(char *p)
{
	if (style.clock != LINE_NONE)
		*p++ = ' ';
	return p;
}

char *line_endpoint(char *p, unsigned ip, const unsigned char *addr, bool has_port, uint16_t port)
{
	if (ip == 4) {
		p = emit_ip4(p, addr);
	} else if (has_port) {
		*p++ = '[';
		p = emit_ip6(p, addr);
		*p++ = ']';
	} else {
		p = emit_ip6(p, addr);
	}
	if (has_port) {
		*p++ = ':';
		p = emit_number(p, port);
	}
	return p;
}

char *line_flags(char *p, unsigned flags)
{
	static const char letters[] = "FSRPAUEC";
	static const unsigned char order[] = {TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ACK, TCP_URG, TCP_ECE, TCP_CWR};

	if (!flags)
		*p++ = '-';
	for (unsigned i = 0; i < sizeof(order); i++)
		if (flags & order[i])
			*p++ = letters[i];
	return p;
}

struct word {
	unsigned number;
	const char *text;
};

static const char *word_of(const struct word *words, unsigned number)
{
	while (words->text && words->number != number)
		words++;
	return words->text;
}

static char *word_or_number(char *p, const struct word *words, const char *what, unsigned number)
{
	const char *text = word_of(words, number);

	if (text)
		return emit_text(p, text);
	p = emit_text(p, what);
	return emit_number(p, number);
}

static const struct word icmp_types[] = {
	{0, "echo reply"},         {3, "unreachable"},          {4, "source quench"},        {5, "redirect"},
	{8, "echo request"},       {9, "router advertisement"}, {10, "router solicitation"}, {11, "time exceeded"},
	{12, "parameter problem"}, {13, "timestamp request"},   {14, "timestamp reply"},     {0}};
static const struct word icmp_unreachable[] = {{0, "net"},
					       {1, "host"},
					       {2, "protocol"},
					       {3, "port"},
					       {4, "fragmentation needed"},
					       {5, "source route failed"},
					       {9, "net prohibited"},
					       {10, "host prohibited"},
					       {13, "prohibited"},
					       {0}};
static const struct word icmp6_types[] = {{1, "unreachable"},
					  {2, "packet too big"},
					  {3, "time exceeded"},
					  {4, "parameter problem"},
					  {128, "echo request"},
					  {129, "echo reply"},
					  {130, "listener query"},
					  {131, "listener report"},
					  {132, "listener done"},
					  {133, "router solicitation"},
					  {134, "router advertisement"},
					  {135, "neighbour solicitation"},
					  {136, "neighbour advertisement"},
					  {137, "redirect"},
					  {143, "listener report v2"},
					  {0}};
static const struct word icmp6_unreachable[] = {
	{0, "no route"}, {1, "prohibited"},    {2, "beyond scope"},   {3, "address"},
	{4, "port"},     {5, "source policy"}, {6, "route rejected"}, {0}};

static bool icmp_quotes(const struct packet *p)
{
	return p->kind == PACKET_ICMP ? p->type == 3 || p->type == 4 || p->type == 5 || p->type == 11 || p->type == 12
				      : p->type >= 1 && p->type <= 4;
}

/* The packet that an error is about. */
static char *icmp_quote(char *p, const struct packet *packet)
{
	struct packet inner;

	if (!icmp_quotes(packet) || packet->payload_cap <= 8)
		return p;
	packet_decode_ip(&inner, packet->payload + 8, packet->payload_cap - 8, packet->payload_len - 8);
	if (!inner.ip)
		return p;
	p = EMIT(p, " (");
	p = emit_text(p, line_protocol(&inner));
	*p++ = ' ';
	p = line_endpoint(p, inner.ip, inner.src, inner.ports, inner.sport);
	p = EMIT(p, " > ");
	p = line_endpoint(p, inner.ip, inner.dst, inner.ports, inner.dport);
	*p++ = ')';
	return p;
}

static bool icmp_neighbour(const struct packet *p)
{
	return p->kind == PACKET_ICMP6 && (p->type == 135 || p->type == 136) && p->payload_cap >= 24;
}

char *line_icmp(char *p, const struct packet *packet)
{
	bool six = packet->kind == PACKET_ICMP6;
	bool echo = six ? packet->type == 128 || packet->type == 129 : packet->type == 8 || packet->type == 0;

	if (packet->type == (six ? 1 : 3))
		p = emit_text(word_or_number(p, six ? icmp6_unreachable : icmp_unreachable, "code ", packet->code),
			      " ");
	p = word_or_number(p, six ? icmp6_types : icmp_types, "type ", packet->type);
	if (echo) {
		p = emit_number(EMIT(p, " id "), packet->ack);
		p = emit_number(EMIT(p, " seq "), packet->seq);
	}
	if (icmp_neighbour(packet)) {
		*p++ = ' ';
		p = emit_ip6(p, packet->payload + 8);
	}
	return icmp_quote(p, packet);
}

static const struct word ip_protocols[] = {{PROTO_ICMP, "icmp"}, {2, "igmp"},
					   {4, "ip-in-ip"},      {PROTO_TCP, "tcp"},
					   {PROTO_UDP, "udp"},   {33, "dccp"},
					   {41, "ip6-in-ip"},    {46, "rsvp"},
					   {47, "gre"},          {50, "esp"},
					   {51, "ah"},           {PROTO_ICMP6, "icmp6"},
					   {59, "nothing"},      {88, "eigrp"},
					   {89, "ospf"},         {103, "pim"},
					   {108, "ipcomp"},      {112, "vrrp"},
					   {115, "l2tp"},        {132, "sctp"},
					   {136, "udplite"},     {0}};
static const struct word ethertypes[] = {{ETHERTYPE_IP4, "ip"},
					 {ETHERTYPE_ARP_, "arp"},
					 {ETHERTYPE_IP6, "ip6"},
					 {0x8035, "rarp"},
					 {0x8847, "mpls"},
					 {0x8863, "pppoe discovery"},
					 {0x8864, "pppoe"},
					 {0x888e, "eapol"},
					 {0x88cc, "lldp"},
					 {0x88e5, "macsec"},
					 {0x88f7, "ptp"},
					 {0x9000, "ethernet loopback"},
					 {0}};
static const struct word links[] = {{LINK_NULL, "loopback"},
				    {LINK_LOOP, "loopback"},
				    {LINK_ETHERNET, "ethernet"},
				    {LINK_RAW, "raw"},
				    {LINK_RAW_BSD, "raw"},
				    {LINK_RAW_OPENBSD, "raw"},
				    {LINK_SLL, "cooked"},
				    {LINK_SLL2, "cooked2"},
				    {LINK_IPV4, "ip4"},
				    {LINK_IPV6, "ip6"},
				    {0}};

const char *line_link(unsigned link)
{
	static char other[32];
	const char *text = word_of(links, link);

	if (text)
		return text;
	*emit_number(EMIT(other, "link "), link) = 0;
	return other;
}

const char *line_protocol(const struct packet *p)
{
	static char other[32];
	const char *text = p->ip ? word_of(ip_protocols, p->proto) : word_of(ethertypes, p->ethertype);

	if (!p->ip && !p->ethertype)
		text = p->mac_dst ? "llc" : "unknown";
	if (text)
		return text;
	if (p->ip)
		*emit_number(EMIT(other, "ip protocol "), p->proto) = 0;
	else
		*emit_hex(EMIT(other, "ethertype 0x"), p->ethertype, 4) = 0;
	return other;
}

/* ---- what each protocol says ---- */

static char *tcp_option(char *p, const struct tcp_option *o)
{
	*p++ = ' ';
	if (o->kind == TCPOPT_MSS && o->len == 2)
		return emit_number(EMIT(p, "mss "), be16(o->data));
	if (o->kind == TCPOPT_WSCALE && o->len == 1)
		return emit_number(EMIT(p, "ws "), o->data[0]);
	if (o->kind == TCPOPT_SACKOK && o->len == 0)
		return EMIT(p, "sackok");
	if (o->kind == TCPOPT_TS && o->len == 8) {
		p = emit_number(EMIT(p, "ts "), be32(o->data));
		*p++ = ':';
		return emit_number(p, be32(o->data + 4));
	}
	if (o->kind == TCPOPT_SACK_ && o->len % 8 == 0) {
		p = EMIT(p, "sack");
		for (unsigned i = 0; i < o->len; i += 8) {
			*p++ = ' ';
			p = emit_number(p, be32(o->data + i) - style.sack_base);
			*p++ = '-';
			p = emit_number(p, be32(o->data + i + 4) - style.sack_base);
		}
		return p;
	}
	return emit_number(EMIT(p, "option "), o->kind);
}

static char *tcp(char *p, const struct packet *packet)
{
	struct tcp_option option;
	unsigned at = 0;
	int rc;

	*p++ = ' ';
	p = line_paint(p, packet->flags & (TCP_RST | TCP_FIN) ? PAINT_RED
			  : packet->flags & TCP_SYN           ? PAINT_GREEN
							      : PAINT_YELLOW);
	p = line_paint(line_flags(p, packet->flags), PAINT_NONE);
	p = emit_number(EMIT(p, " seq "), packet->seq);
	if (packet->flags & TCP_ACK)
		p = emit_number(EMIT(p, " ack "), packet->ack);
	p = emit_number(EMIT(p, " win "), packet->window);
	if (packet->flags & TCP_URG)
		p = emit_number(EMIT(p, " urg "), packet->urgent);
	p = emit_number(EMIT(p, " len "), packet->payload_len);
	while ((rc = packet_tcp_option(packet, &at, &option)) > 0)
		if (style.stamps || option.kind != TCPOPT_TS)
			p = tcp_option(p, &option);
	return rc < 0 && !packet->cut ? EMIT(p, " bad: tcp: an option's length cannot be true") : p;
}

static char *arp(char *p, const struct packet *packet)
{
	if (!packet->arp_hard)
		return emit_number(EMIT(p, "arp operation "), packet->arp_op);
	if (packet->arp_op == 1) {
		p = emit_ip4(EMIT(p, "arp who has "), packet->dst);
		return emit_ip4(EMIT(p, " tell "), packet->src);
	}
	if (packet->arp_op == 2) {
		p = emit_ip4(EMIT(p, "arp "), packet->src);
		return emit_mac(EMIT(p, " is at "), packet->arp_hard);
	}
	p = emit_number(EMIT(p, "arp operation "), packet->arp_op);
	p = emit_ip4(EMIT(p, " "), packet->src);
	return emit_ip4(EMIT(p, " > "), packet->dst);
}

static char *extensions(char *p, unsigned ext)
{
	static const struct word names[] = {{EXT_HOP, " hop-by-hop"},
					    {EXT_ROUTING, " routing"},
					    {EXT_FRAGMENT, ""},
					    {EXT_DESTINATION, " destination"},
					    {EXT_AUTH, " ah"},
					    {EXT_OTHER, " extension"},
					    {0}};

	for (const struct word *w = names; w->text; w++)
		if (ext & w->number)
			p = emit_text(p, w->text);
	return p;
}

static char *fragment(char *p, const struct packet *packet)
{
	p = emit_number(EMIT(p, " fragment id "), packet->fragment_id);
	p = emit_number(EMIT(p, " at "), packet->fragment_at);
	return packet->more_fragments ? EMIT(p, " more") : p;
}

static char *ip(char *p, const struct packet *packet)
{
	bool ports = packet->ports;

	p = line_paint(p, PAINT_CYAN);
	p = line_paint(emit_text(p, line_protocol(packet)), PAINT_NONE);
	*p++ = ' ';
	p = line_endpoint(p, packet->ip, packet->src, ports, packet->sport);
	p = EMIT(p, " > ");
	p = line_endpoint(p, packet->ip, packet->dst, ports, packet->dport);
	if (packet->ext)
		p = extensions(p, packet->ext);
	if (packet->fragment)
		p = fragment(p, packet);
	if (packet->kind == PACKET_TCP)
		return tcp(p, packet);
	if (packet->kind == PACKET_ICMP || packet->kind == PACKET_ICMP6)
		p = line_icmp(EMIT(p, " "), packet);
	return emit_number(EMIT(p, " len "), packet->payload_len);
}

static char *other(char *p, const struct packet *packet)
{
	p = emit_text(p, line_protocol(packet));
	if (packet->mac_src) {
		p = emit_mac(EMIT(p, " "), packet->mac_src);
		if (packet->mac_dst)
			p = emit_mac(EMIT(p, " > "), packet->mac_dst);
	}
	return emit_number(EMIT(p, " len "), packet->payload_len);
}

static char *verbose(char *p, const struct packet *packet)
{
	p = emit_number(EMIT(p, " | frame "), packet->len);
	if (packet->caplen < packet->len)
		p = emit_number(EMIT(p, " captured "), packet->caplen);
	if (packet->mac_src)
		p = emit_mac(EMIT(p, " from "), packet->mac_src);
	if (packet->mac_dst)
		p = emit_mac(EMIT(p, " to "), packet->mac_dst);
	if (!packet->ip)
		return p;
	p = emit_number(emit_text(p, packet->ip == 4 ? " ttl " : " hop limit "), packet->ttl);
	return packet->tos ? emit_hex(EMIT(p, " tos 0x"), packet->tos, 2) : p;
}

static char *where(char *p, const struct packet *packet, const char *iface)
{
	static const char *const directions[] = {" in", " broadcast", " multicast", " other", " out"};

	p = line_gap(p);
	p = emit_text(p, iface ? iface : line_link(packet->link));
	if (packet->cooked >= 1 && packet->cooked <= 5)
		p = emit_text(p, directions[packet->cooked - 1]);
	for (unsigned i = 0; i < packet->nvlans; i++)
		p = emit_number(EMIT(p, " vlan "), packet->vlan[i]);
	*p++ = ' ';
	return p;
}

static void hex_line(struct sink *sink, const unsigned char *data, uint32_t at, uint32_t len)
{
	char *p = sink_begin(sink);

	p = emit_hex(EMIT(p, "  "), at, at > 0xffff ? 8 : 4);
	*p++ = ' ';
	for (uint32_t i = 0; i < 16; i++) {
		*p++ = ' ';
		p = i < len ? emit_hex(p, data[i], 2) : EMIT(p, "  ");
	}
	p = EMIT(p, "  ");
	for (uint32_t i = 0; i < len; i++)
		*p++ = data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : '.';
	*p++ = '\n';
	sink_end(sink, p);
}

/* Characters beyond ASCII are kept in UTF-8, but for the control characters among them. */
static bool is_beyond(const unsigned char *s, size_t len)
{
	return *s >= 0x80 && !(*s == 0xc2 && len > 1 && s[1] < 0xa0) && !(*s < 0xa0 && s[-1] == 0xc2);
}

void line_escaped(struct sink *sink, const void *data, size_t len)
{
	static const char letters[] = "n\nt\tr\r\\\\";
	const unsigned char *s = data;
	struct tn_value *text = NULL;
	bool utf8 = tn_decode("text", data, len, 0, &text) == 0;

	tn_value_free(text);

	while (len > 0) {
		char *p = sink_begin(sink), *most = p + SINK_ROOM - 8;

		for (; len > 0 && p < most; s++, len--) {
			const char *letter = *s ? strchr(letters, *s) : NULL;

			if ((*s >= ' ' && *s < 0x7f && *s != '\\') || (utf8 && is_beyond(s, len))) {
				*p++ = (char)*s;
			} else if (letter && (letter - letters) % 2 == 1) {
				*p++ = '\\';
				*p++ = letter[-1];
			} else {
				p = emit_hex(EMIT(p, "\\x"), *s, 2);
			}
		}
		sink_end(sink, p);
	}
}

void line_packet(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra)
{
	char *p = sink_begin(sink), *line = p;
	struct packet shown = *packet;

	style.sack_base = 0;
	style.stamps = !style.columns || extra->verbose; /* they hardly ever matter, and there is little room */
	if (style.relative)
		relative_make(style.relative, &shown, &style.sack_base);
	p = line_paint(p, PAINT_DIM);
	p = line_time(p, ns, extra->nanoseconds);
	p = line_paint(p, PAINT_NONE);
	p = where(p, packet, extra->iface);
	if (packet->ip)
		p = ip(p, &shown);
	else if (packet->kind == PACKET_ARP)
		p = arp(p, packet);
	else
		p = other(p, packet);
	if (packet->cut) {
		p = emit_text(EMIT(line_paint(p, PAINT_RED), " cut: "), packet->cut);
		p = emit_number(EMIT(p, ", captured "), packet->caplen);
		p = line_paint(emit_number(EMIT(p, " of "), packet->len), PAINT_NONE);
	}
	if (packet->bad)
		p = line_paint(emit_text(EMIT(line_paint(p, PAINT_RED), " bad: "), packet->bad), PAINT_NONE);
	if (extra->verbose)
		p = verbose(p, packet);
	if (style.columns)
		p = wrap(line, p, line + SINK_ROOM - 8);
	if (extra->comment) {
		sink_end(sink, EMIT(p, " # "));
		line_escaped(sink, extra->comment, extra->comment_len);
		p = sink_begin(sink);
	}
	*p++ = '\n';
	sink_end(sink, p);
	if (extra->hex)
		for (uint32_t at = 0; at < packet->caplen; at += 16)
			hex_line(sink, packet->data + at, at, packet->caplen - at < 16 ? packet->caplen - at : 16);
}
