#include "codec/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define CHUNK_FIRST (4096 - 32) /* with malloc's own header, below a page */
#define CHUNK_LARGEST (1024 * 1024)
#define KEYS_FEW 16 /* up to here comparing every pair is faster than sorting */

struct tni_tree *tni_tree_new(void)
{
	struct tni_tree *tree = malloc(CHUNK_FIRST);

	if (!tree)
		return NULL;
	tree->first = (struct tni_chunk){.tree = tree, .size = CHUNK_FIRST};
	tree->now = &tree->first;
	tree->at = (char *)(tree + 1);
	tree->end = (char *)tree + CHUNK_FIRST;
	return tree;
}

void tni_tree_reset(struct tni_tree *tree)
{
	while (tree->now != &tree->first) {
		struct tni_chunk *before = tree->now->next;

		free(tree->now);
		tree->now = before;
	}
	tree->at = (char *)(tree + 1);
	tree->end = (char *)tree + tree->first.size;
}

void tni_tree_free(struct tni_tree *tree)
{
	if (!tree)
		return;
	tni_tree_reset(tree);
	free(tree);
}

struct tni_tree *tni_tree_of(const struct tn_value *v)
{
	return ((const struct tni_chunk *)(const void *)((const char *)v - (size_t)v->chunk * 8))->tree;
}

/* Each chunk is twice as large as the last, so that their number stays small. */
void *tni_tree_grow(struct tni_tree *tree, size_t size)
{
	size_t total = tree->now->size * 2;
	struct tni_chunk *chunk;

	if (total > CHUNK_LARGEST)
		total = CHUNK_LARGEST;
	if (total < size + sizeof *chunk)
		total = size + sizeof *chunk;
	chunk = malloc(total);
	if (!chunk)
		return NULL;
	*chunk = (struct tni_chunk){.tree = tree, .next = tree->now, .size = total};
	tree->now = chunk;
	tree->at = (char *)(chunk + 1) + size;
	tree->end = (char *)chunk + total;
	return chunk + 1;
}

struct tn_value *tni_value_alias(struct tni_tree *tree, const struct tn_value *v)
{
	struct tn_value *alias = tni_value_alloc(tree, (enum tn_kind)v->kind, 0, 0);

	if (!alias)
		return NULL;
	alias->flags = v->flags & (TNI_NEGATIVE | TNI_UNIQUE | TNI_ODD_KEYS);
	alias->ext = v->ext;
	alias->u = v->u;
	alias->len = v->len;
	return alias;
}

/* The tree to make a value in. What tn_value_new_*() does on failure is drop a tree it began itself. */
static struct tni_tree *tree_for(struct tn_value *in)
{
	return in ? tni_tree_of(in) : tni_tree_new();
}

static struct tn_value *made(struct tn_value *in, struct tni_tree *tree, struct tn_value *v)
{
	if (v)
		return v;
	if (!in)
		tni_tree_free(tree);
	errno = ENOMEM;
	return NULL;
}

static struct tn_value *new_value(struct tn_value *in, enum tn_kind kind, unsigned flags)
{
	struct tni_tree *tree = tree_for(in);

	return made(in, tree, tree ? tni_value_alloc(tree, kind, flags, 0) : NULL);
}

static struct tn_value *new_data(struct tn_value *in, enum tn_kind kind, const void *data, size_t len)
{
	struct tni_tree *tree = tree_for(in);

	return made(in, tree, tree ? tni_value_data(tree, kind, 0, data, len) : NULL);
}

static struct tn_value *new_number(struct tn_value *in, enum tn_kind kind, unsigned flags, uint64_t num)
{
	struct tn_value *v = new_value(in, kind, flags);

	if (v)
		v->u.num = num;
	return v;
}

struct tn_value *tn_value_new_null(struct tn_value *in)
{
	return new_value(in, TN_NULL, 0);
}

struct tn_value *tn_value_new_bool(struct tn_value *in, bool truth)
{
	struct tn_value *v = new_value(in, TN_BOOL, 0);

	if (v)
		v->u.truth = truth;
	return v;
}

struct tn_value *tn_value_new_int(struct tn_value *in, int64_t number)
{
	if (number < 0)
		return new_number(in, TN_INT, TNI_NEGATIVE, ~(uint64_t)number);
	return new_number(in, TN_INT, 0, (uint64_t)number);
}

