/*
 * HdrHistogram's compressed V2 form: a header, then the counts from the lowest value up as zigzag LEB128 numbers, a
 * negative one for a run of zeros; deflated, behind a header of its own; in base64. All numbers are big-endian.
 */
#include "base/err.h"
#include "base/hist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The lowest four bits say how wide a count is; 1 is "as LEB128 has it". */
#define COOKIE_PLAIN 0x1c849313U
#define COOKIE_DEFLATED 0x1c849314U
#define COOKIE_MASK 0xffffff0fU

#define HEAD_PLAIN 40
#define HEAD_DEFLATED 8
#define NUMBER_MAX 9 /* bytes of one count */

/* What a text may inflate to: more places than any layout of three digits has, nine bytes each. */
#define PLAIN_MAX (HEAD_PLAIN + (size_t)NUMBER_MAX * 64 * 2048)

static void put32(unsigned char *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (unsigned char)(value >> (24 - 8 * i));
}

static uint32_t get32(const unsigned char *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void put64(unsigned char *to, uint64_t value)
{
	put32(to, (uint32_t)(value >> 32));
	put32(to + 4, (uint32_t)value);
}

static uint64_t get64(const unsigned char *from)
{
	return (uint64_t)get32(from) << 32 | get32(from + 4);
}

/* More than anybody counts, and so little that a hundred such texts can be summed. */
#define COUNT_MAX (UINT64_C(1) << 56)

/* ---- counts ---- */

static size_t put_count(unsigned char *to, int64_t count)
{
	uint64_t rest = ((uint64_t)count << 1) ^ (count < 0 ? UINT64_MAX : 0);
	size_t len = 0;

	while (rest >= 0x80 && len < NUMBER_MAX - 1) {
		to[len++] = (unsigned char)(rest | 0x80);
		rest >>= 7;
	}
	to[len++] = (unsigned char)rest; /* the ninth byte holds eight bits */
	return len;
}

/* Returns the bytes taken, or 0 when the number does not end. */
static size_t get_count(const unsigned char *from, size_t left, int64_t *count)
{
	uint64_t value = 0;

	for (size_t i = 0; i < left && i < NUMBER_MAX; i++) {
		bool last = i == NUMBER_MAX - 1 || !(from[i] & 0x80);

		value |= (uint64_t)(i == NUMBER_MAX - 1 ? from[i] : from[i] & 0x7f) << (7 * i);
		if (last) {
			*count = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
			return i + 1;
		}
	}
	return 0;
}

static size_t put_counts(const struct tn_hist *hist, unsigned char *to)
{
	uint32_t end = hist->first > hist->last ? 1 : hist->last + 1;
	size_t len = 0;

	for (uint32_t place = 0; place < end;) {
		uint32_t from = place;

		while (place < end && !hist->places[place])
			place++;
		if (place > from) /* a single zero stands as itself: so do others write it */
			len += put_count(to + len, place - from > 1 ? -(int64_t)(place - from) : 0);
		if (place < end)
			len += put_count(to + len, (int64_t)hist->places[place++]);
	}
	return len;
}

/* ---- base64 ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64(const unsigned char *data, size_t len)
{
	char *text = malloc((len + 2) / 3 * 4 + 1), *to = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t three = (uint32_t)data[i] << 16 | (i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0) |
				 (i + 2 < len ? data[i + 2] : 0);

		*to++ = digits[three >> 18];
		*to++ = digits[three >> 12 & 63];
		*to++ = i + 1 < len ? digits[three >> 6 & 63] : '=';
		*to++ = i + 2 < len ? digits[three & 63] : '=';
	}
	*to = '\0';
	return text;
}

/* Returns the bytes written, at most len / 4 * 3, or -1 for what is no base64. */
static long unbase64(const char *text, size_t len, unsigned char *to)
{
	uint32_t bits = 0;
	size_t n = 0, padding = 0;

	if (len % 4)
		return -1;
	for (size_t i = 0; i < len; i++) {
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

		if (text[i] == '=' && i + 2 >= len)
			padding++;
		else if (!digit || padding)
			return -1;
		bits = bits << 6 | (digit ? (uint32_t)(digit - digits) : 0);
		if (i % 4 == 3)
			for (int shift = 16; shift >= 0; shift -= 8)
				to[n++] = (unsigned char)(bits >> shift);
	}
	return (long)(n - padding);
}

/* ---- writing ---- */

static int encode_plain(const struct tn_hist *hist, unsigned char **out, size_t *len)
{
	uint32_t used = hist->first > hist->last ? 1 : hist->last - hist->first + 1;
	unsigned char *plain = malloc(HEAD_PLAIN + NUMBER_MAX * ((size_t)used + 1));
	double ratio = 1;
	uint64_t ratio_bits;

	if (!plain)
		return -ENOMEM;
	memcpy(&ratio_bits, &ratio, sizeof(ratio_bits));
	*len = put_counts(hist, plain + HEAD_PLAIN);
	put32(plain, COOKIE_PLAIN);
	put32(plain + 4, (uint32_t)*len);
	put32(plain + 8, 0);  /* how far the counts are shifted */
	put32(plain + 12, 3); /* significant digits */
	put64(plain + 16, 1); /* the lowest value that is told from 0 */
	put64(plain + 24, TN_HIST_MAX);
	put64(plain + 32, ratio_bits);
	*len += HEAD_PLAIN;
	*out = plain;
	return 0;
}

int tn_hist_encode(const struct tn_hist *hist, char **text)
{
	unsigned char *plain, *packed;
	size_t plain_len;
	uLongf len;
	int rc = encode_plain(hist, &plain, &plain_len);

	if (rc < 0)
		return tni_err(rc, "histogram: out of memory");
	len = compressBound(plain_len);
	packed = malloc(HEAD_DEFLATED + len);
	rc = packed ? compress2(packed + HEAD_DEFLATED, &len, plain, plain_len, Z_DEFAULT_COMPRESSION) : Z_MEM_ERROR;
	free(plain);
	*text = NULL;
	if (rc == Z_OK) {
		put32(packed, COOKIE_DEFLATED);
		put32(packed + 4, (uint32_t)len);
		*text = base64(packed, HEAD_DEFLATED + len);
	}
	free(packed);
	return *text ? 0 : tni_err(-ENOMEM, "histogram: out of memory");
}

/* ---- reading ---- */

/* The writer's layout: how many steps to a power of two, and the unit, both as powers of two. */
struct layout {
	unsigned half_bits, unit_bits;
	uint64_t places;
};

static int bad(const char *why)
{
	return tni_err(TN_EFORMAT, "histogram: %s", why);
}

static int read_layout(const unsigned char *head, struct layout *layout)
{
	uint32_t digits_kept = get32(head + 12);
	uint64_t lowest = get64(head + 16), steps = 2;

	if (digits_kept > 5 || !lowest || lowest > UINT64_C(1) << 40)
		return bad("its precision or unit is out of range");
	for (uint32_t i = 0; i < digits_kept; i++)
		steps *= 10;
	layout->unit_bits = 63 - (unsigned)__builtin_clzll(lowest);
	layout->half_bits = steps < 2 ? 0 : 63 - (unsigned)__builtin_clzll(steps - 1);
	layout->places = (uint64_t)(64 - layout->half_bits - layout->unit_bits) << layout->half_bits;
	return 0;
}

/* The lowest of what the writer has not told apart, and how much that is. */
static uint64_t values_at(const struct layout *layout, uint64_t place, uint64_t *width)
{
	uint64_t half = UINT64_C(1) << layout->half_bits;
	unsigned shift = place < 2 * half ? 0 : (unsigned)(place >> layout->half_bits) - 1;

	*width = UINT64_C(1) << (shift + layout->unit_bits);
	return (place - shift * half) << (shift + layout->unit_bits);
}

/* Where reading counts has come to. */
struct counts {
	const unsigned char *at;
	size_t left;
	uint64_t place;
};

/* The next values that are counted at all. 1, 0: that was the last, or a code with words. */
static int next_counted(struct counts *counts, const struct layout *layout, uint64_t *place, uint64_t *count)
{
	while (counts->left) {
		int64_t number;
		size_t len = get_count(counts->at, counts->left, &number);

		if (!len)
			return bad("it ends inside a number");
		if (number < 0 ? (uint64_t) - (number + 1) >= layout->places - counts->place
			       : counts->place >= layout->places)
			return bad("it counts values beyond its range");
		*place = counts->place;
		*count = number > 0 ? (uint64_t)number : 0;
		counts->place += number < 0 ? (uint64_t)-number : 1;
		counts->at += len;
		counts->left -= len;
		if (*count)
			return 1;
	}
	return 0;
}

static int check_counts(struct counts counts, const struct layout *layout, const struct tn_hist *hist)
{
	uint64_t place, count, sum = 0;
	int rc;

	while ((rc = next_counted(&counts, layout, &place, &count)) > 0) {
		if (count > COUNT_MAX - sum)
			return bad("it counts more than 2^56 values");
		sum += count;
	}
	if (rc == 0 && (hist->count > COUNT_MAX || sum > COUNT_MAX - hist->count))
		return bad("with what was counted before, it counts more than 2^56 values");
	return rc;
}

static bool same_place(uint64_t a, uint64_t b)
{
	return tni_hist_place(a < TN_HIST_MAX ? a : TN_HIST_MAX) == tni_hist_place(b < TN_HIST_MAX ? b : TN_HIST_MAX);
}

/* They count in their middle; how far they reach is kept where the histogram can tell no more of them than that. */
static void add_range(struct tn_hist *hist, uint64_t low, uint64_t width, uint64_t count)
{
	uint64_t middle = low + width / 2, high = low + width - 1;

	tn_hist_add_many(hist, middle, count);
	if (low < hist->min && same_place(low, middle))
		hist->min = low;
	if (high > hist->max && same_place(high, middle))
		hist->max = high;
}

static void add_counts(struct counts counts, const struct layout *layout, struct tn_hist *hist)
{
	uint64_t place, count, width, low;

	while (next_counted(&counts, layout, &place, &count) > 0) {
		low = values_at(layout, place, &width);
		add_range(hist, low, width, count);
	}
}

/* The cookies of the older encodings, whose counts are of fixed size. */
static int old_version(uint32_t cookie)
{
	static const uint32_t cookies[2][2] = {{0x1c849308, 0x1c849309}, {0x1c849301, 0x1c849302}};

	for (int version = 0; version < 2; version++)
		for (int i = 0; i < 2; i++)
			if ((cookie & COOKIE_MASK) == (cookies[version][i] & COOKIE_MASK))
				return version;
	return -1;
}

static int bad_version(uint32_t cookie, const char *otherwise)
{
	int version = old_version(cookie);

	return version < 0 ? bad(otherwise)
			   : tni_err(TN_EFORMAT,
				     "histogram: it has the encoding of version %d; only version 2 is read, as "
				     "HdrHistogram has written it since 2015",
				     version);
}

static int read_plain(const unsigned char *plain, size_t len, struct tn_hist *hist)
{
	struct layout layout = {0};
	struct counts counts;
	int rc;

	if (len < HEAD_PLAIN || (get32(plain) & COOKIE_MASK) != (COOKIE_PLAIN & COOKIE_MASK))
		return bad_version(len < 4 ? 0 : get32(plain), "this is no histogram of version 2");
	if (get32(plain + 4) > len - HEAD_PLAIN)
		return bad("it is cut short");
	if (get32(plain + 8))
		return bad("its counts are shifted, which is not supported");
	rc = read_layout(plain, &layout);
	counts = (struct counts){.at = plain + HEAD_PLAIN, .left = get32(plain + 4)};
	if (rc == 0)
		rc = check_counts(counts, &layout, hist);
	if (rc == 0)
		add_counts(counts, &layout, hist);
	return rc;
}

/* Room for what is inflated next, twice as much as there was. */
static int grow(z_stream *z, unsigned char **plain, size_t *cap)
{
	size_t more = *cap ? 2 * *cap : 4096;
	unsigned char *grown;

	more = more < PLAIN_MAX ? more : PLAIN_MAX;
	grown = *cap < PLAIN_MAX ? realloc(*plain, more) : NULL;
	if (!grown)
		return *cap < PLAIN_MAX ? Z_MEM_ERROR : Z_BUF_ERROR;
	z->next_out = grown + *cap;
	z->avail_out = (uInt)(more - *cap);
	*plain = grown;
	*cap = more;
	return Z_OK;
}

static int inflate_all(const unsigned char *packed, size_t len, unsigned char **out, size_t *out_len)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)packed, .avail_in = (uInt)len};
	unsigned char *plain = NULL;
	size_t cap = 0;
	int rc = inflateInit(&z);

	while (rc == Z_OK) {
		rc = z.avail_out ? Z_BUF_ERROR : grow(&z, &plain, &cap);
		if (rc == Z_OK)
			rc = inflate(&z, Z_NO_FLUSH);
	}
	*out_len = z.total_out;
	inflateEnd(&z);
	if (rc == Z_STREAM_END) {
		*out = plain;
		return 0;
	}
	free(plain);
	return rc == Z_MEM_ERROR ? tni_err(-ENOMEM, "histogram: out of memory") : bad("its compressed data is damaged");
}

static int read_packed(const unsigned char *packed, size_t len, struct tn_hist *hist)
{
	unsigned char *plain = NULL;
	size_t plain_len = 0;
	int rc;

	if (len < HEAD_DEFLATED || (get32(packed) & COOKIE_MASK) != (COOKIE_DEFLATED & COOKIE_MASK))
		return bad_version(len < 4 ? 0 : get32(packed), "this is no compressed histogram of version 2");
	if (get32(packed + 4) > len - HEAD_DEFLATED)
		return bad("it is cut short");
	rc = inflate_all(packed + HEAD_DEFLATED, get32(packed + 4), &plain, &plain_len);
	if (rc < 0 || !plain)
		return rc;
	rc = read_plain(plain, plain_len, hist);
	free(plain);
	return rc;
}

int tn_hist_decode(struct tn_hist *hist, const char *text, size_t len)
{
	unsigned char *packed = malloc(len / 4 * 3 + 1);
	long packed_len = packed ? unbase64(text, len, packed) : 0;
	int rc;

	if (!packed)
		return tni_err(-ENOMEM, "histogram: out of memory");
	rc = packed_len < 0 ? bad("this is not base64") : read_packed(packed, (size_t)packed_len, hist);
	free(packed);
	return rc;
}
