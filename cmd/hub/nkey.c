#include "nkey.h"

#include <stdint.h>
#include <string.h>
#ifdef TNI_HAVE_TLS
#include <openssl/crypto.h>
#include <openssl/evp.h>
#endif

#define USER (20 << 3) /* the first byte: then the first letter is U */
#define KEY 32
#define RAW (1 + KEY + 2)
#define SIGNATURE 64
#define SEED (18 << 3) /* the first five bits of a seed's first byte: then the first letter is S */
#define SEED_LEN 58
#define SEED_RAW (2 + KEY + 2)

static int letter_value(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

/* RFC 4648, with so many bits a letter, `=` at the end or none. Returns how many bytes it is; 0: none of that. */
static size_t decode(struct span text, int (*value_of)(char c), int width, unsigned char *out, size_t cap)
{
	uint32_t bits = 0;
	size_t len = 0;
	int nbits = 0;

	while (text.len && text.data[text.len - 1] == '=')
		text.len--;
	for (size_t i = 0; i < text.len; i++) {
		int value = value_of(text.data[i]);

		if (value < 0)
			return 0;
		bits = bits << width | (uint32_t)value;
		nbits += width;
		if (nbits < 8)
			continue;
		nbits -= 8;
		if (len == cap)
			return 0;
		out[len++] = (unsigned char)(bits >> nbits);
	}
	return bits & ((1U << nbits) - 1) ? 0 : len;
}

/* CRC-16/XMODEM. */
static uint16_t checksum(const unsigned char *data, size_t len)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < len; i++) {
		crc = (uint16_t)(crc ^ data[i] << 8);
		for (int bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
	}
	return crc;
}

static bool read_key(struct span text, unsigned char raw[RAW])
{
	uint16_t crc;

	if (text.len != NKEY_LEN || decode(text, letter_value, 5, raw, RAW) != RAW || raw[0] != USER)
		return false;
	crc = checksum(raw, RAW - 2);
	return raw[RAW - 2] == (crc & 0xff) && raw[RAW - 1] == crc >> 8;
}

static bool read_seed(struct span text, unsigned char raw[SEED_RAW])
{
	uint16_t crc;

	if (text.len != SEED_LEN || decode(text, letter_value, 5, raw, SEED_RAW) != SEED_RAW)
		return false;
	if ((raw[0] & 0xf8) != SEED || ((raw[0] & 7) << 5 | raw[1] >> 3) != USER)
		return false;
	crc = checksum(raw, SEED_RAW - 2);
	return raw[SEED_RAW - 2] == (crc & 0xff) && raw[SEED_RAW - 1] == crc >> 8;
}

bool nkey_is_seed(struct span text)
{
	unsigned char raw[SEED_RAW];

	return read_seed(text, raw);
}

bool nkey_is_user(struct span text)
{
	unsigned char raw[RAW];

	return read_key(text, raw);
}

#ifdef TNI_HAVE_TLS
static int letter64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

/* As decode() reads it, without `=`. Ended by a zero byte. */
static void encode(const unsigned char *data, size_t len, const char *letters, int width, char *out)
{
	uint32_t bits = 0;
	int nbits = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | data[i];
		for (nbits += 8; nbits >= width; nbits -= width)
			*out++ = letters[bits >> (nbits - width) & ((1U << width) - 1)];
	}
	if (nbits)
		*out++ = letters[bits << (width - nbits) & ((1U << width) - 1)];
	*out = '\0';
}

static bool sign(const unsigned char *secret, struct span nonce, unsigned char *signature, unsigned char *key)
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, KEY);
	EVP_MD_CTX *ctx = pkey ? EVP_MD_CTX_new() : NULL;
	size_t len = SIGNATURE, key_len = KEY;
	bool done = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
		    EVP_DigestSign(ctx, signature, &len, (const unsigned char *)nonce.data, nonce.len) == 1 &&
		    EVP_PKEY_get_raw_public_key(pkey, key, &key_len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return done;
}

bool nkey_sign(struct span seed, struct span nonce, struct nkey_proof *proof)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
			  letters64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char secret[SEED_RAW], raw[RAW] = {USER}, signature[SIGNATURE];
	uint16_t crc;
	bool done = read_seed(seed, secret) && sign(secret + 2, nonce, signature, raw + 1);

	OPENSSL_cleanse(secret, sizeof(secret));
	if (!done)
		return false;
	crc = checksum(raw, RAW - 2);
	raw[RAW - 2] = (unsigned char)crc;
	raw[RAW - 1] = (unsigned char)(crc >> 8);
	encode(raw, RAW, letters, 5, proof->key);
	encode(signature, SIGNATURE, letters64, 6, proof->signature);
	return true;
}

bool nkey_has_signed(struct span key, struct span nonce, struct span signature)
{
	unsigned char raw[RAW], bytes[SIGNATURE];
	EVP_MD_CTX *ctx = NULL;
	EVP_PKEY *pkey = NULL;
	bool valid = false;

	if (!read_key(key, raw) || decode(signature, letter64_value, 6, bytes, sizeof(bytes)) != sizeof(bytes))
		return false;
	pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw + 1, KEY);
	ctx = pkey ? EVP_MD_CTX_new() : NULL;
	if (ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1)
		valid = EVP_DigestVerify(ctx, bytes, sizeof(bytes), (const unsigned char *)nonce.data, nonce.len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return valid;
}
#else
bool nkey_sign(struct span seed, struct span nonce, struct nkey_proof *proof)
{
	(void)seed, (void)nonce, (void)proof;
	return false;
}

bool nkey_has_signed(struct span key, struct span nonce, struct span signature)
{
	(void)key, (void)nonce, (void)signature;
	return false;
}
#endif
