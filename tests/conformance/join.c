/*
 * tn_join(): a client, a relay of two joined connections, and a target, all on one loop. Every pair of kinds, every
 * order of ends, limits and queues that differ, and what cannot be joined.
 */
#include "harness.h"

#include "../support/certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 300000
#define MESSAGE 3000 /* where messages are kept, each is up to so long */

/* One of the two programs that speak through the relay. */
struct side {
	const char *name;
	struct world *w;
	struct tn_conn *conn;
	uint64_t size; /* what it sends */
	uint64_t sent, got;
	uint64_t nsent, ngot; /* messages, where they are kept */
	bool messages;
	bool answers; /* ends its direction only when the other has ended */
	bool stays;   /* does not end its direction */
	bool wrong;
	int opens, ends, closes, err;
};

/* One of the two connections of the relay. */
struct leg {
	struct tn_conn *conn;
	int opens, closes, others, err;
	char words[256];
};

struct world {
	struct tn_loop *loop;
	struct tn_server *front, *back;
	struct side client, target;
	struct leg near, far; /* accepted from the client, dialled to the target */
	const char *far_keys;
	const char *front_frame, *back_frame; /* keys of their URLs, which tn_server_url() does not tell */
	bool late;                            /* joined by the test itself */
	int joined;
};

static char certs_dir[64];

static void make_certs(void)
{
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-join-XXXXXX");
	assert_non_null(mkdtemp(certs_dir));
	certs_make(certs_dir, "ca", NULL, NULL, -1, 10);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 10);
}

/* ---- the programs ---- */

/* Lengths that repeat with no period of a power of two. */
static size_t message_len(uint64_t n)
{
	return 1 + n * 977 % MESSAGE;
}

static void send_more(struct side *s)
{
	unsigned char bytes[MESSAGE];
	int rc = 0;

	while (rc == 0 && s->sent < s->size) {
		size_t len = s->messages ? message_len(s->nsent) : sizeof(bytes);

		if (len > s->size - s->sent)
			len = s->size - s->sent;
		th_fill(bytes, len, s->sent);
		rc = tn_send(s->conn, bytes, len);
		if (rc >= 0) {
			s->sent += len;
			s->nsent++;
		}
	}
	assert_true(rc >= 0 || rc == TN_ESTATE);
	if (s->sent == s->size && !s->stays && (!s->answers || s->ends))
		tn_finish(s->conn);
}

static void on_side_open(struct tn_conn *conn, void *arg)
{
	struct world *w = arg;
	struct side *s = tn_conn_server(conn) ? &w->target : &w->client;

	s->opens++;
	s->conn = conn;
	tn_conn_set_data(conn, s);
	if (!s->answers)
		send_more(s);
}

static void on_side_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct side *s = tn_conn_data(conn);
	uint64_t total = (s == &s->w->client ? &s->w->target : &s->w->client)->size;
	size_t len = message_len(s->ngot++);

	(void)arg;
	if (s->messages)
		s->wrong = s->wrong || msg->len != (len < total - s->got ? len : total - s->got);
	s->wrong = s->wrong || !th_matches(msg->data, msg->len, s->got);
	s->got += msg->len;
}

static void on_side_drain(struct tn_conn *conn, void *arg)
{
	(void)arg;
	send_more(tn_conn_data(conn));
}

static void on_side_end(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	s->ends++;
	if (s->answers)
		send_more(s);
}

static void on_side_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *s = tn_conn_data(conn) ? tn_conn_data(conn) : &((struct world *)arg)->client;

	(void)conn;
	s->closes++;
	s->err = err;
	s->conn = NULL;
}

/* ---- the relay ---- */

static struct leg *leg_of(struct tn_conn *conn, struct world *w)
{
	return tn_conn_server(conn) ? &w->near : &w->far;
}

static void on_leg_other(struct tn_conn *conn, void *arg)
{
	leg_of(conn, arg)->others++;
}

static void on_leg_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)msg;
	leg_of(conn, arg)->others++;
}

static void on_leg_close(struct tn_conn *conn, int err, void *arg)
{
	struct leg *leg = leg_of(conn, arg);

	snprintf(leg->words, sizeof(leg->words), "%s", tn_errmsg());
	leg->closes++;
	leg->err = err;
	leg->conn = NULL;
}

static void on_far_open(struct tn_conn *conn, void *arg)
{
	leg_of(conn, arg)->opens++;
}

static const struct tn_handler far_handler = {.on_open = on_far_open,
					      .on_msg = on_leg_msg,
					      .on_drain = on_leg_other,
					      .on_end = on_leg_other,
					      .on_cut = on_leg_other,
					      .on_close = on_leg_close};

static void full_url(const char *url, const char *keys, char *out, size_t cap)
{
	bool secured = tn_url_kind(url) & TN_URL_SECURE;
	char certs[256] = "";

	if (secured)
		snprintf(certs, sizeof(certs), "cert=%1$s/peer.pem&key=%1$s/peer.key&ca=%1$s/ca.pem&", certs_dir);
	snprintf(out, cap, "%s%c%s%s", url, strchr(url, '?') ? '&' : '?', certs, keys);
	for (char *last = out + strlen(out) - 1; *last == '?' || *last == '&'; last--)
		*last = '\0';
}

static void dial(struct world *w, struct tn_server *server, const char *keys, const struct tn_handler *handler,
		 struct tn_conn **conn)
{
	char url[1024], both[512];

	const char *frame = server == w->front ? w->front_frame : w->back_frame;

	snprintf(both, sizeof(both), "%s%s%s", frame, *frame && *keys ? "&" : "", keys);
	full_url(tn_server_url(server, 0), both, url, sizeof(url));
	if (tn_dial(w->loop, url, handler, w, conn) < 0)
		fail_msg("%s", tn_errmsg());
}

static void on_near_open(struct tn_conn *conn, void *arg)
{
	struct world *w = arg;

	w->near.opens++;
	w->near.conn = conn;
	if (w->late)
		return;
	/* Before it is open */
	dial(w, w->back, w->far_keys, &far_handler, &w->far.conn);
	if (tn_join(conn, w->far.conn) < 0)
		fail_msg("%s", tn_errmsg());
	w->joined++;
}

static const struct tn_handler near_handler = {.on_open = on_near_open,
					       .on_msg = on_leg_msg,
					       .on_drain = on_leg_other,
					       .on_end = on_leg_other,
					       .on_cut = on_leg_other,
					       .on_close = on_leg_close};

static const struct tn_handler side_handler = {.on_open = on_side_open,
					       .on_msg = on_side_msg,
					       .on_drain = on_side_drain,
					       .on_end = on_side_end,
					       .on_close = on_side_close};

/* What a world is made of. */
struct made {
	const char *front, *front_keys, *back, *back_keys; /* URLs with %s for the directory, and keys of the relay's */
	bool messages;
};

static void serve(struct world *w, const char *url, const char *keys, const struct tn_handler *handler,
		  struct tn_server **server)
{
	char path[512], full[1024];

	snprintf(path, sizeof(path), url, th_dir);
	full_url(path, keys, full, sizeof(full));
	if (tn_serve(w->loop, full, handler, w, server) < 0)
		fail_msg("%s", tn_errmsg());
}

static const char *keys_of(const char *url)
{
	return strchr(url, '?') ? strchr(url, '?') + 1 : "";
}

static void begin(struct world *w, const struct made *made, uint64_t up, uint64_t down)
{
	*w = (struct world){.loop = th_loop(),
			    .far_keys = made->back_keys,
			    .front_frame = keys_of(made->front),
			    .back_frame = keys_of(made->back)};
	w->client = (struct side){.name = "client", .w = w, .size = up, .messages = made->messages};
	w->target = (struct side){.name = "target", .w = w, .size = down, .messages = made->messages};
	serve(w, made->back, "", &side_handler, &w->back);
	serve(w, made->front, made->front_keys, &near_handler, &w->front);
}

