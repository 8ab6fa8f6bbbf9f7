/*
 * Frames of a program's own (tn_frame_register()). What its functions say is believed only where it can be true. The
 * list of them only grows, and a row in it never changes: so it is read without a lock.
 */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many bytes may stand beside a message in its frame. */
#define BESIDE_MAX 256

struct own {
	struct tni_frame_ops ops;
	struct tn_frame frame;
	const struct own *next;
	char name[TN_FRAME_NAME_MAX + 1];
};

static const struct own *_Atomic registered;

/* ---- the list ---- */

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_name(const char *name)
{
	size_t len = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") : 0;

	return len && len <= TN_FRAME_NAME_MAX && !name[len] && is_letter(name[0]);
}

static const struct tni_frame_ops *find_from(const struct own *own, const char *name)
{
	while (own && strcmp(own->name, name) != 0)
		own = own->next;
	return own ? &own->ops : NULL;
}

const struct tni_frame_ops *tni_own_find(const char *name)
{
	return find_from(atomic_load_explicit(&registered, memory_order_acquire), name);
}

int tni_own_register(const struct tn_frame *frame)
{
	const struct own *first = atomic_load_explicit(&registered, memory_order_acquire);
	struct own *own;

	if (!frame->next)
		return tni_err(-EINVAL, "frame: it must have a next()");
	if (!is_name(frame->name))
		return tni_err(-EINVAL, "frame: a name has 1 to %d of a-z, 0-9, '-', '_' and '.', a letter first",
			       TN_FRAME_NAME_MAX);
	if (tni_frame_is_known(frame->name))
		return tni_err(-EEXIST, "frame %s: the library has one of this name", frame->name);
	own = calloc(1, sizeof(*own));
	if (!own)
		return tni_err(-ENOMEM, "frame %s: out of memory", frame->name);
	snprintf(own->name, sizeof(own->name), "%s", frame->name);
	own->frame = *frame;
	own->ops = (struct tni_frame_ops){.name = own->name,
					  .meaning = "a frame of this program",
					  .next = tni_own_next,
					  .end = tni_frame_end_strict,
					  .put = tni_own_put,
					  .spec = &own->frame};
	do {
		if (find_from(first, frame->name)) {
			free(own);
			return tni_err(-EEXIST, "frame %s: it is registered already", frame->name);
		}
		own->next = first;
	} while (!atomic_compare_exchange_weak_explicit(&registered, &first, own, memory_order_acq_rel,
							memory_order_acquire));
	return 0;
}

/* ---- receiving ---- */

static int nonsense(const struct tni_frame *frame, const char *what, size_t figure, size_t len)
{
	return tni_err(TN_EFORMAT, "frame %s: its next() %s %zu bytes where there are %zu: a mistake in the program",
		       frame->ops->name, what, figure, len);
}

static size_t limit_of(const struct tni_frame *frame)
{
	return (size_t)frame->max + BESIDE_MAX;
}

/* What next() says of a whole message. */
static int check_whole(const struct tni_frame *frame, const struct tn_frame_part *part, size_t len)
{
	if (!part->taken || part->taken > len)
		return nonsense(frame, "takes", part->taken, len);
	if (part->at > part->taken || part->len > part->taken - part->at)
		return nonsense(frame, "puts the end of a message behind", part->taken, len);
	if (part->len > frame->max)
		return tni_frame_too_big(frame, part->len);
	return part->taken > limit_of(frame) ? tni_frame_too_big(frame, part->taken) : 1;
}

static int check_refusal(const struct tni_frame *frame, const struct tn_frame_part *part, int rc)
{
	if (rc > 1)
		return tni_err(TN_EFORMAT, "frame %s: its next() returned %d, not 1 or 0: a mistake in the program",
			       frame->ops->name, rc);
	return tni_err(rc, "frame %s: %s", frame->ops->name, part->why ? part->why : tn_strerror(rc));
}

/* Asks for the message at the front of `len` bytes that lie in one piece. As next(); for 0 it notes when to ask again.
 */
