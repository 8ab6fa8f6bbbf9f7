/* The table of frames: `frame=` in a URL. */
#ifndef TNI_FRAME_FRAME_H
#define TNI_FRAME_FRAME_H

#include "layer.h"

/*
 * Finds a frame by the value of `frame=`: line, u32, fixed:16, head:size=2, ... Sets ops. Returns 0, TN_EURL with the
 * detail and its position in the value, or -ENOMEM. Ended by tni_frame_drop().
 */
int tni_frame_find(const char *name, struct tni_frame *frame);

/* Frees what tni_frame_find() made. Copies of the struct must not be used any more. */
void tni_frame_drop(struct tni_frame *frame);

/* The row in the table. NULL past the end. */
const struct tni_frame_ops *tni_frame_at(size_t index);

/* How a URL has it: its name, or with what must follow it (fixed:N). */
const char *tni_frame_form(const struct tni_frame_ops *row);

/* All of them, in memory of this thread. */
const char *tni_frame_forms(void);

/* The byte that ends each message and stands nowhere else, or -1. */
int tni_frame_delimiter(const struct tni_frame_ops *ops);

/* The bytes of the shortest message that can come. */
size_t tni_frame_least(const struct tni_frame *frame);

/* The most bytes that one message of the longest length (max) can become. */
size_t tni_frame_room(const struct tni_frame *frame);

/* Frees what it keeps between messages. */
void tni_frame_free(struct tni_frame *frame);

/* Whether the library has a frame of this name: a program's own may not have it. */
bool tni_frame_is_known(const char *name);

/* A frame of the program's own, or NULL. */
const struct tni_frame_ops *tni_own_find(const char *name);

struct tn_frame;

/* tn_frame_register(), of a struct as this library has it. */
int tni_own_register(const struct tn_frame *frame);

/* Whether what was received is what put() would write, so that it can be passed on as it stands. Worth a call only
 * where the view is `unsure`. */
bool tni_frame_is_as_sent(const struct tni_frame *frame, const struct tni_view *view);

#define TNI_HEADER_MAX 256 /* bytes of a header */
#define TNI_UNTIL_MAX 16   /* bytes of a delimiter */

/* A length somewhere in a header. */
struct tni_head {
	uint16_t offset; /* where the length stands */
	uint16_t header; /* bytes in front of the message, the length included; varint: the least */
	uint8_t width;   /* bytes of the length; 0: a varint */
	bool little;
	bool keep;      /* the header is part of the message that is handed over */
	int32_t adjust; /* bytes behind the header = length + adjust */
};

/* A delimiter behind each message. */
struct tni_until {
	unsigned char end[TNI_UNTIL_MAX];
	uint8_t len;
	bool keep; /* it is part of the message */
};

/* For the rows of the table, each in the file of its name. */
int tni_none_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_none_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_delimited_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_delimited_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_delimited_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_head_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_head_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_length_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_length_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_varint_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_varint_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_until_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_until_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_netstring_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_netstring_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_fixed_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_fixed_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_own_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_own_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_cobs_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_cobs_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_slip_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_slip_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_sequence_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_sequence_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_sequence_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);

/* An end that no message may cross: TN_ETRUNC when bytes are left. */
int tni_frame_end_strict(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);

/* TN_ETOOBIG with the figures as detail. */
int tni_frame_too_big(const struct tni_frame *frame, uint64_t len);

/* Appends a head, the pieces and a tail as one. */
int tni_frame_wrap(struct tn_buf *out, const void *head, size_t head_len, const struct iovec *iov, int count,
		   const void *tail, size_t tail_len);

/*
 * What stands behind `head:` and `until:` in a URL. 0, or TN_EURL with the position. And the other way: the same text
 * for the same meaning, however it was spelled.
 */
int tni_head_parse(const char *text, struct tni_head *head);
void tni_head_text(const struct tni_head *head, char *out, size_t cap);
int tni_until_parse(const char *text, struct tni_until *until);
void tni_until_text(const struct tni_until *until, char *out, size_t cap);

/* An item `key=value` of such a text. It ends at a comma or with the text. */
struct tni_frame_item {
	const char *at, *value; /* value: NULL where there is no '=' */
	size_t key_len, value_len;
};

/* Takes the first item off `text`; returns what follows its comma, or NULL. */
const char *tni_frame_item(const char *text, struct tni_frame_item *item);
bool tni_frame_item_is(const struct tni_frame_item *item, const char *key);

/* Its value as on or off (on without one), or as a number from `min` to `max`. 0, or TN_EURL. */
int tni_frame_item_switch(const char *text, const struct tni_frame_item *item, bool *on);
int tni_frame_item_number(const char *text, const struct tni_frame_item *item, long min, long max, long *number);

/* TN_EURL: why, and where in `text`. */
int tni_frame_refuse_text(const char *text, const char *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static inline size_t tni_iov_len(const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

#endif
