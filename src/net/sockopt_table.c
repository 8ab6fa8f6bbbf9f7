/* The table of socket options. */
#include "net/sockopt_type.h"

#include "base/clock.h"
#include "base/meaning.h"

#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

/* What Debian 12's headers lack. */
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#endif
#ifndef TCP_DELACK_MAX_US
#define TCP_DELACK_MAX_US 46
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* DSCP names (RFC 2474, 2597, 3246, 5865, 8622) as the whole byte, then RFC 1349's. */
static const struct tni_opt_word tos_words[] = {
	{"ef", 0xb8},      {"af11", 0x28},     {"af12", 0x30},       {"af13", 0x38}, {"af21", 0x48},
	{"af22", 0x50},    {"af23", 0x58},     {"af31", 0x68},       {"af32", 0x70}, {"af33", 0x78},
	{"af41", 0x88},    {"af42", 0x90},     {"af43", 0x98},       {"cs1", 0x20},  {"cs2", 0x40},
	{"cs3", 0x60},     {"cs4", 0x80},      {"cs5", 0xa0},        {"cs6", 0xc0},  {"cs7", 0xe0},
	{"va", 0xb0},      {"lowdelay", 0x10}, {"throughput", 0x08}, {"le", 0x04},   {"reliability", 0x04},
	{"mincost", 0x02}, {NULL, 0},
};

#ifdef TNI_HAVE_SOCKOPTS
static const struct tni_opt_word discover_words[] = {
	{"dont", IP_PMTUDISC_DONT},
	{"want", IP_PMTUDISC_WANT},
	{"do", IP_PMTUDISC_DO},
	{"probe", IP_PMTUDISC_PROBE},
	{"interface", IP_PMTUDISC_INTERFACE},
	{"omit", IP_PMTUDISC_OMIT},
	{NULL, 0},
};

static const struct tni_opt_word preference_words[] = {
	{"tmp", PREFER_SRC_TMP},
	{"public", PREFER_SRC_PUBLIC},
	{"pubtmp_default", PREFER_SRC_PUBTMP_DEFAULT},
	{NULL, 0},
};
#endif

static const struct tni_opt_word off_words[] = {{"off", -1}, {NULL, 0}};
#ifdef TNI_HAVE_SOCKOPTS
static const struct tni_opt_word any_words[] = {{"any", -1}, {NULL, 0}};
static const struct tni_opt_word any_port_words[] = {{"any", 0}, {NULL, 0}};
static const struct tni_opt_word unlimited_words[] = {{"unlimited", -1}, {NULL, 0}};
#endif

/* clang-format off */
#define TCP TNI_SK_TCP
#define MPTCP TNI_SK_MPTCP
#define UDP TNI_SK_UDP
#define RAW (TNI_SK_RAW | TNI_SK_PING)
#define PACKET TNI_SK_PACKET
#define UNIX_STREAM TNI_SK_UNIX_STREAM
#define UNIX_DGRAM TNI_SK_UNIX_DGRAM
#define UNIX_SEQ TNI_SK_UNIX_SEQPACKET
#define UNIX (UNIX_STREAM | UNIX_DGRAM | UNIX_SEQ)
#define UNIX_CONN (UNIX_STREAM | UNIX_SEQ)
#define INET (TCP | UDP | RAW)

#define SERVE .roles = TNI_ROLE_SERVE
#define DIAL .roles = TNI_ROLE_DIAL
#define EITHER .roles = TNI_ROLE_SERVE | TNI_ROLE_DIAL
#define LISTENING .roles = TNI_ROLE_SERVE, .stage = TNI_STAGE_LISTEN

/* The names are made text right here: one macro further in they would be numbers */
#define PLACE(TEXT, LEVEL, NAME, KINDS) {TEXT, LEVEL, NAME, KINDS}
#define BOTH(TEXT, LEVEL, NAME, KINDS) .constant = TEXT, .level = #LEVEL, \
	.place = {PLACE(TEXT, LEVEL, NAME, KINDS), PLACE(TEXT, LEVEL, NAME, (KINDS) & ~(UNIX | PACKET))}
