/*
 * TLS without a socket: two layers mouth to mouth, the bytes between them cut, held back, changed and counted at will.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/certs.h"
#include "base/err.h"
#include "secure/creds_in.h"
#include "secure/tls.h"
#include "secure/tls_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/tenon-tls-XXXXXX";

/* One end: the layer, what came from the other, what goes to it, and what is above. */
struct end {
	struct tni_layer *layer;
	struct tn_buf in, net, up, down;
	int err;
	char words[512];
};

static struct tni_mem mem;
static struct end client, server;

static char *path(const char *name)
{
	char *text;

	assert_true(asprintf(&text, "%s/%s", dir, name) > 0);
	return text;
}

/* ---- before and after ---- */

/* Whose sessions the next client may resume. */
static const char *place;

static void end_open(struct end *e, struct tni_creds *creds, const char *host)
{
	memset(e, 0, sizeof(*e));
	tni_buf_init(&e->in, &mem, SIZE_MAX);
	tni_buf_init(&e->net, &mem, SIZE_MAX);
	tni_buf_init(&e->up, &mem, SIZE_MAX);
	tni_buf_init(&e->down, &mem, SIZE_MAX);
	assert_int_equal(tni_tls_new(creds, host, &e->layer), 0);
	if (host && place)
		assert_int_equal(tni_tls_resume(e->layer, place), 0);
	assert_int_equal(e->layer->ops->open(e->layer, &e->net), 0);
}

static void end_close(struct end *e)
{
	e->layer->ops->free(e->layer);
	tni_buf_clear(&e->in);
	tni_buf_clear(&e->net);
	tni_buf_clear(&e->up);
	tni_buf_clear(&e->down);
}

static struct tni_creds_spec spec_of(const char *name, bool with_ca, int min_version)
{
	char file[64];
	struct tni_creds_spec spec = {.min_version = min_version, .tickets = 2};

	if (name) {
		snprintf(file, sizeof(file), "%s.pem", name);
		spec.cert = path(file);
		snprintf(file, sizeof(file), "%s.key", name);
		spec.key = path(file);
	}
	if (with_ca)
		spec.ca = path("ca.pem");
	return spec;
}

static struct tni_creds *creds_of(bool serve, struct tni_creds_spec *spec)
{
	struct tni_creds *creds;
	const char *culprit;
	int rc = serve ? tni_creds_serve(spec, &creds, &culprit) : tni_creds_dial(spec, &creds, &culprit);

	if (rc < 0)
		fail_msg("%s", tn_errmsg());
	tni_creds_spec_free(spec);
	return creds;
}

/* A server with the certificate `name`, and a client that asks for `host`. */
static void pair_open(const char *name, const char *host, int version)
{
	struct tni_creds_spec theirs = spec_of(name, false, 12), ours = spec_of(NULL, true, version);
	struct tni_creds *creds = creds_of(true, &theirs);

	if (version == 12) /* no key of an endpoint's says so */
		SSL_CTX_set_max_proto_version(creds->ctx, TLS1_2_VERSION);
	tni_mem_init(&mem);
	end_open(&server, creds, NULL);
	end_open(&client, creds_of(false, &ours), host);
}

static void pair_close(void)
{
	end_close(&client);
	end_close(&server);
	assert_int_equal(mem.nslices_out, 0);
	assert_int_equal(mem.small.nout, 0);
	assert_int_equal(mem.large.nout, 0);
	tni_mem_free(&mem);
}

/* ---- moving bytes ---- */

static void note(struct end *e, int rc)
{
	if (rc < 0 && !e->err) {
		e->err = rc;
		snprintf(e->words, sizeof(e->words), "%s", tn_errmsg());
	}
}

/* Hands at most `step` bytes at a time from one end to the other. Returns how many there were. */
static size_t carry(struct end *from, struct end *to, size_t step)
{
	size_t all = 0;

	while (from->net.head) {
		long n = tni_buf_move(&to->in, &from->net, step);

		assert_true(n > 0);
		all += (size_t)n;
		if (to->err)
			tni_buf_clear(&to->in);
		else
			note(to, to->layer->ops->up(to->layer, &to->in, &to->up, &to->net, SIZE_MAX));
	}
	return all;
}

