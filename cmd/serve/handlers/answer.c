/*
 * Which datagrams are not answered. A sender's address can be forged. A reply to a service that replies itself would go
 * back and forth for ever, started by a single packet (known of RFC 862 echo and RFC 864 chargen). So there is no reply
 * to a datagram from the port of a small service that answers anything, from the port that we serve ourselves (a server
 * like this one on another machine has it too), or that begins as our own replies do. The port of a client is chosen by
 * its system and is none of these. Other replies are limited by tn_conn_fade(), which ends an exchange between two
 * servers on different ports.
 */
#include "answer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tenon_value.h"

/*
 * Services that answer anything: echo, discard, systat, daytime, netstat, qotd, chargen, time, domain, tftp, sunrpc,
 * ntp, netbios, snmp, cldap, rip, ipmi, l2tp, ssdp, stun, nat-pmp, sip, mdns, llmnr, memcached.
 */
static const uint16_t services[] = {7,   9,   11,  13,  15,  17,   19,   37,   53,   69,   111,  123,  137,
				    138, 161, 389, 520, 623, 1701, 1900, 3478, 5060, 5351, 5353, 5355, 11211};

/* Most clients' ports are beyond all of them. */
#define LAST_SERVICE 11211

static unsigned port_of(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
	if (addr->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)addr)->sin6_port);
	return 0;
}

static unsigned ask_own_port(struct tn_conn *conn)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	struct tn_conn_info info;
	unsigned port;

	tn_conn_info(conn, &info);
	if (getsockname(info.fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	port = port_of((const struct sockaddr *)&addr);
	tn_conn_set_data(conn, (void *)((uintptr_t)port + 1)); /* NOLINT(performance-no-int-to-ptr) */
	return port;
}

/* Asked once: it is kept in the connection's pointer, which these handlers do not use otherwise. */
static unsigned own_port(struct tn_conn *conn)
{
	uintptr_t known = (uintptr_t)tn_conn_data(conn);

	return known ? (unsigned)(known - 1) : ask_own_port(conn);
}

bool handler_is_same_sender(const struct tn_addr *a, const struct tn_addr *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0 && a->local.len == b->local.len &&
	       memcmp(a->local.ip, b->local.ip, a->local.len) == 0 && a->local.index == b->local.index;
}

static bool is_service(unsigned port)
{
	for (size_t i = 0; port <= LAST_SERVICE && i < sizeof(services) / sizeof(services[0]); i++)
		if (services[i] == port)
			return true;
	return false;
}

bool handler_is_service(const struct tn_msg *msg)
{
	return msg->peer && is_service(port_of(tn_addr_sockaddr(msg->peer)));
}

bool handler_may_answer(struct tn_conn *conn, const struct tn_msg *msg)
{
	unsigned port;

	if (!msg->peer)
		return true; /* a connection: its peer has proved to be there */
	port = port_of(tn_addr_sockaddr(msg->peer));
	return !is_service(port) && (!port || port != own_port(conn));
}

void handler_on_datagrams_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_conn_fade(conn);
}

/* A datagram from such an address comes from this machine. */
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

/* How many bytes {"ack": VALUE} is longer than VALUE in a format; where there are no maps, `ack: `. */
static size_t wrapping_of(const char *format)
{
	struct tn_value *value = tn_value_new_null(NULL), *map = value ? tn_value_new_map(value) : NULL;
	struct tn_bytes bytes = {0};
	size_t bare = 0, wrapped = strlen("ack: ");

	if (map && tn_format_kind(format) & TN_FORMAT_VALUES && tn_encode(format, value, 0, &bytes) == 0) {
		bare = bytes.len;
		if (tn_value_put(map, "ack", value) == 0 && tn_encode(format, map, 0, &bytes) == 0)
			wrapped = bytes.len;
	}
	tn_bytes_free(&bytes);
	tn_value_free(value);
	return wrapped > bare ? wrapped - bare : 0;
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

/* {"error": why}, or in a format without maps "error: why". NULL without memory. */
static struct tn_value *error_value(const char *format, const char *why)
{
	struct tn_value *map, *text;
	char words[512];

	if (!(tn_format_kind(format) & TN_FORMAT_VALUES)) {
		snprintf(words, sizeof(words), "error: %s", why);
		return tn_value_new_text(NULL, words, strlen(words));
	}
	map = tn_value_new_map(NULL);
	text = map ? tn_value_new_text(map, why, strlen(why)) : NULL;
	if (text && tn_value_put(map, "error", text) == 0)
		return map;
	tn_value_free(map);
	return NULL;
}

void handler_refuse(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	(void)err, (void)arg;
	handler_refuse_as(conn, msg, tn_errmsg());
}

void handler_refuse_as(struct tn_conn *conn, const struct tn_msg *msg, const char *why)
{
	const char *format = tn_conn_format(conn);
	struct tn_value *value;
	size_t len;
	int err;

	if (!format || !handler_may_answer(conn, msg) || (msg->peer && handler_is_reply(msg)))
		return;
	len = strlen(format);
	if (strncmp(why, format, len) == 0 && why[len] == ':')
		why += len + 2; /* the sender knows its own format */
	value = error_value(format, why);
	err = value ? 0 : -ENOMEM;
	if (value && handler_reply_fits(conn, msg, value))
		err = tn_reply_value(conn, msg, value);
	if (err < 0)
		handler_unanswered(conn, msg, err);
	tn_value_free(value);
}

/* DTLS has connections, and still what is sent there can be lost. */
static bool is_lossy(const struct tn_conn *conn)
{
	struct tn_conn_info info;
	int kind;

	tn_conn_info(conn, &info);
	kind = *info.local ? tn_url_kind(info.local) : 0;
	return kind > 0 && kind & TN_URL_DATAGRAMS;
}

/*
 * A message that no frame of this endpoint can carry is not a failure of the connection: replies before it are still
 * sent.
 */
void handler_unanswered(struct tn_conn *conn, const struct tn_msg *msg, int err)
{
	if ((msg && msg->peer) || is_lossy(conn))
		return;
	if (err == TN_ETOOBIG || err == TN_EFORMAT || err == TN_ESTATE)
		tn_close(conn);
	else
		tn_abort(conn, err);
}