static void start(struct world *w)
{
	dial(w, w->front, "", &side_handler, &w->client.conn);
	tn_conn_set_data(w->client.conn, &w->client);
}

static bool all_closed(const struct world *w)
{
	return w->client.closes && w->target.closes && w->near.closes && w->far.closes;
}

static void finish(struct world *w)
{
	tn_loop_free(w->loop);
	assert_false(w->client.wrong);
	assert_false(w->target.wrong);
	assert_int_equal(w->near.others, 0);
	assert_int_equal(w->far.others, 0);
	assert_true(w->near.closes <= 1 && w->far.closes <= 1);
}

/* Everything has come, and all four ends are in good order. */
static void check_all_came(const struct world *w)
{
	assert_int_equal(w->client.got, w->target.size);
	assert_int_equal(w->target.got, w->client.size);
	if (w->client.messages) {
		assert_int_equal(w->client.ngot, w->target.nsent);
		assert_int_equal(w->target.ngot, w->client.nsent);
	}
	assert_int_equal(w->client.err, 0);
	assert_int_equal(w->target.err, 0);
	assert_int_equal(w->near.err, 0);
	assert_int_equal(w->far.err, 0);
	assert_int_equal(w->client.ends, 1);
	assert_int_equal(w->target.ends, 1);
}

/* ---- pairs ---- */

static const char *const bytes[] = {"tcp://127.0.0.1:0", "unix:%s/s", "tls://127.0.0.1:0", "tls+unix:%s/s"};
static const char *const messages[] = {"tcp://127.0.0.1:0?frame=u32", "unix-seqpacket:%s/s",
				       "tls://127.0.0.1:0?frame=varint", "unix:%s/s?frame=cobs"};
#ifdef TNI_HAVE_SHM
/* Through memory on either side, or on both: nothing is spliced there. */
static const struct made memory[] = {{"shm:%s/s", "", "tcp://127.0.0.1:0", "", false},
				     {"unix:%s/s", "", "shm:%s/s2", "", false},
				     {"shm:%s/s", "", "shm:%s/s2", "", false},
				     {"shm:%s/s?frame=u32", "", "tcp://127.0.0.1:0?frame=u32", "", true}};
#endif

enum { KINDS = 4 };

static void play_pair(const struct made *made, int order)
{
	struct world w;

	begin(&w, made, SIZE, SIZE / 2);
	w.client.answers = order == 1;
	w.target.answers = order == 2;
	start(&w);
	th_until(w.loop, all_closed(&w));
	check_all_came(&w);
	finish(&w);
}

/* Whoever ends first: both at once, the target, the client. */
static void play_pairs(const char *const urls[KINDS], bool keeps)
{
	make_certs();
	for (int i = 0; i < KINDS * KINDS * 3; i++) {
		/* Two servers of one directory have two names */
		char back[128];
		const char *url = urls[i / KINDS % KINDS], *name = strstr(url, "%s/s");

		snprintf(back, sizeof(back), "%.*s%s%s", (int)(name ? name + 4 - url : (int)strlen(url)), url,
			 name ? "2" : "", name ? name + 4 : "");
		play_pair(&(struct made){urls[i % KINDS], "", back, "", keeps}, i / KINDS / KINDS);
	}
	certs_remove(certs_dir);
}

static void test_bytes(void **state)
{
	(void)state;
	play_pairs(bytes, false);
}

#ifdef TNI_HAVE_SHM

static void test_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]) * 3; i++)
		play_pair(&memory[i / 3], (int)i % 3);
}

#endif

static void test_messages(void **state)
{
	(void)state;
	play_pairs(messages, true);
}

static const struct made tcp = {"tcp://127.0.0.1:0", "", "tcp://127.0.0.1:0", "", false};

/* A queue that is shorter than what the other side's reads bring, on either side. */
static void test_queues_that_differ(void **state)
{
	static const char *const keys[][2] = {{"queue=1KiB", ""},
					      {"", "queue=1KiB"},
					      {"queue=1KiB", "queue=4MiB"},
					      {"queue=1MiB&sndbuf=4KiB", "queue=2KiB&rcvbuf=4KiB"}};
	struct made made = tcp;

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		made.front_keys = keys[i][0];
		made.back_keys = keys[i][1];
		play_pair(&made, (int)i % 3);
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) - 1; i++)
		play_pair(&(struct made){"tcp://127.0.0.1:0?frame=u16", keys[i][0], "unix:%s/s?frame=u32", keys[i][1],
					 true},
			  (int)i % 3);
}

/* ---- errors ---- */

/* The target reads nothing; what has come before the client's reset reaches it all the same, and no end in good order.
 */
static void play_reset(const struct made *made)
{
	struct tn_conn_info info = {0};
	struct world w;

	begin(&w, made, 60000, 0);
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, w.target.conn && w.near.conn);
	tn_pause(w.target.conn);
	for (uint64_t until = th_now_ms() + TH_PATIENCE_MS; info.bytes_in < 60000 && th_now_ms() < until;) {
		assert_true(tn_loop_step(w.loop, 5) >= 0);
		tn_conn_info(w.near.conn, &info);
	}
	tn_abort(w.client.conn, -ECANCELED);
	th_until(w.loop, w.near.closes);
	assert_true(w.near.err < 0);
	if (w.target.conn)
		tn_resume(w.target.conn);
	th_until(w.loop, all_closed(&w));
	assert_int_equal(w.target.got, 60000);
	assert_int_equal(w.target.ends, 0);
	assert_int_equal(w.target.err, -ECONNRESET);
	assert_int_equal(w.far.err, w.near.err);
	assert_non_null(strstr(w.far.words, tn_strerror(w.near.err)));
	finish(&w);
}

static void test_reset_of_the_client(void **state)
{
	struct made made = tcp;

	(void)state;
	play_reset(&made);
	made.back_keys = "queue=1KiB&sndbuf=4KiB";
	made.front_keys = "queue=1MiB";
	play_reset(&made);
}

static void test_reset_of_the_target(void **state)
{
	struct world w;

	(void)state;
	begin(&w, &tcp, 1000, 50000);
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, w.client.got == 50000 && w.target.got == 1000);
	tn_abort(w.target.conn, -ECANCELED);
	th_until(w.loop, all_closed(&w));
	assert_int_equal(w.client.err, -ECONNRESET);
	assert_int_equal(w.client.ends, 0);
	assert_int_equal(w.near.err, w.far.err);
	finish(&w);
}

/* Nobody is where the relay dials to. */
static void test_target_that_is_not_there(void **state)
{
	struct world w;
	int port, fd;
	char url[64];

	(void)state;
	begin(&w, &tcp, 1000, 0);
	w.late = true;
	start(&w);
	th_until(w.loop, w.near.conn);
	fd = th_tcp_listener(1, &port);
	close(fd);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
	assert_int_equal(tn_dial(w.loop, url, &far_handler, &w, &w.far.conn), 0);
	w.near.others = 0; /* it has had messages */
	assert_int_equal(tn_join(w.near.conn, w.far.conn), 0);
	th_until(w.loop, w.client.closes && w.near.closes && w.far.closes);
	assert_int_equal(w.far.err, -ECONNREFUSED);
	assert_int_equal(w.near.err, -ECONNREFUSED);
	assert_int_equal(w.client.err, -ECONNRESET);
	assert_int_equal(w.far.opens, 0);
	finish(&w);
}