static void converse(size_t step)
{
	while (carry(&client, &server, step) + carry(&server, &client, step))
		;
}

static void handshake(void)
{
	converse(SIZE_MAX);
	if (client.err || server.err)
		fail_msg("client: %s; server: %s", client.words, server.words);
	assert_true(client.layer->open && server.layer->open);
}

static unsigned char byte_at(size_t at)
{
	return (unsigned char)(at * 31 + at / 251);
}

static void say(struct end *e, size_t at, size_t len)
{
	unsigned char *bytes = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(at + i);
	assert_int_equal(tni_buf_append(&e->down, bytes, len, false), 0);
	free(bytes);
	while (e->down.head)
		assert_int_equal(e->layer->ops->down(e->layer, &e->down, &e->net, SIZE_MAX), 0);
}

static void heard(struct end *e, size_t at, size_t len)
{
	size_t got = 0;

	for (const struct tni_slice *s = e->up.head; s; s = s->next)
		for (size_t i = 0; i < s->len; i++, got++)
			assert_int_equal(s->data[i], byte_at(at + got));
	assert_int_equal(got, len);
	tni_buf_clear(&e->up);
}

/* ---- what works ---- */

static void test_both_ways(void **state)
{
	static const size_t sizes[] = {1, 64, 1000, 16383, 16384, 16385, 40000, 300000};

	(void)state;
	for (int version = 12; version <= 13; version++) {
		pair_open("server", "localhost", version);
		handshake();
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			say(&client, i, sizes[i]);
			say(&server, i + 7, sizes[i]);
			converse(SIZE_MAX);
			heard(&server, i, sizes[i]);
			heard(&client, i + 7, sizes[i]);
		}
		pair_close();
	}
}

/* However the bytes are cut, the same comes out. */
static void test_every_split(void **state)
{
	static const size_t steps[] = {1, 2, 3, 5, 6, 7, 64, 1000, 16389, 16406};

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		pair_open("server", "127.0.0.1", i % 2 ? 12 : 13);
		converse(steps[i]);
		assert_true(client.layer->open && server.layer->open);
		say(&client, 0, 40000);
		say(&server, 3, 20);
		converse(steps[i]);
		heard(&server, 0, 40000);
		heard(&client, 3, 20);
		pair_close();
	}
}

/* What is said in many pieces leaves in whole records: their number is that of the bytes, not of the pieces. */
static void test_small_pieces_share_a_record(void **state)
{
	(void)state;
	pair_open("server", "localhost", 13);
	handshake();
	for (size_t i = 0; i < 1000; i++) {
		unsigned char byte = byte_at(i);

		assert_int_equal(tni_buf_append(&client.down, &byte, 1, i % 10 == 0), 0);
	}
	assert_int_equal(client.layer->ops->down(client.layer, &client.down, &client.net, SIZE_MAX), 0);
	assert_null(client.down.head);
	assert_int_equal(client.net.len, 1000 + 5 + 1 + 16); /* one record: head, type, tag */
	converse(SIZE_MAX);
	heard(&server, 0, 1000);
	pair_close();
}

/* down() stops at the bound, give or take a record. */
static void test_the_bound_of_the_wire(void **state)
{
	unsigned char *bytes = calloc(1, 200000);

	(void)state;
	pair_open("server", "localhost", 13);
	handshake();
	assert_int_equal(tni_buf_append(&client.down, bytes, 200000, false), 0);
	free(bytes);
	assert_int_equal(client.layer->ops->down(client.layer, &client.down, &client.net, 65536), 0);
	assert_true(client.net.len >= 65536 && client.net.len < 65536 + 16384 + 22);
	assert_true(client.down.len >= 200000 - 5 * 16384);
	pair_close();
}

static void test_half_close(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		pair_open("server", "localhost", version);
		handshake();
		say(&client, 0, 100);
		assert_int_equal(client.layer->ops->shut(client.layer, &client.net), 0);
		converse(SIZE_MAX);
		assert_true(server.layer->ended);
		assert_false(client.layer->ended);
		heard(&server, 0, 100);
		say(&server, 5, 70000); /* the other direction goes on */
		assert_int_equal(server.layer->ops->shut(server.layer, &server.net), 0);
		converse(SIZE_MAX);
		heard(&client, 5, 70000);
		assert_true(client.layer->ended);
		pair_close();
	}
}

