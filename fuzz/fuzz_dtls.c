/*
 * DTLS, without a socket. The input is datagrams, each behind a byte with its length (times 5), and its first byte says
 * who gets them: the listener, through which nobody comes who cannot have seen a cookie; a client in its handshake; or
 * either end of an open connection, which drops them all and goes on. From 128 on there is a certificate, before that,
 * and where a handshake comes first, a pre-shared key, which takes less time.
 */
#include "creds.h"

#include "secure/dtls.h"

struct end {
	struct tni_layer *layer;
	struct tn_buf net, up;
};

static struct tni_mem mem;
static bool psk;
static struct tni_dtls_listener *listener;
static struct end ends[2];

static void begin(bool client)
{
	for (int i = 0; i < 2; i++) {
		ends[i] = (struct end){0};
		tni_buf_init(&ends[i].net, &mem, SIZE_MAX);
		tni_buf_init(&ends[i].up, &mem, SIZE_MAX);
	}
	CHECK(listener = tni_dtls_listener_new());
	if (!client)
		return;
	CHECK(tni_dtls_dial(tni_creds_ref(credentials[psk][CLIENT]), "localhost", &ends[0].layer) == 0);
	CHECK(ends[0].layer->ops->open(ends[0].layer, &ends[0].net) == 0);
}

static void finish(void)
{
	for (int i = 0; i < 2; i++) {
		if (ends[i].layer)
			ends[i].layer->ops->free(ends[i].layer);
		tni_buf_clear(&ends[i].net);
		tni_buf_clear(&ends[i].up);
	}
	tni_dtls_listener_free(listener);
	CHECK(mem.small.nout == 0 && mem.large.nout == 0 && mem.nslices_out == 0);
}

static int listen_to(const void *data, size_t len)
{
	return tni_dtls_listen(listener, credentials[psk][SERVER], 1, "peer", 4, data, len, &ends[1].net,
			       &ends[1].layer);
}

static int give(struct end *to, const void *data, size_t len)
{
	struct tn_buf in;
	int rc;

	tni_buf_init(&in, &mem, SIZE_MAX);
	CHECK(len == 0 || tni_buf_append(&in, data, len, true) == 0);
	rc = to->layer->ops->up(to->layer, &in, &to->up, &to->net, SIZE_MAX);
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
		CHECK(data = tni_buf_pullup(&ends[from].net, len));
		if (to->layer)
			CHECK(give(to, data, len) == 0);
		else if (listen_to(data, len) == 1)
			CHECK(give(to, NULL, 0) == 0);
		tni_buf_consume(&ends[from].net, len);
	}
}

static void shake_hands(void)
{
	for (int i = 0; i < 8; i++)
		carry(i % 2);
	CHECK(ends[0].layer->open && ends[1].layer && ends[1].layer->open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int who = size ? data[0] % 4 : 0, failed = 0;

	if (!credentials[0][CLIENT]) {
		make_credentials(true);
		tni_mem_init(&mem);
	}
	psk = who >= 2 || !size || data[0] < 128;
	begin(who > 0);
	if (who >= 2)
		shake_hands();
	for (size_t at = 1, len; at < size && !failed; at += len) {
		len = (size_t)data[at] * 5;
		if (len > size - ++at)
			len = size - at;
		if (who == 0) {
			CHECK(listen_to(data + at, len) == 0);
			CHECK(ends[1].net.len <= len); /* never more than came */
			tni_buf_clear(&ends[1].net);
		} else {
			failed = give(&ends[who == 3], data + at, len);
			CHECK(who == 1 || failed == 0); /* an open connection cannot be ended by strangers */
			CHECK(!ends[who == 3].up.head);
		}
	}
	finish();
	return 0;
}
