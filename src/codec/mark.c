#include "codec/mark.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "codec/codec.h"
#include "codec/number.h"

/* The first pairs of a map, or of an array of pairs that may stand for a map. No mark has more than two. */
struct pairs {
	size_t count;
	const struct tn_value *key[2];
	const struct tn_value *value[2];
};

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Base64url without padding (RFC 4648 section 5), as RFC 8949 section 6.1 has it. */
static struct tn_value *new_base64(struct tni_tree *tree, const struct tn_value *from)
{
	const uint8_t *p = (const uint8_t *)from->u.data;
	size_t len = from->len;
	struct tn_value *text = len > SIZE_MAX / 8 ? NULL : tni_value_alloc(tree, TN_TEXT, 0, 0);
	char *to = text ? tni_tree_alloc(tree, (len * 4 + 2) / 3) : NULL;

	if (!to)
		return NULL;
	text->u.data = to;
	text->len = (len * 4 + 2) / 3;
	for (; len >= 3; len -= 3, p += 3) {
		*to++ = base64url[p[0] >> 2];
		*to++ = base64url[(p[0] & 3) << 4 | p[1] >> 4];
		*to++ = base64url[(p[1] & 15) << 2 | p[2] >> 6];
		*to++ = base64url[p[2] & 63];
	}
	if (len) {
		*to++ = base64url[p[0] >> 2];
		*to++ = base64url[(p[0] & 3) << 4 | (len > 1 ? p[1] >> 4 : 0)];
		if (len > 1)
			*to = base64url[(p[1] & 15) << 2];
	}
	return text;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Only what new_base64() writes: its alphabet, a possible length, and zero in the bits that are over. */
static bool is_base64(const struct tn_value *v)
{
	size_t over = v->kind == TN_TEXT ? v->len % 4 : 1;

	if (over == 1)
		return false;
	for (size_t i = 0; i < v->len; i++) {
		if (base64_digit(v->u.data[i]) < 0)
			return false;
	}
	return !over || !(base64_digit(v->u.data[v->len - 1]) & (over == 2 ? 15 : 3));
}

static int read_base64(struct tn_value *to, enum tn_kind kind, const struct tn_value *text)
{
	size_t len = text->len / 4 * 3 + text->len % 4 * 3 / 4;
	char *data = tni_tree_alloc(tni_tree_of(to), len + 1);
	uint32_t bits = 0;
	size_t at = 0;

	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < text->len; i++) {
		bits = bits << 6 | (uint32_t)base64_digit(text->u.data[i]);
		if (i % 4)
			data[at++] = (char)(bits >> (3 - i % 4) * 2);
	}
	data[len] = '\0';
	to->kind = (uint8_t)kind;
	to->u.data = data;
	to->len = len;
	return 0;
}

#define IS_KEY(v, text) tni_is_text((v), (text), sizeof(text) - 1)

static const char *const float_names[3] = {"NaN", "Infinity", "-Infinity"};
static const double float_values[3] = {(double)NAN, (double)INFINITY, (double)-INFINITY};

static bool read_float_name(const struct tn_value *v, double *real)
{
	for (size_t i = 0; i < 3; i++) {
		if (tni_is_text(v, float_names[i], strlen(float_names[i]))) {
			*real = float_values[i];
			return true;
		}
	}
	return false;
}

/* An integer below -2^63 and not below -2^64, as "$int" holds it. */
static bool read_far_int(const struct tn_value *v, uint64_t *num)
{
	struct tni_number number;

	if (v->kind != TN_TEXT || v->len < 20 || v->len > 21 || v->u.data[0] != '-')
		return false;
	if (tni_number_scan(v->u.data, v->len) != v->len || tni_number_read(v->u.data, v->len, &number) < 0)
		return false;
	*num = number.num;
	return number.kind == TNI_NUMBER_INT && number.num > INT64_MAX;
}

static bool is_count(const struct tn_value *v, uint64_t most)
{
	return v->kind == TN_INT && !(v->flags & TNI_NEGATIVE) && v->u.num <= most;
}

