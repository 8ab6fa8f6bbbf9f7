#include "proxy/request.h"

#include "base/err.h"
#include "web/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SOCKS4_VERSION = 4, SOCKS5_VERSION = 5, PASSWORD_VERSION = 1 };
enum { COMMAND_CONNECT = 1, COMMAND_BIND = 2, COMMAND_UDP = 3 };
enum { ADDRESS_IPV4 = 1, ADDRESS_NAME = 3, ADDRESS_IPV6 = 4 };
enum { METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff };

/* SOCKS5's replies (RFC 1928 6), and SOCKS4's. */
enum {
	REPLY_DONE = 0,
	REPLY_FAILED = 1,
	REPLY_FORBIDDEN = 2,
	REPLY_NO_NETWORK = 3,
	REPLY_NO_HOST = 4,
	REPLY_REFUSED = 5,
	REPLY_TIMED_OUT = 6,
	REPLY_NO_COMMAND = 7,
	REPLY_NO_ADDRESS = 8,
	REPLY4_DONE = 90,
	REPLY4_FAILED = 91,
};

/* What of SOCKS5 has to come next. */
enum { STEP_METHODS, STEP_PASSWORD, STEP_REQUEST };

static void put(struct tni_request_reply *reply, const void *bytes, size_t len)
{
	if (len > sizeof(reply->bytes) - reply->len)
		return;
	memcpy(reply->bytes + reply->len, bytes, len);
	reply->len += len;
}

/* ---- hosts ---- */

bool tni_request_is_host(const char *host, size_t len)
{
	bool address = memchr(host, ':', len) != NULL;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)host[i];

		if (address ? !isxdigit(c) && c != ':' && c != '.' : !isalnum(c) && c != '-' && c != '_' && c != '.')
			return false;
	}
	return len > 0 && len <= TNI_REQUEST_NAME_MAX;
}

static int take_host(struct tni_request *r, const void *host, size_t len)
{
	if (!tni_request_is_host(host, len))
		return tni_err(TN_EFORMAT, "the client asks for a host that is none: letters, digits, '-', '_' and "
					   "'.' make a name");
	memcpy(r->host, host, len);
	r->host[len] = '\0';
	return 0;
}

