/* Scenarios of the library: one serves, one dials, they talk. Whatever fails, the next ones must find all as it was. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/layers.h"
#include "base/err.h"
#include "conn/layered.h"
#include "fault.h"
#include "serve/handlers/handler.h"
#include "serve/handlers/handlers.h"
#include "tenon.h"

/* With %s for the test's directory, %c for that of the certificates. */
struct talk {
	const char *name, *serve, *dial_more;
	const char *handler;
	const char *text; /* each message; NULL: `size` bytes */
	size_t size;
	unsigned times;
	bool datagrams;               /* may be lost */
	bool by_name;                 /* dialled as localhost.localdomain or the like: see named() */
	const enum layer_sort *chain; /* CHAINED of the tests' layers below each connection; NULL: none */
};

#define CHAINED 3
static const enum layer_sort named_chain[CHAINED] = {LAYER_NAMES, LAYER_TALKS, LAYER_EXPANDS};
static const enum layer_sort message_chain[CHAINED] = {LAYER_LEAVES, LAYER_TALKS, LAYER_MESSAGES};

#define JSON "{\"name\":\"tenon\",\"list\":[1,2.5,null,true,\"text\"],\"map\":{\"a\":{\"b\":[]}}}"
#define TRUST "proxy=accept&trust=127.0.0.1"
#define CERT "cert=%c/a.pem&key=%c/a.key"