static bool is_simple(const struct tn_value *v)
{
	return is_count(v, 255) && (v->u.num < 20 || v->u.num == 23 || v->u.num > 31);
}

static bool is_ext_type(const struct tn_value *v)
{
	return v->kind == TN_INT && v->u.num <= 127;
}

static bool is_bignum_of(uint64_t tag, const struct tn_value *bytes)
{
	return (tag == 2 || tag == 3) && bytes->kind == TN_BYTES && bytes->len > 8 && bytes->len <= TNI_BIG_BYTES &&
	       bytes->u.data[0];
}

bool tni_is_bignum(const struct tn_value *v)
{
	return v->kind == TN_TAG && v->u.last && is_bignum_of(v->len, v->u.last);
}

static struct pairs pairs_of_map(const struct tn_value *map)
{
	struct pairs pairs = {.count = map->len / 2};
	const struct tn_value *k = tni_first(map);

	for (size_t i = 0; i < pairs.count && i < 2; i++) {
		pairs.key[i] = k;
		pairs.value[i] = k->next;
		k = k->next->next;
	}
	return pairs;
}

/* Whether `v` is an array of arrays of two, as "$map" holds it, and whether some key in it is not text. */
static bool pairs_of_array(const struct tn_value *v, struct pairs *pairs, bool *odd_keys)
{
	const struct tn_value *item;

	pairs->count = 0;
	*odd_keys = false;
	if (v->kind != TN_ARRAY)
		return false;
	for (item = tni_first(v); item; item = tni_next(v, item)) {
		if (item->kind != TN_ARRAY || item->len != 2)
			return false;
		if (pairs->count < 2) {
			pairs->key[pairs->count] = item->u.last->next;
			pairs->value[pairs->count] = item->u.last;
		}
		*odd_keys |= item->u.last->next->kind != TN_TEXT;
		pairs->count++;
	}
	return true;
}

/* What a map would be read as: one of the marks' bits, with TNI_MARK_KEYS for "$map"; 0: a map like any other. */
static unsigned match(unsigned marks, const struct pairs *pairs, unsigned depth)
{
	const struct tn_value *key = pairs->key[0];
	const struct tn_value *value = pairs->value[0];
	struct pairs inner = {0};
	uint64_t num;
	double real;
	bool odd;

	if (pairs->count == 1) {
		if (marks & TNI_MARK_BYTES && IS_KEY(key, "$bytes"))
			return is_base64(value) ? TNI_MARK_BYTES : 0;
		if (marks & TNI_MARK_SIMPLE && IS_KEY(key, "$simple"))
			return is_simple(value) ? TNI_MARK_SIMPLE : 0;
		if (marks & TNI_MARK_FLOAT && IS_KEY(key, "$float"))
			return read_float_name(value, &real) ? TNI_MARK_FLOAT : 0;
		if (marks & TNI_MARK_INT && IS_KEY(key, "$int"))
			return read_far_int(value, &num) ? TNI_MARK_INT : 0;
		if (!IS_KEY(key, "$map") || depth > TNI_DEPTH_MAX || !pairs_of_array(value, &inner, &odd))
			return 0;
		return (odd && marks & TNI_MARK_KEYS) || match(marks, &inner, depth + 1) ? TNI_MARK_KEYS : 0;
	}
	if (pairs->count != 2 || !IS_KEY(pairs->key[1], "value"))
		return 0;
	if (marks & TNI_MARK_TAG && IS_KEY(key, "$tag")) {
		if (!is_count(value, UINT64_MAX) ||
		    (marks & TNI_MARK_BYTES && is_bignum_of(value->u.num, pairs->value[1])))
			return 0;
		return TNI_MARK_TAG;
	}
	if (marks & TNI_MARK_EXT && IS_KEY(key, "$ext") && is_ext_type(value)) {
		bool fits = marks & TNI_MARK_BYTES ? is_base64(pairs->value[1]) : pairs->value[1]->kind == TN_BYTES;

		return fits ? TNI_MARK_EXT : 0;
	}
	return 0;
}