static void take_ipv4(struct tni_request *r, const unsigned char *ip)
{
	snprintf(r->host, sizeof(r->host), "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
}

static void take_ipv6(struct tni_request *r, const unsigned char *ip)
{
	size_t at = 0;

	for (int i = 0; i < 16; i += 2)
		at += (size_t)snprintf(r->host + at, sizeof(r->host) - at, "%s%x", i ? ":" : "",
				       (unsigned)(ip[i] << 8 | ip[i + 1]));
}

static int port_of(const unsigned char *at)
{
	return at[0] << 8 | at[1];
}

static int check_port(const struct tni_request *r)
{
	return r->port || r->udp ? 0 : tni_err(TN_EFORMAT, "the client asks for port 0");
}

/* ---- SOCKS4 and 4a ---- */

static void answer4(struct tni_request_reply *reply, int code, const unsigned char *ip, int port)
{
	const unsigned char bytes[] = {0,
				       (unsigned char)code,
				       (unsigned char)(port >> 8),
				       (unsigned char)port,
				       ip ? ip[0] : 0,
				       ip ? ip[1] : 0,
				       ip ? ip[2] : 0,
				       ip ? ip[3] : 0};

	put(reply, bytes, sizeof(bytes));
}

static long fail4(struct tni_request_reply *reply, int err)
{
	answer4(reply, REPLY4_FAILED, NULL, 0);
	return err;
}

/* A text that ends with a zero byte. 1: it does; 0: not yet; -1: it is too long. */
static int find_end(const unsigned char *text, size_t len, size_t *end)
{
	const unsigned char *zero = memchr(text, '\0', len < TNI_REQUEST_NAME_MAX + 1 ? len : TNI_REQUEST_NAME_MAX + 1);

	if (!zero)
		return len > TNI_REQUEST_NAME_MAX ? -1 : 0;
	*end = (size_t)(zero - text);
	return 1;
}

static int check4(const struct tni_request *r, const struct tni_request_rules *rules, int command)
{
	if (command != COMMAND_CONNECT)
		return tni_err(-EOPNOTSUPP, "the client asks for %s, which this proxy does not do",
			       command == COMMAND_BIND ? "BIND" : "an unknown command");
	if (rules->passwords)
		return tni_err(-EACCES, "the client speaks SOCKS4, which has no passwords");
	return check_port(r);
}

static long read4(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data, size_t len,
		  struct tni_request_reply *reply)
{
	const unsigned char *ip = data + 4;
	size_t user_len = 0, name_len = 0, at = 8;
	int found = len > at ? find_end(data + at, len - at, &user_len) : 0;
	int rc;

	if (found < 0)
		return fail4(reply, tni_err(TN_EFORMAT, "the name of SOCKS4's user is longer than 255 bytes"));
	if (!found)
		return 0;
	r->port = port_of(data + 2);
	memcpy(r->user, data + at, user_len + 1);
	at += user_len + 1;
	if (ip[0] || ip[1] || ip[2] || !ip[3]) {
		take_ipv4(r, ip);
		rc = 0;
	} else {
		r->protocol = TNI_REQUEST_SOCKS4A;
		found = find_end(data + at, len - at, &name_len);
		if (!found)
			return 0;
		rc = take_host(r, data + at, found < 0 ? 0 : name_len);
		at += name_len + 1;
	}
	if (rc == 0)
		rc = check4(r, rules, data[1]);
	if (rc < 0)
		return fail4(reply, rc);
	r->whole = true;
	return (long)at;
}

/* ---- SOCKS5 ---- */

static void answer5(struct tni_request_reply *reply, int code, const unsigned char *ip, size_t ip_len, int port)
{
	static const unsigned char none[4];
	const unsigned char head[] = {SOCKS5_VERSION, (unsigned char)code, 0,
				      ip && ip_len == 16 ? ADDRESS_IPV6 : ADDRESS_IPV4};
	const unsigned char tail[] = {(unsigned char)(port >> 8), (unsigned char)port};

	put(reply, head, sizeof(head));
	put(reply, ip ? ip : none, ip ? ip_len : sizeof(none));
	put(reply, tail, sizeof(tail));
}

static long fail5(struct tni_request_reply *reply, int code, int err)
{
	answer5(reply, code, NULL, 0, 0);
	return err;
}

static long read_methods(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data,
			 size_t len, struct tni_request_reply *reply)
{
	unsigned char method = rules->passwords ? METHOD_PASSWORD : METHOD_NONE;
	size_t count = len > 1 ? data[1] : 0;
	bool offered;

	if (len < 2 || len < 2 + count)
		return 0;
	offered = memchr(data + 2, method, count) != NULL;
	put(reply, (unsigned char[]){SOCKS5_VERSION, offered ? method : METHOD_REFUSED}, 2);
	if (!offered)
		return tni_err(-EACCES, rules->passwords ? "the client shows no user and password"
							 : "the client insists on a way to show who it is that this "
							   "proxy does not know");
	r->step = rules->passwords ? STEP_PASSWORD : STEP_REQUEST;
	return (long)(2 + count);
}

static long refuse_password(struct tni_request *r)
{
	r->wrong = true;
	return tni_err(-EACCES, "the user or the password is wrong");
}

static void take_user(struct tni_request *r, const void *user, size_t len)
{
	len = len < sizeof(r->user) ? len : sizeof(r->user) - 1;
	memcpy(r->user, user, len);
	r->user[len] = '\0';
}

static long read_password(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data,
			  size_t len, struct tni_request_reply *reply)
{
	size_t user_len = len > 1 ? data[1] : 0, at = 2 + user_len, password_len;
	const char *user = (const char *)data + 2;
	bool known;

	if (data[0] != PASSWORD_VERSION)
		return tni_err(TN_EFORMAT, "the client sends version %d of user and password; there is 1 (RFC 1929)",
			       data[0]);
	if (len <= at)
		return 0;
	password_len = data[at];
	if (len < at + 1 + password_len)
		return 0;
	known = rules->knows(rules->arg, user, user_len, (const char *)data + at + 1, password_len);
	put(reply, (unsigned char[]){PASSWORD_VERSION, !known}, 2);
	if (!known)
		return refuse_password(r);
	take_user(r, user, user_len);
	r->step = STEP_REQUEST;
	return (long)(at + 1 + password_len);
}

/* How long a request with an address of this kind is; 0: that is not known yet; -1: there is no such kind. */
static long length5(const unsigned char *data, size_t len)
{
	if (len < 5)
		return 0;
	switch (data[3]) {
	case ADDRESS_IPV4:
		return 10;
	case ADDRESS_IPV6:
		return 22;
	case ADDRESS_NAME:
		return 7 + data[4];
	default:
		return -1;
	}
}

static int take_address5(struct tni_request *r, const unsigned char *data, long whole)
{
	r->port = port_of(data + whole - 2);
	if (data[3] == ADDRESS_NAME)
		return take_host(r, data + 5, data[4]);
	if (data[3] == ADDRESS_IPV4)
		take_ipv4(r, data + 4);
	else
		take_ipv6(r, data + 4);
	return 0;
}

static long read_request5(struct tni_request *r, const unsigned char *data, size_t len, struct tni_request_reply *reply)
{
	long whole = length5(data, len);
	int rc;

	if (data[0] != SOCKS5_VERSION || (len > 2 && data[2] != 0))
		return fail5(reply, REPLY_FAILED, tni_err(TN_EFORMAT, "this is no request of SOCKS5"));
	if (whole < 0)
		return fail5(reply, REPLY_NO_ADDRESS,
			     tni_err(TN_EFORMAT, "the client asks for an unknown kind of address (%d)", data[3]));
	if (!whole || len < (size_t)whole)
		return 0;
	if (data[1] != COMMAND_CONNECT && data[1] != COMMAND_UDP)
		return fail5(reply, REPLY_NO_COMMAND,
			     tni_err(-EOPNOTSUPP, "the client asks for %s, which this proxy does not do",
				     data[1] == COMMAND_BIND ? "BIND" : "an unknown command"));
	r->udp = data[1] == COMMAND_UDP;
	rc = take_address5(r, data, whole);
	if (rc == 0)
		rc = check_port(r);
	if (rc < 0)
		return fail5(reply, REPLY_FAILED, rc);
	r->whole = true;
	return whole;
}

static long read5(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data, size_t len,
		  struct tni_request_reply *reply)
{
	if (r->step == STEP_METHODS)
		return read_methods(r, rules, data, len, reply);
	if (r->step == STEP_PASSWORD)
		return read_password(r, rules, data, len, reply);
	return read_request5(r, data, len, reply);
}

/* ---- HTTP ---- */

/* The words of a failure go to the client too. */
static long fail_http(struct tni_request_reply *reply, int status, const char *field, int err)
{
	char text[TNI_REQUEST_REPLY_MAX];
	const char *words = err ? tn_errmsg() : "";
	int len = (int)strlen(words) > 200 ? 200 : (int)strlen(words);
	int n = snprintf(
		text, sizeof(text),
		"HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
		"%.*s\n",
		status, tni_http_status(status), field, len + 1, len, words);

	if (n > 0 && (size_t)n < sizeof(text))
		put(reply, text, (size_t)n);
	return err;
}

/* host:port, [::1]:port (RFC 9112 3.2.3). */
static int take_authority(struct tni_request *r, const struct tni_http_text *target)
{
	const char *at = target->at, *end = at + target->len, *colon = end;
	size_t len;
	bool brackets;

	while (colon > at && isdigit((unsigned char)colon[-1]))
		colon--;
	if (colon == at || colon[-1] != ':' || colon == end || end - colon > 5)
		return tni_err(TN_EFORMAT, "what CONNECT names is no host:port");
	for (r->port = 0; colon < end; colon++)
		r->port = r->port * 10 + *colon - '0';
	while (end[-1] != ':')
		end--;
	len = (size_t)(end - 1 - at);
	brackets = len > 2 && at[0] == '[' && at[len - 1] == ']';
	if (r->port > 65535 || brackets != (memchr(at, ':', len) != NULL))
		return tni_err(TN_EFORMAT, "what CONNECT names is no host:port");
	return brackets ? take_host(r, at + 1, len - 2) : take_host(r, at, len);
}

static int value_of(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Base64 (RFC 4648 4). How long it becomes; -1: it is none, or too long. */
static long decode(const struct tni_http_text *text, char *out, size_t cap)
{
	size_t len = text->len, n = 0;
	unsigned bits = 0;

	while (len && text->len - len < 2 && text->at[len - 1] == '=')
		len--;
	if (text->len % 4 || len % 4 == 1)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int value = value_of(text->at[i]);

		if (value < 0 || n == cap)
			return -1;
		bits = bits << 6 | (unsigned)value;
		if (i % 4)
			out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	return (long)n;
}

/* Basic (RFC 7617). 1: it is right; 0: there is none; -1: it is wrong. */
static int check_basic(struct tni_request *r, const struct tni_request_rules *rules, const struct tni_http_text *value)
{
	static const char scheme[] = "basic";
	char plain[2 * TNI_REQUEST_NAME_MAX + 2];
	struct tni_http_text name = {value->at, 0}, rest;
	const char *colon;
	bool known = false;
	long len;

	while (name.len < value->len && value->at[name.len] != ' ')
		name.len++;
	rest = (struct tni_http_text){value->at + name.len, value->len - name.len};
	tni_http_trim(&rest);
	if (!tni_http_is(&name, scheme))
		return 0;
	len = decode(&rest, plain, sizeof(plain));
	colon = len > 0 ? memchr(plain, ':', (size_t)len) : NULL;
	if (colon)
		known = rules->knows(rules->arg, plain, (size_t)(colon - plain), colon + 1,
				     (size_t)(plain + len - colon - 1));
	if (known)
		take_user(r, plain, (size_t)(colon - plain));
	explicit_bzero(plain, sizeof(plain));
	return known ? 1 : -1;
}

static long check_user(struct tni_request *r, const struct tni_request_rules *rules, const struct tni_http *head,
		       struct tni_request_reply *reply)
{
	static const char challenge[] = "Proxy-Authenticate: Basic realm=\"proxy\"\r\n";
	struct tni_http_text value;
	int found = rules->passwords ? tni_http_field(head, "Proxy-Authorization", &value) : 0;
	int right = found > 0 ? check_basic(r, rules, &value) : 0;

	if (found < 0)
		return fail_http(reply, 400, "", found);
	if (!rules->passwords || right > 0)
		return 0;
	if (right == 0)
		return fail_http(reply, 407, challenge, tni_err(-EACCES, "the client shows no user and password"));
	(void)refuse_password(r);
	return fail_http(reply, 407, challenge, -EACCES);
}

static long read_http(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data,
		      size_t len, struct tni_request_reply *reply)
{
	struct tni_http head;
	long n = tni_http_read(&head, TNI_REQUEST, (const char *)data, len), rc;

	if (n <= 0)
		return n < 0 ? fail_http(reply, head.answer ? head.answer : 400, "", (int)n) : 0;
	if (!tni_http_equals(&head.method, "CONNECT"))
		return fail_http(reply, 405, "Allow: CONNECT\r\n",
				 tni_err(TN_EFORMAT, "of HTTP this proxy knows CONNECT alone"));
	if (head.chunked || (head.has_length && head.length))
		return fail_http(reply, 400, "", tni_err(TN_EFORMAT, "CONNECT has no body (RFC 9110 9.3.6)"));
	rc = take_authority(r, &head.target);
	if (rc == 0)
		rc = check_port(r);
	if (rc < 0)
		return fail_http(reply, 400, "", (int)rc);
	rc = check_user(r, rules, &head, reply);
	if (rc < 0)
		return rc;
	r->whole = true;
	return n;
}

/* ---- all of them ---- */

static int tell_apart(struct tni_request *r, unsigned char first)
{
	enum { TLS_HANDSHAKE = 22 };

	if (first == SOCKS4_VERSION)
		r->protocol = TNI_REQUEST_SOCKS4;
	else if (first == SOCKS5_VERSION)
		r->protocol = TNI_REQUEST_SOCKS5;
	else if (isalpha(first))
		r->protocol = TNI_REQUEST_HTTP;
	else if (first == TLS_HANDSHAKE)
		return tni_err(TN_EFORMAT, "the client speaks TLS; with cert= and key= this proxy would, too");
	else
		return tni_err(TN_EFORMAT, "the client speaks neither SOCKS nor HTTP");
	return 0;
}

long tni_request_read(struct tni_request *r, const struct tni_request_rules *rules, const unsigned char *data,
		      size_t len, struct tni_request_reply *reply)
{
	int rc;

	reply->len = 0;
	if (!len)
		return 0;
	rc = r->protocol ? 0 : tell_apart(r, data[0]);
	if (rc < 0)
		return rc;
	switch (r->protocol) {
	case TNI_REQUEST_SOCKS5:
		return read5(r, rules, data, len, reply);
	case TNI_REQUEST_HTTP:
		return read_http(r, rules, data, len, reply);
	default:
		return read4(r, rules, data, len, reply);
	}
}

static const struct {
	int err, socks5, http;
} codes[] = {
	{-ELOOP, REPLY_FORBIDDEN, 403},      {-EACCES, REPLY_FORBIDDEN, 403},
	{-EPERM, REPLY_FORBIDDEN, 403},      {-ENETUNREACH, REPLY_NO_NETWORK, 502},
	{-EHOSTUNREACH, REPLY_NO_HOST, 502}, {TN_ENAME, REPLY_NO_HOST, 502},
	{TN_ERESOLVE, REPLY_NO_HOST, 502},   {-ECONNREFUSED, REPLY_REFUSED, 502},
	{-ECONNRESET, REPLY_REFUSED, 502},   {-ETIMEDOUT, REPLY_TIMED_OUT, 504},
	{-EMFILE, REPLY_FAILED, 503},        {-ENFILE, REPLY_FAILED, 503},
	{-ENOMEM, REPLY_FAILED, 503},        {-ENOBUFS, REPLY_FAILED, 503},
	{TN_ELIMIT, REPLY_FAILED, 503},      {0, REPLY_FAILED, 502},
};

void tni_request_answer(const struct tni_request *r, int err, const unsigned char *ip, size_t ip_len, int port,
			struct tni_request_reply *reply)
{
	static const char granted[] = "HTTP/1.1 200 OK\r\n\r\n";
	size_t i = 0;

	reply->len = 0;
	while (codes[i].err && codes[i].err != err)
		i++;
	if (r->protocol == TNI_REQUEST_SOCKS5) {
		answer5(reply, err ? codes[i].socks5 : REPLY_DONE, ip, ip_len, port);
	} else if (r->protocol != TNI_REQUEST_HTTP) {
		answer4(reply, err ? REPLY4_FAILED : REPLY4_DONE, ip && ip_len == 4 ? ip : NULL, port);
	} else if (err) {
		tni_err(err, "%s:%d: %s", r->host, r->port, tn_strerror(err));
		(void)fail_http(reply, codes[i].http, "", err);
	} else {
		put(reply, granted, sizeof(granted) - 1);
	}
}

const char *tni_request_protocol(enum tni_request_protocol protocol)
{
	static const char *const names[] = {[TNI_REQUEST_UNKNOWN] = "",
					    [TNI_REQUEST_SOCKS4] = "socks4",
					    [TNI_REQUEST_SOCKS4A] = "socks4a",
					    [TNI_REQUEST_SOCKS5] = "socks5",
					    [TNI_REQUEST_HTTP] = "http"};

	return names[protocol];
}