static const struct talk talks[] = {
	{"tcp", "tcp://127.0.0.1:0", "", "echo", NULL, 100, 3, false, false, NULL},
	{"tcp-large", "tcp://127.0.0.1:0", "", "echo", NULL, 65536, 12, false, false, NULL},
	{"tcp-localhost", "tcp://localhost:0", "", "echo", "hello", 0, 1, false, true, NULL},
	{"options", "tcp://127.0.0.1:0?keepalive=1&user_timeout=5s&idle=1m&per-source=9&accept-rate=900",
	 "?nodelay=1&rcvbuf=64KiB", "echo", "hello", 0, 2, false, false, NULL},
	{"line", "tcp://127.0.0.1:0?frame=line", "?frame=line", "echo", "one line", 0, 20, false, false, NULL},
	{"u32", "tcp://127.0.0.1:0?frame=u32", "?frame=u32", "echo", NULL, 100000, 6, false, false, NULL},
	{"head", "tcp://127.0.0.1:0?frame=head:offset=3,size=4,header=9", "?frame=head:offset=3,size=4,header=9",
	 "echo", NULL, 100000, 3, false, false, NULL},
	{"until", "tcp://127.0.0.1:0?frame=until:\\r\\n,keep=on", "?frame=until:\\r\\n,keep=on", "echo", "one line\r\n",
	 0, 3, false, false, NULL},
	{"own", "tcp://127.0.0.1:0?frame=own-u32", "?frame=own-u32", "echo", NULL, 100000, 6, false, false, NULL},
	{"own-sum", "unix:%s/s?frame=own-sum", "?frame=own-sum", "echo", "hello", 0, 3, false, false, NULL},
	{"cobs", "tcp://127.0.0.1:0?frame=cobs", "?frame=cobs", "echo", NULL, 3000, 6, false, false, NULL},
	{"json", "tcp://127.0.0.1:0?format=json", "?format=json", "echo", JSON, 0, 6, false, false, NULL},
	{"json-ack", "tcp://127.0.0.1:0?format=json", "?format=json", "ack", JSON, 0, 3, false, false, NULL},
	{"cbor-framed", "tcp://127.0.0.1:0?format=cbor", "?format=cbor", "echo",
	 "\x82\x01\x63"
	 "abc",
	 0, 6, false, false, NULL},
	{"msgpack", "tcp://127.0.0.1:0?format=msgpack", "?format=msgpack", "echo",
	 "\x92\x01\xa3"
	 "xyz",
	 0, 6, false, false, NULL},
	{"xml", "tcp://127.0.0.1:0?format=xml&frame=line", "?format=xml&frame=line", "echo", "<a x='1'>b<c/></a>", 0, 6,
	 false, false, NULL},
	{"unix", "unix:%s/s", "", "echo", NULL, 5000, 6, false, false, NULL},
	{"unix-seqpacket", "unix-seqpacket:%s/s", "", "echo", NULL, 5000, 6, false, false, NULL},
	{"unix-dgram", "unix-dgram:%s/s", "", "echo", NULL, 500, 3, true, false, NULL},
	{"udp", "udp://127.0.0.1:0", "", "echo", NULL, 1000, 3, true, false, NULL},
	{"udp-ack", "udp://127.0.0.1:0", "", "ack", "hello", 0, 2, true, false, NULL},
	{"exec", "tcp://127.0.0.1:0", "", "exec:cat", NULL, 3000, 3, false, false, NULL},
	{"exec-socket", "unix:%s/s", "", "exec-socket:cat", NULL, 3000, 3, false, false, NULL},
	{"exec-udp", "udp://127.0.0.1:0", "", "exec:cat", "hello", 0, 1, true, false, NULL},
	{"join", "tcp://127.0.0.1:0?queue=4KiB", "", "join", NULL, 3000, 6, false, false, NULL},
	{"join-u32", "tcp://127.0.0.1:0?frame=u32", "?frame=u32", "join", NULL, 3000, 6, false, false, NULL},
	{"splice", "tcp://127.0.0.1:0", "", "join", NULL, 65536, 40, false, false, NULL},
	{"shared", "tcp://127.0.0.1:0", "", "shared", NULL, 3000, 6, false, false, NULL},
	{"shared-u32", "tcp://127.0.0.1:0?frame=u32", "?frame=u32", "shared", NULL, 60000, 6, false, false, NULL},
	{"shared-packets", "unix-seqpacket:%s/s", "", "shared", NULL, 5000, 6, false, false, NULL},
	{"mptcp", "mptcp://127.0.0.1:0", "", "echo", "hello", 0, 1, false, false, NULL},
	{"chain", "tcp://127.0.0.1:0?per-source=9", "", "echo", NULL, 3000, 6, false, false, named_chain},
	{"chain-messages", "unix:%s/s", "", "echo", NULL, 3000, 6, false, false, message_chain},
	{"proxied", "tcp://127.0.0.1:0?frame=line&per-source=9&deny=192.0.2.0/24&" TRUST, "?frame=line&proxy=v2",
	 "echo", "a line", 0, 3, false, false, NULL},
	{"proxied-unix", "unix:%s/s?allow=unix&proxy=accept", "?proxy=v1", "echo", NULL, 5000, 3, false, false, NULL},
	{"proxied-udp", "udp://127.0.0.1:0?allow=127.0.0.1&" TRUST, "?proxy=v2&proxy-tlv=crc32c,0xe1:x", "ack", "hello",
	 0, 2, true, false, NULL},
#ifdef TNI_HAVE_TLS
	{"proxied-tls", "tls://127.0.0.1:0?" TRUST "&" CERT, "?proxy=v2&proxy-tlv=unique-id&ca=%c/ca.pem", "echo",
	 "hello", 0, 2, false, false, NULL},
	{"tls", "tls://127.0.0.1:0?" CERT, "?ca=%c/ca.pem", "echo", NULL, 20000, 3, false, false, NULL},
	{"tls-line", "tls://127.0.0.1:0?frame=line&" CERT, "?frame=line&ca=%c/ca.pem", "echo", "a line", 0, 3, false,
	 false, NULL},
	{"tls-mutual", "tls://127.0.0.1:0?alpn=x&ca=%c/ca.pem&" CERT, "?alpn=x&ca=%c/ca.pem&" CERT, "echo", "hello", 0,
	 1, false, false, NULL},
	{"tls-psk", "tls://127.0.0.1:0?psk-file=%c/psk", "?psk-file=%c/psk&ca=%c/ca.pem", "echo", "hello", 0, 1, false,
	 false, NULL},
	{"ws", "ws://127.0.0.1:0/a?subprotocol=x", "?subprotocol=x", "echo", NULL, 3000, 6, false, false, NULL},
	{"ws-large", "ws+unix:%s/s", "", "echo", NULL, 100000, 3, false, false, NULL},
	{"shared-ws", "ws+unix:%s/s", "", "shared", NULL, 3000, 3, false, false, NULL},
	{"shared-ws-deflate", "ws://127.0.0.1:0", "?deflate=on", "shared", NULL, 70000, 3, false, false, NULL},
	{"ws-deflate", "ws://127.0.0.1:0", "?deflate=on", "echo", NULL, 70000, 3, false, false, NULL},
	{"shared-tls", "tls+unix:%s/s?frame=line&" CERT, "?frame=line&ca=%c/ca.pem", "shared", NULL, 20000, 3, false,
	 false, NULL},
	{"tls-unix", "tls+unix:%s/s?" CERT, "?ca=%c/ca.pem", "echo", "hello", 0, 1, false, false, NULL},
#endif
};

#define NTALKS (sizeof(talks) / sizeof(talks[0]))

static const struct talk *talk_of(const char *name)
{
	for (size_t i = 0; i < NTALKS; i++)
		if (!strcmp(talks[i].name, name))
			return &talks[i];
	abort();
}

static bool is_large(const struct talk *talk)
{
	return talk->size * talk->times > 100000;
}

/* ---- who dials ---- */