/* A message that the other side cannot carry: those before it arrive, then both are reset. */
static void test_message_that_does_not_fit(void **state)
{
	static const struct made made = {"tcp://127.0.0.1:0?frame=u32", "", "tcp://127.0.0.1:0?frame=u32", "max=2000",
					 true};
	struct world w;

	(void)state;
	begin(&w, &made, 20000, 0); /* 1, 978, 1955, 2932: the fourth is too long */
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, all_closed(&w));
	assert_int_equal(w.target.ngot, 3);
	assert_int_equal(w.near.err, TN_ETOOBIG);
	assert_int_equal(w.far.err, TN_ETOOBIG);
	assert_int_equal(w.target.ends, 0);
	assert_int_equal(w.target.err, -ECONNRESET);
	assert_int_equal(w.client.err, -ECONNRESET);
	finish(&w);
}

/* The bytes of the client end without its close_notify: the target must not take them for all. */
static void test_cut(void **state)
{
	static const struct made made = {"tls://127.0.0.1:0", "", "tcp://127.0.0.1:0", "", false};
	struct tn_conn_info info;
	struct world w;

	(void)state;
	make_certs();
	begin(&w, &made, 1000, 0);
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, w.target.got == 1000);
	tn_conn_info(w.client.conn, &info);
	shutdown(info.fd, SHUT_WR);
	th_until(w.loop, w.target.closes && w.near.closes && w.far.closes);
	assert_int_equal(w.near.err, TN_ECUT);
	assert_int_equal(w.far.err, TN_ECUT);
	assert_int_equal(w.target.ends, 0);
	assert_int_equal(w.target.err, -ECONNRESET);
	finish(&w);
	certs_remove(certs_dir);
}

/* ---- closing, pausing, sending ---- */

static void test_closing_one_closes_the_other(void **state)
{
	struct world w;

	(void)state;
	for (int which = 0; which < 4; which++) {
		begin(&w, &tcp, 1000, 1000);
		w.client.stays = w.target.stays = true;
		start(&w);
		th_until(w.loop, w.client.got == 1000 && w.target.got == 1000);
		if (which & 2)
			tn_abort(which & 1 ? w.near.conn : w.far.conn, -EIO);
		else
			tn_close(which & 1 ? w.near.conn : w.far.conn);
		th_until(w.loop, w.near.closes && w.far.closes);
		assert_int_equal(w.near.err, which & 2 ? -EIO : 0);
		assert_int_equal(w.far.err, which & 2 ? -EIO : 0);
		th_until(w.loop, which & 2 ? all_closed(&w) : w.client.ends && w.target.ends);
		finish(&w);
	}
}

static void test_pause_and_send(void **state)
{
	struct tn_conn_info near, far;
	struct world w;

	(void)state;
	begin(&w, &tcp, 100000, 0);
	w.client.stays = w.target.stays = true;
	w.late = true;
	start(&w);
	th_until(w.loop, w.near.conn);
	tn_pause(w.near.conn);
	w.near.others = 0;
	dial(&w, w.back, "", &far_handler, &w.far.conn);
	w.client.size = w.client.sent; /* no more than it has sent by now */
	assert_int_equal(tn_join(w.near.conn, w.far.conn), 0);
	th_until(w.loop, w.target.conn);
	th_turn_for(w.loop, 30);
	assert_int_equal(w.target.got, 0);
	tn_resume(w.near.conn);
	th_until(w.loop, w.target.got == w.client.sent);
	tn_conn_info(w.near.conn, &near);
	tn_conn_info(w.far.conn, &far);
	assert_int_equal(near.bytes_in, w.client.sent);
	assert_int_equal(far.bytes_out, w.client.sent);
	assert_int_equal(near.bytes_out, 0);
	/* What the relay itself says goes along */
	w.target.size = 1;
	assert_int_equal(tn_send(w.near.conn, "", 1), 0);
	th_until(w.loop, w.client.got == 1);
	finish(&w);
}

/* What on_msg is called with is its own to pass on; everything behind it is the path's. */
static void on_first_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct world *w = arg;

	assert_int_equal(w->joined++, 0);
	dial(w, w->back, "", &far_handler, &w->far.conn);
	assert_int_equal(tn_join(conn, w->far.conn), 0);
	assert_true(tn_forward(w->far.conn, msg) >= 0);
}

static void test_join_inside_on_msg(void **state)
{
	struct tn_handler handler = near_handler;
	struct world w;

	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct made made = tcp;

		made.messages = framed;
		if (framed)
			made.front = made.back = "tcp://127.0.0.1:0?frame=u32";
		begin(&w, &made, SIZE, SIZE);
		tn_server_close(w.front, 0, NULL, NULL);
		w.late = true;
		handler.on_msg = on_first_msg;
		serve(&w, made.front, "", &handler, &w.front);
		w.target.answers = true;
		start(&w);
		th_until(w.loop, all_closed(&w));
		check_all_came(&w);
		finish(&w);
	}
}

/* The end has been told before they are joined. */
static void test_end_before_joining(void **state)
{
	struct world w;

	(void)state;
	begin(&w, &tcp, 0, 5000);
	w.late = true;
	w.target.answers = true;
	start(&w);
	th_until(w.loop, w.near.others == 1);
	w.near.others = 0;
	dial(&w, w.back, "", &far_handler, &w.far.conn);
	assert_int_equal(tn_join(w.near.conn, w.far.conn), 0);
	th_until(w.loop, all_closed(&w));
	check_all_came(&w);
	finish(&w);
}

/* In on_close of one the other may be joined with a third. */
static void on_lost_far(struct tn_conn *conn, int err, void *arg)
{
	struct world *w = arg;

	(void)conn;
	assert_true(err < 0);
	w->far.conn = NULL;
	w->target.got = 0;
	w->target.closes = 0;
	dial(w, w->back, "", &far_handler, &w->far.conn);
	assert_int_equal(tn_join(w->near.conn, w->far.conn), 0);
	w->joined++;
}

static void test_joined_anew(void **state)
{
	static const struct tn_handler lost = {.on_close = on_lost_far};
	struct world w;

	(void)state;
	begin(&w, &tcp, 0, 7000);
	w.late = true;
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, w.near.conn);
	dial(&w, w.back, "", &lost, &w.far.conn);
	assert_int_equal(tn_join(w.near.conn, w.far.conn), 0);
	th_until(w.loop, w.client.got == 7000);
	w.client.got = 0;
	w.target.sent = w.target.nsent = 0;
	tn_abort(w.target.conn, -ECANCELED);
	th_until(w.loop, w.joined == 1 && w.client.got == 7000);
	assert_int_equal(w.near.closes, 0);
	w.client.stays = w.target.stays = false;
	send_more(&w.client);
	send_more(&w.target);
	th_until(w.loop, w.client.closes && w.near.closes && w.far.closes);
	assert_int_equal(w.near.err, 0);
	assert_int_equal(w.far.err, 0);
	finish(&w);
}

/* ---- a server that drains ---- */

static void on_done(void *arg)
{
	++*(int *)arg;
}

/* The client waits for a reply that the target takes its time for: the relay's server is told to stop meanwhile. */
static void test_drain_waits_for_the_target(void **state)
{
	struct world w;
	int done = 0;

	(void)state;
	begin(&w, &tcp, 100, 5000);
	w.target.answers = true;
	w.client.stays = true;
	start(&w);
	th_until(w.loop, w.target.got == 100);
	tn_server_close(w.front, 1000000, on_done, &done);
	th_turn_for(w.loop, 300);
	assert_int_equal(w.client.closes, 0);
	w.client.stays = false;
	send_more(&w.client);
	th_until(w.loop, all_closed(&w) && done);
	check_all_came(&w);
	finish(&w);
}

/* ---- splice ---- */

static int count_pipes(void)
{
	char path[300], target[64];
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		len = readlink(path, target, sizeof(target));
		n += len > 5 && !memcmp(target, "pipe:", 5);
	}
	closedir(dir);
	return n;
}

