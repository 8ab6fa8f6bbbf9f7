/*
 * tenon's values: one small tree for what a message says, whatever format it came in: JSON, XML, CBOR or MessagePack.
 *
 *	struct tn_value *v = NULL;
 *
 *	if (tn_decode("json", msg->data, msg->len, 0, &v) == 0)
 *		printf("%s\n", tn_value_text(tn_value_get(v, "name"), NULL));
 *	tn_value_free(v);
 *
 * A tree lives in one arena. Every value belongs to the tree it was made in; any value of a tree stands for the whole
 *tree where one is asked for (`in`), and freeing any value frees them all. Text, bytes and items are read in place:
 *pointers got from a value live as long as its tree.
 *
 * The items of an array or a map are chained in the order they were added. A map's items are key, value, key, value:
 *its keys may be of any kind, and it holds equal keys as they came (whether they are allowed is each format's own
 *rule).
 */
#ifndef TENON_VALUE_H
#define TENON_VALUE_H

#include "tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tn_value;

enum tn_kind {
	TN_NULL,
	TN_BOOL,
	TN_INT,   /* -2^64 to 2^64-1, CBOR's range: never rounded */
	TN_FLOAT, /* a double, infinities and NaN included */
	TN_TEXT,  /* UTF-8, counted: U+0000 is a character like any other */
	TN_BYTES,
	TN_ARRAY,
	TN_MAP,
	TN_TAG,    /* CBOR: a number and the one value it qualifies */
	TN_EXT,    /* MessagePack: an application's type, -128 to 127, and bytes */
	TN_SIMPLE, /* CBOR: a simple value beside false, true and null; 23 is undefined */
};

/*
 * Making values. `in` is any value of the tree to grow, or NULL to begin a new tree, which its caller owns and ends
 * with tn_value_free(). Text and bytes are copied. All return NULL with errno set: ENOMEM, EILSEQ for text that is not
 * UTF-8, EINVAL for a number that is no simple value (20 to 22 are false, true and null, 24 to 31 do not exist).
 */
TN_API struct tn_value *tn_value_new_null(struct tn_value *in);
TN_API struct tn_value *tn_value_new_bool(struct tn_value *in, bool truth);
TN_API struct tn_value *tn_value_new_int(struct tn_value *in, int64_t number);
TN_API struct tn_value *tn_value_new_uint(struct tn_value *in, uint64_t number);
TN_API struct tn_value *tn_value_new_float(struct tn_value *in, double number);
TN_API struct tn_value *tn_value_new_text(struct tn_value *in, const char *text, size_t len);
TN_API struct tn_value *tn_value_new_bytes(struct tn_value *in, const void *data, size_t len);
TN_API struct tn_value *tn_value_new_array(struct tn_value *in);
TN_API struct tn_value *tn_value_new_map(struct tn_value *in);
TN_API struct tn_value *tn_value_new_ext(struct tn_value *in, int8_t type, const void *data, size_t len);
TN_API struct tn_value *tn_value_new_simple(struct tn_value *in, uint8_t number);
/* A tag around `child`, in the child's tree. EINVAL when there is no child or it is part of another value already. */
TN_API struct tn_value *tn_value_new_tag(uint64_t tag, struct tn_value *child);

/* Ends the whole tree `v` belongs to. NULL is allowed. */
TN_API void tn_value_free(struct tn_value *v);

/* Adds `child` at the end of an array. Returns 0, or -EINVAL when `array` is none, or when `child` is NULL, of another
 * tree, or already part of a value. */
TN_API int tn_value_append(struct tn_value *array, struct tn_value *child);

/* Adds a pair at the end of a map, without looking whether the key is there already. The first takes any key, the
 * second makes a text key of a C string. Returns 0, -EINVAL as tn_value_append(), -EILSEQ when `key` is not UTF-8, or
 * -ENOMEM. */
TN_API int tn_value_put_pair(struct tn_value *map, struct tn_value *key, struct tn_value *value);
TN_API int tn_value_put(struct tn_value *map, const char *key, struct tn_value *value);

/* The value under a key, the last one where several keys are equal, or NULL: also when `map` is none. `key` may be of
 * any tree. Takes time in proportion to the map. */
TN_API const struct tn_value *tn_value_get(const struct tn_value *map, const char *key);
TN_API const struct tn_value *tn_value_find(const struct tn_value *map, const struct tn_value *key);