struct tn_value *tn_value_new_uint(struct tn_value *in, uint64_t number)
{
	return new_number(in, TN_INT, 0, number);
}

struct tn_value *tn_value_new_float(struct tn_value *in, double number)
{
	struct tn_value *v = new_value(in, TN_FLOAT, 0);

	if (v)
		v->u.real = number;
	return v;
}

struct tn_value *tn_value_new_text(struct tn_value *in, const char *text, size_t len)
{
	if (tni_utf8_check(text, len) != len) {
		errno = EILSEQ;
		return NULL;
	}
	return new_data(in, TN_TEXT, text, len);
}

struct tn_value *tn_value_new_bytes(struct tn_value *in, const void *data, size_t len)
{
	return new_data(in, TN_BYTES, data, len);
}

struct tn_value *tn_value_new_array(struct tn_value *in)
{
	return new_value(in, TN_ARRAY, 0);
}

struct tn_value *tn_value_new_map(struct tn_value *in)
{
	return new_value(in, TN_MAP, 0);
}

static bool can_place(const struct tn_value *parent, const struct tn_value *child)
{
	return child && child != parent && !(child->flags & TNI_PLACED) && tni_tree_of(child) == tni_tree_of(parent);
}

struct tn_value *tn_value_new_tag(uint64_t tag, struct tn_value *child)
{
	struct tn_value *v;

	if (!child || child->flags & TNI_PLACED) {
		errno = EINVAL;
		return NULL;
	}
	v = new_value(child, TN_TAG, 0);
	if (!v)
		return NULL;
	v->len = tag;
	tni_value_link(v, child);
	return v;
}

struct tn_value *tn_value_new_ext(struct tn_value *in, int8_t type, const void *data, size_t len)
{
	struct tn_value *v = new_data(in, TN_EXT, data, len);

	if (v)
		v->ext = type;
	return v;
}

struct tn_value *tn_value_new_simple(struct tn_value *in, uint8_t number)
{
	if ((number >= 20 && number <= 22) || (number >= 24 && number <= 31)) {
		errno = EINVAL;
		return NULL;
	}
	return new_number(in, TN_SIMPLE, 0, number);
}

void tn_value_free(struct tn_value *v)
{
	if (v)
		tni_tree_free(tni_tree_of(v));
}

int tn_value_append(struct tn_value *array, struct tn_value *child)
{
	if (!array || array->kind != TN_ARRAY || !can_place(array, child))
		return -EINVAL;
	tni_value_link(array, child);
	return 0;
}

int tn_value_put_pair(struct tn_value *map, struct tn_value *key, struct tn_value *value)
{
	if (!map || map->kind != TN_MAP || !can_place(map, key) || !can_place(map, value) || key == value)
		return -EINVAL;
	map->flags &= (uint8_t)~TNI_UNIQUE;
	tni_value_link(map, key);
	tni_value_link(map, value);
	return 0;
}

int tn_value_put(struct tn_value *map, const char *key, struct tn_value *value)
{
	struct tn_value *name;

	if (!map || map->kind != TN_MAP || !can_place(map, value))
		return -EINVAL;
	name = tn_value_new_text(map, key, strlen(key));
	if (!name)
		return -errno;
	return tn_value_put_pair(map, name, value);
}

static const struct tn_value *find_last(const struct tn_value *map, const struct tn_value *key)
{
	const struct tn_value *found = NULL;
	const struct tn_value *k;
	const struct tn_value *v;

	for (k = tn_value_first(map); k; k = tn_value_next(map, v)) {
		v = k->next;
		if (tn_value_equal(k, key))
			found = v;
	}
	return found;
}

const struct tn_value *tn_value_find(const struct tn_value *map, const struct tn_value *key)
{
	if (!map || map->kind != TN_MAP || !key)
		return NULL;
	return find_last(map, key);
}

const struct tn_value *tn_value_get(const struct tn_value *map, const char *key)
{
	struct tn_value name = {.kind = TN_TEXT, .u.data = key, .len = strlen(key)};

	return tn_value_find(map, &name);
}

enum tn_kind tn_value_kind(const struct tn_value *v)
{
	return v ? (enum tn_kind)v->kind : TN_NULL;
}

bool tn_value_bool(const struct tn_value *v)
{
	return v && v->kind == TN_BOOL && v->u.truth;
}