/* Much in one direction, little in the other. Whether a pipe was seen. */
static bool uses_pipes(const struct made *made)
{
	struct world w;
	int pipes = 0, before = count_pipes(), mine;

	begin(&w, made, (8 << 20), 1000);
	w.target.answers = true;
	start(&w);
	while (!all_closed(&w)) {
		assert_true(tn_loop_step(w.loop, 5) >= 0);
		mine = count_pipes() - before;
		pipes = mine > pipes ? mine : pipes;
	}
	check_all_came(&w);
	finish(&w);
	return pipes > 0;
}

/* The programs send 3000 bytes at a time: what the relay reads at once is as much as has gathered. On a machine that
 * gives it each piece alone that is no bulk, so it may take another try. */
static void expect_pipes(const struct made *made)
{
	for (int tries = 0; tries < 20; tries++)
		if (uses_pipes(made))
			return;
	fail_msg("it never goes through pipes");
}

static void test_bulk_goes_through_pipes(void **state)
{
	struct made unix_to_tcp = {"unix:%s/s", "", "tcp://127.0.0.1:0", "", false};

	(void)state;
	if (strncmp(th_engine, "epoll", 5) != 0 && strncmp(th_engine, "uring", 5) != 0)
		skip();
	expect_pipes(&tcp);
	expect_pipes(&unix_to_tcp);
	assert_false(
		uses_pipes(&(struct made){"tcp://127.0.0.1:0?frame=u32", "", "tcp://127.0.0.1:0?frame=u32", "", true}));
}

/* Without descriptors for pipes it is copied. */
static void test_bulk_without_pipes(void **state)
{
	struct rlimit before, few;
	struct world w;

	(void)state;
	begin(&w, &tcp, (4 << 20), 1000);
	w.target.answers = true;
	start(&w);
	th_until(w.loop, w.target.conn && w.far.opens);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)th_count_fds();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (!all_closed(&w) && tn_loop_step(w.loop, 5) >= 0)
		;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	check_all_came(&w);
	finish(&w);
}

/* A reset while a pipe is full: what is in it still goes out, an error follows. */
static void test_reset_while_splicing(void **state)
{
	struct made made = {"tcp://127.0.0.1:0", "", "tcp://127.0.0.1:0", "sndbuf=8KiB", false};
	struct world w;

	(void)state;
	for (int by_target = 0; by_target < 2; by_target++) {
		begin(&w, &made, 64 << 20, 0);
		w.client.stays = w.target.stays = true;
		start(&w);
		th_until(w.loop, w.target.got > (2 << 20));
		tn_pause(w.target.conn);
		th_turn_for(w.loop, 20);
		tn_abort(by_target ? w.target.conn : w.client.conn, -ECANCELED);
		if (!by_target)
			tn_resume(w.target.conn);
		th_until(w.loop, all_closed(&w));
		assert_true(w.near.err < 0 && w.far.err < 0);
		assert_int_equal(w.target.ends + w.client.ends, 0);
		finish(&w);
	}
}

/* The source of a path closes while a pipe is full: what is in it goes out before anything that is sent from then on.
 */
struct handover {
	struct tn_conn *to, *third;
	int closes;
};

static void on_source_close(struct tn_conn *conn, int err, void *arg)
{
	struct handover *h = arg;

	(void)conn;
	assert_int_equal(err, 0);
	h->closes++;
	if (h->third)
		assert_int_equal(tn_flow(h->third, h->to, NULL, NULL), 0);
	else
		assert_true(tn_send(h->to, "last", 4) >= 0);
}

static void dial_pair(struct tn_loop *loop, bool tcp_pair, const struct tn_handler *handler, void *arg, int *peer,
		      struct tn_conn **conn)
{
	char url[32];
	int pair[2];

	if (tcp_pair)
		th_tcp_pair(pair);
	else
		th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[0]); /* only then an inherited socket is spliced */
	th_set_nonblock(pair[1]);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	if (tn_dial(loop, url, handler, arg, conn) < 0)
		fail_msg("%s", tn_errmsg());
	*peer = pair[1];
}

/* What the peer of a sink has read. */
struct reader {
	int fd;
	size_t len;
	bool over;
	char data[16 << 20];
};

static struct reader reader;

/* Not by assigning a whole one: without optimization that is made on the stack. */
static void reader_begin(int fd)
{
	memset(&reader, 0, sizeof(reader));
	reader.fd = fd;
}

static void read_more(void)
{
	ssize_t n = read(reader.fd, reader.data + reader.len, sizeof(reader.data) - reader.len);

	reader.len += n > 0 ? (size_t)n : 0;
	reader.over = n == 0;
}

/*
 * Fills a path until nothing goes into it any more, for so many turns and so long: a read that found no memory is tried
 * again after a while. `by_pipe`: its peer reads until a pipe is in use.
 */
static void fill_path(struct tn_loop *loop, int in, bool by_pipe)
{
	size_t wrote = 0;
	static unsigned char data[65536];
	int before = count_pipes();
	bool piped = !by_pipe;
	uint64_t since = th_now_ms();

	th_fill(data, sizeof(data), 0);
	for (int still = 0; still < 500 || th_now_ms() - since < 50; still++) {
		ssize_t n = write(in, data, sizeof(data));

		if (n > 0) {
			still = 0;
			since = th_now_ms();
			wrote += (size_t)n;
			th_fill(data, sizeof(data), wrote);
		}
		assert_true(tn_loop_step(loop, 0) >= 0);
		piped = piped || count_pipes() > before || wrote > (4 << 20);
		if (!piped)
			read_more();
	}
	/* Other engines read too little at a time to make sure of it. */
	if (by_pipe && (strcmp(th_engine, "epoll") == 0 || strcmp(th_engine, "uring") == 0))
		assert_true(count_pipes() > before);
}

static void play_handover(bool tcp_pair, bool to_third)
{
	static const struct tn_handler source = {.on_close = on_source_close}, none = {0};
	struct tn_loop *loop = th_loop();
	struct handover h = {0};
	struct tn_conn *from;
	int in, third = -1;
	size_t least;

	reader_begin(-1);
	dial_pair(loop, tcp_pair, &source, &h, &in, &from);
	dial_pair(loop, tcp_pair, &none, NULL, &reader.fd, &h.to);
	if (to_third)
		dial_pair(loop, tcp_pair, &none, NULL, &third, &h.third);
	assert_int_equal(tn_flow(from, h.to, NULL, NULL), 0);
	fill_path(loop, in, true);
	least = reader.len + tn_conn_queued(h.to);
	assert_true(least > reader.len);
	tn_close(from);
	close(in);
	th_until(loop, h.closes);
	if (to_third) {
		assert_int_equal(write(third, "last", 4), 4);
		close(third);
	}
	while (!reader.over) {
		read_more();
		assert_true(tn_loop_step(loop, 1) >= 0);
	}
	assert_true(reader.len >= least + 4);
	assert_true(th_matches(reader.data, reader.len - 4, 0));
	assert_memory_equal(reader.data + reader.len - 4, "last", 4);
	close(reader.fd);
	tn_loop_free(loop);
}

static void test_source_closes_before_a_full_pipe(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		play_handover(i & 1, i & 2);
}

/* ---- key idle ---- */

/* A source that only its slow sink holds back is not idle. One whose sink takes nothing at all is. */
#define IDLE_MS 1000

static void on_idle_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err ? err : 1;
}

