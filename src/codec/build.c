#include "codec/build.h"

#include <errno.h>

#include "codec/mark.h"
#include "codec/number.h"

int tni_build_begin(struct tni_build *b, const struct tni_codec_opts *opts, unsigned marks, struct tn_value **out)
{
	b->tree = *out ? tni_tree_of(*out) : tni_tree_new();
	if (!b->tree)
		return -ENOMEM;
	if (*out)
		tni_tree_reset(b->tree);
	b->root = NULL;
	b->top = NULL;
	b->left = TNI_COUNT_OPEN;
	b->depth = 0;
	b->max_depth = tni_codec_depth(opts);
	b->marks = tni_codec_strict(opts) ? 0 : marks;
	b->unique = tni_codec_strict(opts);
	b->at = 0;
	b->repeated = 0;
	return 0;
}

int tni_build_end(struct tni_build *b, int code, struct tn_value **out)
{
	if (!code) {
		*out = b->root;
		return 0;
	}
	if (*out) {
		tni_tree_reset(b->tree);
		*out = tni_value_alloc(b->tree, TN_NULL, 0, 0); /* in the first chunk: cannot fail */
	} else {
		tni_tree_free(b->tree);
	}
	return code;
}

/* Keys whose uniqueness will be asked for carry their position, so that the second of two can be named. */
static unsigned flags_of_next(const struct tni_build *b)
{
	if (!b->unique || !b->top)
		return 0;
	/* The first of an array may be a key too: of {"$map": [[key, value], ...]} */
	return tni_build_at_key(b) || (b->marks & TNI_MARK_KEYS && b->top->kind == TN_ARRAY && !b->top->len)
		       ? TNI_POSITION
		       : 0;
}

static int check_keys(struct tni_build *b, struct tn_value *map)
{
	const struct tn_value *key;
	int unique = tni_value_unique(map, &key);

	if (unique < 0)
		return unique;
	if (!unique) {
		b->repeated = *tni_value_position(key);
		return TN_EDUPKEY;
	}
	map->flags |= TNI_UNIQUE;
	return 0;
}

static int close_top(struct tni_build *b)
{
	struct tn_value *v = b->top;
	int err = 0;

	b->depth--;
	b->top = b->around[b->depth].top;
	b->left = b->around[b->depth].left;
	if (v->kind != TN_MAP)
		return 0;
	if (b->unique)
		err = check_keys(b, v);
	if (!err && b->marks && tni_mark_possible(v))
		err = tni_mark_read(b->marks, v);
	/* What a mark made a map of has not been looked at */
	if (!err && b->unique && v->kind == TN_MAP && !(v->flags & TNI_UNIQUE))
		err = check_keys(b, v);
	return err;
}

/* Closes every container that has got its last item. */
int tni_build_full(struct tni_build *b)
{
	int err = 0;

	while (!err && !b->left && b->top)
		err = close_top(b);
	return err;
}

int tni_build_close(struct tni_build *b)
{
	int err = close_top(b);

	return err ? err : tni_build_full(b);
}

/* The position of a key whose uniqueness will be asked for. */
static void note_position(struct tni_build *b, struct tn_value *v)
{
	if (v->flags & TNI_POSITION)
		*tni_value_position(v) = b->at;
}

static inline int add(struct tni_build *b, struct tn_value *v)
{
	note_position(b, v);
	return tni_build_add(b, v);
}

static inline struct tn_value *new_value(struct tni_build *b, enum tn_kind kind)
{
	return tni_value_alloc(b->tree, kind, flags_of_next(b), 0);
}

int tni_build_null(struct tni_build *b)
{
	struct tn_value *v = new_value(b, TN_NULL);

	return v ? add(b, v) : -ENOMEM;
}

int tni_build_bool(struct tni_build *b, bool truth)
{
	struct tn_value *v = new_value(b, TN_BOOL);

	if (!v)
		return -ENOMEM;
	v->u.truth = truth;
	return add(b, v);
}

int tni_build_int(struct tni_build *b, bool negative, uint64_t num)
{
	struct tn_value *v = new_value(b, TN_INT);

	if (!v)
		return -ENOMEM;
	if (negative)
		v->flags |= TNI_NEGATIVE;
	v->u.num = num;
	return add(b, v);
}

int tni_build_float(struct tni_build *b, double real)
{
	struct tn_value *v = new_value(b, TN_FLOAT);

	if (!v)
		return -ENOMEM;
	v->u.real = real;
	return add(b, v);
}

int tni_build_simple(struct tni_build *b, uint8_t number)
{
	struct tn_value *v = new_value(b, TN_SIMPLE);

	if (!v)
		return -ENOMEM;
	v->u.num = number;
	return add(b, v);
}

int tni_build_ext(struct tni_build *b, int8_t type, const void *data, size_t len)
{
	struct tn_value *v = tni_value_data(b->tree, TN_EXT, flags_of_next(b), data, len);

	if (!v)
		return -ENOMEM;
	v->ext = type;
	return add(b, v);
}

int tni_build_long_data(struct tni_build *b, enum tn_kind kind, const void *data, size_t len)
{
	struct tn_value *v = tni_value_data(b->tree, kind, flags_of_next(b), data, len);

	return v ? add(b, v) : -ENOMEM;
}

/* An integer beyond 64 bits is CBOR's bignum: tag 2 or 3 and its bytes. */
static int build_big(struct tni_build *b, const char *text, size_t len)
{
	uint8_t bytes[TNI_BIG_BYTES];
	size_t count = tni_big_read(text, len, bytes);
	struct tn_value *tag;
	struct tn_value *data;

	if (!count)
		return TN_ETOOBIG;
	tag = new_value(b, TN_TAG);
	data = tni_value_data(b->tree, TN_BYTES, 0, bytes, count);
	if (!tag || !data)
		return -ENOMEM;
	tag->len = *text == '-' ? 3 : 2;
	tni_value_link(tag, data);
	return add(b, tag);
}

int tni_build_number(struct tni_build *b, const char *text, size_t len, bool strict)
{
	struct tni_number number;

	if (tni_number_read(text, len, &number) < 0)
		return TN_ETOOBIG;
	if (number.kind == TNI_NUMBER_INT)
		return tni_build_int(b, number.negative, number.num);
	if (number.kind == TNI_NUMBER_FLOAT)
		return tni_build_float(b, number.real);
	return strict ? TN_ETOOBIG : build_big(b, text, len);
}

int tni_build_open(struct tni_build *b, enum tn_kind kind, uint64_t count)
{
	struct tn_value *v;

	if (b->depth >= b->max_depth)
		return TN_EDEPTH;
	v = new_value(b, kind);
	if (!v)
		return -ENOMEM;
	note_position(b, v);
	if (b->top)
		tni_value_link(b->top, v);
	else
		b->root = v;
	if (b->left != TNI_COUNT_OPEN)
		b->left--;
	b->around[b->depth].top = b->top;
	b->around[b->depth].left = b->left;
	b->depth++;
	b->top = v;
	b->left = count;
	return tni_build_full(b);
}

int tni_build_tag(struct tni_build *b, uint64_t tag)
{
	int err = tni_build_open(b, TN_TAG, 1);

	if (!err)
		b->top->len = tag;
	return err;
}