/* ---- what does not ---- */

/* Sanitizers and counters make each of them slow. */
#ifdef TNI_WATCHED
#define STRIDE 7
#else
#define STRIDE 1
#endif

/* A handshake that stops after any number of bytes is cut, and never open on the side that waits. */
/* A part of a first record costs no SSL object, which is 45 KiB. */
static void test_a_part_of_a_hello(void **state)
{
	const struct tls *t;

	(void)state;
	pair_open("server", "localhost", 13);
	t = tni_container_of(server.layer, struct tls, layer);
	while (client.net.len > 1) {
		assert_int_equal(tni_buf_move(&server.in, &client.net, 1), 1);
		note(&server, server.layer->ops->up(server.layer, &server.in, &server.up, &server.net, SIZE_MAX));
		assert_null(t->ssl);
	}
	assert_true(server.in.len > 100);
	carry(&client, &server, 1);
	assert_non_null(t->ssl);
	assert_int_equal(server.in.len, 0);
	assert_true(server.net.len > 0);
	assert_int_equal(server.err, 0);
	pair_close();
}

static void test_torn_handshake(void **state)
{
	size_t total = 0;

	(void)state;
	for (size_t stop = 0; !total || stop < total; stop += STRIDE) {
		size_t left = stop, moved = 0;

		pair_open("server", "localhost", 13);
		for (bool progress = true; progress;) {
			struct end *ends[2] = {&client, &server};

			progress = false;
			for (int i = 0; i < 2; i++) {
				struct end *from = ends[i], *to = ends[!i];
				long n = tni_buf_move(&to->in, &from->net, left);

				left -= (size_t)n;
				moved += (size_t)n;
				progress |= n > 0;
				note(to, to->layer->ops->up(to->layer, &to->in, &to->up, &to->net, SIZE_MAX));
			}
		}
		assert_int_equal(client.err, 0);
		assert_int_equal(server.err, 0);
		if (moved < stop)
			total = moved; /* all of it went through */
		else if (!server.layer->open)
			assert_int_equal(server.layer->ops->cut(server.layer), TN_ETLS);
		if (!client.layer->open)
			assert_int_equal(client.layer->ops->cut(client.layer), TN_ETLS);
		pair_close();
		assert_true(stop < 5000);
	}
	assert_true(total > 500);
}

static void test_truncation(void **state)
{
	(void)state;
	pair_open("server", "localhost", 13);
	handshake();
	say(&client, 0, 10);
	converse(SIZE_MAX);
	heard(&server, 0, 10);
	assert_int_equal(server.layer->ops->cut(server.layer), TN_ECUT);
	assert_non_null(strstr(tn_errmsg(), "close_notify"));
	pair_close();
}

/* Every byte of a record matters: changed, it is refused, and the peer is told. */
static void test_changed_bytes(void **state)
{
	(void)state;
	for (size_t at = 0; at < 40 + 22; at++) {
		pair_open("server", "localhost", 13);
		handshake();
		say(&client, 0, 40);
		assert_non_null(tni_buf_pullup(&client.net, client.net.len));
		client.net.head->data[at] ^= 0x40;
		carry(&client, &server, SIZE_MAX);
		if (!server.err) /* a length that grew: it waits for more */
			assert_true(at == 3 || at == 4);
		else
			assert_int_equal(server.err, TN_ETLS);
		assert_null(server.up.head);
		if (server.err) {
			carry(&server, &client, SIZE_MAX);
			assert_int_equal(client.err, TN_ETLS);
			assert_non_null(strstr(client.words, "alert"));
		}
		pair_close();
	}
}

static void feed(struct end *e, const void *data, size_t len)
{
	assert_int_equal(tni_buf_append(&e->in, data, len, false), 0);
	note(e, e->layer->ops->up(e->layer, &e->in, &e->up, &e->net, SIZE_MAX));
}

