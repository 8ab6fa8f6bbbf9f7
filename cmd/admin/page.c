/*
 * /: one file that needs nothing else. A stranger's text that got into it could do nothing: scripts and styles run by a
 * random word that is made for each answer (CSP level 3, nonces), and nothing is loaded but what is served here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "told.h"

#pragma GCC diagnostic ignored "-Woverlength-strings"
static const char text[] =
#include <page.inc> /* made of page.html */
	;

#define NONCE "AAAAAAAAAAAAAAAAAAAAAA" /* stands in the text, twice */

static void make_nonce(char out[sizeof(NONCE)])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	unsigned char bytes[sizeof(NONCE) - 1];

	if (getentropy(bytes, sizeof(bytes)) < 0)
		memset(bytes, 0, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		out[i] = letters[bytes[i] % 64];
	out[sizeof(bytes)] = '\0';
}

void page_answer(struct tn_conn *conn, const struct http_request *request)
{
	char nonce[sizeof(NONCE)], fields[400], *body = strdup(text), *at = body;
	struct http_response response = {
		.status = 200, .type = "text/html; charset=utf-8", .fields = fields, .len = sizeof(text) - 1};

	if (!body) {
		(void)http_words(conn, request, 503, "out of memory");
		return;
	}
	make_nonce(nonce);
	while ((at = strstr(at, NONCE)))
		memcpy(at, nonce, sizeof(NONCE) - 1);
	snprintf(fields, sizeof(fields),
		 "Content-Security-Policy: default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "
		 "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
		 "Referrer-Policy: no-referrer\r\n",
		 nonce, nonce);
	response.body = body;
	(void)http_answer(conn, request, &response);
	free(body);
}