struct client {
	const struct talk *talk;
	struct tn_conn *conn;
	unsigned sent, times; /* messages */
	uint64_t got;         /* bytes of the replies */
	bool stays;           /* does not end its direction when it has sent all */
	bool opened, closed;
	int err;
};

/* What was told of the server's side: a client that is cut off in good order has had no words itself. */
static unsigned troubles;

/* Connections that stay beside the one that talks. */
static unsigned guests;

/* The part of a scenario in which things are made to fail. */
static bool failing;

static unsigned char message[1 << 17];

static size_t message_size(const struct talk *talk)
{
	return talk->text ? strlen(talk->text) : talk->size;
}

/* Letters, with a period that is no power of two. */
static void message_make(const struct talk *talk)
{
	if (talk->text)
		memcpy(message, talk->text, strlen(talk->text));
	for (size_t i = 0; !talk->text && i < talk->size; i++)
		message[i] = (unsigned char)('a' + i % 23);
}

static bool has_all(const struct client *c)
{
	return c->got >= (uint64_t)message_size(c->talk) * c->times;
}

static void push(struct client *c)
{
	int rc = 0;

	while (rc == 0 && c->sent < c->times) {
		rc = tn_send(c->conn, message, message_size(c->talk));
		c->sent += rc >= 0;
	}
	if (rc < 0 && rc != TN_EFULL) {
		trial_told(rc, tn_errmsg());
		tn_abort(c->conn, rc);
	} else if (c->sent == c->times && !c->stays) {
		tn_finish(c->conn);
	}
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->opened = true;
	push(c);
}

/* The reply is what was sent; with "ack" more stands around it, and only that it came is looked at. */
static bool check_reply(const struct client *c, const struct tn_msg *msg)
{
	size_t size = message_size(c->talk);
	const unsigned char *p = msg->data;

	/* A server without memory to check a message or to make its reply may say so instead. */
	if (trial_hit() && memmem(msg->data, msg->len, "out of memory", strlen("out of memory"))) {
		trial_told(-ENOMEM, "the reply says that the server is out of memory");
		troubles++;
		return false;
	}
	for (size_t i = 0; i < msg->len && strcmp(c->talk->handler, "ack") != 0; i++)
		if (p[i] != message[(c->got + i) % size])
			trial_fails("byte %ju of the replies is wrong", (uintmax_t)(c->got + i));
	return true;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *c = arg;
	bool ack = !strcmp(c->talk->handler, "ack");

	if (check_reply(c, msg))
		c->got += ack ? message_size(c->talk) : msg->len;
	if (has_all(c) && !c->stays && c->talk->datagrams)
		tn_close(conn);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	push(arg);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->conn = NULL;
	c->closed = true;
	c->err = err;
	if (err)
		trial_told(err, tn_errmsg());
}

static const struct tn_handler client_handler = {
	.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close};

static void on_served_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	troubles += err != 0;
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)server, (void)err, (void)arg;
	troubles += text[0] != '\0';
}

/* ---- URLs ---- */

static void expand(char *out, size_t cap, const char *text)
{
	size_t n = strlen(out);

	for (; *text && n + 1 < cap; text++) {
		const char *dir = text[0] != '%'   ? NULL
				  : text[1] == 's' ? trial->dir
				  : text[1] == 'c' ? trial->certs
						   : NULL;

		if (dir) {
			n += (size_t)snprintf(out + n, cap - n, "%s", dir);
			text++;
		} else {
			out[n++] = *text;
		}
	}
	out[n] = '\0';
}

static void dial_url(const struct talk *talk, struct tn_server *server, char *out, size_t cap)
{
	const char *url = tn_server_url(server, 0), *colon = strrchr(url, ':');

	if (talk->by_name)
		snprintf(out, cap, "tcp://%s%s", "localhost", colon);
	else
		snprintf(out, cap, "%s", url);
	expand(out, cap, talk->dial_more);
}

/* ---- the steps ---- */

/* Where memory is gone for ever those who wait for it would, too: it comes back after a while. */
#define DROUGHT_MS 60

/* The loop is stepped by one outside, as tenon.h says. */
static bool embedded;

static int step(struct tn_loop *loop)
{
	struct pollfd p = {.fd = embedded ? tn_loop_fd(loop) : -1, .events = POLLIN};
	int timeout_ms = tn_loop_timeout_ms(loop);

	if (embedded && p.fd < 0)
		trial_told(p.fd, tn_errmsg());
	if (p.fd < 0) /* asked for again in the next turn */
		return tn_loop_step(loop, 10);
	if (poll(&p, 1, timeout_ms < 0 || timeout_ms > 10 ? 10 : timeout_ms) <= 0 && tn_loop_timeout_ms(loop))
		return 1;
	return tn_loop_step(loop, 0);
}

