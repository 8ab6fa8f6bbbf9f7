#include "first.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define RECORD_HEAD 5
#define RECORD_MAX 16384 /* RFC 8446 5.1 */
#define HANDSHAKE 22
#define CLIENT_HELLO 1
#define EXT_SERVER_NAME 0
#define EXT_ALPN 16

/* ---- a handshake message, whatever records it has been cut into ---- */

enum state { FINE, SHORT /* the rest has not come */, BROKEN };

struct reader {
	const unsigned char *data;
	size_t len, at;
	size_t record; /* bytes left of the record */
	size_t need;   /* with SHORT */
	enum state state;
};

static void fail(struct reader *r, enum state state)
{
	if (r->state == FINE)
		r->state = state;
}

static void next_record(struct reader *r)
{
	const unsigned char *head = r->data + r->at;

	if (r->len - r->at < RECORD_HEAD) {
		r->need = r->at + RECORD_HEAD;
		fail(r, SHORT);
		return;
	}
	r->record = (size_t)head[3] << 8 | head[4];
	/* An empty record may not be a handshake's: with many of them a client could be looked at for ever. */
	if (head[0] != HANDSHAKE || head[1] != 3 || !r->record || r->record > RECORD_MAX)
		fail(r, BROKEN);
	r->at += RECORD_HEAD;
}

/* Takes up to `n` bytes that lie in one piece. NULL: there are none. */
static const unsigned char *take_some(struct reader *r, size_t *n)
{
	const unsigned char *piece;

	if (r->state == FINE && !r->record)
		next_record(r);
	if (r->state != FINE)
		return NULL;
	if (r->at == r->len) {
		r->need = r->at + 1;
		fail(r, SHORT);
		return NULL;
	}
	if (*n > r->record)
		*n = r->record;
	if (*n > r->len - r->at)
		*n = r->len - r->at;
	piece = r->data + r->at;
	r->at += *n;
	r->record -= *n;
	return piece;
}

/* `to` NULL: they are passed over. */
static void take(struct reader *r, void *to, size_t n)
{
	unsigned char *out = to;

	while (n && r->state == FINE) {
		size_t some = n;
		const unsigned char *piece = take_some(r, &some);

		if (!piece)
			break;
		if (out) {
			memcpy(out, piece, some);
			out += some;
		}
		n -= some;
	}
}

/* A number of `bytes` bytes. Each part of the message counts against the `left` of what it stands in. */
static size_t take_number(struct reader *r, int bytes, size_t *left)
{
	unsigned char b[3] = {0};
	size_t number = 0;

	if (*left < (size_t)bytes) {
		fail(r, BROKEN);
		return 0;
	}
	*left -= (size_t)bytes;
	take(r, b, (size_t)bytes);
	for (int i = 0; i < bytes; i++)
		number = number << 8 | b[i];
	return r->state == FINE ? number : 0;
}

/* A part with its length in front, which must fit into what it stands in. */
static size_t take_length(struct reader *r, int bytes, size_t *left)
{
	size_t len = take_number(r, bytes, left);

	if (len > *left) {
		fail(r, BROKEN);
		return 0;
	}
	*left -= len;
	return len;
}

/* ---- what stands in a ClientHello ---- */

static bool is_name(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
			return false;
	}
	return len > 0 && name[0] != '.';
}