static void test_source_behind_a_slow_sink_is_not_idle(void **state)
{
	static const struct tn_handler source = {.on_close = on_idle_close}, none = {0};
	struct tn_loop *loop = th_loop();
	uint64_t since, last, now, longest = 0;
	int in[2], out[2], closed = 0;
	struct tn_conn *from, *to;
	char url[64];

	(void)state;
	th_pair(SOCK_STREAM, in); /* these block: they are not spliced, and what is held back stands in the queue */
	th_pair(SOCK_STREAM, out);
	th_set_nonblock(in[1]);
	th_set_nonblock(out[1]);
	snprintf(url, sizeof(url), "fd:%d?idle=%dms", in[0], IDLE_MS);
	assert_int_equal(tn_dial(loop, url, &source, &closed, &from), 0);
	snprintf(url, sizeof(url), "fd:%d?queue=8MiB", out[0]);
	assert_int_equal(tn_dial(loop, url, &none, NULL, &to), 0);
	assert_int_equal(tn_flow(from, to, NULL, NULL), 0);
	fill_path(loop, in[1], false);
	assert_true(tn_conn_queued(to) >= (8 << 20));
	reader_begin(out[1]);
	/* 4 MiB are to be read before the source is let go: that takes longer than it may be idle. */
	for (last = since = th_now_ms(); last < since + 3 * IDLE_MS && !closed && tn_conn_queued(to) > (5 << 20);
	     last = now) {
		for (int i = 0; i < 4; i++)
			read_more();
		th_turn_for(loop, 60);
		now = th_now_ms();
		longest = now - last > longest ? now - last : longest;
	}
	if (longest < IDLE_MS / 2) /* otherwise the machine was too busy to tell */
		assert_int_equal(closed, 0);
	th_until(loop, closed);
	assert_int_equal(closed, TN_EIDLE);
	close(in[1]);
	close(out[1]);
	tn_loop_free(loop);
}

/* ---- pipes and files: a path of three ---- */

struct three {
	struct tn_loop *loop;
	int closes[3], errs[3];
	struct tn_conn *conns[3];
};

static void on_three_close(struct tn_conn *conn, int err, void *arg)
{
	struct three *t = arg;

	for (int i = 0; i < 3; i++) {
		if (t->conns[i] != conn)
			continue;
		t->closes[i]++;
		t->errs[i] = err;
		t->conns[i] = NULL;
	}
}

static const struct tn_handler three_handler = {.on_close = on_three_close};

static void dial_fd(struct three *t, int i, int fd)
{
	char url[32];

	snprintf(url, sizeof(url), "fd:%d", fd);
	if (tn_dial(t->loop, url, &three_handler, t, &t->conns[i]) < 0)
		fail_msg("%s", tn_errmsg());
}

/* A file goes in, a socket's echo comes out through a pipe. */
static void test_input_socket_output(void **state)
{
	struct three t = {.loop = th_loop()};
	unsigned char data[50000], back[50000];
	int pair[2], out[2], file;
	char path[128];
	size_t got = 0, echoed = 0;
	ssize_t n;
	bool ended = false, over = false;

	(void)state;
	snprintf(path, sizeof(path), "%s/in", th_dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	th_fill(data, sizeof(data), 0);
	assert_int_equal(write(file, data, sizeof(data)), sizeof(data));
	close(file);
	file = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[1]);
	assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
	dial_fd(&t, 0, file);
	dial_fd(&t, 1, pair[0]);
	dial_fd(&t, 2, out[1]);
	assert_int_equal(tn_join(t.conns[0], t.conns[1]), 0);
	assert_int_equal(tn_join(t.conns[1], t.conns[2]), 0);
	/* Each direction has its path */
	assert_int_equal(tn_join(t.conns[0], t.conns[2]), -EBUSY);
	assert_int_equal(tn_join(t.conns[2], t.conns[1]), -EBUSY);
	while (!over) {
		assert_true(tn_loop_step(t.loop, 1) >= 0);
		n = ended ? -1 : read(pair[1], back, sizeof(back));
		if (n > 0)
			assert_int_equal(write(pair[1], back, (size_t)n), n);
		if (n > 0)
			echoed += (size_t)n;
		if (n == 0) {
			ended = true;
			shutdown(pair[1], SHUT_WR);
		}
		n = read(out[0], back, sizeof(back));
		if (n > 0)
			assert_true(th_matches(back, (size_t)n, got));
		if (n > 0)
			got += (size_t)n;
		over = n == 0;
	}
	assert_int_equal(echoed, sizeof(data));
	assert_int_equal(got, sizeof(data));
	th_until(t.loop, t.closes[0] && t.closes[1] && t.closes[2]);
	assert_int_equal(t.errs[0] | t.errs[1] | t.errs[2], 0);
	close(pair[1]);
	close(out[0]);
	tn_loop_free(t.loop);
}

/* ---- what cannot be joined ---- */

static void test_what_cannot_be_joined(void **state)
{
	struct tn_loop *other = th_loop();
	struct tn_conn *framed, *dgram, *far, *closing, *ended, *third;
	struct tn_server *udp;
	int port, fd = th_tcp_listener(8, &port);
	char url[64], framed_url[64];
	struct world w;

	(void)state;
	begin(&w, &tcp, 1000, 1000);
	w.client.stays = w.target.stays = true;
	start(&w);
	th_until(w.loop, w.near.conn && w.target.got == 1000);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
	snprintf(framed_url, sizeof(framed_url), "tcp://127.0.0.1:%d?frame=u32", port);
	assert_int_equal(tn_dial(w.loop, framed_url, &(struct tn_handler){0}, NULL, &framed), 0);
	assert_int_equal(tn_dial(w.loop, "udp://127.0.0.1:9", &(struct tn_handler){0}, NULL, &dgram), 0);
	assert_int_equal(tn_dial(other, url, &(struct tn_handler){0}, NULL, &far), 0);
	assert_int_equal(tn_dial(w.loop, url, &(struct tn_handler){0}, NULL, &closing), 0);
	assert_int_equal(tn_dial(w.loop, url, &(struct tn_handler){0}, NULL, &ended), 0);
	assert_int_equal(tn_dial(w.loop, url, &(struct tn_handler){0}, NULL, &third), 0);
	assert_int_equal(tn_send(closing, "x", 1), 0);
	tn_close(closing);
	assert_int_equal(tn_finish(ended), 0);
	assert_int_equal(tn_join(w.near.conn, w.near.conn), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "itself"));
	assert_int_equal(tn_join(w.near.conn, third), -EBUSY);
	assert_non_null(strstr(tn_errmsg(), "joined already"));
	assert_int_equal(tn_join(third, w.far.conn), -EBUSY);
	assert_int_equal(tn_join(third, framed), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "messages"));
	assert_int_equal(tn_join(dgram, third), -EINVAL);
	assert_int_equal(tn_join(framed, dgram), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "datagrams"));
	assert_int_equal(tn_join(third, far), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "loop"));
	assert_int_equal(tn_join(third, closing), TN_ESTATE);
	assert_int_equal(tn_join(closing, third), TN_ESTATE);
	assert_int_equal(tn_join(third, ended), TN_ESTATE);
	w.late = true;
	assert_int_equal(tn_serve(w.loop, "udp://127.0.0.1:0", &near_handler, &w, &udp), 0);
	th_until(w.loop, w.near.opens == 2); /* the datagram server's one connection */
	assert_int_equal(tn_join(w.near.conn, dgram), -EOPNOTSUPP);
	/* Nothing has happened to any */
	w.near.others = 0;
	w.client.size = w.target.size = 2000;
	send_more(&w.client);
	send_more(&w.target);
	th_until(w.loop, w.client.got == 2000 && w.target.got == 2000);
	assert_int_equal(tn_send(third, "x", 1), 0);
	tn_loop_free(other);
	w.near.closes = 0;
	tn_loop_free(w.loop);
	close(fd);
}

/* ---- one direction alone, changed on its way ---- */

struct shout {
	struct tn_conn *from, *to;
	int ends, closes, err;
	int full, rooms;
};

static int shout_msg(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	struct shout *s = arg;
	char text[4096];
	int rc;

	assert_ptr_equal(from, s->from);
	assert_ptr_equal(to, s->to);
	assert_true(msg->len <= sizeof(text));
	for (size_t i = 0; i < msg->len; i++)
		text[i] = (char)(((const char *)msg->data)[i] - 'a' + 'A');
	rc = tn_send(to, text, msg->len);
	s->full += rc == 1;
	return rc;
}