/* Reading. Each answers for the kind it names; NULL reads as null. */
TN_API enum tn_kind tn_value_kind(const struct tn_value *v);
TN_API bool tn_value_bool(const struct tn_value *v); /* false for every other kind */
/* Returns 0, -EINVAL when `v` is no integer, or -ERANGE when it does not fit. */
TN_API int tn_value_int(const struct tn_value *v, int64_t *number);
TN_API int tn_value_uint(const struct tn_value *v, uint64_t *number);
/* Returns 0, or -EINVAL. Takes an integer too, rounding it where a double must. */
TN_API int tn_value_float(const struct tn_value *v, double *number);
/* The text, followed by a zero byte that `len` does not count, or NULL. `len` may be NULL. */
TN_API const char *tn_value_text(const struct tn_value *v, size_t *len);
/* The bytes of TN_BYTES or TN_EXT, or NULL. */
TN_API const void *tn_value_bytes(const struct tn_value *v, size_t *len);
TN_API uint64_t tn_value_tag(const struct tn_value *v); /* 0 for every other kind */
TN_API int tn_value_ext(const struct tn_value *v);      /* the type; 0 for every other kind */
TN_API int tn_value_simple(const struct tn_value *v);   /* the number; -1 for every other kind */

/* Elements of an array, pairs of a map, 1 for a tag, 0 for the rest. */
TN_API size_t tn_value_count(const struct tn_value *v);

/* Walking an array, a map (key, value, key, value) or a tag's one child: first, then next of the same parent, then
 * NULL, behind which there is NULL again. */
TN_API const struct tn_value *tn_value_first(const struct tn_value *parent);
TN_API const struct tn_value *tn_value_next(const struct tn_value *parent, const struct tn_value *item);

/* The same kinds and contents in the same order. Integers and floats are never equal to each other, 0.0 and -0.0
 * differ, and every NaN is equal to every other. Trees nested deeper than 1024 are not equal to anything. */
TN_API bool tn_value_equal(const struct tn_value *a, const struct tn_value *b);

/* How many arrays, maps and tags stand inside each other: 0 for a plain value, 1 for [].
 * Counts no further than 1025. */
TN_API unsigned tn_value_depth(const struct tn_value *v);

/* ---- formats --------------------------------------------------------------------------------------------------- */

enum tn_format_flag {
	TN_STRICT = 1, /* refuse what the format leaves open, such as duplicate keys in JSON */
	TN_PRETTY = 2, /* text for people: one item a line */
	TN_JSONML =
		4, /* xml: every document as JsonML, both ways; without it, XML that is JSON's representation is read as
		    * the value it represents, other XML as JsonML, and all is written as JSON's representation */
};

/*
 * Reads one message, which is all of `data`. `format`: json, xml, cbor, msgpack, text or raw. `*value` is NULL, or a
 * value whose tree is emptied and used again, which saves allocations; either way the caller owns what is there
 * afterwards and ends it with tn_value_free(). Returns 0; -EINVAL (no such format); TN_EFORMAT, TN_EDEPTH, TN_EUTF8,
 * TN_ETRUNC, TN_EDUPKEY, TN_EREPR or TN_ETOOBIG, and then tn_errmsg() says where and why, tn_errpos() the byte;
 * -ENOMEM. docs/formats.md has the rules.
 */
TN_API TN_MUST_CHECK int tn_decode(const char *format, const void *data, size_t len, unsigned flags,
				   struct tn_value **value);

/* Bytes that a program keeps and uses again. All zero at first. */
struct tn_bytes {
	unsigned char *data;
	size_t len, cap;
};

TN_API void tn_bytes_free(struct tn_bytes *bytes);

/*
 * Writes a value as one message into `bytes`, in place of what is there. Returns 0; -EINVAL (no such format);
 * TN_EREPR (the format has no form for this value), TN_EDEPTH, TN_EDUPKEY (xml and cbor: equal keys in a map),
 * TN_EUTF8; -ENOMEM. tn_errmsg() tells the place in the value, as a JSON pointer (RFC 6901): "cbor: at /list/3/a:
 * duplicate key".
 */
TN_API TN_MUST_CHECK int tn_encode(const char *format, const struct tn_value *value, unsigned flags,
				   struct tn_bytes *bytes);