static bool turn(struct tn_loop *loop, uint64_t began)
{
	uint64_t passed = trial_now_ms() - began;
	int rc = step(loop);

	/* One turn that failed is the end of no loop. */
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	if (trial->for_ever && trial_hit() && passed > DROUGHT_MS)
		trial_arm(false);
	return passed <= (uint64_t)trial_patience_ms();
}

static void dial(struct client *c, struct tn_loop *loop, struct tn_server *server)
{
	char url[1024] = "";
	int rc;

	dial_url(c->talk, server, url, sizeof(url));
	rc = tn_dial(loop, url, &client_handler, c, &c->conn);
	if (rc == 0)
		return;
	trial_told(rc, tn_errmsg());
	c->closed = true;
	c->err = rc;
}

static bool lost_datagrams(const struct client *c, uint64_t began)
{
	return c->talk->datagrams && failing && trial_hit() && !trial->harmless &&
	       trial_now_ms() - began > 4 * DROUGHT_MS;
}

/* A child may read nothing, and one that cannot even begin says so on stderr, as the shell does. */
static bool is_childs_own(const struct talk *talk)
{
	return !strncmp(talk->handler, "exec", 4) && (trial->err == EPIPE || !strcmp(trial->calls.name, "dup2"));
}

/* Talks to the end. Returns whether all came back. */
static bool talk_once(struct tn_loop *loop, struct tn_server *server, const struct talk *talk)
{
	struct client c = {.talk = talk, .times = talk->times};
	uint64_t began = trial_now_ms();
	unsigned before = troubles;

	dial(&c, loop, server);
	while (!c.closed && !lost_datagrams(&c, began))
		if (!turn(loop, began))
			break;
	if (!c.closed && !lost_datagrams(&c, began))
		trial_fails("%s: hangs: %u of %u sent, %ju bytes came back", talk->name, c.sent, c.times,
			    (uintmax_t)c.got);
	if (c.conn)
		tn_abort(c.conn, -ECANCELED);
	while (!c.closed && turn(loop, trial_now_ms()))
		;
	/* A Unix socket knows no reset: there only the server's side is told, and may be still about to be. */
	while (!has_all(&c) && !c.err && troubles == before && tn_server_nconns(server) > guests)
		if (!turn(loop, began))
			break;
	if (!has_all(&c) && !c.err && troubles == before && !is_childs_own(talk))
		trial_fails("%s: %ju bytes came back and an end in good order, and nobody was told why", talk->name,
			    (uintmax_t)c.got);
	return has_all(&c);
}

/* Of the scenarios of a relay: what it dials for each client, an echo. */
static struct tn_server *behind;
static const char *behind_more;

/* Nothing is said of an error here: the client's connection or the server's watch tells of it. */
static void on_relay_open(struct tn_conn *client, void *arg)
{
	static const struct tn_handler nothing;
	struct tn_conn *target;
	char url[256];
	int rc;

	(void)arg;
	snprintf(url, sizeof(url), "%s%s", tn_server_url(behind, 0), behind_more);
	rc = tn_dial(tn_conn_loop(client), url, &nothing, NULL, &target);
	if (rc == 0 && (rc = tn_join(client, target)) < 0)
		tn_abort(target, rc);
	if (rc < 0)
		tn_abort(client, rc);
}

static bool serve_relay(struct tn_loop *loop, const struct talk *talk, struct tn_server **server)
{
	static const struct tn_watch watch = {.on_close = on_served_close, .on_trouble = on_trouble};
	static const struct tn_handler relay = {.on_open = on_relay_open};
	const char *argument, *why;
	const struct handler_spec *echo = handler_find("echo", &argument, &why);
	char url[256];
	int rc;

	behind_more = talk->dial_more;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:0%s", talk->dial_more);
	rc = tn_serve(loop, url, handler_face(echo, url), NULL, &behind);
	if (rc >= 0)
		tn_server_watch(behind, &watch, NULL);
	if (rc >= 0 && (rc = tn_serve(loop, talk->serve, &relay, NULL, server)) >= 0)
		tn_server_watch(*server, &watch, NULL);
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	return rc >= 0;
}

/* What comes is made a shared message, and goes back as that. The client hears of an error, as of any. */
static void on_shared_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct tn_shared *shared = NULL;
	int rc = tn_shared_from(msg, &shared);

	(void)arg;
	if (rc >= 0)
		rc = tn_send_shared(conn, shared);
	tn_shared_unref(shared);
	if (rc < 0) {
		trial_told(rc, tn_errmsg());
		troubles++;
		tn_abort(conn, rc);
	}
}

