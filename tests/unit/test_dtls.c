/*
 * DTLS without a socket: two layers and, between them, a channel that loses, doubles, reorders and changes datagrams as
 * a seed says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/certs.h"
#include "base/err.h"
#include "secure/creds_in.h"
#include "secure/dtls.h"
#include "secure/tls_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000000ULL
#define STEPS_MAX 20000

static char dir[] = "/tmp/tenon-dtls-XXXXXX";

struct end {
	struct tni_layer *layer;
	struct tn_buf net, up, down;
	int err;
	char words[512];
};

/* Datagrams on their way, in both directions. */
struct datagram {
	struct end *to;
	size_t len;
	unsigned char *data;
};

#define ON_WAY_MAX 4096

static struct tni_mem mem;
static struct end client, server;
static struct tni_dtls_listener *listener;
static struct tni_creds *server_creds;
static struct datagram way[ON_WAY_MAX];
static int on_way;
static unsigned seed;

/* In a hundred. */
static struct {
	int loss, doubling, reordering, change;
	size_t longest; /* longer ones do not arrive; 0: all do */
	int too_long;
} bad;

static const char peer_addr[] = "192.0.2.1:4711";

static bool chance(int in_a_hundred)
{
	return rand_r(&seed) / 256 % 100 < in_a_hundred;
}

static char *path(const char *name)
{
	char *text;

	assert_true(asprintf(&text, "%s/%s", dir, name) > 0);
	return text;
}

/* ---- before and after ---- */

static void end_init(struct end *e)
{
	memset(e, 0, sizeof(*e));
	tni_buf_init(&e->net, &mem, SIZE_MAX);
	tni_buf_init(&e->up, &mem, SIZE_MAX);
	tni_buf_init(&e->down, &mem, SIZE_MAX);
}

static void note(struct end *e, int rc)
{
	if (rc < 0 && !e->err) {
		e->err = rc;
		snprintf(e->words, sizeof(e->words), "%s", tn_errmsg());
	}
}

static struct tni_creds *creds_of(bool serve, const char *cert, const char *key, const char *ca, const char *psk)
{
	struct tni_creds_spec spec = {.cert = cert ? path(cert) : NULL,
				      .key = key ? path(key) : NULL,
				      .ca = ca ? path(ca) : NULL,
				      .psk_file = psk ? path(psk) : NULL,
				      .min_version = 12,
				      .tickets = 2,
				      .datagrams = true};
	struct tni_creds *creds;
	const char *culprit;
	int rc = serve ? tni_creds_serve(&spec, &creds, &culprit) : tni_creds_dial(&spec, &creds, &culprit);

	if (rc < 0)
		fail_msg("%s", tn_errmsg());
	tni_creds_spec_free(&spec);
	return creds;
}

/* A test has no time to wait for whole seconds. What is below 15 ms counts as over to OpenSSL. */
static unsigned soon(SSL *ssl, unsigned before_us)
{
	(void)ssl, (void)before_us;
	return 16000;
}

static void hurry(struct tni_layer *layer)
{
	DTLS_set_timer_cb(tni_container_of(layer, struct tls, layer)->ssl, soon);
}

static void pair_begin(struct tni_creds *theirs, struct tni_creds *ours, const char *host)
{
	tni_mem_init(&mem);
	memset(&bad, 0, sizeof(bad));
	seed = 1;
	end_init(&client);
	end_init(&server);
	listener = tni_dtls_listener_new();
	server_creds = theirs;
	assert_int_equal(tni_dtls_dial(ours, host, &client.layer), 0);
	hurry(client.layer);
	note(&client, client.layer->ops->open(client.layer, &client.net));
	assert_string_equal(client.words, "");
}

static void pair_plain(const char *host)
{
	pair_begin(creds_of(true, "server.pem", "server.key", NULL, NULL), creds_of(false, NULL, NULL, "ca.pem", NULL),
		   host);
}

static void end_free(struct end *e)
{
	if (e->layer)
		e->layer->ops->free(e->layer);
	tni_buf_clear(&e->net);
	tni_buf_clear(&e->up);
	tni_buf_clear(&e->down);
}

static void pair_end(void)
{
	end_free(&client);
	end_free(&server);
	tni_dtls_listener_free(listener);
	tni_creds_unref(server_creds);
	while (on_way)
		free(way[--on_way].data);
	assert_int_equal(mem.nslices_out, 0);
	assert_int_equal(mem.small.nout, 0);
	assert_int_equal(mem.large.nout, 0);
	tni_mem_free(&mem);
}

/* ---- the channel ---- */

