/*
 * Trees of values, built by the input: each step makes a value, puts one into another or asks. What cannot be put is
 * refused, what was put is found; and the tree is written in each format and read as the same again, or cannot be
 * written.
 */
#include "fuzz.h"

#include "tenon_value.h"

#include <errno.h>

#define VALUES 64

struct world {
	const uint8_t *data;
	size_t left;
	struct tn_value *made[VALUES];
	bool placed[VALUES]; /* part of another value */
	unsigned n;
};

static unsigned take(struct world *w)
{
	return w->left ? w->left--, *w->data++ : 0;
}

static uint64_t take_number(struct world *w)
{
	uint64_t number = 0;

	for (unsigned i = 0, len = take(w) % 9; i < len; i++)
		number = number << 8 | take(w);
	return number;
}

static const uint8_t *take_bytes(struct world *w, size_t *len)
{
	const uint8_t *at = w->data;

	*len = take(w) % 16;
	at = w->data;
	*len = *len < w->left ? *len : w->left;
	w->data += *len;
	w->left -= *len;
	return at;
}

static void keep(struct world *w, struct tn_value *v, bool placed)
{
	CHECK(v != NULL);
	w->made[w->n] = v;
	w->placed[w->n++] = placed;
}

static void make(struct world *w, unsigned kind)
{
	struct tn_value *tree = w->made[0], *v;
	uint64_t number = 0;
	size_t len;
	const uint8_t *bytes;
	double real;

	switch (kind) {
	case TN_NULL:
		keep(w, tn_value_new_null(tree), false);
		break;
	case TN_BOOL:
		keep(w, tn_value_new_bool(tree, take(w) & 1), false);
		break;
	case TN_INT:
		number = take_number(w);
		keep(w, take(w) & 1 ? tn_value_new_uint(tree, number) : tn_value_new_int(tree, (int64_t)number), false);
		break;
	case TN_FLOAT:
		number = take_number(w);
		memcpy(&real, &number, sizeof(real));
		keep(w, tn_value_new_float(tree, real), false);
		break;
	case TN_TEXT:
		bytes = take_bytes(w, &len);
		v = tn_value_new_text(tree, (const char *)bytes, len);
		CHECK(v || errno == EILSEQ);
		if (v)
			keep(w, v, false);
		break;
	case TN_BYTES:
		bytes = take_bytes(w, &len);
		keep(w, tn_value_new_bytes(tree, bytes, len), false);
		break;
	case TN_MAP:
		keep(w, tn_value_new_map(tree), false);
		break;
	case TN_EXT:
		bytes = take_bytes(w, &len);
		keep(w, tn_value_new_ext(tree, (int8_t)take(w), bytes, len), false);
		break;
	case TN_SIMPLE:
		v = tn_value_new_simple(tree, (uint8_t)take(w));
		CHECK(v || errno == EINVAL);
		if (v)
			keep(w, v, false);
		break;
	default:
		keep(w, tn_value_new_array(tree), false);
	}
}

/* Whether one value stands somewhere in another: putting that one into it would tie a knot. */
static bool holds(const struct tn_value *outer, const struct tn_value *inner)
{
	if (outer == inner)
		return true;
	for (const struct tn_value *v = tn_value_first(outer); v; v = tn_value_next(outer, v))
		if (holds(v, inner))
			return true;
	return false;
}

static void put(struct world *w, unsigned a, unsigned b)
{
	struct tn_value *outer = w->made[a], *inner = w->made[b];
	size_t before = tn_value_count(outer);
	int rc;

	if (holds(inner, outer))
		return;
	if (tn_value_kind(outer) == TN_MAP)
		rc = tn_value_put(outer, "key", inner);
	else
		rc = tn_value_append(outer, inner);
	CHECK(rc == 0 || rc == -EINVAL);
	CHECK((rc == 0) == ((tn_value_kind(outer) == TN_ARRAY || tn_value_kind(outer) == TN_MAP) && !w->placed[b]));
	CHECK(tn_value_count(outer) == before + (rc == 0));
	if (rc < 0)
		return;
	w->placed[b] = true;
	CHECK(tn_value_kind(outer) != TN_MAP || tn_value_get(outer, "key") == inner);
}

static void put_pair(struct world *w, unsigned map, unsigned key, unsigned value)
{
	int rc;

	if (key == value || holds(w->made[key], w->made[map]) || holds(w->made[value], w->made[map]))
		return;
	rc = tn_value_put_pair(w->made[map], w->made[key], w->made[value]);
	CHECK((rc == 0) == (tn_value_kind(w->made[map]) == TN_MAP && !w->placed[key] && !w->placed[value]));
	if (rc < 0)
		return;
	w->placed[key] = w->placed[value] = true;
	CHECK(tn_value_depth(w->made[key]) > 1000 || tn_value_find(w->made[map], w->made[key]) == w->made[value]);
}

static void tag(struct world *w, unsigned child)
{
	struct tn_value *v = tn_value_new_tag(take_number(w), w->made[child]);

	CHECK(!v == w->placed[child]);
	if (!v)
		return;
	w->placed[child] = true;
	CHECK(tn_value_first(v) == w->made[child] && tn_value_count(v) == 1);
	keep(w, v, false);
}

static void ask(const struct tn_value *v)
{
	int64_t number;
	uint64_t positive;
	double real;
	size_t len;

	CHECK(tn_value_equal(v, v));
	CHECK((tn_value_text(v, &len) != NULL) == (tn_value_kind(v) == TN_TEXT));
	CHECK(!tn_value_text(v, &len) || tn_value_text(v, NULL)[len] == '\0');
	if (tn_value_int(v, &number) == 0 && tn_value_uint(v, &positive) == 0)
		CHECK((uint64_t)number == positive);
	CHECK((tn_value_float(v, &real) == 0) == (tn_value_kind(v) == TN_INT || tn_value_kind(v) == TN_FLOAT));
	(void)tn_value_bytes(v, &len);
	(void)tn_value_tag(v), (void)tn_value_ext(v), (void)tn_value_simple(v), (void)tn_value_bool(v);
}

static void write_and_read(const struct tn_value *v)
{
	static const char *const formats[] = {"json", "xml", "cbor", "msgpack"};
	struct tn_bytes bytes = {0};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tn_value *back = NULL;
		int rc = tn_encode(formats[i], v, 0, &bytes);

		CHECK(rc == 0 || rc == TN_EREPR || rc == TN_EDEPTH || rc == TN_EDUPKEY || rc == TN_EUTF8);
		if (rc == 0) {
			CHECK(tn_decode(formats[i], bytes.data, bytes.len, 0, &back) == 0);
			CHECK(tn_value_equal(v, back));
		}
		tn_value_free(back);
	}
	tn_bytes_free(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.data = data, .left = size};

	make(&w, TN_ARRAY);
	while (w.left && w.n < VALUES) {
		unsigned step = take(&w), a = take(&w) % w.n;

		if (step % 4 < 2)
			make(&w, step / 4 % (TN_SIMPLE + 1));
		else if (step % 4 == 2)
			put(&w, a, take(&w) % w.n);
		else if (step / 4 % 2)
			put_pair(&w, a, take(&w) % w.n, take(&w) % w.n);
		else
			tag(&w, a);
		ask(w.made[a]);
	}
	write_and_read(w.made[w.n - 1]);
	tn_value_free(w.made[0]);
	return 0;
}