/* After a fatal alert nothing can be sent, and to try says so: once it was tried for ever. Nor is there a last word. */
static void test_a_write_after_an_alert(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		pair_open("server", "localhost", version);
		handshake();
		say(&client, 0, 100);
		client.net.head->data[client.net.head->len - 1] ^= 1;
		converse(SIZE_MAX);
		assert_int_equal(server.err, TN_ETLS);
		assert_int_equal(client.err, TN_ETLS);
		assert_int_equal(tni_buf_append(&client.down, "more", 4, false), 0);
		assert_int_equal(client.layer->ops->down(client.layer, &client.down, &client.net, SIZE_MAX), TN_ETLS);
		assert_int_equal(client.down.len, 4);
		for (int i = 0; i < 2; i++) {
			struct end *e = i ? &server : &client;

			assert_int_equal(e->layer->ops->shut(e->layer, &e->net), 0);
			assert_int_equal(e->net.len, 0);
		}
		pair_close();
	}
}

/* A close_notify before there is a connection is its end, whatever stands behind it. */
static void test_a_goodbye_in_the_handshake(void **state)
{
	static const unsigned char goodbye[] = {21, 3, 3, 0, 2, 1, 0, 0, 0, 0, 0};
	struct end *ends[] = {&client, &server};

	(void)state;
	for (int version = 12; version <= 13; version++) {
		for (int i = 0; i < 2; i++) {
			pair_open("server", "localhost", version);
			if (ends[i] == &server)
				carry(&client, &server, SIZE_MAX);
			feed(ends[i], goodbye, sizeof(goodbye));
			assert_int_equal(ends[i]->err, TN_ETLS);
			assert_non_null(
				strstr(ends[i]->words, "ended the connection in the midst of the TLS handshake"));
			pair_close();
		}
	}
}

