/*
 * DTLS, without a socket. The input is datagrams, each behind a byte with its length (times 5), and its first byte says who
 * gets them: the door, through which nobody comes who cannot have seen a cookie; a client in its handshake; or either end of
 * an open connection, which drops them all and goes on.
 */
#include "secure/creds_in.h"
#include "secure/dtls.h"
#include "tenon.h"

#include "../tests/support/certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(what) ((what) ? (void)0 : broken(#what, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "fuzz_dtls.c:%d: does not hold: %s: %s\n", line, what, tn_errmsg());
	abort();
}

struct end {
	struct tni_layer *layer;
	struct tn_buf net, up;
};

static struct tni_mem mem;
static struct tni_creds *credentials[2]; /* client, server */
static struct tni_dtls_door *door;
static struct end ends[2];

static void make_credentials(void)
{
	char dir[] = "/tmp/tenon-fuzz-XXXXXX", ca[64], cert[64], key[64];
	struct tni_creds_spec client = {.ca = ca, .min_version = 12, .datagrams = true},
			      server = {.cert = cert, .key = key, .min_version = 12, .tickets = 1, .datagrams = true};
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

static void begin(void)
{
	for (int i = 0; i < 2; i++) {
		ends[i] = (struct end){0};
		tni_buf_init(&ends[i].net, &mem, SIZE_MAX);
		tni_buf_init(&ends[i].up, &mem, SIZE_MAX);
	}
	MUST(door = tni_dtls_door_new());
	MUST(tni_dtls_dial(tni_creds_ref(credentials[0]), "localhost", &ends[0].layer) == 0);
	MUST(ends[0].layer->ops->open(ends[0].layer, &ends[0].net) == 0);
}

static void finish(void)
{
	for (int i = 0; i < 2; i++) {
		if (ends[i].layer)
			ends[i].layer->ops->free(ends[i].layer);
		tni_buf_clear(&ends[i].net);
		tni_buf_clear(&ends[i].up);
	}
	tni_dtls_door_free(door);
	MUST(mem.small.nout == 0 && mem.large.nout == 0 && mem.nslices_out == 0);
}

static int knock(const void *data, size_t len)
{
	return tni_dtls_knock(door, credentials[1], 1, "peer", 4, data, len, &ends[1].net, &ends[1].layer);
}

static int give(struct end *to, const void *data, size_t len)
{
	struct tn_buf in;
	int rc;

	tni_buf_init(&in, &mem, SIZE_MAX);
	MUST(len == 0 || tni_buf_append(&in, data, len, true) == 0);
	rc = to->layer->ops->up(to->layer, &in, &to->up, &to->net);
	tni_buf_clear(&in);
	return rc;
}

static void carry(int from)
{
	struct end *to = &ends[!from];

	while (ends[from].net.head) {
		size_t len = 0;
		const void *data;

		for (const struct tni_slice *s = ends[from].net.head; s; s = s->end ? NULL : s->next)
			len += s->len;
		MUST(data = tni_buf_pullup(&ends[from].net, len));
		if (to->layer)
			MUST(give(to, data, len) == 0);
		else if (knock(data, len) == 1)
			MUST(give(to, NULL, 0) == 0);
		tni_buf_consume(&ends[from].net, len);
	}
}

static void shake_hands(void)
{
	for (int i = 0; i < 8; i++)
		carry(i % 2);
	MUST(ends[0].layer->open && ends[1].layer && ends[1].layer->open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int who = size ? data[0] % 4 : 0, failed = 0;

	if (!credentials[0]) {
		make_credentials();
		tni_mem_init(&mem);
	}
	begin();
	if (who >= 2)
		shake_hands();
	for (size_t at = 1, len; at < size && !failed; at += len) {
		len = (size_t)data[at] * 5;
		if (len > size - ++at)
			len = size - at;
		if (who == 0) {
			MUST(knock(data + at, len) == 0);
			MUST(ends[1].net.len <= len); /* never more than came */
			tni_buf_clear(&ends[1].net);
		} else {
			failed = give(&ends[who == 3], data + at, len);
			MUST(who == 1 || failed == 0); /* an open connection cannot be ended by strangers */
			MUST(!ends[who == 3].up.head);
		}
	}
	finish();
	return 0;
}