#define AT_SOCKET(NAME, KINDS) BOTH(#NAME, SOL_SOCKET, NAME, KINDS)
#define AT_TCP(NAME, KINDS) BOTH(#NAME, IPPROTO_TCP, NAME, KINDS)
#define AT_IP(NAME, KINDS) BOTH(#NAME, IPPROTO_IP, NAME, KINDS)
#define AT_SOCKET4(NAME, KINDS) .constant = #NAME, .level = "SOL_SOCKET", \
	.place = {PLACE(#NAME, SOL_SOCKET, NAME, KINDS)}
#define AT_IP6(NAME, KINDS) .constant = #NAME, .level = "IPPROTO_IPV6", \
	.place = {[1] = PLACE(#NAME, IPPROTO_IPV6, NAME, KINDS)}
#define AT_IP46(NAME4, NAME6, KINDS4, KINDS6) .constant = #NAME4 ", " #NAME6, .level = "IPPROTO_IP, IPPROTO_IPV6", \
	.place = {PLACE(#NAME4, IPPROTO_IP, NAME4, KINDS4), PLACE(#NAME6, IPPROTO_IPV6, NAME6, KINDS6)}

#define SWITCH .type = &tni_opt_switch, .width = 4, .max = 1, .type_text = "on|off"
#define INTEGER(LOW, HIGH) .type = &tni_opt_integer, .width = 4, .min = LOW, .max = HIGH, \
	.type_text = "integer " #LOW ".." #HIGH
#define INTEGER_OR(LOW, HIGH, WORDS, TEXT) .type = &tni_opt_integer, .width = 4, .min = LOW, .max = HIGH, \
	.words = WORDS, \
	.type_text = "integer " #LOW ".." #HIGH "|" TEXT
#define WORD(TYPE, WORDS, TEXT) .type = &tni_opt_##TYPE, .width = 4, .min = 1, .words = WORDS, .type_text = TEXT
#define SIZE(LOW, HIGH) .type = &tni_opt_size, .width = 4, .min = LOW, .max = HIGH, \
	.type_text = "size " #LOW ".." #HIGH
#define DURATION(UNIT, NS, LOW, HIGH) .type = &tni_opt_duration, .width = 4, .unit_ns = NS, .min = LOW, .max = HIGH, \
	.type_text = "duration " #LOW UNIT ".." #HIGH UNIT
#define DURATION_OFF(TYPE, LOW, HIGH) .type = &tni_opt_##TYPE, .width = 4, .unit_ns = TNI_NS_PER_S, \
	.words = off_words, \
	.min = LOW, .max = HIGH, .type_text = "off|duration " #LOW "s.." #HIGH "s"
#define TIMEVAL .type = &tni_opt_timeval, .unit_ns = TNI_NS_PER_US, .max = INT32_MAX * INT64_C(1000000), \
	.type_text = "duration 0s..2147483647s"
#define SECONDS(LOW, HIGH) DURATION("s", TNI_NS_PER_S, LOW, HIGH)
#define MILLIS(LOW, HIGH) DURATION("ms", TNI_NS_PER_MS, LOW, HIGH)
#define MICROS(LOW, HIGH) DURATION("us", TNI_NS_PER_US, LOW, HIGH)
#define OTHER(TYPE, TEXT) .type = &tni_opt_##TYPE, .width = 4, .max = UINT32_MAX, .type_text = TEXT

#define TICK .flags = TNI_OPT_ADJUSTED, .when_more = "the kernel rounds up to its clock tick"
#define ECN .when_less = "on a stream the lowest two bits are the kernel's own, for ECN"
#define LINUX(MAJOR, MINOR) .since_major = MAJOR, .since_minor = MINOR
#define RAW_ADMIN .permission = "CAP_NET_RAW or CAP_NET_ADMIN"
#define ADMIN .permission = "CAP_NET_ADMIN"

static const struct tni_sockopt table[] = {
	/* Where a socket is bound and what it is bound to */
	{"reuseaddr",
	 TNI_MEANING("bind to a port although old connections to it linger; udp: although another socket has it"),
	 AT_SOCKET(SO_REUSEADDR, TCP | MPTCP | UDP), EITHER, SWITCH, .flags = TNI_OPT_BIND},
	{"reuseport",
	 TNI_MEANING("let several sockets of one user bind to the same port; the kernel spreads peers over them"),
	 AT_SOCKET(SO_REUSEPORT, TCP | MPTCP | UDP), EITHER, SWITCH, .flags = TNI_OPT_BIND},
	{"v6only", TNI_MEANING("an IPv6 socket does not speak IPv4 as well"),
	 AT_IP6(IPV6_V6ONLY, TCP | MPTCP | UDP), EITHER, SWITCH},
	{"bindtodevice", TNI_MEANING("use one interface only, for what comes and what goes"),
	 AT_SOCKET(SO_BINDTODEVICE, INET | MPTCP), EITHER, OTHER(device, "interface name"),
	 .permission = "CAP_NET_RAW"},
#ifdef TNI_HAVE_SOCKOPTS
	{"freebind", TNI_MEANING("bind to an address that this machine does not have, or not yet"),
	 AT_IP46(IP_FREEBIND, IPV6_FREEBIND, INET | MPTCP, INET | MPTCP), EITHER, SWITCH, .flags = TNI_OPT_BIND},
	{"transparent",
	 TNI_MEANING("take what is addressed to others and answer in their name, as a transparent proxy does"),
	 AT_IP46(IP_TRANSPARENT, IPV6_TRANSPARENT, INET | MPTCP, INET | MPTCP), EITHER, SWITCH, RAW_ADMIN,
	 .flags = TNI_OPT_BIND},
	{"bind_address_no_port",
	 TNI_MEANING("binding to an address leaves the port open until connect: many more connections fit"),
	 AT_IP(IP_BIND_ADDRESS_NO_PORT, TCP | MPTCP | UDP), DIAL, SWITCH, .flags = TNI_OPT_BIND},
	{"local_port_range", TNI_MEANING("the range from which the kernel takes a port of its choice"),
	 AT_IP(IP_LOCAL_PORT_RANGE, TCP | MPTCP | UDP), EITHER, OTHER(ports, "ports LOW-HIGH|any"),
	 .words = any_port_words, LINUX(6, 3)},
	{"addr_preferences",
	 TNI_MEANING("which IPv6 address of this machine to speak from: a temporary (privacy) or a public one"),
	 AT_IP6(IPV6_ADDR_PREFERENCES, INET), EITHER, WORD(preference, preference_words, "tmp|public|pubtmp_default")},
#endif

	/* What is written on every packet. First tos: it changes the priority */
	{"tos", TNI_MEANING("class of service written on every packet (DSCP), for routers that heed it"),
	 AT_IP46(IP_TOS, IPV6_TCLASS, INET | MPTCP, INET), EITHER,
	 INTEGER_OR(0, 255, tos_words, "name (ef, af11, cs1, lowdelay, ...)"),
	 .flags = TNI_OPT_MAPPED | TNI_OPT_ADJUSTED, ECN},
	{"tclass", TNI_MEANING("traffic class written on every IPv6 packet; as tos, for IPv6 alone"),
	 AT_IP6(IPV6_TCLASS, INET), EITHER, INTEGER_OR(0, 255, tos_words, "name (ef, af11, cs1, lowdelay, ...)"),
	 .flags = TNI_OPT_ADJUSTED, ECN},
	{"priority", TNI_MEANING("priority in this machine's own queues; set by tos too"),
	 AT_SOCKET(SO_PRIORITY, INET | MPTCP | PACKET), EITHER, INTEGER(0, 4294967295), .lost_on = TCP | MPTCP,
	 .permission = "CAP_NET_ADMIN or CAP_NET_RAW for more than 6"},
	{"mark", TNI_MEANING("number on every packet that routing rules and the packet filter can match"),
	 AT_SOCKET(SO_MARK, INET | MPTCP | PACKET), EITHER, INTEGER(0, 4294967295), RAW_ADMIN},
	{"ttl", TNI_MEANING("how many routers a packet may pass"),
	 AT_IP46(IP_TTL, IPV6_UNICAST_HOPS, INET, INET), EITHER, INTEGER(1, 255), .flags = TNI_OPT_MAPPED},
#ifdef TNI_HAVE_SOCKOPTS
	{"unicast_hops", TNI_MEANING("how many routers an IPv6 packet may pass; as ttl, for IPv6 alone"),
	 AT_IP6(IPV6_UNICAST_HOPS, INET), EITHER, INTEGER(0, 255)},
	{"minttl",
	 TNI_MEANING("drop packets with less ttl left, which passed too many routers; 255: take neighbours' only"),
	 AT_IP46(IP_MINTTL, IPV6_MINHOPCOUNT, TCP, TCP), EITHER, INTEGER(0, 255), .flags = TNI_OPT_MAPPED},
	{"minhopcount", TNI_MEANING("drop IPv6 packets that passed too many routers; as minttl, for IPv6 alone"),
	 AT_IP6(IPV6_MINHOPCOUNT, TCP), EITHER, INTEGER(0, 255)},
	{"mtu_discover",
	 TNI_MEANING("find the largest packet a path takes; do: routers must not cut packets, dont: they may"),
	 AT_IP46(IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, INET, INET), EITHER,
	 WORD(integer, discover_words, "dont|want|do|probe|interface|omit"), .flags = TNI_OPT_MAPPED},
	{"dontfrag", TNI_MEANING("refuse to send a datagram that would have to be cut into fragments"),
	 AT_IP6(IPV6_DONTFRAG, UDP | RAW), EITHER, SWITCH},
	{"autoflowlabel", TNI_MEANING("give every flow an IPv6 label, by which routers spread flows over their paths"),
	 AT_IP6(IPV6_AUTOFLOWLABEL, INET), EITHER, SWITCH},
	{"hdrincl", TNI_MEANING("messages begin with their IP header: what is sent, and on IPv4 what comes"),
	 AT_IP46(IP_HDRINCL, IPV6_HDRINCL, TNI_SK_RAW, TNI_SK_RAW), EITHER, SWITCH},
	{"unicast_if", TNI_MEANING("interface that datagrams leave by, while they may come in by any"),
	 AT_IP46(IP_UNICAST_IF, IPV6_UNICAST_IF, UDP | RAW, UDP | RAW), EITHER, OTHER(unicast, "interface name"),
	 .flags = TNI_OPT_MAPPED},
	{"dontroute", TNI_MEANING("reach hosts on the directly connected networks only, never through a router"),
	 AT_SOCKET4(SO_DONTROUTE, INET), EITHER, SWITCH},
#endif
	{"broadcast", TNI_MEANING("may send to broadcast addresses"),
	 AT_SOCKET4(SO_BROADCAST, UDP | RAW), EITHER, SWITCH},

	/* Multicast. The interface before the groups */
	{"multicast_if", TNI_MEANING("interface that multicast datagrams leave by"),
	 AT_IP46(IP_MULTICAST_IF, IPV6_MULTICAST_IF, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(multicast, "interface name or address"), .flags = TNI_OPT_MAPPED},
	{"multicast_ttl", TNI_MEANING("how many routers a multicast datagram may pass; 0: it stays in this machine"),
	 AT_IP46(IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, UDP | RAW, UDP | RAW), EITHER, INTEGER(0, 255),
	 .flags = TNI_OPT_MAPPED},
	{"multicast_hops",
	 TNI_MEANING("how many routers an IPv6 multicast datagram may pass; as multicast_ttl, for IPv6 alone"),
	 AT_IP6(IPV6_MULTICAST_HOPS, UDP | RAW), EITHER, INTEGER(0, 255)},
	{"multicast_loop", TNI_MEANING("members in this machine get what is sent to a group, too"),
	 AT_IP46(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, UDP | RAW, UDP | RAW), EITHER, SWITCH,
	 .flags = TNI_OPT_MAPPED},
	{"multicast_all",
	 TNI_MEANING("get the groups that any program of this machine has joined; off: only one's own"),
	 AT_IP46(IP_MULTICAST_ALL, IPV6_MULTICAST_ALL, UDP | RAW, UDP | RAW), EITHER, SWITCH, .flags = TNI_OPT_MAPPED},
	{"add_membership", TNI_MEANING("join multicast groups, each on one interface or the one that the routes say"),
	 AT_IP46(IP_ADD_MEMBERSHIP, IPV6_ADD_MEMBERSHIP, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(group, "group[@interface], or several: a,b"), .flags = TNI_OPT_WRITE_ONLY},
	{"join_source_group", TNI_MEANING("join multicast groups, but hear only what one source sends to each"),
	 AT_IP46(MCAST_JOIN_SOURCE_GROUP, MCAST_JOIN_SOURCE_GROUP, UDP | RAW, UDP | RAW), EITHER,
	 OTHER(source, "source@group[@interface], or several: a,b"), .flags = TNI_OPT_WRITE_ONLY},

	/* Buffers, and what wakes a reader */
	{"rcvbuf",
	 TNI_MEANING("room for what has come and is not read yet; the kernel takes twice that, records included"),
	 AT_SOCKET(SO_RCVBUF, INET | MPTCP | PACKET), EITHER, SIZE(1, 1073741823),
	 .flags = TNI_OPT_ADJUSTED | TNI_OPT_DOUBLED,
	 .when_less = "limit: sysctl net.core.rmem_max; key rcvbufforce goes beyond it",
	 .when_more = "the kernel's least"},
	{"sndbuf",
	 TNI_MEANING("room for what is sent and not delivered yet; the kernel takes twice that, records included"),
	 AT_SOCKET(SO_SNDBUF, INET | MPTCP | UNIX | PACKET), EITHER, SIZE(1, 1073741823), .lost_on = UNIX_CONN,
	 .flags = TNI_OPT_ADJUSTED | TNI_OPT_DOUBLED, .when_more = "the kernel's least",
	 .when_less = "limit: sysctl net.core.wmem_max; key sndbufforce goes beyond it"},
#ifdef TNI_HAVE_SOCKOPTS
	{"rcvbufforce", TNI_MEANING("rcvbuf beyond the system's limit"),
	 AT_SOCKET(SO_RCVBUFFORCE, INET | MPTCP | PACKET), EITHER, SIZE(1, 1073741823),
	 .flags = TNI_OPT_WRITE_ONLY, ADMIN},
	{"sndbufforce", TNI_MEANING("sndbuf beyond the system's limit"),
	 AT_SOCKET(SO_SNDBUFFORCE, INET | MPTCP | UNIX | PACKET), EITHER, SIZE(1, 1073741823), .lost_on = UNIX_CONN,
	 .flags = TNI_OPT_WRITE_ONLY, ADMIN},
	{"rcvlowat", TNI_MEANING("bytes that must have come before a reader is woken: larger pieces, later"),
	 AT_SOCKET(SO_RCVLOWAT, TCP | MPTCP), EITHER, SIZE(1, 2147483647), .lost_on = MPTCP, .flags = TNI_OPT_ADJUSTED,
	 .when_less = "limit: half of rcvbuf, or of the last figure of sysctl net.ipv4.tcp_rmem"},
	{"window_clamp", TNI_MEANING("largest window offered to the peer: how far it may send ahead; 0: no such limit"),
	 AT_TCP(TCP_WINDOW_CLAMP, TCP), EITHER, SIZE(0, 2147483647), .flags = TNI_OPT_ADJUSTED,
	 .when_more = "the kernel's least"},
	{"notsent_lowat",
	 TNI_MEANING("take more to send only while less than this waits unsent: fresher data; 0: the system's"),
	 AT_TCP(TCP_NOTSENT_LOWAT, TCP | MPTCP), EITHER, SIZE(0, 4294967295), .lost_on = MPTCP},
	{"max_pacing_rate",
	 TNI_MEANING("bytes a second at most; other sockets than tcp need the queue discipline fq for it"),
	 AT_SOCKET(SO_MAX_PACING_RATE, INET | PACKET), EITHER, .type = &tni_opt_size, .width = 8, .min = 1,
	 .max = INT64_MAX, .words = unlimited_words, .type_text = "size|unlimited"},
#endif

	/* Dead and slow peers */
	{"keepalive", TNI_MEANING("ask a silent peer from time to time whether it is still there"),
	 AT_SOCKET(SO_KEEPALIVE, TCP | MPTCP), EITHER, SWITCH},
	{"keepidle", TNI_MEANING("keepalive: silence before the first question"),
	 AT_TCP(TCP_KEEPIDLE, TCP | MPTCP), EITHER, SECONDS(1, 32767)},
	{"keepintvl", TNI_MEANING("keepalive: time between questions"),
	 AT_TCP(TCP_KEEPINTVL, TCP | MPTCP), EITHER, SECONDS(1, 32767)},
	{"keepcnt", TNI_MEANING("keepalive: questions without an answer after which the peer is dead"),
	 AT_TCP(TCP_KEEPCNT, TCP | MPTCP), EITHER, INTEGER(1, 127)},
	{"user_timeout",
	 TNI_MEANING("how long sent data may go unacknowledged before giving up the connection; 0: the system's"),
	 AT_TCP(TCP_USER_TIMEOUT, TCP), EITHER, MILLIS(0, 2147483647)},
	{"syncnt", TNI_MEANING("how often a request to connect, or the answer to one, is repeated before giving up"),
	 AT_TCP(TCP_SYNCNT, TCP), EITHER, INTEGER(1, 127)},
	{"linger", TNI_MEANING("how long close waits for unsent data; 0s: drops them and resets the connection"),
	 AT_SOCKET(SO_LINGER, TCP | MPTCP), EITHER, DURATION_OFF(linger, 0, 2147483647)},
#ifdef TNI_HAVE_SOCKOPTS
	{"linger2", TNI_MEANING("how long the kernel waits for the peer's end after close; off: not at all"),
	 AT_TCP(TCP_LINGER2, TCP), EITHER, DURATION_OFF(duration, 1, 120)},
	{"rto_max_ms", TNI_MEANING("longest pause between two attempts to send again"),
	 AT_TCP(TCP_RTO_MAX_MS, TCP), EITHER, MILLIS(1000, 120000), TICK, LINUX(6, 15)},
	{"rto_min_us",
	 TNI_MEANING("shortest wait for an acknowledgement before sending again; two clock ticks or more (2..20 ms)"),
	 AT_TCP(TCP_RTO_MIN_US, TCP), EITHER, MICROS(1, 200000), TICK, LINUX(6, 15)},
	{"thin_linear_timeouts",
	 TNI_MEANING("when little is sent, try again at even intervals instead of ever longer ones"),
	 AT_TCP(TCP_THIN_LINEAR_TIMEOUTS, TCP), EITHER, SWITCH},
	{"rcvtimeo",
	 TNI_MEANING("how long a blocking receive waits, 0: for ever; for programs that inherit the socket"),
	 AT_SOCKET(SO_RCVTIMEO, INET | MPTCP | UNIX | PACKET), EITHER,
	 TIMEVAL, .lost_on = MPTCP | UNIX_CONN, TICK},
	{"sndtimeo",
	 TNI_MEANING("how long a blocking send or connect waits, 0: for ever; for programs that inherit the socket"),
	 AT_SOCKET(SO_SNDTIMEO, INET | MPTCP | UNIX | PACKET), EITHER,
	 TIMEVAL, .lost_on = MPTCP | UNIX_CONN, TICK},
#endif

	/* How a stream is cut, sent and acknowledged */
	{"nodelay",
	 TNI_MEANING("send small pieces at once instead of gathering them while others are on their way (Nagle)"),
	 AT_TCP(TCP_NODELAY, TCP | MPTCP), EITHER, SWITCH},
#ifdef TNI_HAVE_SOCKOPTS
	{"cork", TNI_MEANING("send full segments only, holding a rest back for up to 200 ms"),
	 AT_TCP(TCP_CORK, TCP | MPTCP), EITHER, SWITCH},
	{"quickack", TNI_MEANING("acknowledge at once (on) or with the next data (off), until the kernel decides anew"),
	 AT_TCP(TCP_QUICKACK, TCP), EITHER, SWITCH, .lost_on = TCP},
	{"delack_max_us", TNI_MEANING("longest delay of an acknowledgement; two clock ticks or more (2..20 ms)"),
	 AT_TCP(TCP_DELACK_MAX_US, TCP), EITHER, MICROS(1, 200000), TICK, LINUX(6, 15)},
	{"maxseg", TNI_MEANING("largest segment to send, and to ask for from the peer (MSS)"),
	 AT_TCP(TCP_MAXSEG, TCP | MPTCP), EITHER, INTEGER(88, 32767)},
	{"congestion", TNI_MEANING("how the sending rate follows the state of the path: cubic, bbr, reno, ..."),
	 AT_TCP(TCP_CONGESTION, TCP | MPTCP), EITHER, OTHER(algorithm, "algorithm name"),
	 .permission = "CAP_NET_ADMIN, or the name in sysctl net.ipv4.tcp_allowed_congestion_control"},
	{"oobinline", TNI_MEANING("urgent (out-of-band) data stay in their place in the stream"),
	 AT_SOCKET(SO_OOBINLINE, TCP | UNIX_STREAM), EITHER, SWITCH, .lost_on = UNIX_STREAM},
	{"txrehash", TNI_MEANING("try another path of the network when data must be sent again"),
	 AT_SOCKET(SO_TXREHASH, TCP), EITHER, SWITCH, LINUX(5, 18)},
	{"tx_delay", TNI_MEANING("delay everything sent, as a long path would; needs the queue discipline fq"),
	 AT_TCP(TCP_TX_DELAY, TCP), EITHER, MICROS(0, 268435455)},

	/* Opening a connection */
	{"defer_accept", TNI_MEANING("accept a connection only once the client has sent something, or after this time"),
	 AT_TCP(TCP_DEFER_ACCEPT, TCP | MPTCP), LISTENING, SECONDS(0, 32767), .flags = TNI_OPT_ADJUSTED,
	 .when_less = "the kernel's most",
	 .when_more = "the kernel counts in repeated answers, after 1s, 3s, 7s, 15s, ..."},
	{"fastopen",
	 TNI_MEANING("take data that come with the request to connect, from this many half-open ones; 0: off"),
	 AT_TCP(TCP_FASTOPEN, TCP | MPTCP), LISTENING, INTEGER(0, 65535), .flags = TNI_OPT_ADJUSTED,
	 .when_less = "limit: sysctl net.core.somaxconn"},
	{"fastopen_connect",
	 TNI_MEANING("connect with the first data sent: saves a round trip, but this side must speak first"),
	 AT_TCP(TCP_FASTOPEN_CONNECT, TCP | MPTCP), DIAL, SWITCH},
	{"fastopen_no_cookie",
	 TNI_MEANING("fastopen for clients that were not here before, too; for networks one trusts"),
	 AT_TCP(TCP_FASTOPEN_NO_COOKIE, TCP | MPTCP), EITHER, SWITCH},

	/* Unix sockets */
	{"passcred", TNI_MEANING("tell the sender's process, user and group; for programs that inherit the socket"),
	 AT_SOCKET(SO_PASSCRED, UNIX), EITHER, SWITCH},
	{"passrights", TNI_MEANING("peers may pass descriptors; off: their messages are refused"),
	 AT_SOCKET(SO_PASSRIGHTS, UNIX), EITHER, SWITCH, LINUX(6, 16)},

	/* Processors and interrupts */
	{"incoming_cpu", TNI_MEANING("of several sockets with reuseport, this one gets what arrives on this processor"),
	 AT_SOCKET(SO_INCOMING_CPU, TCP | MPTCP | UDP), SERVE, INTEGER_OR(0, 8191, any_words, "any")},
	{"busy_poll",
	 TNI_MEANING("how long to ask the network card for packets before sleeping: less delay, more work"),
	 AT_SOCKET(SO_BUSY_POLL, TCP | MPTCP | UDP), EITHER, MICROS(0, 2147483647), .lost_on = MPTCP,
	 .permission = "CAP_NET_ADMIN to go beyond sysctl net.core.busy_read"},
	{"prefer_busy_poll", TNI_MEANING("busy_poll instead of interrupts, under load too"),
	 AT_SOCKET(SO_PREFER_BUSY_POLL, TCP | MPTCP | UDP), EITHER, SWITCH, .lost_on = MPTCP, ADMIN, LINUX(5, 11)},
	{"busy_poll_budget", TNI_MEANING("packets to take from the network card at a time with busy_poll"),
	 AT_SOCKET(SO_BUSY_POLL_BUDGET, TCP | MPTCP | UDP), EITHER, INTEGER(0, 65535), .lost_on = MPTCP,
	 .flags = TNI_OPT_WRITE_ONLY, LINUX(5, 11), ADMIN},
#endif
};
/* clang-format on */

#define NROWS (sizeof(table) / sizeof(table[0]))

const struct tni_sockopt *tni_sockopt_find(const char *key)
{
	for (size_t i = 0; i < NROWS; i++)
		if (!strcmp(table[i].key, key))
			return &table[i];
	return NULL;
}

const struct tni_sockopt *tni_sockopt_at(size_t index)
{
	return index < NROWS ? &table[index] : NULL;
}