static void test_what_is_not_tls(void **state)
{
	static const struct {
		const char *sent, *words;
	} cases[] = {
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it sent 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'"},
		{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and a long line",
		 "'SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 a'..."},
		{"\x80\x2e\x01", "'\\x80.\\x01'"},
		{"x", "'x'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pair_open("server", "localhost", 13);
		feed(&server, cases[i].sent, strlen(cases[i].sent));
		feed(&client, cases[i].sent, strlen(cases[i].sent));
		assert_int_equal(server.err, TN_ETLS);
		assert_int_equal(client.err, TN_ETLS);
		assert_non_null(strstr(server.words, "does not speak TLS"));
		assert_non_null(strstr(server.words, cases[i].words));
		assert_string_equal(server.words, client.words);
		pair_close();
	}
}

static void test_an_echo(void **state)
{
	(void)state;
	pair_open("server", "localhost", 13);
	assert_true(tni_buf_move(&client.in, &client.net, SIZE_MAX) > 0);
	note(&client, client.layer->ops->up(client.layer, &client.in, &client.up, &client.net, SIZE_MAX));
	assert_int_equal(client.err, TN_ETLS);
	assert_non_null(strstr(client.words, "our own hello"));
	pair_close();
}

/* ---- whom to trust ---- */

static void test_refused_certificates(void **state)
{
	static const struct {
		const char *cert, *host, *words;
	} cases[] = {
		{"server", "other.example", "the certificate is for localhost, 127.0.0.1, ::1, not for other.example"},
		{"server", "127.0.0.2", "not for 127.0.0.2"},
		{"wild", "a.b.example.com", "*.example.com"},
		{"expired", "localhost", "has expired"},
		{"future", "localhost", "not valid yet"},
		{"lone", "localhost", "self-signed"},
		{"foreign", "localhost", "vouches for"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pair_open(cases[i].cert, cases[i].host, i % 2 ? 12 : 13);
		converse(SIZE_MAX);
		assert_false(client.layer->open);
		assert_int_equal(client.err, TN_ECERT);
		if (!strstr(client.words, cases[i].words))
			fail_msg("'%s' is not in '%s'", cases[i].words, client.words);
		assert_int_equal(server.err, TN_ETLS); /* by our alert */
		pair_close();
	}
}

static void test_accepted_names(void **state)
{
	static const char *const hosts[][2] = {
		{"server", "localhost"}, {"server", "LocalHost"}, {"server", "localhost."},  {"server", "::1"},
		{"server", "[::1]"},     {"server", "127.0.0.1"}, {"wild", "a.example.com"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct tn_security security;
		unsigned char *der;
		size_t len;
		struct tni_cert_question q = {.der = &der, .len = &len};

		pair_open(hosts[i][0], hosts[i][1], 13);
		handshake();
		assert_int_equal(client.layer->ops->query(client.layer, TNI_ASK_SECURITY, &security), 0);
		assert_string_equal(security.protocol, "TLSv1.3");
		assert_non_null(strstr(security.identity, hosts[i][0]));
		assert_false(security.resumed);
		assert_int_equal(client.layer->ops->query(client.layer, TNI_ASK_CERT, &q), 0);
		assert_true(len > 100 && der[0] == 0x30);
		free(der);
		assert_int_equal(server.layer->ops->query(server.layer, TNI_ASK_CERT, &q), -ENOENT);
		pair_close();
	}
}

/* TLS 1.2 lets either side ask for another handshake on the same connection: neither of ours goes along. */
static void test_renegotiation(void **state)
{
	SSL *ssl;

	(void)state;
	pair_open("server", "localhost", 12);
	handshake();
	ssl = tni_container_of(client.layer, struct tls, layer)->ssl;
	assert_int_equal(SSL_renegotiate(ssl), 0); /* not even on purpose */
	SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
	assert_int_equal(SSL_renegotiate(ssl), 1);
	tni_container_of(client.layer, struct tls, layer)->net = &client.net;
	SSL_do_handshake(ssl);
	tni_container_of(client.layer, struct tls, layer)->net = NULL;
	assert_non_null(client.net.head);
	carry(&client, &server, SIZE_MAX);
	carry(&server, &client, SIZE_MAX);
	assert_int_equal(client.err, TN_ETLS);
	say(&server, 0, 10); /* it has lost nothing by being asked */
	assert_int_equal(server.err, 0);
	pair_close();
}

/* Sets of clients are kept, and made anew when a file changes. */
static void test_kept_credentials(void **state)
{
	struct tni_creds_spec a = spec_of(NULL, true, 12), b = spec_of(NULL, true, 12), c = spec_of(NULL, true, 13),
			      d = spec_of(NULL, true, 12);
	struct tni_creds *first = creds_of(false, &a), *second = creds_of(false, &b), *third = creds_of(false, &c),
			 *fourth;
	char *ca = path("ca.pem");

	(void)state;
	assert_ptr_equal(first, second);
	assert_ptr_not_equal(first, third);
	certs_make(dir, "ca2", NULL, NULL, -1, 1);
	{
		char *other = path("ca2.pem"), *aside = path("aside.pem");

		assert_int_equal(rename(ca, aside), 0);
		assert_int_equal(rename(other, ca), 0);
		fourth = creds_of(false, &d);
		assert_int_equal(rename(aside, ca), 0);
		free(other);
		free(aside);
	}
	assert_ptr_not_equal(first, fourth);
	free(ca);
	tni_creds_unref(first);
	tni_creds_unref(second);
	tni_creds_unref(third);
	tni_creds_unref(fourth);
}

/* Whoever verifies nobody leaves no set behind for those who do. */
static void test_verify_off_and_on(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tni_creds_spec theirs = spec_of("server", false, 12), ours = spec_of(NULL, false, 12);

		ours.verify = i % 2 ? TNI_VERIFY_DEFAULT : TNI_VERIFY_OFF;
		tni_mem_init(&mem);
		end_open(&server, creds_of(true, &theirs), NULL);
		end_open(&client, creds_of(false, &ours), "localhost");
		converse(SIZE_MAX);
		assert_int_equal(client.err, i % 2 ? TN_ECERT : 0);
		assert_int_equal(client.layer->open, i % 2 == 0);
		pair_close();
	}
}

/* A key that differs makes another set. */
static void test_kept_credentials_of_each_key(void **state)
{
	struct tni_creds_spec spec = spec_of(NULL, true, 12);
	struct tni_creds *plain = creds_of(false, &spec);

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct tni_creds *other;

		spec = spec_of(i == 0 ? "lone" : NULL, true, i == 1 ? 13 : 12);
		spec.verify = i == 2 ? TNI_VERIFY_OFF : TNI_VERIFY_DEFAULT;
		spec.max_version = i == 3 ? 12 : 0;
		spec.datagrams = i == 4;
		spec.alpn = i == 5 ? strdup("h2") : NULL;
		spec.groups = i == 6 ? strdup("P-256") : NULL;
		spec.ciphers = i == 7 ? strdup("TLS_AES_128_GCM_SHA256") : NULL;
		spec.sni = i == 8 ? strdup("example.org") : NULL;
		other = creds_of(false, &spec);
		assert_ptr_not_equal(plain, other);
		tni_creds_unref(other);
	}
	tni_creds_unref(plain);
}

/* ---- resumption ---- */

static struct tni_creds *server_of(const char *name, int version, int tickets)
{
	struct tni_creds_spec spec = spec_of(name, false, 12);

	spec.max_version = version;
	spec.tickets = tickets;
	return creds_of(true, &spec);
}

static struct tni_creds *client_of(int verify, int tickets)
{
	struct tni_creds_spec spec = spec_of(NULL, true, 12);

	spec.verify = verify;
	spec.tickets = tickets;
	return creds_of(false, &spec);
}

/* Opens both ends; the references stay the caller's. */
static void meet(struct tni_creds *theirs, struct tni_creds *ours, const char *where)
{
	tni_mem_init(&mem);
	place = where;
	end_open(&server, tni_creds_ref(theirs), NULL);
	end_open(&client, tni_creds_ref(ours), "localhost");
	place = NULL;
}

/* A connection that both sides end in good order. Returns whether it was resumed. */
static bool connection(struct tni_creds *theirs, struct tni_creds *ours, const char *where)
{
	struct tn_security seen, shown;

	meet(theirs, ours, where);
	handshake();
	say(&client, 1, 10);
	converse(SIZE_MAX);
	heard(&server, 1, 10);
	assert_int_equal(client.layer->ops->query(client.layer, TNI_ASK_SECURITY, &seen), 0);
	assert_int_equal(server.layer->ops->query(server.layer, TNI_ASK_SECURITY, &shown), 0);
	assert_int_equal(seen.resumed, shown.resumed);
	if (ours->verifies)
		assert_non_null(strstr(seen.identity, "server"));
	assert_int_equal(client.layer->ops->shut(client.layer, &client.net), 0);
	assert_int_equal(server.layer->ops->shut(server.layer, &server.net), 0);
	converse(SIZE_MAX);
	pair_close();
	return seen.resumed;
}

static void test_a_client_resumes(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct tni_creds *theirs = server_of("server", version, 2), *ours = client_of(TNI_VERIFY_DEFAULT, 2);

		assert_false(connection(theirs, ours, "here"));
		for (int i = 0; i < 4; i++) /* each brings what the next one needs */
			assert_true(connection(theirs, ours, "here"));
		assert_false(connection(theirs, ours, "there"));
		assert_true(connection(theirs, ours, "there"));
		assert_false(connection(theirs, ours, NULL));
		tni_creds_unref(theirs);
		tni_creds_unref(ours);
		theirs = server_of("server", version, 2); /* which cannot open the others' tickets */
		ours = client_of(TNI_VERIFY_DEFAULT, 2);
		assert_false(connection(theirs, ours, "here"));
		assert_true(connection(theirs, ours, "here"));
		tni_creds_unref(theirs);
		tni_creds_unref(ours);
	}
}

