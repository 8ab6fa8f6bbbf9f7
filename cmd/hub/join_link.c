#include "join_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/json.h"
#include "common/text.h"
#include "events.h"
#include "exchange.h"
#include "join.h"
#include "nats_login.h"
#include "nats_line.h"
#include "tenon_value.h"

#define GREET_NS (5 * NS_PER_S)   /* a server has so long to say the next word until it is there, */
#define SILENT_NS NS_PER_S        /* is asked after so long without a word, */
#define DEAD_NS (3 * NS_PER_S)    /* and has gone when it has not said one for so long then */
#define LATE_NS (250 * NS_PER_MS) /* without an answer for so long it is sent no more: that waits here */
#define LAME_NS (30 * NS_PER_S)   /* a server that wants to end is left alone */

uint64_t join_chance(void)
{
	uint64_t number = 0;

	(void)!getrandom(&number, sizeof(number), GRND_NONBLOCK);
	return number;
}

/* The next look: soon while something is expected. */
void join_arm(uint64_t in_ns)
{
	join.soon = in_ns <= JOIN_TICK_NS;
	tn_timer_again(join.timer, in_ns, 0);
}

void join_look_soon(void)
{
	if (!join.soon)
		join_arm(JOIN_TICK_NS);
}

void join_say(struct link *link, const char *data, size_t len)
{
	if (link->conn)
		(void)!tn_send(link->conn, data, len);
}

void join_ask(struct link *link)
{
	if (!link->groups && link->asked_ns)
		return; /* what its answer confirms stays what was sent before it; on_tick() asks again */
	join_say(link, "PING\r\n", 6);
	link->pings++;
	if (!link->asked_ns)
		link->asked_ns = join_now();
	if (link->groups)
		return;
	join.asked = join.sent;
	join.asked_bytes = join.sent_bytes;
}

bool join_is_late(const struct link *link)
{
	return link->asked_ns && join_now() - link->asked_ns > LATE_NS;
}

/* The login's file in memory. Returns why not, or NULL. */
static const char *read_login(struct nats_login *login, char **text)
{
	int fd = join_plan.login ? broker_open(join_plan.login, TN_FILE_READ) : -1;
	ssize_t len;

	*login = (struct nats_login){0};
	*text = NULL;
	if (!join_plan.login)
		return NULL;
	if (fd < 0)
		return tn_strerror(fd);
	*text = malloc(NATS_LOGIN_MAX + 1);
	if (!*text) {
		close(fd);
		return "out of memory";
	}
	len = nats_login_load(fd, *text);
	return len < 0 ? tn_strerror((int)len) : nats_login_read(login, *text, (size_t)len);
}

const char *join_login_check(void)
{
	struct nats_login login;
	char *text;
	const char *why = read_login(&login, &text);

	nats_login_forget(text);
	return why;
}

static void close_link(struct link *link, bool gone)
{
	struct tn_conn *conn = link->conn;

	*link = (struct link){.groups = link->groups};
	if (!conn)
		return;
	if (gone)
		tn_abort(conn, -ECONNABORTED);
	else
		tn_close(conn);
}

static void dial_next(void);

void join_part(bool gone)
{
	close_link(&join.plain, gone);
	close_link(&join.groups, gone);
	join.n.unconfirmed += join.sent - join.confirmed;
	join.asked = join.sent;
	join.asked_bytes = join.sent_bytes;
	join_confirm(); /* nothing is under way; requests that wait are not forgotten */
	join.up = join.leaving = join.lame = false;
	join.at = -1;
}

static void fail(const char *why, bool gone)
{
	char said[300], url[300];
	uint64_t lost = join.sent - join.confirmed;
	int at = join.at;

	if (at < 0)
		return;
	snprintf(said, sizeof(said), "%s", join.why[0] ? join.why : why);
	snprintf(url, sizeof(url), "%s", join.servers.list[at].given);
	if (join.up)
		hub_events_join(&(struct join_event){
			.event = "parted", .cluster = url, .why = said, .key = "unconfirmed", .number = lost});
	else if (!join.servers.list[at].fails)
		hub_events_join(&(struct join_event){.event = "unreachable", .cluster = url, .why = said});
	join_servers_failed(&join.servers, at, join_now(), join_chance());
	join_part(gone);
	join.why[0] = '\0';
	join_arm(NS_PER_MS); /* not in this turn: its other connection is still to be closed */
}

/* It ends, and wants its clients to go: what it has got is confirmed by now. */
static void leave_lame(void)
{
	int at = join.at;

	hub_events_join(&(struct join_event){.event = "parted",
					     .cluster = join.servers.list[at].given,
					     .why = "it wants to end",
					     .key = "unconfirmed",
					     .number = join.sent - join.confirmed});
	join_servers_leave(&join.servers, at, join_now() + LAME_NS);
	join_part(false);
	dial_next();
}

