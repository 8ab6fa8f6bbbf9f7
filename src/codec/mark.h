/*
 * Marks: how a value that a format has no form for is written in it so that it comes back the same.
 *
 * A mark is a map of a fixed shape, such as {"$bytes": "AQID"}; docs/formats.md lists them. Each format names the
 * kinds it cannot write. A true map that has the shape of one of the format's marks is itself marked, as {"$map":
 * [[key, value], ...]}, and a mark is recognized only in exactly the shape that writing gives it: so reading and
 * writing are each other's inverse, whichever comes first.
 */
#ifndef TNI_CODEC_MARK_H
#define TNI_CODEC_MARK_H

#include <stdbool.h>

#include "codec/value.h"

enum {
	TNI_MARK_BYTES = 1,  /* {"$bytes": base64url}; and integers have any length instead of CBOR's bignum tags */
	TNI_MARK_TAG = 2,    /* {"$tag": number, "value": any} */
	TNI_MARK_EXT = 4,    /* {"$ext": type, "value": bytes} */
	TNI_MARK_SIMPLE = 8, /* {"$simple": number} */
	TNI_MARK_FLOAT = 16, /* {"$float": "NaN"} */
	TNI_MARK_INT = 32,   /* {"$int": digits}: below -2^63 */
	TNI_MARK_KEYS = 64,  /* {"$map": [[key, value], ...]}: a key that is not text */

	TNI_MARKS_TEXT =
		TNI_MARK_BYTES | TNI_MARK_TAG | TNI_MARK_EXT | TNI_MARK_SIMPLE | TNI_MARK_FLOAT | TNI_MARK_KEYS,
	TNI_MARKS_CBOR = TNI_MARK_EXT,
	TNI_MARKS_MSGPACK = TNI_MARK_TAG | TNI_MARK_SIMPLE | TNI_MARK_INT,
};

/* For decoders: turns a complete map that is a mark into what it stands for, in place. Returns 0 or -ENOMEM. */
int tni_mark_read(unsigned marks, struct tn_value *map);

/* CBOR's bignum in the one form that is not also a 64-bit integer or a longer spelling of another bignum. */
bool tni_is_bignum(const struct tn_value *v);

/* Whether a map must be looked at by tni_mark_read() at all. */
static inline bool tni_mark_possible(const struct tn_value *map)
{
	const struct tn_value *key = map->u.last ? map->u.last->next : NULL;

	return key && key->kind == TN_TEXT && key->len >= 4 && key->u.data[0] == '$';
}

/* For encoders. */
struct tni_marker {
	unsigned marks;           /* of the format */
	unsigned kinds;           /* a bit for each kind that may need one */
	bool strict;              /* a value that would need a mark is refused */
	struct tni_tree *scratch; /* holds the marks made */
};

static inline struct tni_marker tni_marker_begin(unsigned marks, bool strict)
{
	unsigned kinds = 1u << TN_MAP;

	kinds |= marks & TNI_MARK_BYTES ? 1u << TN_BYTES : 0;
	kinds |= marks & TNI_MARK_TAG ? 1u << TN_TAG : 0;
	kinds |= marks & TNI_MARK_EXT ? 1u << TN_EXT : 0;
	kinds |= marks & TNI_MARK_SIMPLE ? 1u << TN_SIMPLE : 0;
	kinds |= marks & TNI_MARK_FLOAT ? 1u << TN_FLOAT : 0;
	kinds |= marks & TNI_MARK_INT ? 1u << TN_INT : 0;
	return (struct tni_marker){.marks = marks, .kinds = kinds, .strict = strict};
}

static inline void tni_marker_end(struct tni_marker *m)
{
	tni_tree_free(m->scratch);
}

/* tni_mark_write() for a value that may need a mark. */
const struct tn_value *tni_mark_make(struct tni_marker *m, const struct tn_value *v, int *err);

/* The value to write in place of `v`: `v` itself where the format has a form for it. NULL with the code in `*err`:
 * TN_EREPR or -ENOMEM. What comes back is written as it is, its items each through here again. */
static inline const struct tn_value *tni_mark_write(struct tni_marker *m, const struct tn_value *v, int *err)
{
	if (!(m->kinds >> v->kind & 1))
		return v;
	if (v->kind == TN_MAP && !(v->flags & TNI_ODD_KEYS) && !tni_mark_possible(v))
		return v;
	return tni_mark_make(m, v, err);
}

#endif