int tn_value_int(const struct tn_value *v, int64_t *number)
{
	if (!v || v->kind != TN_INT)
		return -EINVAL;
	if (v->u.num > INT64_MAX)
		return -ERANGE;
	*number = v->flags & TNI_NEGATIVE ? -1 - (int64_t)v->u.num : (int64_t)v->u.num;
	return 0;
}

int tn_value_uint(const struct tn_value *v, uint64_t *number)
{
	if (!v || v->kind != TN_INT)
		return -EINVAL;
	if (v->flags & TNI_NEGATIVE)
		return -ERANGE;
	*number = v->u.num;
	return 0;
}

int tn_value_float(const struct tn_value *v, double *number)
{
	if (!v || (v->kind != TN_INT && v->kind != TN_FLOAT))
		return -EINVAL;
	if (v->kind == TN_FLOAT)
		*number = v->u.real;
	else if (!(v->flags & TNI_NEGATIVE))
		*number = (double)v->u.num;
	else
		*number = v->u.num == UINT64_MAX ? -0x1p64 : -(double)(v->u.num + 1);
	return 0;
}

static const char *data_of(const struct tn_value *v, size_t *len)
{
	if (len)
		*len = v ? (size_t)v->len : 0;
	return v ? v->u.data : NULL;
}

const char *tn_value_text(const struct tn_value *v, size_t *len)
{
	return data_of(v && v->kind == TN_TEXT ? v : NULL, len);
}

const void *tn_value_bytes(const struct tn_value *v, size_t *len)
{
	return data_of(v && (v->kind == TN_BYTES || v->kind == TN_EXT) ? v : NULL, len);
}

uint64_t tn_value_tag(const struct tn_value *v)
{
	return v && v->kind == TN_TAG ? v->len : 0;
}

int tn_value_ext(const struct tn_value *v)
{
	return v && v->kind == TN_EXT ? v->ext : 0;
}

int tn_value_simple(const struct tn_value *v)
{
	return v && v->kind == TN_SIMPLE ? (int)v->u.num : -1;
}

static bool has_items(const struct tn_value *v)
{
	return v && (v->kind == TN_ARRAY || v->kind == TN_MAP || v->kind == TN_TAG);
}

size_t tn_value_count(const struct tn_value *v)
{
	if (!has_items(v))
		return 0;
	if (v->kind == TN_TAG)
		return 1;
	return v->kind == TN_MAP ? v->len / 2 : v->len;
}

const struct tn_value *tn_value_first(const struct tn_value *parent)
{
	return has_items(parent) ? tni_first(parent) : NULL;
}

const struct tn_value *tn_value_next(const struct tn_value *parent, const struct tn_value *item)
{
	return item ? tni_next(parent, item) : NULL;
}

