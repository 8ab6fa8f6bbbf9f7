#include "secure/psk.h"

#include "base/err.h"
#include "base/log.h"
#include "secure/creds_in.h"
#include "secure/tls_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/crypto.h>

#define FILE_MAX (1 << 20)

/* ---- what OpenSSL asks ---- */

static unsigned give_key(SSL *ssl, const struct tni_psk *psk, unsigned char *out, unsigned max)
{
	struct tls *t = SSL_get_app_data(ssl);

	if (psk->len > max)
		return 0;
	memcpy(out, psk->key, psk->len);
	t->psk = psk->identity;
	return (unsigned)psk->len;
}

static int by_identity(const void *a, const void *b)
{
	const struct tni_psk *x = a, *y = b;
	int order = strcmp(x->identity, y->identity);

	return order ? order : x->line - y->line;
}

/* A hello of TLS 1.3 may name thousands of identities, and each is asked for here. Of lines with one identity the first
 * counts. */
static unsigned ask_server(SSL *ssl, const char *identity, unsigned char *out, unsigned max)
{
	struct tls *t = SSL_get_app_data(ssl);
	const struct tni_psk *psks = t->creds->psks;
	size_t low = 0, high = t->creds->npsks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(psks[middle].identity, identity) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < t->creds->npsks && !strcmp(psks[low].identity, identity))
		return give_key(ssl, &psks[low], out, max);
	t->psk_unknown = true;
	return 0;
}

static unsigned ask_client(SSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *out,
			   unsigned max)
{
	const struct tls *t = SSL_get_app_data(ssl);
	const struct tni_psk *psk = t->creds->psks;

	(void)hint;
	if ((unsigned)snprintf(identity, identity_max, "%s", psk->identity) >= identity_max)
		return 0;
	return give_key(ssl, psk, out, max);
}

/* ---- the file ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Not told: what stands in the line, which may be a key. */
static int bad_line(const char *file, int line, const char *why)
{
	return tni_err(TN_EFORMAT, "%s: line %d: %s", file, line, why);
}

static int take_line(struct tni_creds *creds, const char *file, int number, char *line)
{
	struct tni_psk *psk = &creds->psks[creds->npsks];
	char *colon = strrchr(line, ':'), *at;

	if (!colon || colon == line)
		return bad_line(file, number, "it takes IDENTITY:KEY, the key in hexadecimal digits");
	for (at = colon + 1; at[0] && psk->len < TNI_PSK_LEN_MAX; at += 2) {
		int high = hex_digit(at[0]), low = high < 0 ? -1 : hex_digit(at[1]);

		if (low < 0)
			return bad_line(file, number, "the key is not an even number of hexadecimal digits");
		psk->key[psk->len++] = (unsigned char)(high << 4 | low);
	}
	if (*at)
		return bad_line(file, number, "the key is longer than 64 bytes");
	if (psk->len < 16)
		return bad_line(file, number, "the key is shorter than 16 bytes: make one with: openssl rand -hex 32");
	*colon = '\0';
	if (strlen(line) > 128)
		return bad_line(file, number, "the identity is longer than 128 bytes");
	psk->line = number;
	psk->identity = strdup(line);
	if (!psk->identity)
		return tni_err(-ENOMEM, "TLS: out of memory");
	creds->npsks++;
	return 0;
}

/* As many as can be in it, so that no key is moved and left behind. */
static size_t most_lines(const char *text)
{
	size_t most = 1;

	for (; most < TNI_PSKS_MAX && (text = strchr(text, '\n')); text++)
		most++;
	return most;
}

int tni_psk_take(struct tni_creds *creds, const char *file, char *text)
{
	size_t most = most_lines(text);
	char *rest = text, *line;
	int rc = 0, number = 0;

	creds->psks = calloc(most, sizeof(*creds->psks));
	if (!creds->psks)
		return tni_err(-ENOMEM, "TLS: out of memory");
	while (rc == 0 && (line = strsep(&rest, "\n"))) {
		size_t len = strlen(line);

		number++;
		if (len && line[len - 1] == '\r')
			line[len - 1] = '\0';
		if (!*line || *line == '#')
			continue;
		rc = creds->npsks < TNI_PSKS_MAX ? take_line(creds, file, number, line)
						 : bad_line(file, number, "more than 1024 identities");
	}
	if (creds->npsks < most) /* a part of a key, where the line went wrong behind it */
		OPENSSL_cleanse(&creds->psks[creds->npsks], sizeof(*creds->psks));
	if (rc == 0 && !creds->npsks)
		rc = tni_err(TN_EFORMAT, "%s: it holds no line IDENTITY:KEY", file);
	return rc;
}

int tni_psk_use(struct tni_creds *creds, const char *file, const struct tni_text *text)
{
	char *copy;
	int rc;

	if (text->mode & S_IROTH)
		tni_log(true, "%s: everybody on this machine can read these keys: chmod 600 %s", file, file);
	if (text->len > FILE_MAX)
		return tni_err(TN_EFORMAT, "%s: it is larger than 1 MiB", file);
	copy = malloc(text->len + 1);
	if (!copy)
		return tni_err(-ENOMEM, "TLS: out of memory");
	memcpy(copy, text->data, text->len + 1);
	rc = tni_psk_take(creds, file, copy);
	OPENSSL_cleanse(copy, text->len);
	free(copy);
	if (rc < 0)
		return rc;
	if (creds->server) {
		qsort(creds->psks, creds->npsks, sizeof(*creds->psks), by_identity);
		SSL_CTX_set_psk_server_callback(creds->ctx, ask_server);
	} else {
		SSL_CTX_set_psk_client_callback(creds->ctx, ask_client);
	}
	return 0;
}

void tni_psk_free(struct tni_creds *creds)
{
	for (size_t i = 0; i < creds->npsks; i++)
		free(creds->psks[i].identity);
	if (creds->psks)
		OPENSSL_cleanse(creds->psks, creds->npsks * sizeof(*creds->psks));
	free(creds->psks);
}
