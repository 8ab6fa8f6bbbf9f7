#include "secure/tickets.h"

#include "base/clock.h"
#include "secure/creds_in.h"
#include "secure/tls_words.h"

#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

void tni_tickets_init(struct tni_tickets *tickets)
{
	pthread_mutex_init(&tickets->lock, NULL);
}

void tni_tickets_wipe(struct tni_tickets *tickets)
{
	pthread_mutex_destroy(&tickets->lock);
	OPENSSL_cleanse(tickets->keys, sizeof(tickets->keys));
}

/* A key whose time is over moves back by one place, and out behind the second. */
static bool rotate(struct tni_tickets *tickets, uint64_t now_ns)
{
	uint64_t age = now_ns - tickets->since_ns;

	if (tickets->since_ns && age < TNI_TICKET_NS)
		return true;
	tickets->has_before = tickets->since_ns && age < 2 * TNI_TICKET_NS;
	tickets->keys[1] = tickets->keys[0];
	/* In steps of an hour: the key before then opens until an hour behind its own end. */
	tickets->since_ns = tickets->has_before ? tickets->since_ns + TNI_TICKET_NS : now_ns ? now_ns : 1;
	if (RAND_bytes((unsigned char *)&tickets->keys[0], sizeof(tickets->keys[0])) == 1)
		return true;
	tickets->since_ns = 0;
	return false;
}

bool tni_tickets_current(struct tni_tickets *tickets, uint64_t now_ns, struct tni_ticket_key *key)
{
	bool has;

	pthread_mutex_lock(&tickets->lock);
	has = rotate(tickets, now_ns);
	*key = tickets->keys[0];
	pthread_mutex_unlock(&tickets->lock);
	return has;
}

int tni_tickets_find(struct tni_tickets *tickets, uint64_t now_ns, const unsigned char name[16],
		     struct tni_ticket_key *key)
{
	int which = 0;

	pthread_mutex_lock(&tickets->lock);
	if (rotate(tickets, now_ns)) {
		for (int i = tickets->has_before; i >= 0; i--)
			if (!memcmp(tickets->keys[i].name, name, sizeof(tickets->keys[i].name))) {
				*key = tickets->keys[i];
				which = i + 1;
			}
	}
	pthread_mutex_unlock(&tickets->lock);
	return which;
}

/* AES-256-CBC and HMAC-SHA-256, as RFC 5077 recommends them and OpenSSL itself seals tickets. */
static bool set_mac(EVP_MAC_CTX *mac, struct tni_ticket_key *key)
{
	OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
			       OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
			       OSSL_PARAM_construct_end()};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal_ticket(struct tni_tickets *tickets, struct tni_ticket_key *key, unsigned char name[16],
		       unsigned char *iv, EVP_CIPHER_CTX *cipher)
{
	if (!tni_tickets_current(tickets, tni_clock_ns(), key) || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
		return 0;
	memcpy(name, key->name, sizeof(key->name));
	return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1;
}

/* 2: the ticket is good, and its owner gets a new one: in TLS 1.3 always, where it should be used only once (RFC 8446
 * C.4). */
static int give_keys(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
		     int sealing)
{
	const struct tls *t = SSL_get_app_data(ssl);
	struct tni_tickets *tickets = &t->creds->tickets;
	struct tni_ticket_key key;
	int rc;

	if (sealing) {
		rc = seal_ticket(tickets, &key, name, iv, cipher) ? 1 : -1;
	} else {
		rc = tni_tickets_find(tickets, tni_clock_ns(), name, &key);
		if (rc && SSL_version(ssl) == TLS1_3_VERSION)
			rc = 2;
		if (rc && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) != 1)
			rc = -1;
	}
	if (rc > 0 && !set_mac(mac, &key))
		rc = -1;
	OPENSSL_cleanse(&key, sizeof(key));
	return rc;
}

void tni_tickets_use(SSL_CTX *ctx)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, give_keys);
	SSL_CTX_set_timeout(ctx, TNI_TICKET_NS / TNI_NS_PER_S);
}