static int ask(struct tni_frame *frame, const unsigned char *data, size_t len, struct tn_frame_part *part)
{
	const struct tn_frame *own = frame->ops->spec;
	int rc;

	*part = (struct tn_frame_part){.seen = frame->seen};
	rc = own->next(data, len, part, own->arg);
	if (rc == 1)
		return check_whole(frame, part, len);
	if (part->len > frame->max && rc <= 0)
		return tni_frame_too_big(frame, part->len);
	if (rc)
		return check_refusal(frame, part, rc);
	if (part->need && part->need <= len)
		return nonsense(frame, "waits for", part->need, len);
	if (!part->need)
		part->need = len + 1;
	if (part->need > limit_of(frame))
		return tni_frame_too_big(frame, part->need);
	frame->scanned = (uint32_t)part->need;
	frame->seen = part->seen;
	return 0;
}

int tni_own_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct tn_frame *own = frame->ops->spec;
	size_t want = frame->scanned > in->head->len ? frame->scanned : in->head->len;
	struct tn_frame_part part;
	unsigned char *data;
	int rc = 0;

	while (rc == 0) {
		if (in->len < want)
			return 0;
		data = tni_buf_gather(in, want);
		if (!data)
			return tni_err(-ENOMEM, "out of memory");
		rc = ask(frame, data, in->head->len, &part);
		/* Twice the bytes, if there are so many: a short message over two pieces is not to copy all of them. */
		want = 2 * (size_t)in->head->len < in->len ? 2 * (size_t)in->head->len : in->len;
		want = part.need > want ? part.need : want;
	}
	if (rc < 0)
		return rc;
	frame->scanned = frame->seen = 0;
	tni_view_set(view, in, data + part.at, part.len, part.taken);
	if (own->wrap)
		view->unsure = true;
	else if (part.len != part.taken)
		view->raw = NULL;
	return 1;
}

/* ---- sending ---- */

static int wrap(const struct tni_frame *frame, const struct iovec *iov, int count, size_t len,
		struct tn_frame_ends *ends)
{
	const struct tn_frame *own = frame->ops->spec;
	int rc;

	ends->head_len = ends->tail_len = 0;
	rc = own->wrap(iov, count, len, ends, own->arg);
	if (rc < 0)
		return tni_err(rc == TN_ETOOBIG ? rc : TN_EFORMAT, "frame %s: it cannot carry this message: %s",
			       frame->ops->name, tn_strerror(rc));
	if (rc > 0 || ends->head_len > sizeof(ends->head) || ends->tail_len > sizeof(ends->tail))
		return tni_err(TN_EFORMAT,
			       "frame %s: its wrap() returned %d with %zu and %zu bytes: a mistake in the program",
			       frame->ops->name, rc, ends->head_len, ends->tail_len);
	return 0;
}

int tni_own_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	const struct tn_frame *own = frame->ops->spec;
	size_t len = tni_iov_len(iov, count);
	struct tn_frame_ends ends;
	int rc;

	if (own->wrap) {
		rc = wrap(frame, iov, count, len, &ends);
		if (rc < 0)
			return rc;
	} else {
		ends.head_len = ends.tail_len = 0;
	}
	if (!(ends.head_len + len + ends.tail_len))
		return tni_err(TN_EFORMAT, "frame %s: an empty message cannot be sent", frame->ops->name);
	return tni_frame_wrap(out, ends.head, ends.head_len, iov, count, ends.tail, ends.tail_len);
}

bool tni_frame_is_as_sent(const struct tni_frame *frame, const struct tni_view *view)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)view->data, .iov_len = view->len};
	const unsigned char *tail = (const unsigned char *)view->data + view->len;
	struct tn_frame_ends ends;

	if (!view->unsure)
		return true;
	return wrap(frame, &iov, 1, view->len, &ends) == 0 &&
	       ends.head_len + view->len + ends.tail_len == view->taken && view->raw + ends.head_len == view->data &&
	       !memcmp(view->raw, ends.head, ends.head_len) && !memcmp(tail, ends.tail, ends.tail_len);
}
