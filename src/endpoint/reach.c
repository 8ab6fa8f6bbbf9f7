#include "endpoint/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- ports ---- */

/* Digits at `*at`, which is moved behind them. -1: they are no port. */
static int take_port(const char **at, const char *end)
{
	int port = 0, digits = 0;

	for (; *at < end && **at >= '0' && **at <= '9' && digits < 6; (*at)++, digits++)
		port = port * 10 + **at - '0';
	return digits && port >= 1 && port <= 65535 ? port : -1;
}

static int take_range(struct tni_ports *ports, const char *item, const char *end)
{
	const char *at = item;
	int first = take_port(&at, end), last = first;

	if (first > 0 && at < end && *at == '-') {
		at++;
		last = take_port(&at, end);
	}
	if (first < 0 || at != end || last < first)
		return tni_err(TN_EURL, "'%.*s' is no port or range of ports; they look like 443, 8000-8999",
			       (int)(end - item > 32 ? 32 : end - item), item);
	if (ports->count == TNI_PORT_RANGES_MAX)
		return tni_err(TN_EURL, "more than %d ports and ranges", TNI_PORT_RANGES_MAX);
	ports->ranges[ports->count].first = first;
	ports->ranges[ports->count++].last = last;
	return 0;
}

int tni_ports_read(struct tni_ports *ports, const char *text)
{
	int rc = 0;

	ports->count = 0;
	for (const char *item = text, *end = ","; rc == 0 && *end; item = end + 1) {
		end = item + strcspn(item, ",");
		rc = take_range(ports, item, end);
	}
	return rc;
}

bool tni_ports_have(const struct tni_ports *ports, int port)
{
	for (int i = 0; i < ports->count; i++)
		if (port >= ports->ranges[i].first && port <= ports->ranges[i].last)
			return true;
	return !ports->count;
}

/* ---- users ---- */

#define TEXT_MAX 255

/* Filled with zero bytes behind their length, so that all are compared in the same way. */
struct padded {
	unsigned char len, bytes[TEXT_MAX];
};

struct tni_user {
	struct padded name, password;
};

static void pad(struct padded *padded, const char *text, size_t len)
{
	memset(padded, 0, sizeof(*padded));
	padded->len = (unsigned char)len;
	memcpy(padded->bytes, text, len);
}

static int bad_line(const char *file, int line, const char *why)
{
	return tni_err(TN_EFORMAT, "%s: line %d: %s", file, line, why);
}

static int take_line(struct tni_users *users, const char *file, int number, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	struct tni_user *grown, *user;
	size_t name_len = colon ? (size_t)(colon - line) : 0;

	/* Not told: what stands in the line. */
	if (!name_len || name_len + 1 == len)
		return bad_line(file, number, "it takes NAME:PASSWORD");
	if (name_len > TEXT_MAX || len - name_len - 1 > TEXT_MAX)
		return bad_line(file, number, "the name or the password is longer than 255 bytes");
	if (users->count == TNI_USERS_MAX)
		return bad_line(file, number, "more than 1024 users");
	grown = calloc(users->count + 1, sizeof(*grown)); /* not realloc(3): the old ones are wiped */
	if (!grown)
		return tni_err(-ENOMEM, "out of memory");
	if (users->count) {
		memcpy(grown, users->list, users->count * sizeof(*grown));
		explicit_bzero(users->list, users->count * sizeof(*grown));
	}
	free(users->list);
	users->list = grown;
	user = &grown[users->count++];
	pad(&user->name, line, name_len);
	pad(&user->password, colon + 1, len - name_len - 1);
	return 0;
}

int tni_users_read(struct tni_users *users, const char *file, const char *text, size_t len)
{
	const char *end = text + len, *lf;
	int rc = 0;

	for (int number = 1; rc == 0 && text < end; text = lf + 1, number++) {
		size_t n;

		lf = memchr(text, '\n', (size_t)(end - text));
		lf = lf ? lf : end;
		n = (size_t)(lf - text);
		n -= n && text[n - 1] == '\r';
		if (n && *text != '#')
			rc = take_line(users, file, number, text, n);
	}
	if (rc == 0 && !users->count)
		rc = tni_err(TN_EFORMAT, "%s: it holds no line NAME:PASSWORD", file);
	return rc;
}

static unsigned differ(const struct padded *a, const struct padded *b)
{
	unsigned bits = a->len ^ b->len;

	for (size_t i = 0; i < sizeof(a->bytes); i++)
		bits |= a->bytes[i] ^ b->bytes[i];
	return bits;
}

bool tni_users_know(const struct tni_users *users, const char *name, size_t name_len, const char *password,
		    size_t password_len)
{
	struct tni_user asked;
	volatile unsigned found = 0;

	if (name_len > TEXT_MAX || password_len > TEXT_MAX)
		return false;
	pad(&asked.name, name, name_len);
	pad(&asked.password, password, password_len);
	for (size_t i = 0; i < users->count; i++) {
		unsigned bits =
			differ(&asked.name, &users->list[i].name) | differ(&asked.password, &users->list[i].password);

		found |= (bits - 1) >> 31;
	}
	explicit_bzero(&asked, sizeof(asked));
	return found;
}

void tni_users_free(struct tni_users *users)
{
	if (users->count)
		explicit_bzero(users->list, users->count * sizeof(*users->list));
	free(users->list);
	*users = (struct tni_users){0};
}
