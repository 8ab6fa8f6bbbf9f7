/*
 * Which datagrams are never answered. A sender's address can be forged: a reply to a service that replies itself would
 * go back and forth for ever, started by one packet of a stranger's (RFC 862 echo and RFC 864 chargen are known for
 * it).
 *
 * Not answered are: what comes from the port of a small service that answers anything; what comes from the port that we
 * serve ourselves, which is the one of our like on other machines; what begins as our own replies do. A client's port
 * is one of the system's choice, and none of these. Whatever is answered all the same fades (tn_conn_fade()), which
 * ends what two servers of ours on different ports could be made to say to each other.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "handler/handler.h"
#include "tenon_value.h"

/* Whoever hears of these answers: echo, discard, systat, daytime, netstat, qotd, chargen, time, domain, tftp, sunrpc,
 * ntp, netbios, snmp, cldap, rip, ipmi, l2tp, ssdp, stun, nat-pmp, sip, mdns, llmnr, memcached. */
static const uint16_t services[] = {7,   9,   11,  13,  15,  17,   19,   37,   53,   69,   111,  123,  137,
				    138, 161, 389, 520, 623, 1701, 1900, 3478, 5351, 5060, 5353, 5355, 11211};

static unsigned port_of(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
	if (addr->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)addr)->sin6_port);
	return 0;
}

/* Asked once: it stands in the connection's pointer, which the handlers concerned have no other use for. */
static unsigned own_port(struct tn_conn *conn)
{
	uintptr_t known = (uintptr_t)tn_conn_data(conn);
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	struct tn_conn_info info;

	if (known)
		return (unsigned)(known - 1);
	tn_conn_info(conn, &info);
	if (getsockname(info.fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	known = port_of((const struct sockaddr *)&addr);
	tn_conn_set_data(conn, (void *)(known + 1));
	return (unsigned)known;
}

static bool begins_with(const struct tn_msg *msg, const char *text)
{
	return msg->len >= strlen(text) && !memcmp(msg->data, text, strlen(text));
}

bool handler_is_service(const struct tn_msg *msg)
{
	unsigned port = msg->peer ? port_of(tn_addr_sockaddr(msg->peer)) : 0;

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (services[i] == port)
			return true;
	return false;
}

bool handler_may_answer(struct tn_conn *conn, const struct tn_msg *msg)
{
	unsigned port = msg->peer ? port_of(tn_addr_sockaddr(msg->peer)) : 0;

	return !handler_is_service(msg) && (!port || port != own_port(conn));
}

void handler_on_datagrams_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_conn_fade(conn);
}

/* Nobody else's datagram can come from there. */
static bool is_loopback(const struct sockaddr *addr)
{
	const struct sockaddr_in6 *in6 = (const void *)addr;
	const unsigned char *bytes = in6->sin6_addr.s6_addr;

	if (addr->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	if (addr->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && bytes[12] == IN_LOOPBACKNET);
	return true; /* a Unix socket's other end is on this machine */
}

/* What `ack: ` is in each format, around what came. */
static size_t wrapping_of(const char *format)
{
	static const char xml[] = "<map xmlns=\"http://www.w3.org/2005/xpath-functions\"></map>";

	if (strcmp(format, "json") == 0)
		return strlen("{\"ack\":}");
	return strcmp(format, "xml") == 0 ? strlen(xml) + strlen(" key=\"ack\"") : strlen("ack: ");
}

bool handler_reply_fits(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *reply)
{
	const char *format = tn_conn_format(conn);
	struct tn_bytes bytes = {0};
	bool fits;

	if (!msg->peer || is_loopback(tn_addr_sockaddr(msg->peer)))
		return true;
	fits = tn_encode(format, reply, 0, &bytes) == 0 && bytes.len <= msg->len + wrapping_of(format);
	tn_bytes_free(&bytes);
	return fits;
}

bool handler_is_reply(const struct tn_msg *msg)
{
	return begins_with(msg, "ack: ") || begins_with(msg, "error: ");
}