static int shout_room(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	(void)from, (void)to;
	((struct shout *)arg)->rooms++;
	return 0;
}

static void shout_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	struct shout *s = arg;

	(void)from;
	s->ends++;
	assert_true(tn_send(to, "!", 1) >= 0);
	tn_close(to);
}

static void on_shout_close(struct tn_conn *conn, int err, void *arg)
{
	struct shout *s = arg;

	(void)conn;
	s->closes++;
	s->err = err ? err : s->err;
}

/* Lines become bytes: with a function of its own a flow joins what is unlike. */
static void test_flow(void **state)
{
	static const struct tn_handler handler = {.on_close = on_shout_close};
	static const struct tn_pass pass = {.msg = shout_msg, .room = shout_room, .end = shout_end};
	struct tn_loop *loop = th_loop();
	struct shout s = {0};
	char url[64], out[16384], line[1002];
	size_t got = 0, want = 0;
	int in[2], to[2], little = 2048;
	bool over = false;

	(void)state;
	th_pair(SOCK_STREAM, in);
	th_pair(SOCK_STREAM, to);
	th_set_nonblock(in[1]);
	th_set_nonblock(to[1]);
	snprintf(url, sizeof(url), "fd:%d?frame=line", in[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &s, &s.from), 0);
	assert_int_equal(setsockopt(to[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
	snprintf(url, sizeof(url), "fd:%d?queue=1KiB", to[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &s, &s.to), 0);
	assert_int_equal(tn_flow(s.from, s.to, NULL, NULL), -EINVAL);
	assert_int_equal(tn_flow(s.from, s.to, &pass, &s), 0);
	assert_int_equal(tn_flow(s.from, NULL, &pass, &s), -EBUSY);
	memset(line, 'a', sizeof(line));
	line[1000] = '\n';
	for (int i = 0; i < 10; i++) {
		assert_int_equal(write(in[1], line, 1001), 1001);
		want += 1000;
	}
	shutdown(in[1], SHUT_WR);
	while (!over) {
		ssize_t n;

		assert_true(tn_loop_step(loop, 1) >= 0);
		n = read(to[1], out + got, sizeof(out) - got);
		got += n > 0 ? (size_t)n : 0;
		over = n == 0;
	}
	assert_int_equal(got, want + 1);
	for (size_t i = 0; i < want; i++)
		assert_int_equal(out[i], 'A');
	assert_int_equal(out[want], '!');
	assert_int_equal(s.ends, 1);
	close(to[1]);
	tn_close(s.from);
	th_until(loop, s.closes == 2);
	assert_int_equal(s.err, 0);
	assert_true(s.full > 0);
	assert_int_equal(s.rooms, s.full); /* each is asked for what it may have kept back */
	close(in[1]);
	tn_loop_free(loop);
}

/* What a program keeps back of a path reaches the sink, though the source closes meanwhile and the sink is full. */
#define KEPT 16
#define KEPT_LEN 100000
#define FILL_LEN 500000

struct keeper {
	int filled, rooms, closes, err;
	bool fails;
};

static int keep_msg(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	static char filling[FILL_LEN];
	struct keeper *k = arg;
	int rc;

	(void)from, (void)msg;
	while ((rc = tn_send(to, filling, sizeof(filling))) >= 0)
		k->filled++;
	assert_int_equal(rc, TN_EFULL);
	return 1;
}

static int keep_room(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	static unsigned char data[KEPT_LEN];
	struct keeper *k = arg;

	(void)from;
	k->rooms++;
	for (int i = 0; !k->fails && i < KEPT; i++) {
		th_fill(data, sizeof(data), (uint64_t)i * sizeof(data));
		assert_true(tn_send(to, data, sizeof(data)) >= 0);
	}
	return k->fails ? TN_EFORMAT : 0;
}

static void on_keeper_close(struct tn_conn *conn, int err, void *arg)
{
	struct keeper *k = arg;

	(void)conn;
	assert_int_equal(k->rooms, 1); /* it is asked before the source is gone */
	k->closes++;
	k->err = err;
}

struct sunk {
	struct tn_conn *conn;
	int opens, filling, kept, wrong, ends, closes;
};

static void on_sunk_open(struct tn_conn *conn, void *arg)
{
	((struct sunk *)arg)->conn = conn;
	((struct sunk *)arg)->opens++;
	tn_pause(conn);
}

static void on_sunk_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct sunk *s = arg;

	(void)conn;
	if (msg->len == FILL_LEN)
		s->filling++;
	else
		s->wrong += msg->len != KEPT_LEN || !th_matches(msg->data, msg->len, (uint64_t)s->kept++ * KEPT_LEN);
}

static void on_sunk_end(struct tn_conn *conn, void *arg)
{
	((struct sunk *)arg)->ends++;
	tn_close(conn);
}

static void on_sunk_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	((struct sunk *)arg)->closes++;
}

static void on_last_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err ? err : 1;
}

static void play_kept(const char *sink, int err, bool fails)
{
	static const char *const keys = "frame=u32&max=600000&queue=1KiB&drain=1h";
	static const struct tn_pass pass = {.msg = keep_msg, .room = keep_room};
	static const struct tn_handler source = {.on_close = on_keeper_close}, last = {.on_close = on_last_close};
	static const struct tn_handler far = {
		.on_open = on_sunk_open, .on_msg = on_sunk_msg, .on_end = on_sunk_end, .on_close = on_sunk_close};
	struct tn_loop *loop = th_loop();
	struct keeper k = {.fails = fails};
	struct sunk s = {0};
	struct tn_server *server;
	struct tn_conn *from, *to;
	char url[512], bare[256];
	int in[2], closed = 0;

	snprintf(bare, sizeof(bare), sink, th_dir);
	full_url(bare, keys, url, sizeof(url));
	if (tn_serve(loop, url, &far, &s, &server) < 0)
		fail_msg("%s", tn_errmsg());
	full_url(tn_server_url(server, 0), keys, url, sizeof(url));
	assert_int_equal(tn_dial(loop, url, &last, &closed, &to), 0);
	th_pair(SOCK_STREAM, in);
	snprintf(url, sizeof(url), "fd:%d?frame=line", in[0]);
	assert_int_equal(tn_dial(loop, url, &source, &k, &from), 0);
	th_until(loop, s.opens);
	assert_int_equal(tn_flow(from, to, &pass, &k), 0);
	assert_int_equal(write(in[1], "a message\n", 10), 10);
	th_until(loop, k.filled);
	assert_int_equal(k.rooms, 0);
	if (err)
		tn_abort(from, err);
	else
		tn_close(from);
	close(in[1]);
	th_until(loop, k.closes);
	assert_int_equal(k.err, err);
	tn_resume(s.conn);
	th_until(loop, s.closes && closed);
	assert_int_equal(s.filling, k.filled);
	assert_int_equal(s.kept, fails ? 0 : KEPT);
	assert_int_equal(s.wrong, 0);
	if (strncmp(sink, "unix:", 5) != 0 || (!err && !fails)) /* a reset of a Unix socket may look like an end */
		assert_int_equal(s.ends, !err && !fails);
	assert_int_equal(closed, fails ? TN_EFORMAT : err ? err : 1);
	assert_int_equal(k.rooms, 1);
	tn_loop_free(loop);
}

static void test_kept_back_when_the_source_closes(void **state)
{
	(void)state;
	make_certs();
	for (int i = 0; i < 3; i++) {
		play_kept("tcp://127.0.0.1:0", i == 1 ? -EIO : 0, i == 2);
		play_kept("unix:%s/s", i == 1 ? -EIO : 0, i == 2);
		play_kept("tls://127.0.0.1:0", i == 1 ? -EIO : 0, i == 2);
	}
	certs_remove(certs_dir);
}

