/* The value tree behind the public tenon_value.h: what the codecs know of it. */
#ifndef TNI_CODEC_VALUE_H
#define TNI_CODEC_VALUE_H

#include "tenon_value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TNI_DEPTH_MAX 1024 /* no decoder and no walk goes deeper, whatever it is asked for: it bounds the C stack */

enum {
	TNI_PLACED = 1,    /* part of another value */
	TNI_NEGATIVE = 2,  /* TN_INT: the number is -1 - num */
	TNI_UNIQUE = 4,    /* TN_MAP: known to hold no equal keys */
	TNI_ODD_KEYS = 8,  /* TN_MAP: some key is not text */
	TNI_POSITION = 16, /* the 8 bytes before this key hold its position in the message */
};

struct tn_value {
	uint8_t kind;
	uint8_t flags;
	int8_t ext;
	uint32_t chunk;        /* how far back the chunk begins, in units of 8 bytes */
	struct tn_value *next; /* the chain is a ring: the last item's next is the first */
	union {
		bool truth;
		uint64_t num; /* TN_INT, TN_SIMPLE */
		double real;
		const char *data;      /* TN_TEXT, TN_BYTES, TN_EXT */
		struct tn_value *last; /* TN_ARRAY, TN_MAP, TN_TAG */
	} u;
	uint64_t len; /* bytes, chained items, or TN_TAG's number */
};

struct tni_chunk {
	struct tni_tree *tree;  /* so that a value finds its tree through its chunk */
	struct tni_chunk *next; /* the one before it in time; NULL for the first */
	size_t size;
};

/* The tree stands in its own first chunk: one allocation for both. */
struct tni_tree {
	struct tni_chunk first;
	struct tni_chunk *now;
	char *at;
	char *end;
};

/* An empty tree, or NULL: out of memory. */
struct tni_tree *tni_tree_new(void);
/* Forgets every value and keeps the first chunk: the next tree in it begins without an allocation. */
void tni_tree_reset(struct tni_tree *tree);
void tni_tree_free(struct tni_tree *tree);
struct tni_tree *tni_tree_of(const struct tn_value *v);
/* The part of tni_tree_alloc() for a full chunk. */
void *tni_tree_grow(struct tni_tree *tree, size_t size);

/* `size` bytes at a multiple of 8, or NULL. `size` is below SIZE_MAX / 2. */
static inline void *tni_tree_alloc(struct tni_tree *tree, size_t size)
{
	void *p = tree->at;

	size = (size + 7) & ~(size_t)7;
	if (size > (size_t)(tree->end - tree->at))
		return tni_tree_grow(tree, size);
	tree->at += size;
	return p;
}

/* Whether tni_tree_alloc() of so much needs no new chunk, which it also tells the compiler. */
static inline bool tni_tree_has(const struct tni_tree *tree, size_t size)
{
	return (size_t)(tree->end - tree->at) >= ((size + 7) & ~(size_t)7);
}

/* A value with nothing set but its kind and flags, with `more` bytes of its own behind it, and before it room for
 * its position if it is flagged to have one. NULL: out of memory. */
static inline struct tn_value *tni_value_alloc(struct tni_tree *tree, enum tn_kind kind, unsigned flags, size_t more)
{
	size_t before = flags & TNI_POSITION ? sizeof(uint64_t) : 0;
	char *p = tni_tree_alloc(tree, before + sizeof(struct tn_value) + more);
	struct tn_value *v;

	if (!p)
		return NULL;
	v = (struct tn_value *)(void *)(p + before);
	v->kind = (uint8_t)kind;
	v->flags = (uint8_t)flags;
	v->ext = 0;
	v->chunk = (uint32_t)((size_t)((char *)v - (char *)tree->now) / 8);
	v->u.num = 0;
	v->len = 0;
	return v;
}

/* TN_TEXT, TN_BYTES or TN_EXT, copied and not looked at. */
static inline struct tn_value *tni_value_data(struct tni_tree *tree, enum tn_kind kind, unsigned flags,
					      const void *data, size_t len)
{
	struct tn_value *v = len < SIZE_MAX / 4 ? tni_value_alloc(tree, kind, flags, len + 1) : NULL;
	char *copy;

	if (!v)
		return NULL;
	copy = (char *)(v + 1);
	if (len)
		memcpy(copy, data, len);
	copy[len] = '\0';
	v->u.data = copy;
	v->len = len;
	return v;
}

/* A copy of one value that shares the items of the original: for reading only. */
struct tn_value *tni_value_alias(struct tni_tree *tree, const struct tn_value *v);

/* Chains `item` to an array, a map or a tag without asking anything. */
static inline void tni_value_link(struct tn_value *parent, struct tn_value *item)
{
	struct tn_value *last = parent->u.last;

	item->next = item;
	if (last) {
		item->next = last->next;
		last->next = item;
	}
	parent->u.last = item;
	item->flags |= TNI_PLACED;
	if (parent->kind == TN_TAG)
		return; /* `len` is the tag's number */
	if (item->kind != TN_TEXT && parent->kind == TN_MAP && parent->len % 2 == 0)
		parent->flags |= TNI_ODD_KEYS;
	parent->len++;
}

static inline uint64_t *tni_value_position(const struct tn_value *key)
{
	return (uint64_t *)(uintptr_t)key - 1;
}

/* A total order over values, arbitrary but fixed. */
int tni_value_compare(const struct tn_value *a, const struct tn_value *b);

/* Looks for equal keys in a map, in time n log n whatever the keys. Returns 1 if there are none, 0 if there are,
 * with the earliest repeated key in `*key` if the keys carry positions (else any repeated one), or -ENOMEM. */
int tni_value_unique(const struct tn_value *map, const struct tn_value **key);

/* tn_value_first() and tn_value_next() for a value known to be an array, a map or a tag. */
static inline const struct tn_value *tni_first(const struct tn_value *parent)
{
	return parent->u.last ? parent->u.last->next : NULL;
}

static inline const struct tn_value *tni_next(const struct tn_value *parent, const struct tn_value *item)
{
	return item == parent->u.last ? NULL : item->next;
}

static inline bool tni_is_text(const struct tn_value *v, const char *text, size_t len)
{
	return v->kind == TN_TEXT && v->len == len && !memcmp(v->u.data, text, len);
}

#endif
