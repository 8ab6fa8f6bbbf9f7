/* Scenarios of the library: one serves, one dials, they talk. Whatever fails, the next ones must find all as it was. */
#include "fault.h"

#include "handler/handler.h"
#include "tenon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With %s for the test's directory, %c for that of the certificates. */
struct talk {
	const char *name, *serve, *dial_more;
	const char *handler;
	const char *text; /* each message; NULL: `size` bytes */
	size_t size;
	unsigned times;
	bool datagrams; /* may be lost */
	bool by_name;   /* dialled as localhost.localdomain or the like: see named() */
};

#define JSON "{\"name\":\"tenon\",\"list\":[1,2.5,null,true,\"text\"],\"map\":{\"a\":{\"b\":[]}}}"
#define CERT "cert=%c/a.pem&key=%c/a.key"

static const struct talk talks[] = {
	{"tcp", "tcp://127.0.0.1:0", "", "echo", NULL, 100, 3, false, false},
	{"tcp-large", "tcp://127.0.0.1:0", "", "echo", NULL, 65536, 12, false, false},
	{"tcp-localhost", "tcp://localhost:0", "", "echo", "hello", 0, 1, false, true},
	{"options", "tcp://127.0.0.1:0?keepalive=1&user_timeout=5s&idle=1m&per-source=9&accept-rate=900",
	 "?nodelay=1&rcvbuf=64KiB", "echo", "hello", 0, 2, false, false},
	{"line", "tcp://127.0.0.1:0?frame=line", "?frame=line", "echo", "one line", 0, 20, false, false},
	{"u32", "tcp://127.0.0.1:0?frame=u32", "?frame=u32", "echo", NULL, 100000, 6, false, false},
	{"cobs", "tcp://127.0.0.1:0?frame=cobs", "?frame=cobs", "echo", NULL, 3000, 6, false, false},
	{"json", "tcp://127.0.0.1:0?format=json", "?format=json", "echo", JSON, 0, 6, false, false},
	{"json-ack", "tcp://127.0.0.1:0?format=json", "?format=json", "ack", JSON, 0, 3, false, false},
	{"cbor-framed", "tcp://127.0.0.1:0?format=cbor", "?format=cbor", "echo",
	 "\x82\x01\x63"
	 "abc",
	 0, 6, false, false},
	{"msgpack", "tcp://127.0.0.1:0?format=msgpack", "?format=msgpack", "echo",
	 "\x92\x01\xa3"
	 "xyz",
	 0, 6, false, false},
	{"xml", "tcp://127.0.0.1:0?format=xml&frame=line", "?format=xml&frame=line", "echo", "<a x='1'>b<c/></a>", 0, 6,
	 false, false},
	{"unix", "unix:%s/s", "", "echo", NULL, 5000, 6, false, false},
	{"unix-seqpacket", "unix-seqpacket:%s/s", "", "echo", NULL, 5000, 6, false, false},
	{"unix-dgram", "unix-dgram:%s/s", "", "echo", NULL, 500, 3, true, false},
	{"udp", "udp://127.0.0.1:0", "", "echo", NULL, 1000, 3, true, false},
	{"udp-ack", "udp://127.0.0.1:0", "", "ack", "hello", 0, 2, true, false},
	{"exec", "tcp://127.0.0.1:0", "", "exec:cat", NULL, 3000, 3, false, false},
	{"exec-udp", "udp://127.0.0.1:0", "", "exec:cat", "hello", 0, 1, true, false},
	{"mptcp", "mptcp://127.0.0.1:0", "", "echo", "hello", 0, 1, false, false},
#ifdef TNI_HAVE_TLS
	{"tls", "tls://127.0.0.1:0?" CERT, "?ca=%c/ca.pem", "echo", NULL, 20000, 3, false, false},
	{"tls-line", "tls://127.0.0.1:0?frame=line&" CERT, "?frame=line&ca=%c/ca.pem", "echo", "a line", 0, 3, false,
	 false},
	{"tls-mutual", "tls://127.0.0.1:0?alpn=x&ca=%c/ca.pem&" CERT, "?alpn=x&ca=%c/ca.pem&" CERT, "echo", "hello", 0,
	 1, false, false},
	{"tls-psk", "tls://127.0.0.1:0?psk-file=%c/psk", "?psk-file=%c/psk&ca=%c/ca.pem", "echo", "hello", 0, 1, false,
	 false},
	{"tls-unix", "tls+unix:%s/s?" CERT, "?ca=%c/ca.pem", "echo", "hello", 0, 1, false, false},
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

static bool turn(struct tn_loop *loop, uint64_t began)
{
	uint64_t passed = trial_now_ms() - began;
	int rc = tn_loop_step(loop, 10);

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

static bool serve(struct tn_loop *loop, const struct talk *talk, struct tn_server **server)
{
	static const struct tn_watch watch = {.on_close = on_served_close, .on_trouble = on_trouble};
	const char *argument, *why;
	const struct handler_spec *handler = handler_find(talk->handler, &argument, &why);
	char url[1024] = "";
	int rc;

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

static void close_server(struct tn_loop *loop, struct tn_server *server)
{
	uint64_t began = trial_now_ms();
	bool done = false;

	tn_server_close(server, 2000, on_done, &done);
	while (!done)
		if (!turn(loop, began))
			trial_fails("the server does not end");
}

static void set_failing(bool on)
{
	failing = on;
	trial_arm(on);
}

static bool new_loop(struct tn_loop **loop)
{
	int rc = tn_loop_new(loop, trial->engine);

	if (rc < 0)
		trial_told(rc, tn_errmsg());
	return rc >= 0;
}

/* All of it: a loop, a server, a client. Returns whether all went well. */
static bool whole_once(const struct talk *talk)
{
	struct tn_server *server;
	struct tn_loop *loop;
	bool well = false;

	if (!new_loop(&loop))
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
	if (!new_loop(&loop) || !serve(loop, talk, &server))
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
	if (!new_loop(&loop) || !serve(loop, arg, &server))
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

size_t talk_scenarios_make(struct scenario *out, size_t max)
{
	static char names[NTALKS * 2 + 2][40];
	size_t n = 0;

	out[n++] = (struct scenario){.name = "crowd", .run = run_crowd, .arg = talk_of("tcp"), .on_engines = true};
	out[n++] = (struct scenario){
		.name = "crowd-unix", .run = run_crowd, .arg = talk_of("unix"), .on_engines = true, .is_large = true};

	for (size_t i = 0; i < NTALKS && n + 2 <= max; i++) {
		snprintf(names[n], sizeof(names[n]), "%s", talks[i].name);
		out[n] = (struct scenario){.name = names[n],
					   .run = run_whole,
					   .arg = &talks[i],
					   .on_engines = true,
					   .is_large = is_large(&talks[i])};
		n++;
		snprintf(names[n], sizeof(names[n]), "%s-guest", talks[i].name);
		out[n] = (struct scenario){.name = names[n],
					   .run = run_guest,
					   .arg = &talks[i],
					   .on_engines = true,
					   .is_large = is_large(&talks[i])};
		n++;
	}
	return n;
}
