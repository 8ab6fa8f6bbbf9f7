/*
 * TLS layers, without a socket. The input's first byte chooses: a client or a server that is fed the rest as what came
 * from its peer, cut in pieces; or both mouth to mouth, with the rest as steps that carry, change, add and drop bytes
 * between them. Nothing that a layer hands up in the second case may be other than what was said.
 */
#include "secure/creds_in.h"
#include "secure/tls.h"
#include "tenon.h"

#include "../tests/support/certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(what) ((what) ? (void)0 : broken(#what, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "fuzz_tls.c:%d: does not hold: %s: %s\n", line, what, tn_errmsg());
	abort();
}

struct end {
	struct tni_layer *layer;
	struct tn_buf in, net, up, down;
	uint8_t said, heard; /* counters: each byte is one more than the last */
	bool failed, shut;
};

static struct tni_mem mem;
static unsigned char counting[256 + 2 * TNI_LARGE_CAP]; /* what is said, from any place on */
static struct tni_creds *credentials[2];                /* client, server */

static void make_credentials(void)
{
	char dir[] = "/tmp/tenon-fuzz-XXXXXX", ca[64], cert[64], key[64];
	struct tni_creds_spec client = {.ca = ca, .min_version = 12},
			      server = {.cert = cert, .key = key, .min_version = 12, .tickets = 1};
	const char *culprit;

	MUST(mkdtemp(dir));
	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	snprintf(cert, sizeof(cert), "%s/server.pem", dir);
	snprintf(key, sizeof(key), "%s/server.key", dir);
	certs_make(dir, "ca", NULL, NULL, -1, 365);
	certs_make(dir, "server", "ca", "DNS:localhost", -1, 365);
	MUST(tni_creds_dial(&client, &credentials[0], &culprit) == 0);
	MUST(tni_creds_serve(&server, &credentials[1], &culprit) == 0);
	certs_remove(dir);
}

static void end_open(struct end *e, bool server)
{
	*e = (struct end){0};
	tni_buf_init(&e->in, &mem, SIZE_MAX);
	tni_buf_init(&e->net, &mem, SIZE_MAX);
	tni_buf_init(&e->up, &mem, SIZE_MAX);
	tni_buf_init(&e->down, &mem, SIZE_MAX);
	MUST(tni_tls_new(tni_creds_ref(credentials[server]), server ? NULL : "localhost", &e->layer) == 0);
	MUST(e->layer->ops->open(e->layer, &e->net) == 0);
}

static void end_close(struct end *e)
{
	if (!e->failed && !e->layer->ended)
		MUST(e->layer->ops->cut(e->layer) < 0);
	e->layer->ops->free(e->layer);
	tni_buf_clear(&e->in);
	tni_buf_clear(&e->net);
	tni_buf_clear(&e->up);
	tni_buf_clear(&e->down);
}

static void take_up(struct end *e)
{
	int rc;

	if (e->failed) {
		tni_buf_clear(&e->in);
		return;
	}
	rc = e->layer->ops->up(e->layer, &e->in, &e->up, &e->net);
	e->failed = rc < 0;
	MUST(rc == 0 || *tn_errmsg());
	MUST(rc < 0 || !e->in.head);
}

/* ---- one end and whatever comes ---- */

static void feed(bool server, const uint8_t *data, size_t size)
{
	struct end e;
	size_t piece = size ? 1 + data[0] * 7U : 1;

	end_open(&e, server);
	while (size) {
		size_t len = size < piece ? size : piece;

		MUST(tni_buf_append(&e.in, data, len, false) == 0);
		take_up(&e);
		tni_buf_clear(&e.up);
		data += len;
		size -= len;
	}
	end_close(&e);
}

/* ---- two ends ---- */

static void check_heard(struct end *e)
{
	for (const struct tni_slice *s = e->up.head; s; s = s->next) {
		MUST(s->len <= sizeof(counting) - 256 && !memcmp(s->data, counting + e->heard, s->len));
		e->heard += (uint8_t)s->len;
	}
	tni_buf_clear(&e->up);
}

static void say(struct end *e, size_t len)
{
	if (!e->layer->open || e->failed || e->shut)
		return;
	MUST(len == 0 || tni_buf_append(&e->down, counting + e->said, len, false) == 0);
	e->said += (uint8_t)len;
	while (e->down.head && !e->failed)
		e->failed = e->layer->ops->down(e->layer, &e->down, &e->net, SIZE_MAX) < 0;
	tni_buf_clear(&e->down);
}

static void step(struct end *from, struct end *to, unsigned op, unsigned arg)
{
	unsigned char byte = (unsigned char)arg;

	switch (op % 6) {
	case 0: /* carry a part */
	case 1: /* or all */
		if (tni_buf_move(&to->in, &from->net, op % 6 ? SIZE_MAX : arg + 1U) > 0)
			take_up(to);
		check_heard(to);
		break;
	case 2:
		if (from->net.len > arg && tni_buf_pullup(&from->net, arg + 1U))
			from->net.head->data[arg] ^= (unsigned char)(1U << (op / 6 % 8));
		break;
	case 3:
		MUST(tni_buf_append(&from->net, &byte, 1, false) == 0);
		break;
	case 4:
		say(from, arg * arg);
		break;
	default:
		if (arg & 1)
			tni_buf_consume(&from->net, arg);
		else if (from->layer->open && !from->failed && !from->shut)
			from->shut = from->layer->ops->shut(from->layer, &from->net) == 0;
	}
}

static void converse(const uint8_t *data, size_t size)
{
	struct end ends[2];

	end_open(&ends[0], false);
	end_open(&ends[1], true);
	for (size_t i = 0; i + 1 < size && i < 200; i += 2)
		step(&ends[data[i] & 1], &ends[!(data[i] & 1)], data[i] >> 1, data[i + 1]);
	end_close(&ends[0]);
	end_close(&ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (!credentials[0]) {
		make_credentials();
		for (size_t i = 0; i < sizeof(counting); i++)
			counting[i] = (unsigned char)i;
	}
	tni_mem_init(&mem);
	if (data[0] % 3 == 2)
		converse(data + 1, size - 1);
	else
		feed(data[0] % 3, data + 1, size - 1);
	MUST(!mem.nslices_out && !mem.small.nout && !mem.large.nout);
	tni_mem_free(&mem);
	return 0;
}