/* The format of the connection's endpoint (key format): json, xml, cbor, msgpack or text; NULL: it has none. */
TN_API const char *tn_conn_format(const struct tn_conn *conn);

/* Reads a message by the format of its connection's endpoint (key format). As tn_decode(); -EINVAL: it has none. */
TN_API TN_MUST_CHECK int tn_msg_value(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_value **value);

/* Sends a value in the format of the connection's endpoint, in answer to `msg` if that is not NULL. Returns as
 * tn_encode() and tn_reply(). */
TN_API TN_MUST_CHECK int tn_reply_value(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *value);

/* The same where there is no sender to answer. As tn_encode() and tn_send(). */
TN_API TN_MUST_CHECK int tn_send_value(struct tn_conn *conn, const struct tn_value *value);

/*
 * Makes a shared message (tn_send_shared()) of a value in a format, written once however many get it. Its kind is text
 * where the format is. Returns as tn_encode() and tn_shared_new().
 */
TN_API TN_MUST_CHECK int tn_shared_value(const char *format, const struct tn_value *value, unsigned flags,
					 struct tn_shared **shared);

/* ---- messages without a connection ------------------------------------------------------------------------------- */

/*
 * Takes a stream of bytes apart into messages as an endpoint would, wherever the bytes come from: a capture, a file.
 *
 *	tn_split_feed(split, data, len);
 *	while ((rc = tn_split_next(split, &msg, &msg_len)) > 0)
 *		...
 */
struct tn_split;

/*
 * Begins a stream whose messages are what the URL's keys frame, format, max, strict and jsonml say; nothing is opened
 * or read. With ws:// it is what one side of a WebSocket sends: its head of HTTP, then frames, compressed or not; or
 * frames from the first on (RFC 6455). The caller ends it with tn_split_free(). Errors: TN_EURL (bad for serving and
 * for dialling), -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_split_new(const char *url, struct tn_split **split);

/* Begins another stream of the same kind, which costs little and outlives the first. -ENOMEM.
 * One thread for them all. */
TN_API int tn_split_another(const struct tn_split *split, struct tn_split **another);

/* NULL is allowed. */
TN_API void tn_split_free(struct tn_split *split);

/* Adds bytes, which are copied, or says that no more will come. Returns 0, -ENOMEM or -ENOBUFS (4 GiB wait). */
TN_API int tn_split_feed(struct tn_split *split, const void *data, size_t len);
TN_API void tn_split_end(struct tn_split *split);

/*
 * Takes the next message: whole, without its frame, valid until the next call for this stream. With frame=none it is
 * what one call of tn_split_feed() has added. Returns 1; 0: more bytes are needed or, after tn_split_end(), there are
 * no more; TN_EFORMAT, TN_ETOOBIG, TN_ETRUNC: the bytes break the frame's rules, and will again until tn_split_reset();
 * -ENOMEM. Whether a message is what the format allows is for tn_split_value() to say.
 */
TN_API int tn_split_next(struct tn_split *split, const void **data, size_t *len);

/* WebSocket: what the message is that tn_split_next() has handed out last. Others: TN_MSG_ANY. */
TN_API enum tn_msg_kind tn_split_kind(const struct tn_split *split);

/*
 * WebSocket: the code of the Close that ends the stream, once tn_split_next() has come to it; 1005: it has none. 0: it
 * has not come, or this is no WebSocket. `reason`: valid until the next call for this stream; "": none. It may hold any
 * UTF-8.
 */
TN_API int tn_split_closed(const struct tn_split *split, const char **reason);

/* Forgets the bytes that wait, and the end: what is fed next begins a message. */
TN_API void tn_split_reset(struct tn_split *split);

/* How many bytes wait for the rest of their message, and the memory they take. */
TN_API size_t tn_split_waiting(const struct tn_split *split);
TN_API size_t tn_split_memory(const struct tn_split *split);

/* Their names as in a URL; the format is NULL for raw. */
TN_API const char *tn_split_frame(const struct tn_split *split);
TN_API const char *tn_split_format(const struct tn_split *split);

/* Reads a message by the format. As tn_decode(); -EINVAL: there is none. */
TN_API int tn_split_value(const struct tn_split *split, const void *data, size_t len, struct tn_value **value);

#ifdef __cplusplus
}
#endif

#endif