static size_t first_of(const struct tn_buf *buf)
{
	size_t len = 0;
	const struct tni_slice *s = buf->head;

	for (; s; s = s->next) {
		len += s->len;
		if (s->end)
			return len;
	}
	fail_msg("a datagram without an end");
	return 0;
}

static void put_on_way(struct end *to, const unsigned char *data, size_t len)
{
	int at = on_way;

	assert_true(on_way < ON_WAY_MAX);
	way[on_way++] = (struct datagram){.to = to, .len = len, .data = malloc(len)};
	memcpy(way[at].data, data, len);
	if (chance(bad.change))
		way[at].data[(size_t)rand_r(&seed) % len] ^= (unsigned char)(1 + rand_r(&seed) % 255);
	if (at > 0 && chance(bad.reordering)) {
		int other = rand_r(&seed) % at;
		struct datagram held = way[other];

		way[other] = way[at];
		way[at] = held;
	}
}

static void leave(struct end *from, struct end *to)
{
	while (from->net.head) {
		size_t len = first_of(&from->net);
		const unsigned char *data = tni_buf_pullup(&from->net, len);

		assert_non_null(data);
		if (bad.longest && len > bad.longest) {
			tni_buf_consume(&from->net, len);
			bad.too_long++;
			continue;
		}
		if (!chance(bad.loss))
			put_on_way(to, data, len);
		if (chance(bad.doubling))
			put_on_way(to, data, len);
		tni_buf_consume(&from->net, len);
	}
}

static void arrive(const struct datagram *dgram)
{
	struct end *to = dgram->to;
	struct tn_buf in;

	tni_buf_init(&in, &mem, SIZE_MAX);
	if (to == &server && !server.layer) {
		int rc = tni_dtls_listen(listener, server_creds, SECOND, peer_addr, sizeof(peer_addr), dgram->data,
					 dgram->len, &server.net, &server.layer);

		assert_true(rc == 0 || rc == 1);
		if (rc == 0)
			return;
		hurry(server.layer);
	} else {
		assert_int_equal(tni_buf_append(&in, dgram->data, dgram->len, true), 0);
	}
	if (!to->err && to->layer)
		note(to, to->layer->ops->up(to->layer, &in, &to->up, &to->net, SIZE_MAX));
	tni_buf_clear(&in);
}

static void tick(struct end *e)
{
	if (e->layer && !e->err && e->layer->ops->due_ns(e->layer, 0) < 100 * SECOND)
		note(e, e->layer->ops->tick(e->layer, &e->net, 0));
}

/* One step of the world. */
static void step(void)
{
	struct datagram next;

	leave(&client, &server);
	leave(&server, &client);
	if (!on_way) {
		usleep(1200);
		tick(&client);
		tick(&server);
		return;
	}
	next = way[0];
	memmove(way, way + 1, (size_t)--on_way * sizeof(way[0]));
	arrive(&next);
	free(next.data);
}

static void shake_hands(void)
{
	for (int i = 0; i < STEPS_MAX && !client.err && !server.err; i++) {
		if (client.layer->open && server.layer && server.layer->open)
			return;
		step();
	}
}

static void shaken(void)
{
	shake_hands();
	if (client.err || server.err)
		fail_msg("client: %s; server: %s", client.words, server.words);
	assert_true(client.layer->open && server.layer && server.layer->open);
}

static void settle(void)
{
	for (int i = 0; i < 30 || on_way; i++)
		step();
}

static void say(struct end *e, const void *data, size_t len)
{
	assert_int_equal(tni_buf_append(&e->down, data, len, true), 0);
	if (!e->err) /* after a failure nothing but free() may follow */
		note(e, e->layer->ops->down(e->layer, &e->down, &e->net, SIZE_MAX));
}

/* ---- tests ---- */

static void test_a_quiet_channel(void **state)
{
	static const char *const texts[] = {"one", "two words", "3"};

	(void)state;
	pair_plain("localhost");
	shaken();
	for (int i = 0; i < 3; i++)
		say(&client, texts[i], strlen(texts[i]));
	settle();
	for (int i = 0; i < 3; i++) {
		size_t len = first_of(&server.up);

		assert_int_equal(len, strlen(texts[i]));
		assert_memory_equal(tni_buf_pullup(&server.up, len), texts[i], len);
		tni_buf_consume(&server.up, len);
	}
	assert_null(server.up.head);
	say(&server, "reply", 5);
	settle();
	assert_int_equal(first_of(&client.up), 5);
	assert_int_equal(client.layer->ops->due_ns(client.layer, 0), UINT64_MAX);
	pair_end();
}

