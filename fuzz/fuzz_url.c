/*
 * The URL parser: any text is either refused, at a place inside it, or taken apart into pieces that lie inside the
 * parser's memory, at places inside the text, and that make the same URL again once they are escaped and put together.
 */
#include "base/url.h"
#include "tenon.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "fuzz_url.c:%d: does not hold: %s\n", line, what);
	abort();
}

/* ---- one URL ---- */

/* Pieces stand one behind the other, each with its zero byte and none inside: nothing is hidden behind one. */
static const char *check_piece(const struct tni_url *url, const char *piece, const char *expected_at)
{
	CHECK(piece == expected_at);
	CHECK(piece >= url->memory);
	return piece + strlen(piece) + 1;
}

static void check_pieces(const struct tni_url *url, bool bare)
{
	const char *at = bare ? url->memory : check_piece(url, url->scheme, url->memory);

	if (url->host)
		at = check_piece(url, url->host, at);
	if (url->service)
		at = check_piece(url, url->service, at);
	CHECK(url->path == at);
	CHECK(url->path[url->path_len] == '\0');
	at += url->path_len + 1;
	for (size_t i = 0; i < url->nparams; i++) {
		at = check_piece(url, url->params[i].key, at);
		/* A key without a value has a constant one. */
		if (url->params[i].value == at)
			at = check_piece(url, url->params[i].value, at);
		else
			CHECK(!strcmp(url->params[i].value, "on"));
	}
}

static void check_places(const struct tni_url *url, const char *text, bool bare)
{
	long len = (long)strlen(text), at = bare ? 0 : 1;

	if (bare) {
		CHECK(url->host && url->host_at == 0);
	} else if (url->host) {
		CHECK(url->host_at >= 4 && url->host_at <= len);
		CHECK(!memcmp(text + url->host_at - 3, "://", 3));
		at = url->host_at;
	} else {
		CHECK(url->host_at == -1 && url->port_at == -1);
	}
	CHECK((url->port >= 0 || url->service) == (url->port_at >= 0));
	CHECK(url->port < 0 || !url->service);
	if (url->port_at >= 0) {
		CHECK(url->port_at > at && url->port_at < len && text[url->port_at - 1] == ':');
		at = url->port_at;
	}
	CHECK(url->path_at >= at && url->path_at <= len);
	at = url->path_at;
	for (size_t i = 0; i < url->nparams; i++) {
		const struct tni_url_param *param = &url->params[i];

		CHECK(param->key_at > at && param->key_at < len);
		CHECK(text[param->key_at - 1] == (i ? '&' : '?'));
		CHECK(param->value_at > param->key_at && param->value_at <= len);
		CHECK(text[param->value_at - 1] == '=' || !strcmp(param->value, "on"));
		at = param->value_at - 1;
	}
}

static void check_values(const struct tni_url *url)
{
	CHECK(*url->scheme);
	CHECK(url->port >= -1 && url->port <= 65535);
	CHECK(url->nparams <= TNI_URL_PARAMS_MAX);
	CHECK(!url->host || !url->path_len || *url->path == '/');
	for (size_t i = 0; i < url->nparams; i++) {
		CHECK(*url->params[i].key);
		/* Finds this one: no key stands there twice. */
		CHECK(tni_url_get(url, url->params[i].key) == url->params[i].value);
	}
}

/* ---- there and back ---- */

static char *put_text(char *out, const char *text)
{
	return stpcpy(out, text);
}

static char *put_escaped(char *out, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			*out++ = (char)c;
		else
			out += sprintf(out, "%%%02X", c);
	}
	return out;
}

static void encode(const struct tni_url *url, char *out)
{
	size_t slash = url->host && url->path_len; /* which ends the host and must stand there bare */

	out = put_text(put_text(out, url->scheme), ":");
	if (url->host)
		out = put_escaped(put_text(out, "//"), url->host, strlen(url->host));
	if (url->port >= 0)
		out += sprintf(out, ":%d", url->port);
	if (url->service)
		out = put_text(put_text(out, ":"), url->service);
	if (slash)
		*out++ = '/';
	out = put_escaped(out, url->path + slash, url->path_len - slash);
	for (size_t i = 0; i < url->nparams; i++) {
		const struct tni_url_param *param = &url->params[i];

		out = put_escaped(put_text(out, i ? "&" : "?"), param->key, strlen(param->key));
		out = put_escaped(put_text(out, "="), param->value, strlen(param->value));
	}
	*out = '\0';
}

static void check_same(const struct tni_url *a, const struct tni_url *b)
{
	CHECK(!strcmp(a->scheme, b->scheme));
	CHECK(!a->host == !b->host);
	CHECK(!a->host || !strcmp(a->host, b->host));
	CHECK(a->port == b->port);
	CHECK(!a->service == !b->service && (!a->service || !strcmp(a->service, b->service)));
	CHECK(a->path_len == b->path_len && !memcmp(a->path, b->path, a->path_len));
	CHECK(a->nparams == b->nparams);
	for (size_t i = 0; i < a->nparams; i++) {
		CHECK(!strcmp(a->params[i].key, b->params[i].key));
		CHECK(!strcmp(a->params[i].value, b->params[i].value));
	}
}

static void check_there_and_back(const struct tni_url *url)
{
	static char text[3 * TNI_URL_LEN_MAX + 8 * TNI_URL_PARAMS_MAX];
	struct tni_url *again = malloc(sizeof(*again));

	encode(url, text);
	if (strlen(text) <= TNI_URL_LEN_MAX) {
		CHECK(tni_url_parse(again, text) == 0);
		check_same(url, again);
		tni_url_free(again);
	}
	free(again);
}

static void check_refusal(int rc, size_t len)
{
	CHECK(rc == TN_EURL);
	CHECK(*tn_errmsg());
	if (len > TNI_URL_LEN_MAX)
		CHECK(tn_errpos() == -1);
	else
		CHECK(tn_errpos() >= 0 && (size_t)tn_errpos() <= len);
}

/* `bare`: the text is a place without a scheme, or would have to be. */
static void check_text(const char *text, bool bare)
{
	/* On the heap, where a byte written beside it is found. */
	struct tni_url *url = malloc(sizeof(*url));
	int rc = bare ? tni_url_parse_place(url, text, "tcp") : tni_url_parse(url, text);

	if (rc == 0) {
		check_pieces(url, bare);
		check_places(url, text, bare);
		check_values(url);
		check_there_and_back(url);
		CHECK(!bare || !tni_url_is_place(text) || url->port_at > 0);
	} else {
		check_refusal(rc, strlen(text));
	}
	tni_url_free(url);
	free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	check_text(text, false);
	check_text(text, true);
	free(text);
	return 0;
}