static void take_server_name(struct reader *r, size_t left, struct first *first)
{
	size_t list = take_length(r, 2, &left), kind, len;

	if (left)
		fail(r, BROKEN);
	kind = take_number(r, 1, &list);
	len = take_length(r, 2, &list);
	if (kind != 0 || list || len > FIRST_NAME_MAX)
		fail(r, BROKEN); /* RFC 6066: one name, and host names are all there are */
	if (r->state != FINE)
		return;
	take(r, first->server_name, len);
	first->server_name[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (first->server_name[i] >= 'A' && first->server_name[i] <= 'Z')
			first->server_name[i] += 'a' - 'A';
	if (r->state == FINE && !is_name(first->server_name, len))
		fail(r, BROKEN);
}

static void take_alpn(struct reader *r, size_t left, struct first *first)
{
	size_t list = take_length(r, 2, &left);

	if (left)
		fail(r, BROKEN);
	while (list && r->state == FINE) {
		size_t len = take_length(r, 1, &list);
		bool fits = first->alpn_len + 1 + len <= FIRST_ALPN_MAX;

		if (!len)
			fail(r, BROKEN);
		if (r->state != FINE)
			break;
		if (fits)
			first->alpn[first->alpn_len] = (unsigned char)len;
		take(r, fits ? first->alpn + first->alpn_len + 1 : NULL, len);
		if (fits && r->state == FINE)
			first->alpn_len += 1 + len;
	}
}

static void take_extensions(struct reader *r, size_t left, struct first *first)
{
	bool named = false, offered = false;

	while (left && r->state == FINE) {
		size_t kind = take_number(r, 2, &left), len = take_length(r, 2, &left);

		if (r->state != FINE)
			break;
		if ((kind == EXT_SERVER_NAME && named) || (kind == EXT_ALPN && offered))
			fail(r, BROKEN); /* RFC 8446 4.2: each at most once */
		else if (kind == EXT_SERVER_NAME)
			take_server_name(r, len, first);
		else if (kind == EXT_ALPN)
			take_alpn(r, len, first);
		else
			take(r, NULL, len);
		named |= kind == EXT_SERVER_NAME;
		offered |= kind == EXT_ALPN;
	}
}

static void take_hello(struct reader *r, struct first *first)
{
	size_t all = 4, left, kind = take_number(r, 1, &all);

	left = take_number(r, 3, &all);
	if (r->state == FINE && (kind != CLIENT_HELLO || left < 2 + 32 || left > FIRST_MAX))
		fail(r, BROKEN);
	if (r->state != FINE)
		return;
	left -= 2 + 32;
	take(r, NULL, 2 + 32);                   /* version, random */
	take(r, NULL, take_length(r, 1, &left)); /* session */
	take(r, NULL, take_length(r, 2, &left)); /* ciphers */
	take(r, NULL, take_length(r, 1, &left)); /* compression */
	if (left && r->state == FINE) {          /* RFC 8446 4.1.2: a hello of TLS 1.2 may end here */
		size_t len = take_length(r, 2, &left);

		if (left)
			fail(r, BROKEN);
		take_extensions(r, len, first);
	}
}

static int look_at_tls(const unsigned char *data, size_t len, struct first *first)
{
	struct reader r = {.data = data, .len = len};

	take_hello(&r, first);
	if (r.state == SHORT && len < FIRST_MAX) {
		*first = (struct first){.need = r.need};
		return 0;
	}
	if (r.state == FINE)
		first->protocol = FIRST_TLS;
	else
		*first = (struct first){0};
	return 1;
}

/* ---- which protocol ---- */

static int look_at_ssh(const unsigned char *data, size_t len, struct first *first)
{
	static const char begin[] = "SSH-";

	first->need = 4;
	if (len < 4)
		return memcmp(data, begin, len) != 0;
	if (memcmp(data, begin, 4) == 0)
		first->protocol = FIRST_SSH;
	return 1;
}

/* A method in capitals and a space (RFC 9110 9.1). */
static int look_at_http(const unsigned char *data, size_t len, struct first *first)
{
	size_t n = 0;

	while (n < len && n < 17 && data[n] >= 'A' && data[n] <= 'Z')
		n++;
	if (n == len && n < 17) {
		first->need = len + 1;
		return 0;
	}
	if (n >= 3 && n < 17 && data[n] == ' ')
		first->protocol = FIRST_HTTP;
	return 1;
}

int first_look(const unsigned char *data, size_t len, struct first *first)
{
	int known;

	*first = (struct first){0};
	first->need = 1;
	if (!len)
		return 0;
	if (data[0] == HANDSHAKE)
		return look_at_tls(data, len, first);
	known = look_at_ssh(data, len, first);
	if (known == 0 || first->protocol)
		return known;
	return look_at_http(data, len, first);
}

bool first_offers(const struct first *first, const char *name)
{
	size_t len = strlen(name);

	for (size_t at = 0; at < first->alpn_len; at += 1 + first->alpn[at])
		if (first->alpn[at] == len && memcmp(first->alpn + at + 1, name, len) == 0)
			return true;
	return false;
}

size_t first_fits(const char *pattern, const char *name)
{
	size_t len = strlen(pattern), name_len = strlen(name);

	if (strncmp(pattern, "*.", 2) != 0)
		return name_len && strcasecmp(pattern, name) == 0 ? SIZE_MAX / 2 : 0;
	/* The dot counts: something must stand in front of it. */
	return name_len > len - 1 && strcasecmp(name + name_len - (len - 1), pattern + 1) == 0 ? len : 0;
}