static int order(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Doubles by their bits, for a total order; one NaN is as good as another. */
static uint64_t float_bits(double real)
{
	uint64_t bits;

	if (real != real)
		return UINT64_MAX;
	memcpy(&bits, &real, sizeof bits);
	return bits;
}

static int compare_data(const struct tn_value *a, const struct tn_value *b)
{
	if (a->len != b->len || !a->len)
		return order(a->len, b->len);
	return memcmp(a->u.data, b->u.data, a->len);
}

static int compare_deep(const struct tn_value *a, const struct tn_value *b, unsigned depth);

static int compare_items(const struct tn_value *a, const struct tn_value *b, unsigned depth)
{
	const struct tn_value *x = tn_value_first(a);
	const struct tn_value *y = tn_value_first(b);
	int diff;

	if (a->len != b->len)
		return order(a->len, b->len);
	if (depth > TNI_DEPTH_MAX)
		return 1;
	while (x && y) {
		diff = compare_deep(x, y, depth);
		if (diff)
			return diff;
		x = tn_value_next(a, x);
		y = tn_value_next(b, y);
	}
	return 0;
}

static int compare_deep(const struct tn_value *a, const struct tn_value *b, unsigned depth)
{
	if (a->kind != b->kind)
		return order(a->kind, b->kind);
	switch ((enum tn_kind)a->kind) {
	case TN_NULL:
		return 0;
	case TN_BOOL:
		return order(a->u.truth, b->u.truth);
	case TN_INT:
		if ((a->flags ^ b->flags) & TNI_NEGATIVE)
			return order(b->flags & TNI_NEGATIVE, a->flags & TNI_NEGATIVE);
		return order(a->u.num, b->u.num);
	case TN_SIMPLE:
		return order(a->u.num, b->u.num);
	case TN_FLOAT:
		return order(float_bits(a->u.real), float_bits(b->u.real));
	case TN_EXT:
		if (a->ext != b->ext)
			return a->ext < b->ext ? -1 : 1;
		return compare_data(a, b);
	case TN_TEXT:
	case TN_BYTES:
		return compare_data(a, b);
	case TN_ARRAY:
	case TN_MAP:
	case TN_TAG:
		return compare_items(a, b, depth + 1);
	}
	return 1;
}

int tni_value_compare(const struct tn_value *a, const struct tn_value *b)
{
	return compare_deep(a, b, 0);
}

bool tn_value_equal(const struct tn_value *a, const struct tn_value *b)
{
	if (!a || !b)
		return a == b;
	return compare_deep(a, b, 0) == 0;
}

static unsigned depth_below(const struct tn_value *v, unsigned depth)
{
	const struct tn_value *item;
	unsigned deepest;

	if (!has_items(v))
		return depth;
	deepest = ++depth;
	if (depth > TNI_DEPTH_MAX)
		return depth;
	for (item = tn_value_first(v); item; item = tn_value_next(v, item)) {
		unsigned below = depth_below(item, depth);

		if (below > deepest)
			deepest = below;
	}
	return deepest;
}

unsigned tn_value_depth(const struct tn_value *v)
{
	return depth_below(v, 0);
}

static uint64_t position_of(const struct tn_value *key)
{
	return key->flags & TNI_POSITION ? *tni_value_position(key) : 0;
}

/* Equal keys side by side, the earliest first. */
static int compare_keys(const void *a, const void *b)
{
	const struct tn_value *x = *(const struct tn_value *const *)a;
	const struct tn_value *y = *(const struct tn_value *const *)b;
	int diff = tni_value_compare(x, y);

	return diff ? diff : order(position_of(x), position_of(y));
}

/* One bit of 64, the same for equal keys: where all bits differ, no two keys need be compared. */
static uint64_t bit_of(const struct tn_value *key)
{
	const uint8_t *p = (const uint8_t *)key->u.data;
	size_t len = key->len;
	uint32_t mixed = 0;

	if (key->kind == TN_TEXT && len)
		mixed = (uint32_t)len * 31 + p[0] + ((uint32_t)p[len / 2] << 8) + ((uint32_t)p[len - 1] << 16);
	return (uint64_t)1 << (mixed * 0x9e3779b1u >> 26);
}

static int unique_few(const struct tn_value *map, const struct tn_value **repeated)
{
	const struct tn_value *first = map->u.last->next;
	const struct tn_value *key = first;
	uint64_t seen = 0;

	for (size_t left = map->len / 2; left; left--, key = key->next->next) {
		uint64_t bit = bit_of(key);

		for (const struct tn_value *k = first; seen & bit && k != key; k = k->next->next) {
			if (k->len != key->len || tni_value_compare(k, key))
				continue;
			*repeated = key;
			return 0;
		}
		seen |= bit;
	}
	return 1;
}

static int unique_many(const struct tn_value **keys, size_t count, const struct tn_value **repeated)
{
	const struct tn_value *found = NULL;

	qsort(keys, count, sizeof(const struct tn_value *), compare_keys);
	for (size_t i = 1; i < count; i++) {
		if (tni_value_compare(keys[i - 1], keys[i]))
			continue;
		if (!found || position_of(keys[i]) < position_of(found))
			found = keys[i];
	}
	*repeated = found;
	return !found;
}

int tni_value_unique(const struct tn_value *map, const struct tn_value **key)
{
	const struct tn_value **keys;
	const struct tn_value *at;
	size_t count = map->len / 2;
	int unique;

	if (map->flags & TNI_UNIQUE || count < 2)
		return 1;
	if (count <= KEYS_FEW)
		return unique_few(map, key);
	keys = malloc(count * sizeof(const struct tn_value *));
	if (!keys)
		return -ENOMEM;
	at = map->u.last->next;
	for (size_t i = 0; i < count; i++) {
		keys[i] = at;
		at = at->next->next;
	}
	unique = unique_many(keys, count, key);
	free(keys);
	return unique;
}
