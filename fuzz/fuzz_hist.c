/*
 * Histograms as other programs wrote them: read or refused; and what was read answers sensibly, is written, and read as
 * the same again. After the first byte: 0: the text; 1: its bytes before base64; 2: before they were deflated as well,
 * where the fuzzer gets further than it would through a checksum.
 */
#include "fuzz.h"

#include "tenon_hist.h"

#include <zlib.h>

#define SIZE_MOST 4096

static struct tn_hist *hist, *again;

static size_t base64(const uint8_t *data, size_t len, char *to)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *begin = to;

	for (size_t i = 0; i < len; i += 3) {
		uint8_t three[3] = {data[i], i + 1 < len ? data[i + 1] : 0, i + 2 < len ? data[i + 2] : 0};

		*to++ = digits[three[0] >> 2];
		*to++ = digits[(three[0] & 3) << 4 | three[1] >> 4];
		*to++ = i + 1 < len ? digits[(three[1] & 15) << 2 | three[2] >> 6] : '=';
		*to++ = i + 2 < len ? digits[three[2] & 63] : '=';
	}
	return (size_t)(to - begin);
}

static uint8_t *put(uint8_t *to, uint32_t number, int bytes)
{
	while (bytes--)
		*to++ = (uint8_t)(number >> 8 * bytes);
	return to;
}

/* As one block that is only stored: zlib's own deflate would take longer than all the rest. */
static size_t deflated(const uint8_t *data, size_t len, uint8_t *to)
{
	uint8_t *p = put(put(to, 0x1c849314, 4), (uint32_t)len + 11, 4);

	p = put(put(p, 0x7801, 2), 1, 1);
	*p++ = (uint8_t)len;
	*p++ = (uint8_t)(len >> 8);
	*p++ = (uint8_t)~len;
	*p++ = (uint8_t)(~len >> 8);
	memcpy(p, data, len);
	return (size_t)(put(p + len, (uint32_t)adler32(adler32(0, NULL, 0), data, (uInt)len), 4) - to);
}

static void check_answers(void)
{
	uint64_t low, high, count, sum = 0, last = 0;
	size_t at = 0;

	CHECK(tn_hist_min(hist) <= tn_hist_max(hist));
	for (int percent = 0; percent <= 100; percent += 10) {
		uint64_t value = tn_hist_quantile(hist, percent / 100.0);

		CHECK(value >= last && value <= tn_hist_max(hist));
		last = value;
	}
	while (tn_hist_next(hist, &at, &low, &high, &count)) {
		CHECK(low <= high && count > 0);
		sum += count;
	}
	CHECK(sum == tn_hist_count(hist) && sum == tn_hist_count_upto(hist, UINT64_MAX));
	CHECK(tn_hist_mean(hist) >= 0 && tn_hist_deviation(hist) >= 0);
}

static void there_and_back(void)
{
	char *text;

	CHECK(tn_hist_encode(hist, &text) == 0);
	tn_hist_clear(again);
	CHECK(tn_hist_decode(again, text, strlen(text)) == 0);
	CHECK(tn_hist_equal(hist, again));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t packed[SIZE_MOST + 100];
	static char text[2 * SIZE_MOST];
	size_t len;
	char *copy;
	int rc;

	if (size < 1 || size > SIZE_MOST)
		return 0;
	if (!hist)
		CHECK(tn_hist_new(&hist) == 0 && tn_hist_new(&again) == 0);
	len = data[0] % 3 == 2   ? base64(packed, deflated(data + 1, size - 1, packed), text)
	      : data[0] % 3 == 1 ? base64(data + 1, size - 1, text)
				 : size - 1;
	copy = fuzz_string(data[0] % 3 ? (const uint8_t *)text : data + 1, len);
	tn_hist_clear(hist);
	rc = tn_hist_decode(hist, copy, len);
	free(copy);
	CHECK(rc == 0 || (rc == TN_EFORMAT && *tn_errmsg() && tn_hist_count(hist) == 0));
	if (rc == 0) {
		check_answers();
		there_and_back();
	}
	return 0;
}