static bool serve_shared(struct tn_loop *loop, const struct talk *talk, struct tn_server **server)
{
	static const struct tn_watch watch = {.on_close = on_served_close, .on_trouble = on_trouble};
	static const struct tn_handler handler = {.on_msg = on_shared_msg};
	char url[1024] = "";
	int rc;

	expand(url, sizeof(url), talk->serve);
	rc = tn_serve(loop, url, &handler, NULL, server);
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	else
		tn_server_watch(*server, &watch, NULL);
	return rc >= 0;
}

static bool serve(struct tn_loop *loop, const struct talk *talk, struct tn_server **server)
{
	static const struct tn_watch watch = {.on_close = on_served_close, .on_trouble = on_trouble};
	const char *argument, *why;
	const struct handler_spec *handler = handler_find(talk->handler, &argument, &why);
	char url[1024] = "";
	int rc;

	if (!strcmp(talk->handler, "join"))
		return serve_relay(loop, talk, server);
	if (!strcmp(talk->handler, "shared"))
		return serve_shared(loop, talk, server);
	expand(url, sizeof(url), talk->serve);
	rc = tn_serve(loop, url, handler_face(handler, url), (void *)(uintptr_t)argument, server);
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	else
		tn_server_watch(*server, &watch, NULL);
	return rc >= 0;
}

static void on_done(void *arg)
{
	*(bool *)arg = true;
}

static void close_one(struct tn_loop *loop, struct tn_server *server, uint64_t drain_ms)
{
	uint64_t began = trial_now_ms();
	bool done = false;

	tn_server_close(server, drain_ms, on_done, &done);
	while (!done)
		if (!turn(loop, began))
			trial_fails("the server does not end");
}

static void close_server(struct tn_loop *loop, struct tn_server *server)
{
	close_one(loop, server, 2000);
	if (behind)
		close_one(loop, behind, 0);
	behind = NULL;
}

static void set_failing(bool on)
{
	failing = on;
	trial_arm(on);
}

/* Of the loop that was made last. */
static const enum layer_sort *chain;

static int put_chain(struct tn_conn *conn)
{
	int rc = 0;

	for (int i = 0; i < CHAINED && rc == 0; i++) {
		struct tni_layer *layer = layer_make(chain[i], !conn->part);

		rc = layer ? tni_layered_push(conn, layer) : tni_err(-ENOMEM, "out of memory");
	}
	return rc;
}

static bool new_loop(struct tn_loop **loop, const struct talk *talk)
{
	int rc = tn_loop_new(loop, trial->engine);

	if (rc < 0)
		trial_told(rc, tn_errmsg());
	chain = talk->chain;
	if (rc >= 0 && chain)
		(*loop)->extra_layers = put_chain;
	return rc >= 0;
}

/* All of it: a loop, a server, a client. Returns whether all went well. */
static bool whole_once(const struct talk *talk)
{
	struct tn_server *server;
	struct tn_loop *loop;
	bool well = false;

	if (!new_loop(&loop, talk))
		return false;
	if (serve(loop, talk, &server)) {
		well = talk_once(loop, server, talk);
		close_server(loop, server);
	}
	tn_loop_free(loop);
	handler_finish();
	return well;
}

/* Everything may fail; then, in the same process, nothing does, and nothing may be left of the failure. */
static void run_whole(const void *arg)
{
	const struct talk *talk = arg;
	bool well;

	message_make(talk);
	set_failing(true);
	well = whole_once(talk);
	set_failing(false);
	if (!well && (!trial_hit() || trial->harmless))
		trial_fails("it fails with nothing that should make it fail: %s", trial->words);
	trial->words[0] = '\0';
	/* OpenSSL reads a key without memory as one of no known kind, and an authority read so is kept: known, not
	 * mended. And that the system refuses the ring is asked once in a process. */
	if (!whole_once(talk) && !trial->memory.failed_at.line &&
	    !(trial_hit() && strstr(trial->words, "refuses io_uring")))
		trial_fails("it fails again although memory is back: %s", trial->words);
}

/* ---- an embedded loop, and what is polled and timed on it ---- */

static void count(void *arg)
{
	++*(int *)arg;
}

struct polled {
	int events, seen;
};

static void note_events(int revents, void *arg)
{
	((struct polled *)arg)->seen |= revents;
}

/* A poll says what was asked for, or why not: an error of the call, or POLLERR. */
static bool sees(struct tn_loop *loop, struct polled *p, int events)
{
	uint64_t began = trial_now_ms();

	p->seen = 0;
	while (!(p->seen & (events | POLLERR)))
		if (!turn(loop, began))
			trial_fails("a poll for %#x is told nothing", (unsigned)events);
	return !(p->seen & POLLERR);
}

static bool poll_once(struct tn_loop *loop, int fd)
{
	struct polled p = {0};
	struct tn_poll *poll;
	int rc = tn_poll_events(loop, fd, POLLIN, note_events, &p, &poll);
	bool well = rc >= 0 && sees(loop, &p, POLLIN);

	if (rc >= 0) {
		rc = tn_poll_change(poll, POLLIN | POLLOUT);
		well = rc >= 0 && sees(loop, &p, POLLOUT) && well;
		tn_poll_stop(poll);
	}
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	return well;
}