/* What does not fit comes in smaller pieces, after some tries. */
static void test_a_path_for_small_packets(void **state)
{
	(void)state;
	pair_begin(creds_of(true, "server.pem", "server.key", "ca.pem", NULL),
		   creds_of(false, "client.pem", "client.key", "ca.pem", NULL), "localhost");
	bad.longest = 560;
	shaken();
	assert_true(bad.too_long >= 2);
	say(&client, "hello", 5);
	settle();
	assert_int_equal(first_of(&server.up), 5);
	pair_end();
}

/* Numbered messages over a bad channel: some are missing, none comes twice, none is changed. */
static void messages_over(unsigned with_seed)
{
	bool seen[200] = {false};
	int came = 0;

	seed = with_seed;
	for (unsigned i = 0; i < 200; i++) {
		unsigned message[50];

		for (unsigned n = 0; n < 50; n++)
			message[n] = i + n;
		say(&client, message, sizeof(message));
		step();
	}
	settle();
	settle();
	if (client.err || server.err)
		fail_msg("seed %u: client: %s; server: %s", with_seed, client.words, server.words);
	for (; server.up.head; came++) {
		unsigned message[50];

		assert_int_equal(first_of(&server.up), sizeof(message));
		memcpy(message, tni_buf_pullup(&server.up, sizeof(message)), sizeof(message));
		for (unsigned n = 0; n < 50; n++)
			assert_int_equal(message[n], message[0] + n);
		assert_true(message[0] < 200 && !seen[message[0]]);
		seen[message[0]] = true;
		tni_buf_consume(&server.up, sizeof(message));
	}
	assert_true(came > 50);
	assert_true(came <= 200);
}

static void test_a_bad_channel(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 40; i++) {
		pair_plain("localhost");
		seed = i;
		bad.loss = 20;
		bad.doubling = 15;
		bad.reordering = 20;
		shaken();
		bad.change = 5;
		messages_over(i);
		pair_end();
	}
}

/* A record too short for any seal, which OpenSSL alone would end the connection for, from any address that says it is
 * theirs. */
static void test_forged_short_records(void **state)
{
	(void)state;
	for (unsigned len = 0; len < 40; len++) {
		unsigned char record[13 + 40] = {SSL3_RT_APPLICATION_DATA, 254, 253, 0, 1, 0, 0, 0, 0, 1, 0, 0,
						 (unsigned char)len};

		pair_plain("localhost");
		shaken();
		put_on_way(&client, record, 13 + len);
		put_on_way(&server, record, 13 + len);
		settle();
		say(&client, "hello", 5);
		settle();
		if (client.err || server.err)
			fail_msg("%u bytes: client: %s; server: %s", len, client.words, server.words);
		assert_int_equal(first_of(&server.up), 5);
		pair_end();
	}
}

/* Each single datagram of the handshake lost once: it comes to its end all the same. */
static void test_each_datagram_lost(void **state)
{
	(void)state;
	for (int victim = 0; victim < 16; victim++) {
		int count = 0;

		pair_plain("localhost");
		for (int i = 0; i < STEPS_MAX && !(client.layer->open && server.layer && server.layer->open); i++) {
			step();
			while (count <= victim && on_way) {
				struct datagram *first = &way[0];

				if (count++ == victim) {
					free(first->data);
					memmove(way, way + 1, (size_t)--on_way * sizeof(way[0]));
				}
				break;
			}
		}
		assert_int_equal(client.err, 0);
		assert_int_equal(server.err, 0);
		assert_true(client.layer->open && server.layer && server.layer->open);
		pair_end();
	}
}

/* Junk and changed datagrams from whoever can write to the port do not end an open connection. */
static void test_junk(void **state)
{
	static const unsigned char head[13] = {0x17, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0x20};
	unsigned char junk[300];

	(void)state;
	pair_plain("localhost");
	shaken();
	settle();
	for (unsigned i = 0; i < 500; i++) {
		size_t len = 1 + i % sizeof(junk);
		struct datagram dgram = {.to = i % 2 ? &client : &server, .len = len, .data = junk};

		for (size_t n = 0; n < len; n++)
			junk[n] = (unsigned char)rand_r(&seed);
		if (i % 3 == 0 && len > 13) /* a record's head, with an epoch of its own */
			memcpy(junk, head, sizeof(head));
		arrive(&dgram);
	}
	assert_int_equal(client.err, 0);
	assert_int_equal(server.err, 0);
	say(&client, "still here", 10);
	settle();
	assert_int_equal(first_of(&server.up), 10);
	pair_end();
}

