/* A packet as one JSON object on one line. */
#include "json.h"

#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "common/emit.h"
#include "line.h"
#include "packet/packet.h"
#include "sink.h"

#define DAY 86400

char *line_time_json(char *p, uint64_t ns)
{
	static time_t day = -1;
	static char date[16];
	time_t now = (time_t)(ns / NS_PER_S);
	unsigned second = (unsigned)(now % DAY);

	if (now / DAY != day) {
		struct tm tm;

		day = now / DAY;
		gmtime_r(&now, &tm);
		strftime(date, sizeof(date), "%Y-%m-%dT", &tm);
	}
	p = emit_text(p, date);
	p = emit_2(p, second / 3600);
	*p++ = ':';
	p = emit_2(p, second / 60 % 60);
	*p++ = ':';
	p = emit_2(p, second % 60);
	*p++ = '.';
	p = emit_padded(p, (uint32_t)(ns % NS_PER_S), 9);
	return EMIT(p, "Z");
}

void line_json_data(struct sink *sink, const void *data, size_t len)
{
	struct text text = {0};

	json_bytes(&text, "data", data, len);
	if (!text.failed) {
		sink_bytes(sink, ",", 1);
		sink_bytes(sink, text.data, text.len);
	}
	text_free(&text);
}

void line_json_string(struct sink *sink, const void *data, size_t len)
{
	struct text text = {0};

	json_string(&text, data, len);
	if (text.failed)
		sink_bytes(sink, "null", 4);
	else
		sink_bytes(sink, text.data, text.len);
	text_free(&text);
}

static char *key_number(char *p, const char *key, uint64_t number)
{
	*p++ = ',';
	*p++ = '"';
	p = emit_text(p, key);
	return emit_number(EMIT(p, "\":"), number);
}

/* For words of ours, which need no escapes. */
static char *key_text(char *p, const char *key, const char *text)
{
	*p++ = ',';
	*p++ = '"';
	p = emit_text(p, key);
	p = emit_text(EMIT(p, "\":\""), text);
	return EMIT(p, "\"");
}

static char *addresses(char *p, const struct packet *packet)
{
	unsigned ip = packet->ip ? packet->ip : 4; /* ARP: the addresses it is about */

	if (!packet->src)
		return p;
	p = line_endpoint(EMIT(p, ",\"source\":\""), ip, packet->src, packet->ports, packet->sport);
	p = line_endpoint(EMIT(p, "\",\"destination\":\""), ip, packet->dst, packet->ports, packet->dport);
	return EMIT(p, "\"");
}

static char *link_members(char *p, const struct packet *packet)
{
	static const char *const directions[] = {"in", "broadcast", "multicast", "other", "out"};

	p = key_text(p, "link", line_link(packet->link));
	p = key_number(p, "length", packet->len);
	p = key_number(p, "captured", packet->caplen);
	if (packet->cooked >= 1 && packet->cooked <= 5)
		p = key_text(p, "direction", directions[packet->cooked - 1]);
	if (packet->mac_src)
		p = EMIT(emit_mac(EMIT(p, ",\"source_mac\":\""), packet->mac_src), "\"");
	if (packet->mac_dst)
		p = EMIT(emit_mac(EMIT(p, ",\"destination_mac\":\""), packet->mac_dst), "\"");
	if (packet->nvlans) {
		p = EMIT(p, ",\"vlan\":[");
		p = emit_number(p, packet->vlan[0]);
		if (packet->nvlans > 1)
			p = emit_number(EMIT(p, ","), packet->vlan[1]);
		p = EMIT(p, "]");
	}
	return packet->ethertype ? key_number(p, "ethertype", packet->ethertype) : p;
}

static char *ip_members(char *p, const struct packet *packet)
{
	p = key_number(p, "ip", packet->ip);
	p = key_number(p, "ip_protocol", packet->proto);
	p = key_number(p, "ttl", packet->ttl);
	p = key_number(p, "tos", packet->tos);
	if (packet->fragment) {
		p = emit_number(EMIT(p, ",\"fragment\":{\"id\":"), packet->fragment_id);
		p = key_number(p, "at", packet->fragment_at);
		p = emit_text(EMIT(p, ",\"more\":"), packet->more_fragments ? "true}" : "false}");
	}
	return p;
}