static bool time_once(struct tn_loop *loop)
{
	uint64_t began = trial_now_ms();
	struct tn_timer *timer;
	int fired = 0, rc = tn_timer_repeat(loop, 1000, 1000, count, &fired, &timer);

	if (rc < 0) {
		trial_told(rc, tn_errmsg());
		return false;
	}
	while (fired < 3)
		if (!turn(loop, began))
			trial_fails("a timer does not fire");
	tn_timer_stop(timer);
	return true;
}

static bool embedded_once(const struct talk *talk, int fd)
{
	struct tn_server *server;
	struct tn_loop *loop;
	bool well = false;

	if (!new_loop(&loop, talk))
		return false;
	if (serve(loop, talk, &server)) {
		well = talk_once(loop, server, talk);
		well = poll_once(loop, fd) && well;
		well = time_once(loop) && well;
		close_server(loop, server);
	}
	tn_loop_free(loop);
	handler_finish();
	return well;
}

static void run_embedded(const void *arg)
{
	int pair[2];
	bool well;

	message_make(arg);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || write(pair[1], "x", 1) != 1)
		trial_fails("no pair: %s", strerror(errno));
	embedded = true;
	set_failing(true);
	well = embedded_once(arg, pair[0]);
	set_failing(false);
	if (!well && (!trial_hit() || trial->harmless))
		trial_fails("it fails with nothing that should make it fail: %s", trial->words);
	trial->words[0] = '\0';
	if (!embedded_once(arg, pair[0]) && !(trial_hit() && strstr(trial->words, "refuses io_uring")))
		trial_fails("it fails again although memory is back: %s", trial->words);
	embedded = false;
	close(pair[0]);
	close(pair[1]);
}

/* A message of the guest's, and its reply. */
static void ask(struct client *c, struct tn_loop *loop, const char *when)
{
	uint64_t began = trial_now_ms();

	c->times++;
	if (c->conn && c->opened)
		push(c);
	while (!has_all(c) && !c->closed)
		if (!turn(loop, began))
			break;
	if (!has_all(c))
		trial_fails("a connection that had no part in it suffers (%s): %s", when,
			    c->closed ? tn_strerror(c->err) : "it hangs");
}

/* Until nothing is under way any more: what fails then is not the guest's. */
static void settle(struct tn_loop *loop)
{
	for (int quiet = 0; quiet < 3;) {
		uint64_t began = trial_now_ms();

		turn(loop, began);
		quiet = trial_now_ms() - began >= 9 ? quiet + 1 : 0;
	}
}

/* Another client is there before the failure and after it; and a third comes then. */
static void run_guest(const void *arg)
{
	const struct talk *talk = arg;
	struct client guest = {.talk = talk, .stays = true};
	struct tn_server *server;
	struct tn_loop *loop;
	bool well;

	message_make(talk);
	if (!new_loop(&loop, talk) || !serve(loop, talk, &server))
		trial_fails("%s", trial->words);
	dial(&guest, loop, server);
	ask(&guest, loop, "before");
	guests = !talk->datagrams;
	settle(loop);
	set_failing(true);
	well = talk_once(loop, server, talk);
	set_failing(false);
	if (!well && trial->harmless)
		trial_fails("it fails with nothing that should make it fail: %s", trial->words);
	ask(&guest, loop, "after");
	if (!talk_once(loop, server, talk))
		trial_fails("the next client is not served: %s", trial->words);
	set_failing(true);
	tn_close(guest.conn);
	close_server(loop, server);
	tn_loop_free(loop);
	handler_finish();
	set_failing(false);
}

/* So many that the ring's queues overflow under the fault engine. One thing fails: of one at most, the others go on. */
static void run_crowd(const void *arg)
{
	static struct client crowd[40];
	enum { SIZE = sizeof(crowd) / sizeof(crowd[0]) };
	uint64_t began = trial_now_ms();
	struct tn_server *server;
	struct tn_loop *loop;
	int well = 0;

	message_make(arg);
	if (!new_loop(&loop, arg) || !serve(loop, arg, &server))
		trial_fails("%s", trial->words);
	set_failing(true);
	for (int i = 0; i < SIZE; i++) {
		crowd[i] = (struct client){.talk = arg, .times = ((const struct talk *)arg)->times};
		dial(&crowd[i], loop, server);
	}
	for (int i = 0; i < SIZE; i++) {
		while (!crowd[i].closed)
			if (!turn(loop, began))
				trial_fails("client %d hangs: %u sent, %ju bytes came back", i, crowd[i].sent,
					    (uintmax_t)crowd[i].got);
		well += has_all(&crowd[i]);
	}
	set_failing(false);
	if (well < SIZE - (trial_hit() && !trial->harmless) && !trial->for_ever)
		trial_fails("%d of %d fail: %s", SIZE - well, SIZE, trial->words);
	close_server(loop, server);
	tn_loop_free(loop);
	handler_finish();
}