static void become(struct tn_value *v, enum tn_kind kind, unsigned flags)
{
	v->kind = (uint8_t)kind;
	v->flags = (uint8_t)((v->flags & (TNI_PLACED | TNI_POSITION)) | flags);
	v->len = 0;
}

static void become_tag(struct tn_value *v, uint64_t tag, const struct tn_value *child)
{
	become(v, TN_TAG, 0);
	v->len = tag;
	v->u.last = NULL;
	tni_value_link(v, (struct tn_value *)(uintptr_t)child);
}

/* From {"$map": [[key, value], ...]}: the items change their parents and stay where they are. */
static void become_map(struct tn_value *v, const struct tn_value *array)
{
	const struct tn_value *item;
	const struct tn_value *next;

	become(v, TN_MAP, 0);
	v->u.last = NULL;
	for (item = tni_first(array); item; item = next) {
		struct tn_value *value = item->u.last;
		struct tn_value *key = value->next;

		next = tni_next(array, item);
		tni_value_link(v, key);
		tni_value_link(v, value);
	}
}

static int become_ext(struct tn_value *v, const struct tn_value *type, const struct tn_value *data)
{
	int number = type->flags & TNI_NEGATIVE ? -1 - (int)type->u.num : (int)type->u.num;

	if (data->kind == TN_TEXT) {
		int err = read_base64(v, TN_EXT, data);

		if (err < 0)
			return err;
	} else {
		become(v, TN_EXT, 0);
		v->u.data = data->u.data;
		v->len = data->len;
	}
	v->ext = (int8_t)number;
	v->flags &= TNI_PLACED | TNI_POSITION;
	return 0;
}

int tni_mark_read(unsigned marks, struct tn_value *map)
{
	struct pairs pairs = pairs_of_map(map);
	const struct tn_value *value = pairs.value[0];

	switch (match(marks, &pairs, 0)) {
	case TNI_MARK_BYTES:
		map->flags &= TNI_PLACED | TNI_POSITION;
		return read_base64(map, TN_BYTES, value);
	case TNI_MARK_SIMPLE:
		become(map, TN_SIMPLE, 0);
		map->u.num = value->u.num;
		return 0;
	case TNI_MARK_FLOAT:
		become(map, TN_FLOAT, 0);
		read_float_name(value, &map->u.real);
		return 0;
	case TNI_MARK_INT:
		become(map, TN_INT, TNI_NEGATIVE);
		read_far_int(value, &map->u.num);
		return 0;
	case TNI_MARK_TAG:
		become_tag(map, value->u.num, pairs.value[1]);
		return 0;
	case TNI_MARK_EXT:
		return become_ext(map, value, pairs.value[1]);
	case TNI_MARK_KEYS:
		become_map(map, value);
		return 0;
	}
	return 0;
}

/* Whether the format has no form for `v`. */
static bool is_foreign(unsigned marks, const struct tn_value *v)
{
	switch ((enum tn_kind)v->kind) {
	case TN_BYTES:
		return marks & TNI_MARK_BYTES;
	case TN_TAG:
		return marks & TNI_MARK_TAG && !(marks & TNI_MARK_BYTES && tni_is_bignum(v));
	case TN_EXT:
		return marks & TNI_MARK_EXT;
	case TN_SIMPLE:
		return marks & TNI_MARK_SIMPLE;
	case TN_FLOAT:
		return marks & TNI_MARK_FLOAT && !isfinite(v->u.real);
	case TN_INT:
		return marks & TNI_MARK_INT && v->flags & TNI_NEGATIVE && v->u.num > INT64_MAX;
	case TN_MAP:
		return marks & TNI_MARK_KEYS && v->flags & TNI_ODD_KEYS;
	default:
		return false;
	}
}

static bool looks_marked(unsigned marks, const struct tn_value *v)
{
	struct pairs pairs;

	if (v->kind != TN_MAP || !tni_mark_possible(v))
		return false;
	pairs = pairs_of_map(v);
	return match(marks, &pairs, 0) != 0;
}