/* A ticket of TLS 1.3 is used once, by whoever comes first. */
static void test_a_ticket_is_used_once(void **state)
{
	struct tni_creds *theirs = server_of("server", 13, 1), *ours = client_of(TNI_VERIFY_DEFAULT, 2);
	struct tn_security security;
	struct end first_client, first_server;

	(void)state;
	assert_false(connection(theirs, ours, "once"));
	meet(theirs, ours, "once");
	first_client = client;
	first_server = server;
	place = "once";
	end_open(&server, tni_creds_ref(theirs), NULL);
	end_open(&client, tni_creds_ref(ours), "localhost");
	place = NULL;
	handshake();
	assert_int_equal(client.layer->ops->query(client.layer, TNI_ASK_SECURITY, &security), 0);
	assert_false(security.resumed);
	end_close(&client);
	end_close(&server);
	client = first_client;
	server = first_server;
	handshake();
	assert_int_equal(client.layer->ops->query(client.layer, TNI_ASK_SECURITY, &security), 0);
	assert_true(security.resumed);
	pair_close();
	tni_creds_unref(theirs);
	tni_creds_unref(ours);
}

/* Who verifies nobody lends no session to who does, and other settings have other sessions. */
static void test_sessions_belong_to_their_credentials(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct tni_creds *theirs = server_of("foreign", version, 2), *blind = client_of(TNI_VERIFY_OFF, 2),
				 *ours = client_of(TNI_VERIFY_DEFAULT, 2);

		assert_false(connection(theirs, blind, "here"));
		assert_true(connection(theirs, blind, "here"));
		assert_ptr_not_equal(blind, ours);
		meet(theirs, ours, "here");
		converse(SIZE_MAX);
		assert_int_equal(client.err, TN_ECERT);
		pair_close();
		tni_creds_unref(theirs);
		tni_creds_unref(blind);
		tni_creds_unref(ours);
	}
	for (int other = 0; other < 4; other++) {
		struct tni_creds *theirs = server_of("server", 13, 2), *ours = client_of(TNI_VERIFY_DEFAULT, 2),
				 *others;
		struct tni_creds_spec spec = spec_of(other == 0 ? "server" : NULL, true, other == 1 ? 13 : 12);

		if (other == 2)
			spec.sni = strdup("localhost");
		if (other == 3)
			spec.alpn = strdup("h2");
		others = creds_of(false, &spec);
		(void)connection(theirs, ours, "here");
		assert_false(connection(theirs, others, "here"));
		assert_true(connection(theirs, others, "here"));
		tni_creds_unref(theirs);
		tni_creds_unref(ours);
		tni_creds_unref(others);
	}
}

