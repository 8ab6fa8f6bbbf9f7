#include "web/login.h"

#include "base/err.h"
#include "web/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer ones fit into no head. */
#define SECRET_MAX 4096

void tni_login_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void tni_login_free(struct tni_login *login)
{
	tni_login_wipe(login->user);
	tni_login_wipe(login->password);
	*login = (struct tni_login){NULL, NULL};
}

/* RFC 6750 2.1: a token. */
static bool is_token(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)at[i]) && !strchr("-._~+/=", at[i]))
			return false;
	return len > 0;
}

static int bad_line(const char *file, int line, const char *why)
{
	return tni_err(TN_EFORMAT, "%s: line %d: %s", file, line, why);
}

static int take_line(struct tni_login *login, const char *file, int number, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *password = colon ? colon + 1 : line;
	size_t password_len = (size_t)(line + len - password);

	if (len > SECRET_MAX)
		return bad_line(file, number, "it is longer than 4096 bytes");
	if (!colon && !is_token(line, len))
		return bad_line(file, number, "it is neither user:password nor a token");
	if (!tni_http_is_value(line, len) || memchr(line, '\0', len))
		return bad_line(file, number, "it holds a control character");
	if (colon == line)
		return bad_line(file, number, "before the colon stands a user");
	login->user = colon ? tni_http_copy(line, (size_t)(colon - line)) : NULL;
	login->password = tni_http_copy(password, password_len);
	if (login->password && (login->user || !colon))
		return 0;
	tni_login_free(login);
	return tni_err(-ENOMEM, "%s: out of memory", file);
}

static bool is_of(const char *user, const char *line, size_t len)
{
	size_t n = user ? strlen(user) : 0;

	return !user || (len > n && line[n] == ':' && memcmp(line, user, n) == 0);
}

int tni_login_read(struct tni_login *login, const char *user, const char *file, const char *text, size_t len)
{
	const char *end = text + len, *next;
	int number = 0;

	for (const char *line = text; line < end; line = next) {
		const char *lf = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)((lf ? lf : end) - line);

		next = lf ? lf + 1 : end;
		number++;
		if (n && line[n - 1] == '\r')
			n--;
		if (n && *line != '#' && is_of(user, line, n))
			return take_line(login, file, number, line, n);
	}
	if (user)
		return tni_err(TN_EFORMAT, "%s: it holds no line %.64s:PASSWORD", file, user);
	return tni_err(TN_EFORMAT, "%s: it holds no line user:password, and no token", file);
}

/* RFC 4648 4. */
static void base64(const unsigned char *in, size_t len, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		unsigned bits = (unsigned)in[i] << 16 | (i + 1 < len ? (unsigned)in[i + 1] << 8 : 0) |
				(i + 2 < len ? in[i + 2] : 0);

		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 63];
		*out++ = '=';
		*out++ = '=';
		if (i + 1 < len)
			out[-2] = digits[bits >> 6 & 63];
		if (i + 2 < len)
			out[-1] = digits[bits & 63];
	}
	*out = '\0';
}

static char *basic(const char *user, const char *password)
{
	size_t len = strlen(user) + 1 + strlen(password);
	char *out = malloc(sizeof("Basic ") + (len + 2) / 3 * 4), *both = malloc(len + 1);

	if (out && both) {
		sprintf(both, "%s:%s", user, password);
		memcpy(out, "Basic ", 6);
		base64((const unsigned char *)both, len, out + 6);
	} else {
		free(out);
		out = NULL;
	}
	if (out)
		tni_login_wipe(both);
	else
		free(both);
	return out;
}

char *tni_login_authorization(const struct tni_login *login)
{
	const char *password = login->password ? login->password : "";
	char *out;

	if (login->user)
		return basic(login->user, password);
	out = malloc(sizeof("Bearer ") + strlen(password));
	if (out)
		sprintf(out, "Bearer %s", password);
	return out;
}