/* A close_notify before there is a connection is its end. */
static void test_a_goodbye_in_the_handshake(void **state)
{
	static const unsigned char goodbye[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0};

	(void)state;
	pair_plain("localhost");
	arrive(&(struct datagram){.to = &client, .len = sizeof(goodbye), .data = (unsigned char *)(uintptr_t)goodbye});
	assert_int_equal(client.err, TN_ETLS);
	assert_string_equal(client.words, "the peer ended the connection in the midst of the DTLS handshake");
	pair_end();
}

static void test_close(void **state)
{
	(void)state;
	pair_plain("localhost");
	shaken();
	settle();
	say(&client, "last", 4);
	assert_int_equal(client.layer->ops->shut(client.layer, &client.net), 0);
	settle();
	assert_int_equal(first_of(&server.up), 4);
	assert_true(server.layer->ended);
	assert_int_equal(server.err, 0);
	/* The other direction goes on, as far as the peer's library reads it */
	assert_int_equal(server.layer->ops->shut(server.layer, &server.net), 0);
	settle();
	assert_true(client.layer->ended);
	pair_end();
}

static void test_sizes(void **state)
{
	static unsigned char big[TNI_DTLS_MAX + 1];

	(void)state;
	pair_plain("localhost");
	shaken();
	settle();
	for (size_t len = 1; len <= TNI_DTLS_MAX; len = len * 3 + 1) {
		say(&client, big, len);
		settle();
		assert_int_equal(first_of(&server.up), len);
		tni_buf_consume(&server.up, len);
	}
	say(&client, big, TNI_DTLS_MAX);
	settle();
	assert_int_equal(first_of(&server.up), TNI_DTLS_MAX);
	assert_int_equal(client.err, 0);
	say(&client, big, sizeof(big));
	assert_int_equal(client.err, -EMSGSIZE);
	pair_end();
}

static void test_refused_certificates(void **state)
{
	(void)state;
	pair_plain("other.example");
	shake_hands();
	assert_int_equal(client.err, TN_ECERT);
	assert_non_null(strstr(client.words, "the certificate is for localhost, not for other.example: subject "));
	for (int i = 0; i < 50; i++)
		step();
	assert_int_equal(server.err, TN_ETLS);
	pair_end();
	pair_begin(creds_of(true, "old.pem", "old.key", NULL, NULL), creds_of(false, NULL, NULL, "ca.pem", NULL),
		   "localhost");
	shake_hands();
	assert_int_equal(client.err, TN_ECERT);
	assert_non_null(strstr(client.words, "has expired"));
	pair_end();
}

static void test_client_certificates(void **state)
{
	(void)state;
	pair_begin(creds_of(true, "server.pem", "server.key", "ca.pem", NULL),
		   creds_of(false, "client.pem", "client.key", "ca.pem", NULL), "localhost");
	shaken();
	pair_end();
	pair_begin(creds_of(true, "server.pem", "server.key", "ca.pem", NULL),
		   creds_of(false, NULL, NULL, "ca.pem", NULL), "localhost");
	shake_hands();
	assert_int_equal(server.err, TN_ECERT);
	assert_non_null(strstr(server.words, "showed no certificate"));
	pair_end();
}

static void test_pre_shared_keys(void **state)
{
	(void)state;
	pair_begin(creds_of(true, NULL, NULL, NULL, "psk"), creds_of(false, NULL, NULL, NULL, "psk"), "localhost");
	bad.loss = 20;
	shaken();
	pair_end();
}

/* ---- the listener ---- */

/* The client's hello as it stands on the wire, and the answer to it. */
static size_t hello_of(unsigned char *out, size_t cap)
{
	size_t len = first_of(&client.net);

	assert_true(len <= cap);
	memcpy(out, tni_buf_pullup(&client.net, len), len);
	tni_buf_consume(&client.net, len);
	return len;
}

static int listen_to(uint64_t now_ns, const char *from, const unsigned char *data, size_t len, struct tni_layer **layer)
{
	return tni_dtls_listen(listener, server_creds, now_ns, from, strlen(from), data, len, &server.net, layer);
}

/* Gives the client the server's answer: its hello with the cookie, which is longer. On a slow machine the first one may
 * have been sent again before it. */
static size_t second_hello_of(unsigned char *out, size_t cap, size_t first_len)
{
	size_t len;

	assert_int_equal(client.layer->ops->up(client.layer, &server.net, &client.up, &client.net, SIZE_MAX), 0);
	do {
		len = hello_of(out, cap);
	} while (len && len <= first_len);
	assert_true(len > first_len);
	return len;
}