static void test_nothing_is_resumed_without_tickets(void **state)
{
	struct tni_creds *ours = client_of(TNI_VERIFY_DEFAULT, 0), *with = client_of(TNI_VERIFY_DEFAULT, 2);

	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct tni_creds *theirs = server_of("server", version, 2), *none = server_of("server", version, 0);

		for (int i = 0; i < 3; i++) {
			assert_false(connection(theirs, ours, "here"));
			assert_false(connection(none, with, "nowhere"));
		}
		assert_int_equal(ours->sessions.count, 0);
		tni_creds_unref(theirs);
		tni_creds_unref(none);
	}
	tni_creds_unref(ours);
	tni_creds_unref(with);
}

static void test_sessions_are_bounded(void **state)
{
	struct tni_creds *theirs = server_of("server", 13, 16), *ours = client_of(TNI_VERIFY_REQUIRE, 2);
	char where[16];

	(void)state;
	for (int i = 0; i < 3; i++)
		connection(theirs, ours, "one");
	assert_int_equal(ours->sessions.count, TNI_SESSIONS_PER_PLACE);
	for (int i = 0; i < 6; i++) {
		snprintf(where, sizeof(where), "place %d", i);
		connection(theirs, ours, where);
	}
	assert_int_equal(ours->sessions.count, TNI_SESSIONS_MAX);
	assert_true(connection(theirs, ours, "place 5"));
	assert_false(connection(theirs, ours, "one")); /* the oldest gave way */
	tni_creds_unref(theirs);
	tni_creds_unref(ours);
}

