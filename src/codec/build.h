/* The decoders' way to a tree: values are added in the order the message has them. */
#ifndef TNI_CODEC_BUILD_H
#define TNI_CODEC_BUILD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "codec/bytes.h"
#include "codec/codec.h"
#include "codec/value.h"

#define TNI_COUNT_OPEN UINT64_MAX /* the items of a container whose end the message will tell */

struct tni_build {
	struct tni_tree *tree;
	struct tn_value *root;
	struct tn_value *top; /* the innermost open container, or NULL */
	uint64_t left;        /* items it still wants, or TNI_COUNT_OPEN; that also where nothing is open */
	unsigned depth;       /* containers now open */
	unsigned max_depth;
	unsigned marks;  /* the format's marks to recognize; 0 when strict */
	bool unique;     /* equal keys are an error */
	size_t at;       /* the decoder sets: byte position of what it is about to add */
	size_t repeated; /* on TN_EDUPKEY: where the second of two equal keys is */
	struct {
		struct tn_value *top;
		uint64_t left;
	} around[TNI_DEPTH_MAX]; /* what was open when each of the open ones began */
};

/* Begins a message in the tree of `*out`, or in a new one. Returns 0 or -ENOMEM. */
int tni_build_begin(struct tni_build *b, const struct tni_codec_opts *opts, unsigned marks, struct tn_value **out);
/* Ends it: hands the finished value to `*out` when `code` is 0, else what the contract says for a failure. Returns
 * `code`. */
int tni_build_end(struct tni_build *b, int code, struct tn_value **out);

/* Each adds one value where the message stands. They return 0, -ENOMEM, and where adding ends a map TN_EDUPKEY. */
int tni_build_null(struct tni_build *b);
int tni_build_bool(struct tni_build *b, bool truth);
int tni_build_int(struct tni_build *b, bool negative, uint64_t num);
int tni_build_float(struct tni_build *b, double real);
int tni_build_simple(struct tni_build *b, uint8_t number);
int tni_build_ext(struct tni_build *b, int8_t type, const void *data, size_t len);
/* A number of the JSON grammar. TN_ETOOBIG too: beyond a double, or an integer beyond 4096 bits, or beyond 64 when
 * strict. */
int tni_build_number(struct tni_build *b, const char *text, size_t len, bool strict);

/* Opens a container of `count` items (a map's keys and values both count), which closes itself after the last, or of
 * TNI_COUNT_OPEN, which tni_build_close() closes. TN_EDEPTH too. */
int tni_build_open(struct tni_build *b, enum tn_kind kind, uint64_t count);
int tni_build_tag(struct tni_build *b, uint64_t tag);
int tni_build_close(struct tni_build *b);

/* Whether the next value is a key of a map. */
static inline bool tni_build_at_key(const struct tni_build *b)
{
	return b->top && b->top->kind == TN_MAP && b->top->len % 2 == 0;
}

/* What the two below do when there is more to it. */
int tni_build_full(struct tni_build *b);
int tni_build_long_data(struct tni_build *b, enum tn_kind kind, const void *data, size_t len);

/* Puts a value of the tree where the message stands. */
static inline int tni_build_add(struct tni_build *b, struct tn_value *v)
{
	if (b->top)
		tni_value_link(b->top, v);
	else
		b->root = v;
	return b->left == TNI_COUNT_OPEN || --b->left ? 0 : tni_build_full(b);
}

/* TN_TEXT or TN_BYTES. Short texts are most of most messages, and this is most of their way: no call in it. */
static inline int tni_build_data(struct tni_build *b, enum tn_kind kind, const void *data, size_t len)
{
	struct tn_value *v;
	char *copy;

	if (len > TNI_SHORT || b->unique || !tni_tree_has(b->tree, sizeof *v + TNI_SHORT + 1))
		return tni_build_long_data(b, kind, data, len);
	v = tni_value_alloc(b->tree, kind, 0, len + 1);
	if (!v)
		return -ENOMEM;
	copy = (char *)(v + 1);
	tni_copy_short(copy, data, len);
	copy[len] = '\0';
	v->u.data = copy;
	v->len = len;
	return tni_build_add(b, v);
}

#endif