static void test_nothing_is_kept_of_who_has_no_cookie(void **state)
{
	unsigned char hello[2000];
	struct tni_layer *layer = NULL;
	char from[64];
	size_t len;

	(void)state;
	pair_plain("localhost");
	len = hello_of(hello, sizeof(hello));
	for (int i = 0; i < 20000; i++) {
		snprintf(from, sizeof(from), "10.%d.%d.%d:%d", i & 255, i >> 8 & 255, i >> 4 & 255, 1024 + i);
		assert_int_equal(listen_to(SECOND, from, hello, len, &layer), 0);
		assert_null(layer);
		/* No more comes back than was sent: nobody's flood is made greater by us */
		assert_true(server.net.len > 0 && server.net.len <= len);
		tni_buf_clear(&server.net);
	}
	tni_buf_clear(&client.net); /* on a slow machine the client has said it again */
	assert_int_equal(mem.small.nout + mem.large.nout, 0);
	pair_end();
}

static void test_cookies(void **state)
{
	unsigned char hello[2000], again[2000];
	struct tni_layer *layer = NULL;
	size_t len, again_len;

	(void)state;
	pair_plain("localhost");
	len = hello_of(hello, sizeof(hello));
	assert_int_equal(listen_to(SECOND, "a", hello, len, &layer), 0);
	again_len = second_hello_of(again, sizeof(again), len);
	/* Another's cookie, a changed one, one of a secret long gone */
	assert_int_equal(listen_to(SECOND, "b", again, again_len, &layer), 0);
	assert_int_equal(listen_to(181 * SECOND, "a", again, again_len, &layer), 0);
	assert_null(layer);
	tni_buf_clear(&server.net);
	pair_end();

	/* One of the secret before the present one, after others have come */
	pair_plain("localhost");
	len = hello_of(hello, sizeof(hello));
	assert_int_equal(listen_to(SECOND, "a", hello, len, &layer), 0);
	again_len = second_hello_of(again, sizeof(again), len);
	assert_int_equal(listen_to(62 * SECOND, "b", hello, len, &layer), 0);
	tni_buf_clear(&server.net);
	assert_int_equal(listen_to(63 * SECOND, "a", again, again_len, &layer), 1);
	server.layer = layer;
	hurry(layer);
	assert_int_equal(server.layer->ops->up(server.layer, &server.down, &server.up, &server.net, SIZE_MAX), 0);
	shaken();
	pair_end();
}

static void test_junk_at_the_listener(void **state)
{
	unsigned char hello[2000], junk[400];
	struct tni_layer *layer = NULL;
	size_t len;

	(void)state;
	pair_plain("localhost");
	len = hello_of(hello, sizeof(hello));
	assert_true(len > 0);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(listen_to(SECOND, "a", hello, cut, &layer), 0);
	for (int i = 0; i < 5000; i++) {
		memcpy(junk, hello, len < sizeof(junk) ? len : sizeof(junk));
		for (int n = 0; n < 1 + i % 8; n++)
			junk[(size_t)rand_r(&seed) % sizeof(junk)] = (unsigned char)rand_r(&seed);
		assert_int_equal(listen_to(SECOND, "a", junk, len < sizeof(junk) ? len : sizeof(junk), &layer), 0);
		assert_null(layer);
	}
	tni_buf_clear(&server.net);
	/* And an honest client still gets in */
	assert_int_equal(listen_to(SECOND, peer_addr, hello, len, &layer), 0);
	tni_buf_clear(&server.net);
	shaken();
	pair_end();
}

/* ---- */

static int set_up(void **state)
{
	FILE *psk;

	(void)state;
	assert_non_null(mkdtemp(dir));
	certs_make(dir, "ca", NULL, NULL, -1, 30);
	certs_make(dir, "server", "ca", "DNS:localhost", -1, 30);
	certs_make(dir, "old", "ca", "DNS:localhost", -20, -10);
	certs_make(dir, "client", "ca", "DNS:client", -1, 30);
	char *name = path("psk");
	psk = fopen(name, "w");
	assert_non_null(psk);
	fprintf(psk, "alice:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	fclose(psk);
	chmod(name, 0600);
	free(name);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	certs_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_quiet_channel),
		cmocka_unit_test(test_a_path_for_small_packets),
		cmocka_unit_test(test_a_bad_channel),
		cmocka_unit_test(test_forged_short_records),
		cmocka_unit_test(test_each_datagram_lost),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_a_goodbye_in_the_handshake),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_refused_certificates),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_pre_shared_keys),
		cmocka_unit_test(test_nothing_is_kept_of_who_has_no_cookie),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_junk_at_the_listener),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