/* An old session, or one whose certificate has expired since, is not resumed. */
static void test_old_sessions(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct tni_creds *theirs = server_of("server", version, 2), *ours = client_of(TNI_VERIFY_REQUIRE, 2);

		for (int i = 0; i < 3; i++) {
			long ago = i == 0 ? TNI_SESSION_S - 100 : i == 1 ? TNI_SESSION_S + 1 : -100;

			connection(theirs, ours, "old");
			for (size_t n = 0; n < ours->sessions.count; n++) {
				SSL_SESSION *session = ours->sessions.list[n].session;

				SSL_SESSION_set_time(session, (long)time(NULL) - ago);
				SSL_SESSION_set_timeout(session, 100000);
			}
			/* The server of TLS 1.3 compares the ages, and then does the whole handshake */
			if (i > 0 || version == 12)
				assert_int_equal(connection(theirs, ours, "old"), i == 0);
		}
		tni_creds_unref(theirs);
		tni_creds_unref(ours);
	}
}

static int group_setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	certs_make(dir, "ca", NULL, NULL, -1, 1);
	certs_make(dir, "stranger", NULL, NULL, -1, 1);
	certs_make(dir, "server", "ca", "DNS:localhost,IP:127.0.0.1,IP:::1", -1, 1);
	certs_make(dir, "wild", "ca", "DNS:*.example.com", -1, 1);
	certs_make(dir, "expired", "ca", "DNS:localhost", -3, -1);
	certs_make(dir, "future", "ca", "DNS:localhost", 1, 3);
	certs_make(dir, "lone", NULL, "DNS:localhost", -1, 1);
	certs_make(dir, "foreign", "stranger", "DNS:localhost", -1, 1);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	certs_remove(dir);
	return 0;
}

/* A program that confines itself has to name them: tn_url_file(). */
static void test_files_of_a_dialled_url(void **state)
{
	enum tn_file_use use;
	char url[256], path[256], wanted[256];

	(void)state;
	assert_int_equal(tn_url_file("tcp://localhost:1", 0, path, sizeof(path), &use), -ENOENT);
	assert_int_equal(tn_url_file("tls://localhost:1", 0, path, sizeof(path), &use), -ENOENT);
	assert_int_equal(tn_url_file("tls://localhost:1?ca=/nowhere", 0, path, sizeof(path), &use), TN_EURL);
	snprintf(url, sizeof(url), "tls://localhost:1?ca=%s/ca.pem&keylog=%s/log", dir, dir);
	snprintf(wanted, sizeof(wanted), "%s/log", dir);
	assert_int_equal(tn_url_file(url, 0, path, sizeof(path), &use), 0);
	assert_string_equal(path, wanted);
	assert_int_equal(use, TN_FILE_APPEND);
	snprintf(wanted, sizeof(wanted), "%s/ca.pem", dir);
	assert_int_equal(tn_url_file(url, 1, path, sizeof(path), &use), 0);
	assert_string_equal(path, wanted);
	assert_int_equal(use, TN_FILE_READ);
	assert_int_equal(tn_url_file(url, 2, path, sizeof(path), &use), -ENOENT);
	assert_int_equal(tn_url_file(url, -1, path, sizeof(path), &use), -ENOENT);
	assert_int_equal(tn_url_file(url, 1, path, 4, &use), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_small_pieces_share_a_record),
		cmocka_unit_test(test_the_bound_of_the_wire),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_a_part_of_a_hello),
		cmocka_unit_test(test_torn_handshake),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_a_write_after_an_alert),
		cmocka_unit_test(test_a_goodbye_in_the_handshake),
		cmocka_unit_test(test_what_is_not_tls),
		cmocka_unit_test(test_an_echo),
		cmocka_unit_test(test_refused_certificates),
		cmocka_unit_test(test_accepted_names),
		cmocka_unit_test(test_renegotiation),
		cmocka_unit_test(test_kept_credentials),
		cmocka_unit_test(test_a_client_resumes),
		cmocka_unit_test(test_a_ticket_is_used_once),
		cmocka_unit_test(test_sessions_belong_to_their_credentials),
		cmocka_unit_test(test_nothing_is_resumed_without_tickets),
		cmocka_unit_test(test_sessions_are_bounded),
		cmocka_unit_test(test_old_sessions),
		cmocka_unit_test(test_kept_credentials_of_each_key),
		cmocka_unit_test(test_verify_off_and_on),
		cmocka_unit_test(test_files_of_a_dialled_url),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