static void finish(void)
{
	void (*done)(void) = join.done;

	join.done = NULL;
	join.over = true;
	join.n.dropped += join.queue.messages;
	if (join.queue.messages)
		hub_events_join(&(struct join_event){.event = "overflow",
						     .why = "no time is left for what waits for the cluster",
						     .key = "dropped",
						     .number = join.queue.messages});
	join_queue_free(&join.queue);
	join_part(false);
	join_arm(UINT64_MAX);
	done();
}

void join_check_finished(void)
{
	if (join.done && ((!join.queue.first && join.confirmed == join.sent) || join_now() >= join.until_ns))
		finish();
}

static void joined(void)
{
	join.up = true;
	join.n.joins++;
	join_servers_worked(&join.servers, join.at);
	hub_events_join(&(struct join_event){.event = "joined",
					     .cluster = join.servers.list[join.at].given,
					     .server = join.server,
					     .key = "waiting",
					     .number = join.queue.messages});
	join_pump();
}

static const struct tn_handler link_handler;

static int dial(struct link *link)
{
	const struct join_server *server = &join.servers.list[join.at];
	int err;

	join.why[0] = '\0';
	link->heard_ns = join_now();
	err = tn_dial(join.loop, server->url, &link_handler, link, &link->conn);
	return err == 0 && server->late ? tn_tls_later(link->conn) : err;
}

static void dial_next(void)
{
	uint64_t wait = 0;

	join.at = join_servers_next(&join.servers, -1, join_now(), join_chance(), &wait);
	if (join.at < 0) {
		join_arm(join.done || wait < JOIN_TICK_NS ? JOIN_TICK_NS : wait);
		return;
	}
	join.since_ns = join_now();
	if (dial(&join.plain) < 0)
		fail(tn_errmsg(), true);
	else
		join_arm(JOIN_TICK_NS);
}

/* CONNECT. Returns why not, or NULL. */
static const char *greet(struct link *link, struct span nonce)
{
	const char *name = hub_facts()->name;
	struct text line = {0};
	struct nats_login login;
	const char *why;
	char *text;

	text_add(&line, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
			"\"echo\":false,\"protocol\":1,\"lang\":\"c\",\"name\":");
	json_string(&line, name, strlen(name));
	text_add(&line, ",\"version\":\"%s\"", tn_version());
	why = read_login(&login, &text);
	if (!why)
		why = nats_login_write(&line, &login, nonce);
	nats_login_forget(text);
	text_add(&line, "}\r\n");
	if (!why && line.failed)
		why = "out of memory";
	if (!why)
		join_say(link, line.data, line.len);
	text_free(&line);
	return why;
}

static void text_of(const struct tn_value *map, const char *key, char *out, size_t cap)
{
	const struct tn_value *value = tn_value_get(map, key);
	size_t len = 0;
	const char *text = tn_value_kind(value) == TN_TEXT ? tn_value_text(value, &len) : "";

	snprintf(out, cap, "%.*s", (int)len, text);
}

/* Servers that it tells of. */
static void read_places(const struct tn_value *info)
{
	const struct tn_value *list = tn_value_get(info, "connect_urls");

	if (tn_value_kind(list) != TN_ARRAY)
		return;
	join_servers_begin(&join.servers);
	for (const struct tn_value *value = tn_value_first(list); value; value = tn_value_next(list, value)) {
		struct span place = {0};

		if (tn_value_kind(value) == TN_TEXT)
			place.data = tn_value_text(value, &place.len);
		if (place.len)
			join_servers_found(&join.servers, join.at, place);
	}
	join.at = join_servers_end(&join.servers, join.at);
}

static void first_info(struct link *link, const struct tn_value *info)
{
	const struct join_server *server = &join.servers.list[join.at];
	char id[64], nonce[128];
	const char *why = NULL;
	uint64_t payload = 0;

	text_of(info, "server_id", id, sizeof(id));
	text_of(info, "nonce", nonce, sizeof(nonce));
	text_of(info, "server_name", join.server, sizeof(join.server));
	join.payload = tn_value_uint(tn_value_get(info, "max_payload"), &payload) == 0 ? (size_t)payload : 0;
	join.headers = tn_value_bool(tn_value_get(info, "headers"));
	if (strcmp(id, hub_facts()->id) == 0)
		why = "it is this hub itself";
	if (!why)
		why = nats_line_secure(link->conn, info, server->late, server->secure);
	if (!why)
		why = greet(link, (struct span){nonce, strlen(nonce)});
	if (why) {
		fail(why, false);
		return;
	}
	link->greeted = true;
	join_subscribe_all(link);
	join_ask(link);
}