static char *tcp_option(char *p, const struct tcp_option *o)
{
	if (o->kind == TCPOPT_MSS && o->len == 2)
		return key_number(p, "mss", be16(o->data));
	if (o->kind == TCPOPT_WSCALE && o->len == 1)
		return key_number(p, "window_scale", o->data[0]);
	if (o->kind == TCPOPT_SACKOK && o->len == 0)
		return EMIT(p, ",\"sack_permitted\":true");
	if (o->kind == TCPOPT_TS && o->len == 8)
		return key_number(key_number(p, "timestamp", be32(o->data)), "timestamp_echo", be32(o->data + 4));
	if (o->kind == TCPOPT_SACK_ && o->len % 8 == 0) {
		p = EMIT(p, ",\"sack\":[");
		for (unsigned i = 0; i < o->len; i += 4) {
			p = emit_text(p, i == 0 ? "[" : i % 8 == 0 ? "],[" : ",");
			p = emit_number(p, be32(o->data + i));
		}
		return emit_text(p, o->len ? "]]" : "]");
	}
	return p;
}

static char *tcp_members(char *p, const struct packet *packet)
{
	struct tcp_option option;
	unsigned at = 0, seen = 0;

	p = line_flags(EMIT(p, ",\"flags\":\""), packet->flags);
	p = EMIT(p, "\"");
	p = key_number(p, "seq", packet->seq);
	p = key_number(p, "ack", packet->ack);
	p = key_number(p, "window", packet->window);
	if (packet->flags & TCP_URG)
		p = key_number(p, "urgent", packet->urgent);
	/* A name stands once only: what a packet repeats is left out, since readers refuse equal keys */
	while (packet_tcp_option(packet, &at, &option) > 0)
		if (option.kind < 32 && !(seen & 1U << option.kind)) {
			seen |= 1U << option.kind;
			p = tcp_option(p, &option);
		}
	return p;
}

static char *transport_members(char *p, const struct packet *packet)
{
	if (packet->kind == PACKET_TCP)
		return tcp_members(p, packet);
	if (packet->kind == PACKET_ICMP || packet->kind == PACKET_ICMP6) {
		p = key_number(p, "type", packet->type);
		p = key_number(p, "code", packet->code);
		p = line_icmp(EMIT(p, ",\"says\":\""), packet);
		return EMIT(p, "\"");
	}
	if (packet->kind == PACKET_ARP) {
		p = key_number(p, "operation", packet->arp_op);
		if (packet->arp_hard)
			p = EMIT(emit_mac(EMIT(p, ",\"sender_mac\":\""), packet->arp_hard), "\"");
	}
	return p;
}

static void hex_member(struct sink *sink, const unsigned char *data, uint32_t len)
{
	sink_bytes(sink, ",\"data\":\"", 9);
	while (len > 0) {
		uint32_t part = len < 1024 ? len : 1024;
		char *p = sink_begin(sink);

		for (uint32_t i = 0; i < part; i++)
			p = emit_hex(p, data[i], 2);
		sink_end(sink, p);
		data += part;
		len -= part;
	}
	sink_bytes(sink, "\"", 1);
}

void line_json(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra)
{
	char *p = sink_begin(sink);

	p = EMIT(line_time_json(EMIT(p, "{\"time\":\""), ns), "\"");
	if (extra->iface) {
		sink_end(sink, EMIT(p, ",\"interface\":"));
		line_json_string(sink, extra->iface, strlen(extra->iface));
		p = sink_begin(sink);
	}
	p = link_members(p, packet);
	p = key_text(p, "protocol", line_protocol(packet));
	if (packet->ip)
		p = ip_members(p, packet);
	p = addresses(p, packet);
	p = transport_members(p, packet);
	p = key_number(p, "payload", packet->payload_len);
	if (packet->cut)
		p = key_text(p, "cut", packet->cut);
	if (packet->bad)
		p = key_text(p, "bad", packet->bad);
	sink_end(sink, p);
	if (extra->comment) {
		sink_bytes(sink, ",\"comment\":", 11);
		line_json_string(sink, extra->comment, extra->comment_len);
	}
	if (extra->hex)
		hex_member(sink, packet->data, packet->caplen);
	sink_bytes(sink, "}\n", 2);
}
