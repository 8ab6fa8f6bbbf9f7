#include "proxy/socks.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>

enum { CONNECT = 1 };
enum { METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff };
enum { ADDRESS_IPV4 = 1, ADDRESS_NAME = 3, ADDRESS_IPV6 = 4 };
enum { PASSWORD_VERSION = 1 };

/* What of SOCKS5 has to come next. */
enum { STEP_METHOD, STEP_PASSWORD, STEP_REPLY };

#define REQUEST_MAX (3 + 2 * (1 + TNI_SOCKS_TEXT_MAX) + 8)

/* A message that is being put together. Texts are checked before. */
struct message {
	unsigned char bytes[REQUEST_MAX];
	size_t len;
};

static void put(struct message *m, const void *bytes, size_t len)
{
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static void put_byte(struct message *m, int byte)
{
	m->bytes[m->len++] = (unsigned char)byte;
}

/* Behind its length. */
static void put_text(struct message *m, const char *text)
{
	put_byte(m, (int)strlen(text));
	put(m, text, strlen(text));
}

static void put_port(struct message *m, int port)
{
	put_byte(m, port >> 8);
	put_byte(m, port & 0xff);
}

/* The message may hold a password. */
static int say(struct message *m, struct tn_buf *net)
{
	int rc = tni_buf_append(net, m->bytes, m->len, false);

	explicit_bzero(m->bytes, m->len);
	return rc < 0 ? tni_err(-ENOMEM, "SOCKS: out of memory") : 0;
}

static bool is_text(const char *text)
{
	return !text || strlen(text) <= TNI_SOCKS_TEXT_MAX;
}

/* ---- SOCKS4 and 4a ---- */

static int begin4(const struct tni_socks *s, struct tn_buf *net)
{
	static const unsigned char by_name[] = {0, 0, 0, 1};
	const struct tni_proxy_target *target = s->target;
	const char *user = s->user ? s->user : "";
	struct message m = {.len = 0};

	if (target->ip_len == 16 || (!target->ip_len && strchr(target->name, ':')))
		return tni_err(TN_EURL, "cannot be asked for an address of IPv6: SOCKS4 has none");
	put_byte(&m, 4);
	put_byte(&m, CONNECT);
	put_port(&m, target->port);
	put(&m, target->ip_len ? target->ip : by_name, 4);
	put(&m, user, strlen(user) + 1);
	if (!target->ip_len)
		put(&m, target->name, strlen(target->name) + 1);
	return say(&m, net);
}

static long read4(struct tni_socks *s, const unsigned char *data, size_t len)
{
	if (data[0] != 0)
		return tni_err(TN_EFORMAT, "answers with byte %u: that is not SOCKS4", data[0]);
	if (len < 2)
		return 0;
	switch (data[1]) {
	case 90:
		s->done = len >= 8;
		return s->done ? 8 : 0;
	case 91:
		return tni_err(-ECONNREFUSED, "answers: refused or failed (SOCKS4 reply 91)");
	case 92:
		return tni_err(-EACCES, "answers: it cannot ask this host who the user is (SOCKS4 reply 92)");
	case 93:
		return tni_err(-EACCES, "answers: this host says that the user is another (SOCKS4 reply 93)");
	default:
		return tni_err(TN_EFORMAT, "answers with SOCKS4 reply %u, which does not exist", data[1]);
	}
}

/* ---- SOCKS5 ---- */

static int ask5(struct tni_socks *s, struct tn_buf *net)
{
	const struct tni_proxy_target *target = s->target;
	struct message m = {.len = 0};

	put_byte(&m, 5);
	put_byte(&m, CONNECT);
	put_byte(&m, 0);
	if (target->ip_len) {
		put_byte(&m, target->ip_len == 4 ? ADDRESS_IPV4 : ADDRESS_IPV6);
		put(&m, target->ip, target->ip_len);
	} else {
		put_byte(&m, ADDRESS_NAME);
		put_text(&m, target->name);
	}
	put_port(&m, target->port);
	s->step = STEP_REPLY;
	return say(&m, net);
}

static int begin5(struct tni_socks *s, struct tn_buf *net)
{
	struct message m = {.len = 0};

	s->offered = s->user != NULL;
	put_byte(&m, 5);
	put_byte(&m, s->offered ? 2 : 1);
	put_byte(&m, METHOD_NONE);
	if (s->offered)
		put_byte(&m, METHOD_PASSWORD);
	return say(&m, net);
}

static int tell_password(struct tni_socks *s, struct tn_buf *net)
{
	struct message m = {.len = 0};

	put_byte(&m, PASSWORD_VERSION);
	put_text(&m, s->user);
	put_text(&m, s->password ? s->password : "");
	s->step = STEP_PASSWORD;
	return say(&m, net);
}

static int fail_version(unsigned version)
{
	if (version == 'H')
		return tni_err(TN_EFORMAT, "answers in HTTP, not SOCKS5: its scheme is http");
	return tni_err(TN_EFORMAT, "answers with byte %u: that is not SOCKS5", version);
}

static long read_method(struct tni_socks *s, const unsigned char *data, size_t len, struct tn_buf *net)
{
	int rc;

	if (data[0] != 5)
		return fail_version(data[0]);
	if (len < 2)
		return 0;
	if (data[1] == METHOD_REFUSED)
		return s->offered ? tni_err(-EACCES, "takes neither a password nor anybody without one")
				  : tni_err(-EACCES, "wants a user and a password: key auth names a file of them");
	if (data[1] == METHOD_NONE)
		rc = ask5(s, net);
	else if (data[1] == METHOD_PASSWORD && s->offered)
		rc = tell_password(s, net);
	else
		rc = tni_err(TN_EFORMAT, "wants authentication by method %u, which was not offered", data[1]);
	return rc < 0 ? rc : 2;
}

/* The version of this answer is the password's, not that of SOCKS, which some servers do not know. */
static long read_password(struct tni_socks *s, const unsigned char *data, size_t len, struct tn_buf *net)
{
	int rc;

	if (data[0] != PASSWORD_VERSION && data[0] != 5)
		return tni_err(TN_EFORMAT, "answers to the password with byte %u: that is not SOCKS5", data[0]);
	if (len < 2)
		return 0;
	if (data[1])
		return tni_err(-EACCES, "answers: the user or the password is wrong (user '%.64s'%s)", s->user,
			       s->password && *s->password ? "" : ", no password: key auth names a file that has it");
	rc = ask5(s, net);
	return rc < 0 ? rc : 2;
}

/* RFC 1928 6. */
static int fail_reply(unsigned reply)
{
	static const struct {
		int err;
		const char *words;
	} replies[] = {
		{-ECONNREFUSED, "it failed"},
		{-EACCES, "its rules do not allow it"},
		{-ENETUNREACH, "the network is unreachable"},
		{-EHOSTUNREACH, "the host is unreachable"},
		{-ECONNREFUSED, "the target has refused the connection"},
		{-ETIMEDOUT, "the TTL has expired"},
		{-EOPNOTSUPP, "it does not know how to connect"},
		{-EAFNOSUPPORT, "it does not know addresses of this kind"},
	};

	if (reply > sizeof(replies) / sizeof(replies[0]))
		return tni_err(TN_EFORMAT, "answers with SOCKS5 reply %u, which does not exist", reply);
	return tni_err(replies[reply - 1].err, "answers: %s (SOCKS5 reply %u)", replies[reply - 1].words, reply);
}

/* What it has bound is of no use to us. A failure is told as soon as it is known: some send no more than that. */
static long read_reply(struct tni_socks *s, const unsigned char *data, size_t len)
{
	size_t whole;

	if (data[0] != 5)
		return fail_version(data[0]);
	if (len >= 2 && data[1])
		return fail_reply(data[1]);
	if (len < 5)
		return 0;
	switch (data[3]) {
	case ADDRESS_IPV4:
		whole = 4 + 4 + 2;
		break;
	case ADDRESS_IPV6:
		whole = 4 + 16 + 2;
		break;
	case ADDRESS_NAME:
		whole = 4 + 1 + (size_t)data[4] + 2;
		break;
	default:
		return tni_err(TN_EFORMAT, "answers with an address of kind %u, which SOCKS5 does not have", data[3]);
	}
	s->done = len >= whole;
	return s->done ? (long)whole : 0;
}

/* ---- both ---- */

int tni_socks_begin(struct tni_socks *s, struct tn_buf *net)
{
	if (!is_text(s->target->name))
		return tni_err(TN_EURL, "cannot be asked for a name of more than 255 bytes");
	if (!is_text(s->user) || !is_text(s->password))
		return tni_err(TN_EURL, "takes users and passwords of at most 255 bytes");
	return s->version == 4 ? begin4(s, net) : begin5(s, net);
}

long tni_socks_read(struct tni_socks *s, const unsigned char *data, size_t len, struct tn_buf *net)
{
	if (!len)
		return 0;
	if (s->version == 4)
		return read4(s, data, len);
	return s->step == STEP_METHOD     ? read_method(s, data, len, net)
	       : s->step == STEP_PASSWORD ? read_password(s, data, len, net)
					  : read_reply(s, data, len);
}