static void on_info(struct link *link, struct span text)
{
	struct tn_value *info = NULL;

	if (tn_decode("json", text.data, text.len, 0, &info) < 0 || tn_value_kind(info) != TN_MAP) {
		tn_value_free(info);
		fail("its INFO cannot be read", true);
		return;
	}
	if (!link->groups)
		read_places(info);
	if (!link->greeted)
		first_info(link, info);
	if (join.at >= 0 && join.up && !join.lame && tn_value_bool(tn_value_get(info, "ldm"))) {
		join.lame = join.leaving = true;
		join_ask(&join.plain);
	}
	tn_value_free(info);
}

static void on_pong(struct link *link)
{
	link->pongs++;
	link->asked_ns = link->pongs < link->pings ? join_now() : 0;
	if (!link->up && link->greeted) {
		link->up = true;
		if (!link->groups && !join_plan.here) {
			if (dial(&join.groups) < 0)
				fail(tn_errmsg(), true);
			return;
		}
		joined();
		return;
	}
	if (!link->groups)
		join_confirm();
	if (join.lame && join.confirmed == join.sent)
		leave_lame();
	else
		join_pump();
	join_check_finished();
}

static void on_error(struct span text)
{
	static const char permission[] = "Permissions Violation";

	if (text.len > sizeof(permission) && strncmp(text.data, permission, sizeof(permission) - 1) == 0) {
		char what[256];

		snprintf(what, sizeof(what), "%.*s", (int)text.len, text.data);
		join_refused(what, (struct span){"", 0});
		return;
	}
	snprintf(join.why, sizeof(join.why), "%.*s", (int)text.len, text.data);
}

static void wait_for_others(void)
{
	struct link *links[] = {&join.plain, &join.groups};

	for (int i = 0; i < 2; i++)
		if (links[i]->conn && !links[i]->paused) {
			links[i]->paused = true;
			tn_pause(links[i]->conn);
		}
	join_look_soon();
}

static void go_on(void)
{
	struct link *links[] = {&join.plain, &join.groups};

	for (int i = 0; i < 2; i++)
		if (links[i]->conn && links[i]->paused) {
			links[i]->paused = false;
			links[i]->heard_ns = join_now();
			tn_resume(links[i]->conn);
		}
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct link *link = arg;
	struct nats_line line;

	if (conn != link->conn)
		return;
	link->heard_ns = join_now();
	nats_line_read(&line, msg->data, msg->len);
	switch (line.op) {
	case NATS_MSG:
		join_bring(link, &line);
		break;
	case NATS_INFO:
		on_info(link, line.text);
		break;
	case NATS_PING:
		join_say(link, "PONG\r\n", 6);
		break;
	case NATS_PONG:
		on_pong(link);
		break;
	case NATS_ERR:
		on_error(line.text);
		break;
	default:
		break;
	}
	exchange_turn();
	if (link->conn && exchange_is_behind())
		wait_for_others();
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	const struct link *link = arg;

	if (conn != link->conn)
		return;
	((struct link *)arg)->conn = NULL;
	fail(err ? tn_errmsg() : "it has closed the connection", true);
}

static const struct tn_handler link_handler = {.on_msg = on_msg, .on_close = on_close};

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* False: it has been given up. */
static bool look_at(struct link *link)
{
	uint64_t now = join_now();

	if (!link->conn || link->paused)
		return true;
	/* An answer stands behind all that the server sent before it: who is heard is there */
	if (link->asked_ns && now - later(link->asked_ns, link->heard_ns) > DEAD_NS) {
		fail("it does not answer", true);
		return false;
	}
	if (link->up && !link->asked_ns &&
	    (now - link->heard_ns >= SILENT_NS || (!link->groups && join.sent > join.asked)))
		join_ask(link);
	return true;
}

static bool is_busy(void)
{
	return !join.up || join.plain.asked_ns || join.groups.asked_ns || join.queue.first ||
	       join.sent > join.confirmed || join.plain.paused || join.done;
}

void join_on_tick(void *arg)
{
	(void)arg;
	join.soon = false;
	if (join.at < 0) {
		join_check_finished();
		if (!join.over)
			dial_next();
		return;
	}
	if (join.plain.paused && !exchange_is_behind())
		go_on();
	if (!join.up &&
	    join_now() - later(join.since_ns, later(join.plain.heard_ns, join.groups.heard_ns)) > GREET_NS) {
		fail("it does not answer", true);
		return;
	}
	if (!look_at(&join.plain) || !look_at(&join.groups))
		return;
	join_pump();
	join_check_finished();
	if (join.at >= 0)
		join_arm(is_busy() ? JOIN_TICK_NS : NS_PER_S);
}
