#include "secure/hello.h"

#include "secure/tls_words.h"

#include <stdbool.h>

/* A list with its length in front: (2 bytes each) so many groups, and so on. Browsers send 10 to 20 of each. */
#define CIPHERS_MAX 512
#define GROUPS_MAX 64
#define SIGNATURES_MAX 128
#define IDENTITIES_MAX 32
#define SHARES_MAX 16
#define NAMES_MAX 128

static size_t number(const unsigned char *at, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n = n << 8 | at[i];
	return n;
}

/*
 * How many items there are: each has `before` bytes, its length in `sized` bytes, that much, and `after` bytes. A list
 * that is not whole ends early: OpenSSL refuses it.
 */
static size_t count_items(const unsigned char *at, size_t len, size_t before, size_t sized, size_t after)
{
	size_t count = 0;

	while (len >= before + sized) {
		size_t item = before + sized + number(at + before, sized) + after;

		count++;
		if (item > len)
			break;
		at += item;
		len -= item;
	}
	return count;
}

const char *tni_hello_odd(unsigned extension, const unsigned char *data, size_t len)
{
	size_t list = len < 2 ? 0 : number(data, 2);

	if (len < 2)
		return NULL;
	if (list > len - 2)
		list = len - 2;
	switch (extension) {
	case TLSEXT_TYPE_supported_groups:
		return len > 2 + 2 * GROUPS_MAX ? "it names more than 64 groups" : NULL;
	case TLSEXT_TYPE_signature_algorithms:
	case TLSEXT_TYPE_signature_algorithms_cert:
		return len > 2 + 2 * SIGNATURES_MAX ? "it names more than 128 signature algorithms" : NULL;
	case TLSEXT_TYPE_key_share:
		return count_items(data + 2, list, 2, 2, 0) > SHARES_MAX ? "it has more than 16 key shares" : NULL;
	case TLSEXT_TYPE_psk:
		return count_items(data + 2, list, 0, 2, 4) > IDENTITIES_MAX ? "it names more than 32 sessions or keys"
									     : NULL;
	case TLSEXT_TYPE_application_layer_protocol_negotiation:
		return count_items(data + 2, list, 0, 1, 0) > NAMES_MAX ? "it names more than 128 protocols" : NULL;
	default:
		return NULL;
	}
}

static int look_at_hello(SSL *ssl, int *alert, void *arg)
{
	static const unsigned extensions[] = {
		TLSEXT_TYPE_supported_groups,
		TLSEXT_TYPE_signature_algorithms,
		TLSEXT_TYPE_signature_algorithms_cert,
		TLSEXT_TYPE_key_share,
		TLSEXT_TYPE_psk,
		TLSEXT_TYPE_application_layer_protocol_negotiation,
	};
	struct tls *t = SSL_get_app_data(ssl);
	const unsigned char *data;
	size_t len;

	(void)arg;
	if (SSL_client_hello_get0_ciphers(ssl, &data) > 2 * (size_t)CIPHERS_MAX)
		t->odd = "it names more than 512 ciphers";
	for (size_t i = 0; !t->odd && i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (SSL_client_hello_get0_ext(ssl, extensions[i], &data, &len))
			t->odd = tni_hello_odd(extensions[i], data, len);
	*alert = SSL_AD_ILLEGAL_PARAMETER;
	return t->odd ? SSL_CLIENT_HELLO_ERROR : SSL_CLIENT_HELLO_SUCCESS;
}

void tni_hello_guard(SSL_CTX *ctx)
{
	SSL_CTX_set_client_hello_cb(ctx, look_at_hello, NULL);
}