/* A program may keep a message back while the sink has room: it is asked for it in a later turn, until it says 0. */
struct hesitant {
	int kept, rooms, msgs;
	char data[16];
	size_t len;
};

static int hesitate(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	struct hesitant *h = arg;

	(void)from, (void)to;
	assert_int_equal(h->len, 0); /* nothing comes while something is kept back */
	assert_true(msg->len <= sizeof(h->data));
	memcpy(h->data, msg->data, msg->len);
	h->len = msg->len;
	h->kept = 3;
	h->msgs++;
	return 1;
}

static int hesitate_less(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	struct hesitant *h = arg;

	(void)from;
	h->rooms++;
	if (--h->kept)
		return 1;
	assert_int_equal(tn_send(to, h->data, h->len), 0);
	h->len = 0;
	return 0;
}

static void test_kept_back_while_there_is_room(void **state)
{
	static const struct tn_pass pass = {.msg = hesitate, .room = hesitate_less};
	struct tn_loop *loop = th_loop();
	struct hesitant h = {0};
	struct tn_conn *from, *to;
	int in, out, closes = 0;
	char url[64];
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d?frame=line", pair[0]);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &from), 0);
	in = pair[1];
	dial_pair(loop, false, &(struct tn_handler){.on_close = on_last_close}, &closes, &out, &to);
	assert_int_equal(tn_flow(from, to, &pass, &h), 0);
	assert_int_equal(write(in, "ab\ncd\nef\n", 9), 9);
	th_until(loop, h.msgs == 3 && h.len == 0);
	assert_int_equal(h.rooms, 9);
	reader_begin(out);
	th_until(loop, (read_more(), reader.len == 6));
	assert_memory_equal(reader.data, "abcdef", 6);
	close(in);
	th_until(loop, (read_more(), reader.over));
	close(out);
	th_until(loop, closes);
	tn_loop_free(loop);
}

/* A message that is refused: what comes behind it is dropped, so the end is not told as if all had been passed on. */
struct refuser {
	int msgs, others, closes, errs;
};

static int refuse_msg(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	(void)from, (void)msg, (void)to;
	((struct refuser *)arg)->msgs++;
	return TN_EFORMAT;
}

static void on_refuser_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	(void)from, (void)to;
	((struct refuser *)arg)->others++;
}

static void on_refuser_close(struct tn_conn *conn, int err, void *arg)
{
	struct refuser *r = arg;

	(void)conn;
	r->closes++;
	r->errs += err == TN_EFORMAT;
}

static void test_flow_that_fails_has_no_end(void **state)
{
	static const struct tn_pass pass = {.msg = refuse_msg, .end = on_refuser_end, .cut = on_refuser_end};
	static const struct tn_handler handler = {.on_close = on_refuser_close};
	struct tn_loop *loop = th_loop();
	static char filling[1 << 20];
	struct refuser r = {0};
	struct tn_conn *from, *to;
	int pair[2], out;
	char url[64];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	assert_int_equal(write(pair[1], "one\ntwo\n", 8), 8);
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	snprintf(url, sizeof(url), "fd:%d?frame=line", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &r, &from), 0);
	dial_pair(loop, false, &handler, &r, &out, &to);
	assert_true(tn_send(from, filling, sizeof(filling)) >= 0); /* it lives as long as this has not gone */
	assert_int_equal(tn_flow(from, to, &pass, &r), 0);
	th_until(loop, r.closes == 1);
	th_turn_for(loop, 50);
	reader_begin(pair[1]);
	th_set_nonblock(pair[1]);
	th_until(loop, (read_more(), r.closes == 2));
	assert_int_equal(r.msgs, 1);
	assert_int_equal(r.others, 0);
	assert_int_equal(r.errs, 2);
	close(pair[1]);
	close(out);
	tn_loop_free(loop);
}

/* To nowhere: it is read, dropped, and the end is told. */
static void drop_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	assert_null(to);
	++*(int *)arg;
	tn_close(from);
}

static void test_flow_to_nowhere(void **state)
{
	static const struct tn_pass pass = {.end = drop_end};
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn;
	int pair[2], ends = 0;
	char url[32], data[4096] = {0};

	(void)state;
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[1]);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
	assert_int_equal(tn_flow(conn, NULL, &pass, &ends), 0);
	for (size_t sent = 0; sent < 1000000;) {
		ssize_t n = write(pair[1], data, sizeof(data));

		sent += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 0) >= 0);
	}
	shutdown(pair[1], SHUT_WR);
	th_until(loop, ends == 1);
	tn_loop_free(loop);
	close(pair[1]);
}

/* ---- what was sent has left ---- */

struct left {
	int told, err, at; /* at: how many were told before it */
};

static int all_told;

static void on_left(struct tn_conn *conn, int err, void *arg)
{
	struct left *l = arg;

	(void)conn;
	l->told++;
	l->err = err;
	l->at = all_told++;
}

static void test_when_sent(void **state)
{
	struct left taken[3] = {{0}}, acked = {0};
	static char data[1 << 20], in[1 << 20];
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn;
	int port, listener = th_tcp_listener(1, &port), fd;
	char url[64];
	size_t got = 0;

	(void)state;
	all_told = 0;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d?queue=1MiB&sndbuf=16KiB", port);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken[0]), 0); /* of nothing */
	assert_int_equal(tn_flush(conn), 0);
	assert_true(tn_send(conn, data, 100) >= 0);
	assert_int_equal(tn_flush(conn), 1); /* it is not open */
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken[1]), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	th_set_nonblock(fd);
	th_until(loop, taken[0].told && taken[1].told);
	assert_true(tn_send(conn, data, sizeof(data) - 200) >= 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken[2]), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &acked), 0);
	th_turn_for(loop, 50);
	assert_int_equal(taken[2].told | acked.told, 0); /* nobody reads */
	while (!acked.told) {
		ssize_t n = read(fd, in, 4096);

		got += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 0) >= 0);
	}
	assert_int_equal(taken[2].told, 1);
	assert_true(taken[2].at < acked.at);
	assert_int_equal(taken[0].err | taken[1].err | taken[2].err | acked.err, 0);
	/* Whoever waits when it fails is told why, before on_close */
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	acked = (struct left){0};
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &acked), 0);
	tn_abort(conn, -EIO);
	th_until(loop, acked.told);
	assert_int_equal(acked.err, -EIO);
	close(fd);
	close(listener);
	tn_loop_free(loop);
}

/* Closed at once, and in good order: what was still queued has not been taken, and nothing has been acknowledged. */
static void test_when_sent_is_too_late(void **state)
{
	struct left taken = {0}, acked = {0};
	static const char data[1 << 20];
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn;
	int port, listener = th_tcp_listener(1, &port), fd;
	char url[64];

	(void)state;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d?queue=1MiB&sndbuf=16KiB", port);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &acked), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	th_turn_for(loop, 50);
	assert_int_equal(taken.told | acked.told, 0); /* nobody reads */
	tn_abort(conn, 0);
	th_until(loop, taken.told && acked.told);
	assert_int_equal(taken.err, -ECANCELED);
	assert_int_equal(acked.err, -ECANCELED);
	close(fd);
	close(listener);
	tn_loop_free(loop);
}

struct last_words {
	char text[32];
	size_t len;
	int closes, err;
};

static void on_last_words(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct last_words *l = arg;

	(void)conn;
	assert_true(l->len + msg->len <= sizeof(l->text));
	memcpy(l->text + l->len, msg->data, msg->len);
	l->len += msg->len;
}

static void on_end_of_words(struct tn_conn *conn, int err, void *arg)
{
	struct last_words *l = arg;

	(void)conn;
	l->closes++;
	l->err = err;
}

