/* Messages that end with a delimiter of several bytes. */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int tni_until_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct tni_until *until = frame->ops->spec;
	size_t end = until->len, len;
	long at = tni_buf_search(in, until->end, end, frame->scanned);
	unsigned char *data;

	if (at < 0) {
		/* The message is at least so long, as the delimiter may have come but for its last byte. */
		len = in->len < end ? 0 : in->len - end + 1;
		frame->scanned = (uint32_t)len;
		len += until->keep ? end : 0;
		return len > frame->max ? tni_frame_too_big(frame, len) : 0;
	}
	frame->scanned = 0;
	len = (size_t)at + (until->keep ? end : 0);
	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	data = tni_buf_front(in, (size_t)at + end);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	tni_view_set(view, in, data, len, (size_t)at + end);
	return 1;
}

/* Where the delimiter is found first in what will be sent: it must be at the end. */
int tni_until_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	const struct tni_until *until = frame->ops->spec;
	struct tni_slice pieces[TNI_PIECES_MAX + 1];
	size_t len = tni_iov_len(iov, count);
	struct tn_buf sent = {.head = pieces, .len = 1};
	int n = 0;
	long at;

	for (; n < count; n++)
		pieces[n] = (struct tni_slice){.data = iov[n].iov_base, .len = (uint32_t)iov[n].iov_len};
	if (!until->keep)
		pieces[n++] = (struct tni_slice){.data = (unsigned char *)(uintptr_t)until->end, .len = until->len};
	for (int i = 0; i + 1 < n; i++)
		pieces[i].next = &pieces[i + 1];
	at = n ? tni_buf_search(&sent, until->end, until->len, 0) : -1;
	if (at < 0)
		return tni_err(TN_EFORMAT, "frame %s: the message does not end with the delimiter", frame->ops->name);
	if ((size_t)at + (until->keep ? until->len : 0) != len)
		return tni_err(TN_EFORMAT, "frame %s: the delimiter would be found at byte %ld of the message",
			       frame->ops->name, at);
	return tni_frame_wrap(out, NULL, 0, iov, count, until->end, until->keep ? 0 : until->len);
}

/* ---- until:... in a URL ---- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte behind a backslash; -1: there is no such. */
static int unescape(const char **at)
{
	static const char names[] = "rnt0\\", bytes[] = "\r\n\t\0\\";
	const char *hit = **at ? strchr(names, **at) : NULL;
	int high, low;

	if (hit) {
		(*at)++;
		return (unsigned char)bytes[hit - names];
	}
	high = **at == 'x' ? hex_value((*at)[1]) : -1;
	low = high < 0 ? -1 : hex_value((*at)[2]);
	if (low < 0)
		return -1;
	*at += 3;
	return high << 4 | low;
}

int tni_until_parse(const char *text, struct tni_until *until)
{
	const char *at = text;
	struct tni_frame_item item;

	*until = (struct tni_until){0};
	while (*at && *at != ',') {
		const char *from = at++;
		int byte = *from == '\\' ? unescape(&at) : (unsigned char)*from;

		if (byte < 0)
			return tni_frame_refuse_text(text, from,
						     "behind \\ stands r, n, t, 0, \\ or x and two hexadecimal "
						     "digits");
		if (until->len == TNI_UNTIL_MAX)
			return tni_frame_refuse_text(text, from, "a delimiter has at most %d bytes", TNI_UNTIL_MAX);
		until->end[until->len++] = (unsigned char)byte;
	}
	if (!until->len)
		return tni_frame_refuse_text(text, text, "where is the delimiter? As in until:\\r\\n%s",
					     *at ? " (a comma is \\x2c)" : "");
	if (!*at)
		return 0;
	if (tni_frame_item(at + 1, &item) || !tni_frame_item_is(&item, "keep"))
		return tni_frame_refuse_text(text, item.at,
					     "behind the delimiter stands keep=on, keep=off or nothing (a "
					     "comma in it is \\x2c)");
	return tni_frame_item_switch(text, &item, &until->keep);
}

void tni_until_text(const struct tni_until *until, char *out, size_t cap)
{
	size_t used = 0;

	for (unsigned i = 0; i < until->len && used < cap; i++) {
		unsigned char c = until->end[i];

		if (c == '\r' || c == '\n')
			used += (size_t)snprintf(out + used, cap - used, "\\%c", c == '\r' ? 'r' : 'n');
		else if (c > ' ' && c < 0x7f && c != '\\' && c != ',')
			used += (size_t)snprintf(out + used, cap - used, "%c", c);
		else
			used += (size_t)snprintf(out + used, cap - used, "\\x%02x", c);
	}
	if (until->keep && used < cap)
		snprintf(out + used, cap - used, ",keep=on");
}
