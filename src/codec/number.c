#include "codec/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_INT 9007199254740992 /* 2^53: a double holds every integer up to here */
#define EXACT_TEN 22               /* and every power of ten up to here */
#define DIGITS_KEPT 800            /* no double lies so near the middle of two others that more digits tell the side */
#define EXPONENT_FAR 1000000000000 /* where counting an exponent's digits stops: longer than any message */
#define LIMB 1000000000            /* a bignum is worked on nine decimal digits at a time */

__extension__ typedef unsigned __int128 wide;

static const double powers_of_ten[EXACT_TEN + 1] = {
	1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

size_t tni_number_scan(const char *text, size_t len)
{
	const char *end = text + len;
	const char *p = text;
	const char *part;

	if (p < end && *p == '-')
		p++;
	part = p;
	p = skip_digits(p, end);
	if (p == part || (*part == '0' && p - part > 1))
		return 0;
	if (p < end && *p == '.') {
		part = ++p;
		p = skip_digits(p, end);
		if (p == part)
			return 0;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		part = p;
		p = skip_digits(p, end);
		if (p == part)
			return 0;
	}
	return (size_t)(p - text);
}

/* A decimal number: the digits, without a point, and the power of ten they are multiplied with. */
struct decimal {
	char digits[DIGITS_KEPT + 1];
	size_t count; /* of digits kept */
	bool more;    /* some digit not kept was not zero */
	int64_t exponent;
	uint64_t head; /* the first digits as a number, as long as `fits` */
	bool fits;
};

static void add_digits(struct decimal *d, const char *p, const char *end, bool fraction)
{
	for (; p < end; p++) {
		if (fraction)
			d->exponent--;
		if (!d->count && *p == '0')
			continue;
		if (d->count == DIGITS_KEPT) {
			d->more |= *p != '0';
			d->exponent++;
			continue;
		}
		d->digits[d->count++] = *p;
		d->head = d->head * 10 + (uint64_t)(*p - '0');
		if (d->count > 19)
			d->fits = false;
	}
}

static int64_t read_exponent(const char *p, const char *end)
{
	bool negative = *p == '-';
	int64_t exponent = 0;

	if (*p == '-' || *p == '+')
		p++;
	for (; p < end; p++) {
		if (exponent < EXPONENT_FAR)
			exponent = exponent * 10 + (*p - '0');
	}
	return negative ? -exponent : exponent;
}

/* The hard cases go to the C library, in a form that has no decimal point for a locale to change. */
static double round_by_libc(struct decimal *d)
{
	char text[DIGITS_KEPT + 64];
	int64_t exponent = d->exponent;

	if (d->more) {
		d->digits[d->count++] = '1';
		exponent--;
	}
	if (exponent > 1000000)
		exponent = 1000000;
	if (exponent < -1000000)
		exponent = -1000000;
	memcpy(text, d->digits, d->count);
	sprintf(text + d->count, "e%ld", (long)exponent);
	return strtod(text, NULL);
}

/* head / 10^tens for up to 19 digits on both sides, in integers: a quotient of 62 bits or more, whose last bit tells
 * whether anything was left over, and one rounding to the 53 of a double. */
static double round_quotient(uint64_t head, unsigned tens)
{
	uint64_t divisor = (uint64_t)powers_of_ten[tens];
	int head_shift = __builtin_clzll(head);
	int divisor_shift = __builtin_clzll(divisor);
	wide dividend = (wide)(head << head_shift) << 63;
	uint64_t quotient;

	divisor <<= divisor_shift;
	quotient = (uint64_t)(dividend / divisor);
	quotient |= dividend % divisor != 0;
	return ldexp((double)quotient, divisor_shift - head_shift - 63);
}

/* head * 10^exponent where one rounding does it. Returns whether it does. */
static bool quick_value(uint64_t head, int64_t exponent, double *real)
{
	/* both operands are exact, so the one rounding of the operation is the right one */
	if (head <= EXACT_INT && exponent <= EXACT_TEN && exponent >= -EXACT_TEN)
		*real = exponent < 0 ? (double)head / powers_of_ten[-exponent] : (double)head * powers_of_ten[exponent];
	else if (exponent < 0 && exponent >= -19)
		*real = round_quotient(head, (unsigned)-exponent);
	else
		return false;
	return true;
}

static double decimal_value(struct decimal *d)
{
	double real = 0;

	if (!d->count || (d->fits && quick_value(d->head, d->exponent, &real)))
		return real;
	return round_by_libc(d);
}

static int read_float(const char *p, const char *end, bool negative, struct tni_number *number)
{
	struct decimal d;
	const char *whole = skip_digits(p, end);
	const char *rest = whole;

	d.count = 0;
	d.more = false;
	d.exponent = 0;
	d.head = 0;
	d.fits = true;
	add_digits(&d, p, whole, false);
	if (rest < end && *rest == '.') {
		rest = skip_digits(rest + 1, end);
		add_digits(&d, whole + 1, rest, true);
	}
	if (rest < end)
		d.exponent += read_exponent(rest + 1, end);
	number->kind = TNI_NUMBER_FLOAT;
	number->real = decimal_value(&d);
	if (isinf(number->real))
		return -1;
	if (negative)
		number->real = -number->real;
	return 0;
}

/* A number with a point, whose digits before it are `num`, and not more than 19 in all:
 * most floats of most messages. */
static bool read_short_float(const char *first, const char *point, const char *end, uint64_t num,
			     struct tni_number *number)
{
	const char *p = point + 1;

	if (end - first > 20)
		return false;
	while (p < end && is_digit(*p))
		num = num * 10 + (uint64_t)(*p++ - '0');
	if (p < end || !quick_value(num, point + 1 - end, &number->real))
		return false;
	number->kind = TNI_NUMBER_FLOAT;
	if (number->negative)
		number->real = -number->real;
	return true;
}

/* An integer that goes on behind its first 19 digits, which are `num` and end at `p`. */
static void read_long_int(const char *p, const char *end, uint64_t num, struct tni_number *number)
{
	unsigned digit = (unsigned)(*p - '0');

	number->kind = TNI_NUMBER_INT;
	/* the twentieth, and the one value below -(2^64-1) */
	if (p + 1 == end && (num < UINT64_MAX / 10 || (num == UINT64_MAX / 10 && digit <= 5)))
		number->num = num * 10 + digit - number->negative;
	else if (p + 1 == end && number->negative && num == UINT64_MAX / 10 && digit == 6)
		number->num = UINT64_MAX;
	else
		number->kind = TNI_NUMBER_BIG;
}

int tni_number_read(const char *text, size_t len, struct tni_number *number)
{
	const char *end = text + len;
	bool negative = *text == '-';
	const char *first = text + negative;
	const char *p = first;
	const char *sure = end - first > 19 ? first + 19 : end; /* so many digits always fit */
	uint64_t num = 0;

	number->negative = negative;
	while (p < sure && is_digit(*p))
		num = num * 10 + (uint64_t)(*p++ - '0');
	if (p == end && !(negative && !num)) {
		number->kind = TNI_NUMBER_INT;
		number->num = num - negative;
		return 0;
	}
	if (p < end && *p == '.' && read_short_float(first, p, end, num, number))
		return 0;
	if (p == end || skip_digits(p, end) < end)
		return read_float(first, end, negative, number);
	read_long_int(p, end, num, number);
	return 0;
}

/* limbs = limbs * factor + add, little-endian in 32 bits. Returns the new count. */
static size_t big_step(uint32_t *limbs, size_t count, uint32_t factor, uint32_t add)
{
	uint64_t carry = add;

	for (size_t i = 0; i < count; i++) {
		carry += (uint64_t)limbs[i] * factor;
		limbs[i] = (uint32_t)carry;
		carry >>= 32;
	}
	if (carry)
		limbs[count++] = (uint32_t)carry;
	return count;
}

static void big_decrement(uint32_t *limbs)
{
	while (!(*limbs)--)
		limbs++;
}

static size_t big_bytes(const uint32_t *limbs, size_t count, uint8_t *bytes)
{
	size_t len = 0;

	for (size_t i = count * 4; i--;) {
		uint8_t byte = (uint8_t)(limbs[i / 4] >> i % 4 * 8);

		if (len || byte)
			bytes[len++] = byte;
	}
	return len;
}

size_t tni_big_read(const char *text, size_t len, uint8_t bytes[TNI_BIG_BYTES])
{
	uint32_t limbs[TNI_BIG_BYTES / 4 + 2] = {0};
	uint8_t room[sizeof limbs];
	bool negative = *text == '-';
	const char *end = text + len;
	const char *p = text + negative;
	size_t count = 0;
	size_t size;

	if (end - p > TNI_BIG_DIGITS)
		return 0;
	while (p < end) {
		uint32_t factor = 1;
		uint32_t part = 0;

		for (; p < end && factor < LIMB; p++) {
			part = part * 10 + (uint32_t)(*p - '0');
			factor *= 10;
		}
		count = big_step(limbs, count, factor, part);
	}
	if (negative)
		big_decrement(limbs);
	size = big_bytes(limbs, count, room);
	if (size > TNI_BIG_BYTES)
		return 0;
	memcpy(bytes, room, size);
	return size;
}

size_t tni_big_write(const uint8_t *bytes, size_t len, bool negative, char text[TNI_BIG_DIGITS + 2])
{
	uint32_t limbs[TNI_BIG_DIGITS / 9 + 2]; /* here each holds nine decimal digits */
	size_t count = 0;
	char *to = text;

	for (size_t i = 0; i < len;) {
		uint64_t carry = 0;

		/* 32 bits at a time, the odd bytes first */
		do {
			carry = carry << 8 | bytes[i++];
		} while ((len - i) % 4);
		for (size_t j = 0; j < count; j++) {
			carry += (uint64_t)limbs[j] << 32;
			limbs[j] = (uint32_t)(carry % LIMB);
			carry /= LIMB;
		}
		for (; carry; carry /= LIMB)
			limbs[count++] = (uint32_t)(carry % LIMB);
	}
	if (negative) {
		size_t i = 0;

		*to++ = '-';
		while (i < count && ++limbs[i] == LIMB)
			limbs[i++] = 0;
		if (i == count)
			limbs[count++] = 1;
	}
	if (!count)
		limbs[count++] = 0;
	to += sprintf(to, "%u", limbs[--count]);
	while (count)
		to += sprintf(to, "%09u", limbs[--count]);
	return (size_t)(to - text);
}

static size_t write_digits(uint64_t num, char *text)
{
	char digits[20];
	char *p = digits + sizeof digits;
	size_t len;

	do {
		*--p = (char)('0' + num % 10);
		num /= 10;
	} while (num);
	len = (size_t)(digits + sizeof digits - p);
	memcpy(text, p, len);
	return len;
}

size_t tni_int_write(bool negative, uint64_t num, char text[TNI_NUMBER_SIZE])
{
	if (!negative)
		return write_digits(num, text);
	*text = '-';
	if (num == UINT64_MAX) {
		size_t len = 1 + write_digits(UINT64_MAX / 10, text + 1);

		text[len] = '6'; /* 2^64 ends so */
		return len + 1;
	}
	return 1 + write_digits(num + 1, text + 1);
}

/* Lays out `count` digits whose first stands before 10^point: 0.d1d2d3... times 10^point. */
static size_t lay_out(const char *digits, int count, int point, char *to)
{
	char *p = to;

	while (count > 1 && digits[count - 1] == '0')
		count--;
	if (point > 0 && point <= 17) {
		int whole = count < point ? count : point;

		memcpy(p, digits, (size_t)whole);
		memset(p + whole, '0', (size_t)(point - whole));
		p += point;
		*p++ = '.';
		if (count == whole)
			*p++ = '0';
		memcpy(p, digits + whole, (size_t)(count - whole));
		return (size_t)(p - to) + (size_t)(count - whole);
	}
	if (point <= 0 && point > -5) {
		memcpy(p, "0.00000", (size_t)(2 - point));
		p += 2 - point;
		memcpy(p, digits, (size_t)count);
		return (size_t)(p - to) + (size_t)count;
	}
	*p++ = *digits;
	if (count > 1) {
		*p++ = '.';
		memcpy(p, digits + 1, (size_t)(count - 1));
		p += count - 1;
	}
	*p++ = 'e';
	if (point - 1 < 0)
		*p++ = '-';
	return (size_t)(p - to) + write_digits((uint64_t)abs(point - 1), p);
}

/* Takes the digits out of what printf wrote, leaving the point, which is the locale's, and the exponent. */
static int printed_digits(const char *printed, char *digits, int *point)
{
	int count = 0;

	for (; *printed != 'e'; printed++) {
		if (is_digit(*printed))
			digits[count++] = *printed;
	}
	*point = atoi(printed + 1) + 1;
	return count;
}

static bool reads_back(const char *digits, int count, int point, double real)
{
	char text[64];

	snprintf(text, sizeof text, "%.*se%d", count, digits, point - count);
	return strtod(text, NULL) == real;
}

/* Adds one to the last digit; returns false where that would carry out of the first. */
static bool count_up(char *digits, int count)
{
	while (count && digits[count - 1] == '9')
		digits[--count] = '0';
	if (!count)
		return false;
	digits[count - 1]++;
	return true;
}

/* The first of 15, 16 and 17 digits that reads back as the same; fewer where a double has less precision than that.
 * Above a power of two doubles lie farther apart than below it, so there the next digits up may do where the nearest
 * do not. */
static size_t write_by_libc(double real, char *text)
{
	char printed[64];
	char digits[24] = "0";
	int point = 0;
	int count = 0;

	for (int wanted = real < DBL_MIN ? 1 : 15; wanted <= 17; wanted++) {
		snprintf(printed, sizeof printed, "%.*e", wanted - 1, real);
		count = printed_digits(printed, digits, &point);
		if (wanted == 17 || reads_back(digits, count, point, real))
			break;
		if (count_up(digits, count) && reads_back(digits, count, point, real))
			break;
	}
	return lay_out(digits, count, point, text);
}

/* real * 10^decimals rounded to an integer, if that is nearer to `real` than half way to the next double: then its
 * text reads back. 0 if not. In integers, so exact: `real` is mantissa / 2^shift. */
static uint64_t round_scaled(uint64_t mantissa, int shift, int decimals)
{
	wide power = (wide)powers_of_ten[decimals];
	wide scaled = mantissa * power;
	wide half = (wide)1 << (shift - 1);
	wide rounded = (scaled + half) >> shift;
	wide back = rounded << shift;
	wide error = back > scaled ? back - scaled : scaled - back;

	if (error == half)
		rounded &= ~(wide)1; /* to even, as everybody does */
	return error * 2 < power ? (uint64_t)rounded : 0;
}

/* The doubles that use all their digits, in the range where 128 bits hold every step. */
static size_t write_digits_all(double real, char *text)
{
	int exponent;
	uint64_t mantissa = (uint64_t)ldexp(frexp(real, &exponent), 53);
	int whole = 0; /* digits before the point; less than 0: zeros after it */
	char digits[20];

	/* below a power of two doubles lie closer than above it: not worth a case of its own */
	if (real < 1e-4 || real >= 1e15 || mantissa == (uint64_t)1 << 52)
		return 0;
	while (whole < 16 && real >= powers_of_ten[whole])
		whole++;
	while (whole <= 0 && real * powers_of_ten[1 - whole] < 1)
		whole--;
	for (int count = 16; count <= 17; count++) {
		uint64_t rounded = round_scaled(mantissa, 53 - exponent, count - whole);
		int got;

		if (!rounded)
			continue;
		got = (int)write_digits(rounded, digits);
		return lay_out(digits, got, got - (count - whole), text);
	}
	return 0;
}

/* Most doubles in messages have a few decimals: they are an integer below 10^15 divided by a small power of ten. A
 * division of two exact numbers rounds once, as reading the text does, so the first quotient that gives the double
 * back is the shortest text; with up to 15 digits there is no second one of its length. */
static size_t write_decimals(double real, char *text)
{
	for (int decimals = 0; decimals <= EXACT_TEN; decimals++) {
		double scaled = real * powers_of_ten[decimals] + 0.5;
		uint64_t whole;
		char digits[20];
		int count;

		if (scaled >= 1e15)
			return 0;
		whole = (uint64_t)scaled;
		if (!whole || (double)whole / powers_of_ten[decimals] != real)
			continue;
		count = (int)write_digits(whole, digits);
		return lay_out(digits, count, count - decimals, text);
	}
	return 0;
}

size_t tni_float_write(double real, char text[TNI_NUMBER_SIZE])
{
	size_t sign = signbit(real) ? 1 : 0;
	size_t len;

	*text = '-';
	text += sign;
	real = fabs(real);
	if (real == 0)
		return sign + lay_out("0", 1, 1, text);
	len = write_decimals(real, text);
	if (!len)
		len = write_digits_all(real, text);
	if (!len)
		len = write_by_libc(real, text);
	return sign + len;
}

double tni_nan_read(const uint8_t *bytes, int count)
{
	uint64_t bits = 0;
	uint64_t sign;
	double nan;

	for (int i = 0; i < count; i++)
		bits = bits << 8 | bytes[i];
	bits <<= 64 - 8 * count;
	sign = bits & (uint64_t)1 << 63;
	bits = count == 2 ? bits << 6 >> 12 : bits << 9 >> 12;
	bits |= sign | (uint64_t)0x7ff << 52;
	memcpy(&nan, &bits, sizeof nan);
	return nan;
}

bool tni_single_of(double real, uint32_t *bits)
{
	float single = (float)real;
	uint64_t bits64;

	if (!isnan(real)) {
		memcpy(bits, &single, sizeof *bits);
		return (double)single == real;
	}
	memcpy(&bits64, &real, sizeof bits64);
	*bits = (uint32_t)(bits64 >> 32 & 0x80000000) | 0x7f800000 | (uint32_t)(bits64 >> 29 & 0x7fffff);
	return !(bits64 & 0x1fffffff);
}
