/*
 * The contract of a format: a pair of pure functions between bytes and a value, and a check.
 *
 * They know no socket, keep nothing between calls and do not depend on the locale, so the same bytes give the same
 * verdict everywhere.
 */
#ifndef TNI_CODEC_CODEC_H
#define TNI_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "codec/bytes.h"
#include "codec/value.h"
#include "tenon.h"

#define TNI_DEPTH_DEFAULT 128

/* All zero is the default; so is a null pointer. */
struct tni_codec_opts {
	unsigned max_depth; /* arrays, maps and tags inside each other; 0 = 128; TNI_DEPTH_MAX at most */
	bool strict;        /* what a format leaves open is refused, and nothing is marked: see docs/formats.md */
	bool pretty;        /* text for people: one item a line */
	bool jsonml;        /* XML only: JsonML both ways, whatever the root element's namespace */
};

struct tni_codec_error {
	int code;
	const char *text; /* constant */
	size_t at;        /* byte position in the message, from 0; its length when it ended early */
	size_t line;      /* from 1; 0 where the format is not text */
	size_t column;    /* in bytes, from 1 */
};

struct tni_codec {
	const char *name;
	const char *meaning; /* one line */
	const char *frame;   /* in which messages follow one another in a file; NULL: none */
	unsigned kind;       /* enum tn_format_kind */
	/*
	 * Reads one message, which is all of `data`. `*out` is NULL, or a value whose tree is emptied and used again;
	 * either way the caller owns what is there afterwards. On failure that is NULL, or a null value of the emptied
	 * tree. Returns 0, or the code that also stands in `err`, which may be NULL.
	 */
	int (*decode)(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		      struct tni_codec_error *err);
	/* Appends one message to `out`. Returns 0, or TN_EDEPTH, TN_EDUPKEY, TN_EREPR, TN_EUTF8 or -ENOMEM, and then
	 * `out` ends where it did. */
	int (*encode)(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out);
	/* The verdict of decode, without the tree where the format can be judged without one. */
	int (*check)(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err);
};

/* Every format of this build, ended by NULL. */
extern const struct tni_codec *const tni_codecs[];

extern const struct tni_codec tni_codec_json;
extern const struct tni_codec tni_codec_xml;
extern const struct tni_codec tni_codec_cbor;
extern const struct tni_codec tni_codec_msgpack;
extern const struct tni_codec tni_codec_text;
extern const struct tni_codec tni_codec_raw;

/* The format of that name, or NULL. */
const struct tni_codec *tni_codec_find(const char *name);

/* Why there is no format of that name, if the library was built without it; NULL: nobody knows such a format. */
const char *tni_codec_left_out(const char *name);

/* Says that there is no format of that name, and why: -EINVAL. */
int tni_codec_fail_name(const char *name);

/* All names, in memory of this thread. */
const char *tni_codec_names(void);

/* What the codecs share. */

static inline unsigned tni_codec_depth(const struct tni_codec_opts *opts)
{
	if (!opts || !opts->max_depth)
		return TNI_DEPTH_DEFAULT;
	return opts->max_depth < TNI_DEPTH_MAX ? opts->max_depth : TNI_DEPTH_MAX;
}

static inline bool tni_codec_strict(const struct tni_codec_opts *opts)
{
	return opts && opts->strict;
}

/* Fills `err`, if there is one, and returns `code`. The second also finds line and column: for text formats. */
int tni_codec_fail(struct tni_codec_error *err, int code, const char *text, size_t at);
int tni_codec_fail_text(struct tni_codec_error *err, int code, const char *text, size_t at, const char *data);

/*
 * Where in a value writing failed, as a JSON pointer (RFC 6901): "/list/3". An encoder that gives up adds the step into
 * each container on its way out; whoever calls it begins with an empty place. A map's item is its key or that key's
 * value.
 */
void tni_codec_place_begin(void);
/* Of a map whose equal keys a format does not take: 0, -ENOMEM,
 * or TN_EDUPKEY with the step to the second of the keys. */
int tni_codec_unique(const struct tn_value *map);
void tni_codec_place_step(const struct tn_value *container, const struct tn_value *item);
const char *tni_codec_place(void);

/* The check of a format that must build the tree to judge. */
int tni_codec_check_by_decode(const struct tni_codec *codec, const void *data, size_t len,
			      const struct tni_codec_opts *opts, struct tni_codec_error *err);

#endif