/* To wait for the peer does not find its reset before that is read: what it has said comes first, however late. */
static void test_when_sent_and_the_peer_resets(void **state)
{
	static const struct tn_handler handler = {.on_msg = on_last_words, .on_close = on_end_of_words};
	static const char data[400000];
	struct tn_loop *loop = th_loop();
	struct left taken = {0}, acked = {0};
	struct last_words last = {0};
	struct tn_conn *conn;
	int port, little = 4096, listener = th_tcp_listener(1, &port), fd;
	char url[80];

	(void)state;
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d?queue=1MiB&sndbuf=1MiB", port);
	assert_int_equal(tn_dial(loop, url, &handler, &last, &conn), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_true(tn_send(conn, data, 1000) >= 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken), 0);
	th_until(loop, taken.told);
	tn_pause(conn);
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	taken = (struct left){0};
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, on_left, &taken), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &acked), 0);
	th_until(loop, taken.told);
	assert_int_equal(write(fd, "last words", 10), 10);
	close(fd); /* with much unread: a reset */
	th_turn_for(loop, 100);
	assert_int_equal(acked.told | last.closes, 0);
	tn_resume(conn);
	th_until(loop, last.closes);
	assert_int_equal(last.len, 10);
	assert_memory_equal(last.text, "last words", 10);
	assert_int_equal(last.err, -ECONNRESET);
	assert_int_equal(acked.told, 1);
	assert_int_equal(acked.err, -ECONNRESET);
	close(listener);
	tn_loop_free(loop);
}

static void on_nothing(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
}

static void close_it(struct tn_conn *conn, int err, void *arg)
{
	++*(int *)arg;
	assert_int_equal(err, 0);
	tn_close(conn);
}

/* A reader that takes longer than key drain would wait, and a server that drains. */
static void test_close_when_delivered(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn;
	int pair[2], told = 0;
	static char data[200000], in[4096];
	char url[64];
	size_t got = 0;
	ssize_t n;

	(void)state;
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[1]);
	snprintf(url, sizeof(url), "fd:%d?drain=1ms", pair[0]);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	assert_int_equal(tn_finish(conn), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, close_it, &told), 0);
	th_turn_for(loop, 50);
	assert_int_equal(told, 0);
	while ((n = read(pair[1], in, sizeof(in))) != 0) {
		got += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 0) >= 0);
	}
	th_until(loop, told == 1);
	assert_int_equal(got, sizeof(data));
	close(pair[1]);
	tn_loop_free(loop);
}

/* Both directions have ended: it stays open until the peer has all. What was taken before a pipe's end is told so. */
static void test_when_sent_after_both_ends(void **state)
{
	struct tn_loop *loop = th_loop();
	struct left acked = {0}, taken = {0};
	static char data[200000], in[4096];
	struct tn_conn *conn, *out;
	int pair[2], pipes[2];
	char url[64];
	size_t got = 0;
	ssize_t n;

	(void)state;
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[1]);
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){.on_end = on_nothing}, NULL, &conn), 0);
	th_turn_for(loop, 20);
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	assert_int_equal(tn_finish(conn), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &acked), 0);
	while ((n = read(pair[1], in, sizeof(in))) != 0) {
		got += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 0) >= 0);
	}
	th_until(loop, acked.told);
	assert_int_equal(acked.err, 0);
	assert_int_equal(got, sizeof(data));
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "fd:%d", pipes[1]);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &out), 0);
	assert_int_equal(tn_send(out, "hello", 5), 0);
	assert_int_equal(tn_finish(out), 0);
	assert_int_equal(tn_when_sent(out, TN_SENT_TAKEN, on_left, &taken), 0);
	th_until(loop, taken.told);
	assert_int_equal(taken.err, 0);
	close(pipes[0]);
	close(pair[1]);
	tn_loop_free(loop);
}

/* ---- a peer that goes without having read ---- */

struct unread {
	struct left acked;
	int closes, err;
};

static void on_unread_close(struct tn_conn *conn, int err, void *arg)
{
	struct unread *u = arg;

	(void)conn;
	assert_int_equal(u->acked.told, 1);
	u->closes++;
	u->err = err;
}

enum how { HELD, ENDED, READ };

/* Of a Unix socket all is forgotten that the peer did not read: it must not be taken for read. */
static void play_unread(int type, enum how how)
{
	static const struct tn_handler handler = {.on_end = on_nothing, .on_close = on_unread_close};
	struct tn_loop *loop = th_loop();
	struct unread u = {.closes = 0};
	struct tn_conn *conn;
	char url[64], in[64];
	int pair[2];

	th_pair(type, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &u, &conn), 0);
	if (how == ENDED)
		assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	th_turn_for(loop, 20);
	if (how == HELD)
		tn_pause(conn); /* or else reading would find it, perhaps first */
	assert_int_equal(tn_send(conn, "hello", 5), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &u.acked), 0);
	th_turn_for(loop, 30);
	assert_int_equal(u.acked.told, 0);
	if (how == READ)
		assert_int_equal(read(pair[1], in, sizeof(in)), 5);
	close(pair[1]);
	th_turn_for(loop, 30);
	if (how == HELD)
		tn_resume(conn);
	th_until(loop, u.acked.told);
	assert_int_equal(u.acked.err, how == READ ? 0 : -ECONNRESET);
	if (how == READ)
		tn_close(conn);
	th_until(loop, u.closes);
	assert_int_equal(u.err, how == READ ? 0 : -ECONNRESET);
	tn_loop_free(loop);
}

static void test_peer_goes_without_reading(void **state)
{
	(void)state;
	for (int how = HELD; how <= READ; how++) {
		play_unread(SOCK_STREAM, (enum how)how);
		play_unread(SOCK_SEQPACKET, (enum how)how);
	}
}

static void test_pipe_loses_its_reader(void **state)
{
	static const struct tn_handler handler = {.on_close = on_unread_close};
	struct tn_loop *loop = th_loop();
	struct unread u = {.closes = 0};
	struct tn_conn *conn;
	char url[64];
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "fd:%d", pipes[1]);
	assert_int_equal(tn_dial(loop, url, &handler, &u, &conn), 0);
	assert_int_equal(tn_send(conn, "hello", 5), 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, on_left, &u.acked), 0);
	th_turn_for(loop, 30);
	assert_int_equal(u.acked.told, 0);
	close(pipes[0]);
	th_until(loop, u.closes);
	assert_int_equal(u.acked.err, -EPIPE);
	assert_int_equal(u.err, -EPIPE);
	tn_loop_free(loop);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_bytes),
#ifdef TNI_HAVE_SHM
	T(test_memory),
#endif

	T(test_messages),
	T(test_queues_that_differ),
	T(test_reset_of_the_client),
	T(test_reset_of_the_target),
	T(test_target_that_is_not_there),
	T(test_message_that_does_not_fit),
	T(test_cut),
	T(test_closing_one_closes_the_other),
	T(test_pause_and_send),
	T(test_join_inside_on_msg),
	T(test_end_before_joining),
	T(test_joined_anew),
	T(test_drain_waits_for_the_target),
	T(test_bulk_goes_through_pipes),
	T(test_bulk_without_pipes),
	T(test_reset_while_splicing),
	T(test_source_closes_before_a_full_pipe),
	T(test_source_behind_a_slow_sink_is_not_idle),
	T(test_input_socket_output),
	T(test_what_cannot_be_joined),
	T(test_flow),
	T(test_kept_back_when_the_source_closes),
	T(test_kept_back_while_there_is_room),
	T(test_flow_that_fails_has_no_end),
	T(test_flow_to_nowhere),
	T(test_when_sent),
	T(test_when_sent_is_too_late),
	T(test_when_sent_and_the_peer_resets),
	T(test_close_when_delivered),
	T(test_when_sent_after_both_ends),
	T(test_peer_goes_without_reading),
	T(test_pipe_loses_its_reader),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "join", tests, sizeof(tests) / sizeof(tests[0]));
}
