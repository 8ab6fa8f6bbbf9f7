#include "nkey.h"

#include <stdint.h>
#include <string.h>
#ifdef TNI_HAVE_TLS
#include <openssl/evp.h>
#endif

#define USER (20 << 3) /* the first byte: then the first letter is U */
#define KEY 32
#define RAW (1 + KEY + 2)
#define SIGNATURE 64

static int letter_value(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

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

bool nkey_is_user(struct span text)
{
	unsigned char raw[RAW];

	return read_key(text, raw);
}

#ifdef TNI_HAVE_TLS
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
bool nkey_has_signed(struct span key, struct span nonce, struct span signature)
{
	(void)key, (void)nonce, (void)signature;
	return false;
}
#endif