/* One question by tn_call(): the whole reply, or why there is none. */
static bool call_once(const struct talk *talk)
{
	struct tn_server *server;
	struct tn_loop *loop;
	char url[1024] = "";
	void *reply = NULL;
	size_t len = 0;
	int rc = -1;

	if (!new_loop(&loop, talk))
		return false;
	if (serve(loop, talk, &server)) {
		dial_url(talk, server, url, sizeof(url));
		rc = tn_call(loop, url, message, message_size(talk), &reply, &len,
			     trial->for_ever ? 1000 : trial_patience_ms());
		if (rc < 0)
			trial_told(rc, tn_errmsg());
		else if (len != message_size(talk) || memcmp(reply, message, len) != 0)
			trial_fails("%s: a reply of %zu bytes instead of %zu, or other ones", talk->name, len,
				    message_size(talk));
		free(reply);
		close_server(loop, server);
	}
	tn_loop_free(loop);
	return rc == 0;
}

static void run_call(const void *arg)
{
	bool well;

	message_make(arg);
	set_failing(true);
	well = call_once(arg);
	set_failing(false);
	if (!well && (!trial_hit() || trial->harmless))
		trial_fails("it fails with nothing that should make it fail: %s", trial->words);
	trial->words[0] = '\0';
	if (!call_once(arg) && !(trial_hit() && strstr(trial->words, "refuses io_uring")))
		trial_fails("it fails again although memory is back: %s", trial->words);
}

/* ---- other threads, and signals ---- */

#define THREAD_SENDS 60

struct threaded {
	struct tn_handle *handle;
	size_t got;
	_Atomic(unsigned) sent;
	unsigned called, signalled;
	bool opened, closed;
	int err;         /* the connection's */
	_Atomic(int) rc; /* the thread's */
	char words[200];
};

static void threaded_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct threaded *)arg)->opened = true;
}

static void threaded_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	((struct threaded *)arg)->got += msg->len;
}

static void threaded_close(struct tn_conn *conn, int err, void *arg)
{
	struct threaded *t = arg;

	(void)conn;
	t->closed = true;
	t->err = err;
	if (err)
		trial_told(err, tn_errmsg());
}

static void threaded_call(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct threaded *)arg)->called++;
}

static void threaded_signal(int signo, void *arg)
{
	(void)signo;
	((struct threaded *)arg)->signalled++;
}

static void *send_from_thread(void *arg)
{
	struct threaded *t = arg;

	while (t->sent < THREAD_SENDS && t->rc >= 0) {
		t->rc = tn_handle_send(t->handle, message, 400);
		if (t->rc == TN_EFULL)
			t->rc = tn_handle_wait(t->handle, trial_patience_ms());
		else if (t->rc >= 0)
			t->sent++;
	}
	if (t->rc < 0)
		snprintf(t->words, sizeof(t->words), "%s", tn_errmsg());
	return NULL;
}

static int dial_prepared(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			 struct tn_conn **conn)
{
	struct tn_endpoint *ep;
	int rc = tn_endpoint_new(url, &ep);

	if (rc == 0) {
		rc = tn_dial_endpoint(loop, ep, handler, arg, conn);
		tn_endpoint_unref(ep);
	}
	return rc;
}

/* A prepared endpoint is dialled. A thread sends by a handle, a signal comes; then the connection goes, the loop goes,
 * and the handle stays. */