static struct tn_value *new_text(struct tni_tree *tree, const char *text)
{
	return tni_value_data(tree, TN_TEXT, 0, text, strlen(text));
}

/* The functions below link what may be NULL: out of memory then, which is told once, at the end. */
static bool link_pair(struct tn_value *map, struct tn_value *key, struct tn_value *value)
{
	if (!map || !key || !value)
		return false;
	tni_value_link(map, key);
	tni_value_link(map, value);
	return true;
}

static struct tn_value *new_number(struct tni_tree *tree, bool negative, uint64_t num)
{
	struct tn_value *v = tni_value_alloc(tree, TN_INT, negative ? TNI_NEGATIVE : 0, 0);

	if (v)
		v->u.num = num;
	return v;
}

static struct tn_value *new_pairs(struct tni_tree *tree, const struct tn_value *map)
{
	struct tn_value *array = tni_value_alloc(tree, TN_ARRAY, 0, 0);
	const struct tn_value *k;
	const struct tn_value *v;

	for (k = tni_first(map); k; k = tni_next(map, v)) {
		struct tn_value *pair = tni_value_alloc(tree, TN_ARRAY, 0, 0);

		v = k->next;
		if (!array || !link_pair(pair, tni_value_alias(tree, k), tni_value_alias(tree, v)))
			return NULL;
		tni_value_link(array, pair);
	}
	return array;
}

/* The text of a mark's single value. */
static struct tn_value *new_payload(struct tni_tree *tree, const struct tn_value *v)
{
	char digits[TNI_NUMBER_SIZE];

	switch ((enum tn_kind)v->kind) {
	case TN_BYTES:
		return new_base64(tree, v);
	case TN_FLOAT:
		return new_text(tree, float_names[isnan(v->u.real) ? 0 : v->u.real > 0 ? 1 : 2]);
	case TN_INT:
		return tni_value_data(tree, TN_TEXT, 0, digits, tni_int_write(true, v->u.num, digits));
	case TN_SIMPLE:
		return new_number(tree, false, v->u.num);
	default:
		return new_pairs(tree, v);
	}
}

static struct tn_value *new_mark(struct tni_tree *tree, unsigned marks, const struct tn_value *v)
{
	static const char *const names[] = {
		[TN_BYTES] = "$bytes", [TN_FLOAT] = "$float", [TN_INT] = "$int", [TN_SIMPLE] = "$simple",
		[TN_MAP] = "$map",     [TN_TAG] = "$tag",     [TN_EXT] = "$ext",
	};
	struct tn_value *mark = tni_value_alloc(tree, TN_MAP, 0, 0);
	struct tn_value *name = new_text(tree, names[v->kind]);
	struct tn_value *inner;
	bool ok;

	if (v->kind == TN_TAG) {
		ok = link_pair(mark, name, new_number(tree, false, v->len));
		inner = tni_value_alias(tree, v->u.last);
	} else if (v->kind == TN_EXT) {
		ok = link_pair(mark, name, new_number(tree, v->ext < 0, (uint64_t)(v->ext < 0 ? -1 - v->ext : v->ext)));
		inner = marks & TNI_MARK_BYTES ? new_base64(tree, v)
					       : tni_value_data(tree, TN_BYTES, 0, v->u.data, v->len);
	} else {
		return link_pair(mark, name, new_payload(tree, v)) ? mark : NULL;
	}
	return ok && link_pair(mark, new_text(tree, "value"), inner) ? mark : NULL;
}

const struct tn_value *tni_mark_make(struct tni_marker *m, const struct tn_value *v, int *err)
{
	bool foreign = is_foreign(m->marks, v);
	const struct tn_value *mark = NULL;

	if (m->strict) {
		bool big = m->marks & TNI_MARK_BYTES && tni_is_bignum(v);

		*err = TN_EREPR;
		return foreign || big ? NULL : v;
	}
	if (!foreign && !looks_marked(m->marks, v))
		return v;
	if (!m->scratch)
		m->scratch = tni_tree_new();
	if (m->scratch)
		mark = new_mark(m->scratch, m->marks, v);
	*err = -ENOMEM;
	return mark;
}
