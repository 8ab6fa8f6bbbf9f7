/*
 * TLS layers mouth to mouth, without a socket. The input is steps that carry, change, add and drop bytes between a
 * client and a server, and let them speak: nothing that a layer hands up may be other than what was said. They have a
 * pre-shared key, or from 128 on (the first byte) a certificate, which takes more time.
 */
#include "tls_end.h"

struct mouth {
	struct end end;
	struct tn_buf down;
	uint8_t said, heard; /* counters: each byte is one more than the last */
	bool shut;
};

static unsigned char counting[256 + 2 * TNI_LARGE_CAP]; /* what is said, from any place on */

static void check_heard(struct mouth *e)
{
	for (const struct tni_slice *s = e->end.up.head; s; s = s->next) {
		CHECK(s->len <= sizeof(counting) - 256 && !memcmp(s->data, counting + e->heard, s->len));
		e->heard += (uint8_t)s->len;
	}
	tni_buf_clear(&e->end.up);
}

static void say(struct mouth *e, size_t len)
{
	if (!e->end.layer->open || e->end.failed || e->shut)
		return;
	CHECK(len == 0 || tni_buf_append(&e->down, counting + e->said, len, false) == 0);
	e->said += (uint8_t)len;
	while (e->down.head && !e->end.failed)
		e->end.failed = e->end.layer->ops->down(e->end.layer, &e->down, &e->end.net, SIZE_MAX) < 0;
	tni_buf_clear(&e->down);
}

static void step(struct mouth *from, struct mouth *to, unsigned op, unsigned arg)
{
	unsigned char byte = (unsigned char)arg;

	switch (op % 6) {
	case 0: /* carry a part */
	case 1: /* or all */
		if (tni_buf_move(&to->end.in, &from->end.net, op % 6 ? SIZE_MAX : arg + 1U) > 0)
			take_up(&to->end);
		check_heard(to);
		break;
	case 2:
		if (from->end.net.len > arg && tni_buf_pullup(&from->end.net, arg + 1U))
			from->end.net.head->data[arg] ^= (unsigned char)(1U << (op / 6 % 8));
		break;
	case 3:
		CHECK(tni_buf_append(&from->end.net, &byte, 1, false) == 0);
		break;
	case 4:
		say(from, arg * arg);
		break;
	default:
		if (arg & 1)
			tni_buf_consume(&from->end.net, arg);
		else if (from->end.layer->open && !from->end.failed && !from->shut)
			from->shut = from->end.layer->ops->shut(from->end.layer, &from->end.net) == 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mouth mouths[2] = {0};

	if (!size)
		return 0;
	if (!counting[1])
		for (size_t i = 0; i < sizeof(counting); i++)
			counting[i] = (unsigned char)i;
	ends_begin();
	for (int i = 0; i < 2; i++) {
		end_open(&mouths[i].end, data[0] < 128, i == SERVER);
		tni_buf_init(&mouths[i].down, &mem, SIZE_MAX);
	}
	for (size_t i = 1; i + 1 < size && i < 201; i += 2)
		step(&mouths[data[i] & 1], &mouths[!(data[i] & 1)], data[i] >> 1, data[i + 1]);
	end_close(&mouths[0].end);
	end_close(&mouths[1].end);
	ends_finish();
	return 0;
}