static bool threaded_once(const struct talk *talk)
{
	static const struct tn_handler handler = {
		.on_open = threaded_open, .on_msg = threaded_msg, .on_close = threaded_close};
	struct threaded t = {0};
	struct tn_server *server;
	struct tn_conn *conn = NULL;
	struct tn_loop *loop;
	uint64_t began = trial_now_ms();
	unsigned called = 0;
	pthread_t thread;
	char url[1024] = "";
	int rc, asked, changed;

	if (!new_loop(&loop, talk))
		return false;
	if (!serve(loop, talk, &server)) {
		tn_loop_free(loop);
		return false;
	}
	dial_url(talk, server, url, sizeof(url));
	rc = tn_signal_start(loop, SIGUSR1, threaded_signal, &t, NULL);
	if (rc == 0)
		rc = dial_prepared(loop, url, &handler, &t, &conn);
	if (rc == 0 && (rc = tn_conn_handle(conn, &t.handle)) < 0)
		tn_conn_detach(conn);
	if (rc < 0)
		trial_told(rc, tn_errmsg());
	else if ((changed = tn_conn_set_handler(conn, &handler, &t)) < 0)
		trial_told(changed, tn_errmsg());
	if (rc == 0 && (rc = -pthread_create(&thread, NULL, send_from_thread, &t)) < 0)
		trial_told(rc, "no thread");
	if (rc == 0) {
		raise(SIGUSR1);
		while (!t.closed && (t.sent < THREAD_SENDS || t.got < THREAD_SENDS * (size_t)400 || !t.signalled))
			if (t.rc < 0 || !turn(loop, began))
				break;
		pthread_join(thread, NULL);
		if (t.rc < 0 && t.rc != TN_ESTATE)
			trial_told(t.rc, t.words);
		else if (!t.closed && t.got < THREAD_SENDS * (size_t)400)
			trial_fails("%u sent by a thread, %zu bytes came back", t.sent, t.got);
		asked = tn_handle_call(t.handle, threaded_call, &t);
		called = asked == 0;
		if (asked < 0 && asked != TN_ESTATE)
			trial_told(asked, tn_errmsg());
		if (tn_handle_close(t.handle) == -ENOMEM)
			trial_told(-ENOMEM, tn_errmsg());
		if (tn_handle_alive(t.handle) && tn_handle_conn(t.handle))
			tn_close(conn);
		while (!t.closed)
			if (!turn(loop, began))
				trial_fails("a connection does not close");
		if (!t.err && !t.signalled)
			trial_fails("a signal was not told");
	}
	close_server(loop, server);
	tn_loop_free(loop);
	if (t.called != called)
		trial_fails("a call that was taken was not made");
	if (t.handle && (tn_handle_send(t.handle, "x", 1) != TN_ESTATE && trial_hit() == false))
		trial_fails("a handle whose loop has gone says nothing");
	tn_handle_unref(t.handle);
	return rc == 0 && t.rc >= 0 && !t.err;
}

static void run_threaded(const void *arg)
{
	bool well;

	message_make(arg);
	set_failing(true);
	well = threaded_once(arg);
	set_failing(false);
	if (!well && (!trial_hit() || trial->harmless))
		trial_fails("it fails with nothing that should make it fail: %s", trial->words);
	trial->words[0] = '\0';
	if (!threaded_once(arg) && !(trial_hit() && strstr(trial->words, "refuses io_uring")))
		trial_fails("it fails again although memory is back: %s", trial->words);
}

/* The credentials of clients, and what a thread compresses with. */
static bool keeps_memory(const struct talk *talk)
{
	return strncmp(talk->serve, "tls", 3) == 0 || strncmp(talk->serve, "dtls", 4) == 0 ||
	       strstr(talk->name, "deflate");
}

size_t talk_scenarios_make(struct scenario *out, size_t max)
{
	static char names[NTALKS * 2 + 7][40];
	size_t n = 0;

	out[n++] = (struct scenario){.name = "crowd", .run = run_crowd, .arg = talk_of("tcp"), .on_engines = true};
	out[n++] = (struct scenario){
		.name = "crowd-unix", .run = run_crowd, .arg = talk_of("unix"), .on_engines = true, .is_large = true};
	out[n++] = (struct scenario){.name = "call", .run = run_call, .arg = talk_of("u32"), .on_engines = true};
	out[n++] = (struct scenario){.name = "threads",
				     .run = run_threaded,
				     .arg = talk_of("u32"),
				     .on_engines = true,
				     .keeps_memory = true};
	out[n++] = (struct scenario){.name = "call-end", .run = run_call, .arg = talk_of("unix"), .on_engines = true};

	out[n++] = (struct scenario){
		.name = "embedded", .run = run_embedded, .arg = talk_of("u32"), .on_engines = true, .is_large = true};
	out[n++] = (struct scenario){
		.name = "embedded-udp", .run = run_embedded, .arg = talk_of("udp"), .on_engines = true};

	for (size_t i = 0; i < NTALKS && n + 2 <= max; i++) {
		snprintf(names[n], sizeof(names[n]), "%s", talks[i].name);
		out[n] = (struct scenario){.name = names[n],
					   .run = run_whole,
					   .arg = &talks[i],
					   .keeps_memory = keeps_memory(&talks[i]),
					   .on_engines = true,
					   .is_large = is_large(&talks[i])};
		n++;
		snprintf(names[n], sizeof(names[n]), "%s-guest", talks[i].name);
		out[n] = (struct scenario){.name = names[n],
					   .run = run_guest,
					   .arg = &talks[i],
					   .keeps_memory = keeps_memory(&talks[i]),
					   .on_engines = true,
					   .is_large = is_large(&talks[i])};
		n++;
	}
	return n;
}
