#include "join.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "common/broker.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "common/text.h"
#include "events.h"
#include "exchange.h"
#include "join_interest.h"
#include "join_login.h"
#include "join_numbers.h"
#include "join_queue.h"
#include "join_servers.h"
#include "nats_line.h"
#include "tenon.h"
#include "tenon_value.h"
#include "topics/topics.h"
#include "url.h"

#define NS_PER_TICK (50 * NS_PER_MS)
#define GREET_NS (5 * NS_PER_S)   /* a server has so long to be there, */
#define SILENT_NS NS_PER_S        /* is asked after so long without a word, */
#define DEAD_NS (3 * NS_PER_S)    /* and has gone when it has not answered for so long */
#define LATE_NS (250 * NS_PER_MS) /* without an answer for so long it is sent no more: that waits here */
#define LAME_NS (30 * NS_PER_S)   /* a server that wants to end is left alone */
#define WINDOW (4 << 20)          /* bytes that may be under way without an answer */
#define ASK_EVERY (256 << 10)     /* of these, until an answer is asked for */
#define LOCALS_MAX 64
#define NUMBER "Tenon-Number"
#define PUBLISHER 16 /* letters of the hub's id, which are its name there */

struct join_plan join_plan = {.queue = 64 << 20};

/* A connection to the server. */
struct link {
	struct tn_conn *conn;
	bool groups;  /* the one by which queue groups get theirs */
	bool greeted; /* INFO has come, and CONNECT has gone */
	bool up;      /* that was answered */
	bool paused;
	uint64_t pings, pongs;
	uint64_t asked_ns, heard_ns;
	uint64_t fence; /* nothing goes up before so many pongs */
};

/* A request on its way: its reply topic's hash, and whether it has been taken here. */
struct request {
	uint64_t nth, reply;
	bool taken;
};

static struct {
	char *locals[LOCALS_MAX];
	int nlocals;
	struct tn_loop *loop;
	struct tn_timer *timer;
	struct join_servers servers;
	struct join_interest interest;
	struct join_queue queue;
	struct join_numbers given, seen;
	struct link plain, groups;
	int at;            /* the server; -1: none */
	uint64_t since_ns; /* it was dialled */
	uint64_t next_ns;  /* when one is dialled, while none is there */
	bool up, soon, leaving, full_told, lame, over;
	char why[256];   /* what the server has complained of last */
	char server[64]; /* its name */
	size_t payload;  /* it takes; 0: not known */
	bool headers;
	/* Messages and bytes that have gone up: all, those that an answer was asked behind, and those answered. */
	uint64_t sent, asked, confirmed, sent_bytes, asked_bytes, confirmed_bytes;
	uint64_t nth; /* messages that were put into the queue */
	struct request *requests;
	size_t first_request, nrequests, requests_cap;
	uint64_t gap_told_ns, gap_untold, refused_told_ns;
	void (*done)(void);
	uint64_t until_ns;
	struct {
		uint64_t up, down, dropped, refused, unconfirmed, missed, gaps, repeated, looped, joins;
	} n;
} join = {.at = -1, .plain = {0}, .groups = {.groups = true}};

static void on_tick(void *arg);
static void fail(const char *why, bool gone);

static uint64_t now_ns(void)
{
	return tn_loop_now(join.loop);
}

static uint64_t chance(void)
{
	uint64_t number = 0;

	(void)!getrandom(&number, sizeof(number), GRND_NONBLOCK);
	return number;
}

/* ---- what was given ---- */

bool join_is_wanted(void)
{
	return join.servers.count > 0;
}

/* Ready to be dialled; the text is freed. */
static char *with_keys(char *url)
{
	url = url_with(url, "frame=nats-client");
	if (url && tn_url_has_key(url, "max") == 0)
		url = url_with(url, "max=1GiB");
	if (url && tn_url_has_key(url, "queue") == 0)
		url = url_with(url, "queue=1GiB"); /* what is under way is bounded here */
	if (url && tn_url_has_key(url, "connect") == 0)
		url = url_with(url, "connect=1s");
	return url;
}

static const char *add_one(const char *given)
{
	size_t place = strstr(given, "://") ? strcspn(strstr(given, "://") + 3, "/?#") : 0;
	char *url;
	bool added, late = false;

	if (!url_is_of(given, "nats"))
		return "is none of nats://HOST, nats+tls://HOST:PORT";
	if (place && memchr(strstr(given, "://") + 3, '@', place))
		return "has a user in it, which others on this machine would see; --join-login FILE";
	if (nats_line_frame() < 0)
		return "cannot be read: out of memory";
	url = with_keys(url_under(given, "nats", NATS_PORT, &late));
	added = url && join_servers_add(&join.servers, url, given,
					tn_url_kind(url) > 0 && tn_url_kind(url) & TN_URL_SECURE, late);
	free(url);
	return added ? NULL : "is one too many, or there is no memory";
}

/* Keys of a URL may have commas in them. */
const char *join_add(const char *urls)
{
	while (*urls) {
		const char *end = urls, *why;
		char *one;

		do
			end += 1 + strcspn(end + 1, ",");
		while (*end && strncmp(end, ",nats:", 6) != 0 && strncmp(end, ",nats+", 6) != 0);
		one = strndup(urls, (size_t)(end - urls));
		why = one ? add_one(one) : "is too much: out of memory";
		free(one);
		if (why)
			return why;
		urls = *end ? end + 1 : end;
	}
	return join.servers.count ? NULL : "is empty";
}

const char *join_add_local(const char *pattern)
{
	if (!topic_is_pattern(pattern, strlen(pattern)))
		return "is no pattern (words with dots; * one word, > at the end one or more)";
	if (join.nlocals == LOCALS_MAX)
		return "is one too many";
	join.locals[join.nlocals] = strdup(pattern);
	join.nlocals += join.locals[join.nlocals] != NULL;
	return NULL;
}

/* The login's file in memory. Returns why not, or NULL. */
static const char *read_login(struct join_login *login, char **text)
{
	int fd = join_plan.login ? broker_open(join_plan.login, TN_FILE_READ) : -1;
	ssize_t n, len = 0;

	*login = (struct join_login){0};
	*text = NULL;
	if (!join_plan.login)
		return NULL;
	if (fd < 0)
		return tn_strerror(fd);
	*text = malloc(JOIN_LOGIN_MAX);
	while (*text && len < JOIN_LOGIN_MAX && (n = read(fd, *text + len, (size_t)(JOIN_LOGIN_MAX - len))) > 0)
		len += n;
	close(fd);
	return *text ? join_login_read(login, *text, (size_t)len) : "out of memory";
}

static void forget_login(char *text)
{
	if (text)
		explicit_bzero(text, JOIN_LOGIN_MAX);
	free(text);
}

int join_check(void)
{
	struct join_login login;
	const char *why;
	char *text;

	if (!join_is_wanted()) {
		const char *name = join_plan.login    ? "--join-login"
				   : join_plan.number ? "--number"
				   : join_plan.here   ? "--join-groups"
				   : join.nlocals     ? "--local"
						      : NULL;

		if (name)
			complain("hub: %s: there is nothing to join", name);
		if (name)
			complain_hint("--join nats://HOST");
		return name ? STATUS_USAGE : STATUS_DONE;
	}
	for (int i = 0; i < join.servers.count; i++)
		if (tn_url_check(join.servers.list[i].url, TN_DIAL) < 0)
			return complain_library(TN_EURL, join.servers.list[i].url);
	why = read_login(&login, &text);
	forget_login(text);
	if (why)
		complain("%s: %s", join_plan.login, why);
	return why ? STATUS_USAGE : STATUS_DONE;
}

void join_free(void)
{
	while (join.nlocals)
		free(join.locals[--join.nlocals]);
	join_servers_free(&join.servers);
	if (join.interest.topics)
		join_interest_free(&join.interest);
	join_queue_free(&join.queue);
	join_numbers_free(&join.given);
	join_numbers_free(&join.seen);
	free(join.requests);
	join.requests = NULL;
}

/* ---- the timer ---- */

/* The next look: soon while something is expected. */
static void arm(uint64_t in_ns)
{
	join.soon = in_ns <= NS_PER_TICK;
	tn_timer_again(join.timer, in_ns, 0);
}

static void look_soon(void)
{
	if (!join.soon)
		arm(NS_PER_TICK);
}

/* ---- what goes up ---- */

static void say(struct link *link, const char *data, size_t len)
{
	if (link->conn)
		(void)!tn_send(link->conn, data, len);
}

static void ask(struct link *link)
{
	say(link, "PING\r\n", 6);
	link->pings++;
	if (!link->asked_ns)
		link->asked_ns = now_ns();
	if (link->groups)
		return;
	join.asked = join.sent;
	join.asked_bytes = join.sent_bytes;
}

static bool is_late(const struct link *link)
{
	return link->asked_ns && now_ns() - link->asked_ns > LATE_NS;
}

static bool may_send(void)
{
	return join.up && !join.leaving && join.groups.pongs >= join.groups.fence && !is_late(&join.plain) &&
	       join.sent_bytes - join.confirmed_bytes < WINDOW;
}

static void pump(void)
{
	const struct join_piece *piece;

	while ((piece = join.queue.first) && may_send()) {
		if (tn_send(join.plain.conn, piece->data, piece->len) < 0)
			break;
		join.sent += piece->messages;
		join.sent_bytes += piece->len;
		join.n.up += piece->messages;
		join_queue_drop(&join.queue);
		if (!join.plain.asked_ns && join.sent_bytes - join.asked_bytes > ASK_EVERY)
			ask(&join.plain);
	}
	if (!join.queue.first && join.full_told) {
		join.full_told = false;
		hub_events_join(&(struct join_event){.event = "drained", .key = "dropped", .number = join.n.dropped});
	}
	if (join.sent > join.confirmed || join.queue.first)
		look_soon();
}

static uint64_t hash_of(struct span text)
{
	uint64_t hash = UINT64_C(1469598103934665603);

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211);
	return hash;
}

/* Whoever asks for replies may be told that nobody is there: not if somebody here has taken it. */
static void note_request(const struct message *m)
{
	if (join.first_request + join.nrequests == join.requests_cap && join.first_request) {
		memmove(join.requests, join.requests + join.first_request, join.nrequests * sizeof(*join.requests));
		join.first_request = 0;
	}
	if (join.nrequests == join.requests_cap) {
		size_t cap = join.requests_cap ? join.requests_cap * 2 : 256;
		struct request *grown = realloc(join.requests, cap * sizeof(*grown));

		if (!grown)
			return;
		join.requests = grown;
		join.requests_cap = cap;
	}
	join.requests[join.first_request + join.nrequests++] =
		(struct request){join.nth, hash_of(m->reply), m->takers > 0};
}

/* Requests up to this one have been answered, or nobody has them. */
static void requests_drop(size_t count)
{
	join.first_request += count;
	join.nrequests -= count;
	if (!join.nrequests)
		join.first_request = 0;
}

/* Nobody there has a request. Whether it has been taken here. */
static bool was_taken(struct span reply)
{
	const struct request *requests = join.requests + join.first_request;
	uint64_t hash = hash_of(reply);

	for (size_t i = 0; i < join.nrequests; i++)
		if (requests[i].reply == hash) {
			bool taken = requests[i].taken;

			requests_drop(i + 1);
			return taken;
		}
	return false;
}

static void refused(const char *what, struct span topic)
{
	char shown[128];

	join.n.refused++;
	if (join.refused_told_ns && now_ns() - join.refused_told_ns < NS_PER_S)
		return;
	join.refused_told_ns = now_ns();
	snprintf(shown, sizeof(shown), "%.*s", (int)topic.len, topic.data);
	hub_events_join(&(struct join_event){
		.event = "refused", .topic = shown, .why = what, .key = "refused", .number = join.n.refused});
}

static bool is_inbox(struct span topic)
{
	return topic.len > 7 && memcmp(topic.data, "_INBOX.", 7) == 0;
}

/* The header with publisher, epoch and number. Returns its length; 0: none. */
static size_t number(const struct message *m, char *out, size_t cap)
{
	uint64_t epoch, nth;
	struct timespec at;
	int len;

	if (!join_plan.number || !join.headers || is_inbox(m->topic))
		return 0;
	clock_gettime(CLOCK_REALTIME, &at);
	if (!join_numbers_give(&join.given, m->topic, (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000,
			       &epoch, &nth))
		return 0;
	len = snprintf(out, cap, NUMBER ": %.*s %llu %llu\r\n", PUBLISHER, hub_facts()->id, (unsigned long long)epoch,
		       (unsigned long long)nth);
	return len > 0 && (size_t)len < cap ? (size_t)len : 0;
}

/* A message that was published here. Its number stands before all other headers. */
static void take(const struct message *m)
{
	static const char version[] = "NATS/1.0\r\n";
	char head[3 * TOPIC_MAX], line[128];
	const char *feed = m->head_len ? memchr(m->body.data, '\n', m->head_len) : NULL;
	size_t first = feed ? (size_t)(feed + 1 - m->body.data) : 0;
	size_t numbered = m->head_len && !first ? 0 : number(m, line, sizeof(line));
	size_t extra = numbered && !m->head_len ? numbered + sizeof(version) - 1 + 2 : numbered;
	size_t len = nats_line_publish(head, sizeof(head), m, extra);

	if (!len || len > NATS_LINE_MAX) {
		refused("its topics are too long for the cluster", m->topic);
		return;
	}
	if (join.payload && m->body.len + extra > join.payload) {
		refused("it is longer than the cluster takes", m->topic);
		return;
	}
	if (!m->head_len && numbered) {
		memmove(line + sizeof(version) - 1, line, numbered);
		memcpy(line, version, sizeof(version) - 1);
		memcpy(line + extra - 2, "\r\n", 2);
		numbered = extra;
	}
	struct iovec iov[] = {{head, len},
			      {(char *)(uintptr_t)m->body.data, first},
			      {line, numbered},
			      {(char *)(uintptr_t)(m->body.len ? m->body.data + first : ""), m->body.len - first},
			      {(char *)(uintptr_t) "\r\n", 2}};
	if (!join_queue_put(&join.queue, iov, 5)) {
		join.n.dropped++;
		if (!join.full_told)
			hub_events_join(&(struct join_event){.event = "overflow",
							     .why = "what waits for the cluster has no room",
							     .key = "dropped",
							     .number = join.n.dropped});
		join.full_told = true;
		return;
	}
	join.nth++;
	if (m->reply.len)
		note_request(m);
}

static bool is_local(struct span topic)
{
	for (int i = 0; i < join.nlocals; i++)
		if (topic_fits(join.locals[i], strlen(join.locals[i]), topic.data, topic.len))
			return true;
	return false;
}

static bool goes(struct span topic)
{
	return topic_is_literal(topic.data, topic.len) && !is_local(topic);
}

static void flush(void)
{
	if (join.queue.first && join.up)
		pump();
}

/* ---- what is wanted from there ---- */

static struct link *link_of(bool grouped)
{
	return grouped && !join_plan.here ? &join.groups : &join.plain;
}

static void subscribe(struct link *link, const struct join_want *want)
{
	char line[3 * TOPIC_MAX];
	size_t len = nats_line_subscribe(line, sizeof(line), want->pattern, want->group, want->sid);

	if (len && len <= NATS_LINE_MAX)
		say(link, line, len);
}

static void wants(struct span pattern, struct span group, bool more)
{
	struct join_want *want;
	bool grouped = false;
	struct link *link;
	char line[64];
	uint64_t sid;

	for (int i = 0; i < join.nlocals; i++)
		if (topic_covers(join.locals[i], strlen(join.locals[i]), pattern.data, pattern.len))
			return;
	if (!more) {
		sid = join_interest_drop(&join.interest, pattern, group, &grouped);
		link = link_of(grouped);
		if (sid && link->greeted)
			say(link, line,
			    (size_t)snprintf(line, sizeof(line), "UNSUB %llu\r\n", (unsigned long long)sid));
		return;
	}
	want = join_interest_add(&join.interest, pattern, group);
	link = link_of(group.len > 0);
	if (!want)
		return;
	want->since = join_numbers_now(&join.seen);
	if (!link->greeted)
		return;
	subscribe(link, want);
	if (link->groups) { /* what is published next must find it there */
		ask(link);
		link->fence = link->pings;
		look_soon();
	}
}

static const struct outside outside_once = {
	.chooses = true, .goes = goes, .wants = wants, .take = take, .flush = flush};
static const struct outside outside_here = {
	.chooses = false, .goes = goes, .wants = wants, .take = take, .flush = flush};

/* ---- what comes from there ---- */

static void tell_gap(const struct message *m, struct span publisher)
{
	char topic[128], from[64];

	join.n.missed += m->missed;
	join.n.gaps++;
	join.gap_untold += m->missed;
	if (join.gap_told_ns && now_ns() - join.gap_told_ns < NS_PER_S)
		return;
	join.gap_told_ns = now_ns();
	snprintf(topic, sizeof(topic), "%.*s", (int)m->topic.len, m->topic.data);
	snprintf(from, sizeof(from), "%.*s", (int)publisher.len, publisher.data);
	hub_events_join(&(struct join_event){
		.event = "gap", .topic = topic, .publisher = from, .key = "missed", .number = join.gap_untold});
	join.gap_untold = 0;
}

static uint64_t read_number(const char **at, const char *end)
{
	uint64_t value = 0;

	while (*at < end && **at == ' ')
		++*at;
	for (; *at < end && **at >= '0' && **at <= '9' && value < UINT64_MAX / 100; ++*at)
		value = value * 10 + (uint64_t)(**at - '0');
	return value;
}

/* Looks at its number, if it has one. False: it is not to be brought. */
static bool check_number(struct message *m, const struct join_want *want)
{
	struct span value, publisher;
	const char *at, *end;
	uint64_t epoch, nth;

	if (!m->head_len || !nats_line_header(m, NUMBER, &value))
		return true;
	at = memchr(value.data, ' ', value.len);
	end = value.data + value.len;
	if (!at)
		return true;
	publisher = (struct span){value.data, (size_t)(at - value.data)};
	epoch = read_number(&at, end);
	nth = read_number(&at, end);
	if (!epoch || !nth || at != end)
		return true; /* somebody else's */
	if (publisher.len == PUBLISHER && memcmp(publisher.data, hub_facts()->id, PUBLISHER) == 0) {
		join.n.looped++;
		return false;
	}
	switch (join_numbers_see(&join.seen, publisher, m->topic, epoch, nth, want->since, &m->missed)) {
	case JOIN_AGAIN:
		join.n.repeated++;
		return false;
	case JOIN_GAP:
		tell_gap(m, publisher);
		return true;
	default:
		return true;
	}
}

static void bring(const struct link *link, struct nats_line *line)
{
	struct message *m = &line->message;
	const struct join_want *want;
	uint64_t sid = 0;

	if (is_local(m->topic))
		return;
	for (size_t i = 0; i < line->sid.len; i++)
		sid = sid * 10 + (uint64_t)(line->sid.data[i] - '0');
	want = link->groups ? NULL : join_interest_first(&join.interest, m->topic);
	if (!want || want->sid != sid) {
		want = join_interest_named(&join.interest, m->topic, sid);
		if (!want || !want->group.len)
			return; /* a copy, or not wanted any more */
	}
	m->nobody = line->nobody;
	if (m->nobody && was_taken(m->topic))
		return;
	if (!want->group.len && !m->nobody && !check_number(m, want))
		return;
	join.n.down++;
	if (!exchange_bring(m, want->group.len ? &want->group : NULL))
		refused("its payload is not what the topic's format allows", m->topic);
}

/* ---- a server ---- */

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

/* The server has gone, or is left: what was under way is lost, maybe. */
static void part(bool gone)
{
	close_link(&join.plain, gone);
	close_link(&join.groups, gone);
	join.n.unconfirmed += join.sent - join.confirmed;
	join.asked = join.confirmed = join.sent;
	join.asked_bytes = join.confirmed_bytes = join.sent_bytes;
	join.first_request = join.nrequests = 0;
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
	join_servers_failed(&join.servers, at, now_ns(), chance());
	part(gone);
	join.why[0] = '\0';
	arm(NS_PER_MS); /* not in this turn: its other connection is still to be closed */
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
	join_servers_leave(&join.servers, at, now_ns() + LAME_NS);
	part(false);
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
	part(false);
	arm(UINT64_MAX);
	done();
}

static void check_finished(void)
{
	if (join.done && ((!join.queue.first && join.confirmed == join.sent) || now_ns() >= join.until_ns))
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
	pump();
}

static const struct tn_handler link_handler;

static int dial(struct link *link)
{
	const struct join_server *server = &join.servers.list[join.at];
	int err;

	join.why[0] = '\0';
	link->heard_ns = now_ns();
	err = tn_dial(join.loop, server->url, &link_handler, link, &link->conn);
	return err == 0 && server->late ? tn_tls_later(link->conn) : err;
}

static void dial_next(void)
{
	uint64_t wait = 0;

	join.at = join_servers_next(&join.servers, -1, now_ns(), chance(), &wait);
	if (join.at < 0) {
		arm(join.done || wait < NS_PER_TICK ? NS_PER_TICK : wait);
		return;
	}
	join.since_ns = now_ns();
	if (dial(&join.plain) < 0)
		fail(tn_errmsg(), true);
	else
		arm(NS_PER_TICK);
}

static void subscribe_all(struct link *link)
{
	for (const struct join_want *want = join.interest.oldest; want; want = want->newer)
		if (link_of(want->group.len > 0) == link)
			subscribe(link, want);
}

/* CONNECT. Returns why not, or NULL. */
static const char *greet(struct link *link, struct span nonce)
{
	const char *name = hub_facts()->name;
	struct text line = {0};
	struct join_login login;
	const char *why;
	char *text;

	text_add(&line, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
			"\"echo\":false,\"protocol\":1,\"lang\":\"c\",\"name\":");
	json_string(&line, name, strlen(name));
	text_add(&line, ",\"version\":\"%s\"", tn_version());
	why = read_login(&login, &text);
	if (!why)
		why = join_login_write(&line, &login, nonce);
	forget_login(text);
	text_add(&line, "}\r\n");
	if (!why && line.failed)
		why = "out of memory";
	if (!why)
		say(link, line.data, line.len);
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
	subscribe_all(link);
	ask(link);
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
		ask(&join.plain);
	}
	tn_value_free(info);
}

static void on_pong(struct link *link)
{
	link->pongs++;
	link->asked_ns = link->pongs < link->pings ? now_ns() : 0;
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
	if (!link->groups) {
		join.confirmed = join.asked;
		join.confirmed_bytes = join.asked_bytes;
		while (join.nrequests && join.requests[join.first_request].nth <=
						 join.nth - join.queue.messages - (join.sent - join.confirmed))
			requests_drop(1);
	}
	if (join.lame && join.confirmed == join.sent)
		leave_lame();
	else
		pump();
	check_finished();
}

static void on_error(struct span text)
{
	static const char permission[] = "Permissions Violation";

	if (text.len > sizeof(permission) && strncmp(text.data, permission, sizeof(permission) - 1) == 0) {
		char what[256];

		snprintf(what, sizeof(what), "%.*s", (int)text.len, text.data);
		refused(what, (struct span){"", 0});
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
	look_soon();
}

static void go_on(void)
{
	struct link *links[] = {&join.plain, &join.groups};

	for (int i = 0; i < 2; i++)
		if (links[i]->conn && links[i]->paused) {
			links[i]->paused = false;
			links[i]->heard_ns = now_ns();
			tn_resume(links[i]->conn);
		}
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct link *link = arg;
	struct nats_line line;

	if (conn != link->conn)
		return;
	link->heard_ns = now_ns();
	nats_line_read(&line, msg->data, msg->len);
	switch (line.op) {
	case NATS_MSG:
		bring(link, &line);
		break;
	case NATS_INFO:
		on_info(link, line.text);
		break;
	case NATS_PING:
		say(link, "PONG\r\n", 6);
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

/* ---- time ---- */

/* False: it has been given up. */
static bool look_at(struct link *link)
{
	uint64_t now = now_ns();

	if (!link->conn || link->paused)
		return true;
	if (link->asked_ns && now - link->asked_ns > DEAD_NS) {
		fail("it does not answer", true);
		return false;
	}
	if (link->up && !link->asked_ns &&
	    (now - link->heard_ns >= SILENT_NS || (!link->groups && join.sent > join.asked)))
		ask(link);
	return true;
}

static bool is_busy(void)
{
	return !join.up || join.plain.asked_ns || join.groups.asked_ns || join.queue.first ||
	       join.sent > join.confirmed || join.plain.paused || join.done;
}

static void on_tick(void *arg)
{
	(void)arg;
	join.soon = false;
	if (join.at < 0) {
		check_finished();
		if (!join.over)
			dial_next();
		return;
	}
	if (join.plain.paused && !exchange_is_behind())
		go_on();
	if (!join.up && now_ns() - join.since_ns > GREET_NS) {
		fail("it does not answer", true);
		return;
	}
	if (!look_at(&join.plain) || !look_at(&join.groups))
		return;
	pump();
	check_finished();
	if (join.at >= 0)
		arm(is_busy() ? NS_PER_TICK : NS_PER_S);
}

/* ---- the whole ---- */

int join_open(struct tn_loop *loop)
{
	int err;

	if (!join_is_wanted())
		return 0;
	join.loop = loop;
	join.queue.limit = join_plan.queue;
	join.headers = true; /* until a server says no */
	err = join_interest_new(&join.interest, chance());
	if (err == 0)
		err = join_numbers_new(&join.given, JOIN_NUMBERS_MAX);
	if (err == 0)
		err = join_numbers_new(&join.seen, JOIN_NUMBERS_MAX);
	if (err == 0)
		err = tn_timer_repeat(loop, NS_PER_MS, 0, on_tick, NULL, &join.timer);
	if (err < 0)
		return err;
	tn_timer_keep_loop(join.timer, false);
	exchange_set_outside(join_plan.here ? &outside_here : &outside_once);
	return 0;
}

void join_finish(uint64_t within_ns, void (*done)(void))
{
	if (!join.loop) {
		done();
		return;
	}
	join.done = done;
	join.until_ns = now_ns() + within_ns;
	pump();
	check_finished();
	if (join.done)
		arm(NS_PER_MS);
}

void join_close(void)
{
	if (!join.loop)
		return;
	part(false);
	tn_timer_stop(join.timer);
	join.timer = NULL;
	join.loop = NULL; /* whoever goes from now on is not told of there */
}

void join_allow(struct sandbox *box)
{
	if (join_is_wanted() && join_plan.login)
		sandbox_allow(box, join_plan.login, TN_FILE_READ);
	for (int i = 0; i < join.servers.count; i++)
		sandbox_allow_url(box, join.servers.list[i].url);
}

static void value(struct text *out, bool open, const char *name, const char *type, const char *help, uint64_t number)
{
	metrics_family(out, open, name, type, help);
	text_add(out, "%s %llu\n", name, (unsigned long long)number);
}

void join_metrics(struct text *out, bool open)
{
	if (!join_is_wanted())
		return;
	value(out, open, "tenon_hub_join_connected", "gauge", "Whether the hub is with the cluster.", join.up);
	value(out, open, "tenon_hub_join_total", "counter", "How often the hub has come to the cluster.", join.n.joins);
	value(out, open, "tenon_hub_join_sent_total", "counter", "Messages that went to the cluster.", join.n.up);
	value(out, open, "tenon_hub_join_received_total", "counter", "Messages that came from the cluster.",
	      join.n.down);
	value(out, open, "tenon_hub_join_queue_bytes", "gauge", "What waits for the cluster.", join.queue.bytes);
	value(out, open, "tenon_hub_join_queue_messages", "gauge", "Messages that wait for the cluster.",
	      join.queue.messages);
	value(out, open, "tenon_hub_join_dropped_total", "counter", "Messages that had no room in that queue.",
	      join.n.dropped);
	value(out, open, "tenon_hub_join_refused_total", "counter", "Messages that the cluster, or a format, refused.",
	      join.n.refused);
	value(out, open, "tenon_hub_join_unconfirmed_total", "counter",
	      "Messages that were under way when a server went, and may be lost.", join.n.unconfirmed);
	value(out, open, "tenon_hub_join_missed_total", "counter",
	      "Messages of other hubs that have not come, by their numbers.", join.n.missed);
	value(out, open, "tenon_hub_join_repeated_total", "counter",
	      "Messages of other hubs that came twice or out of order, and were left out.", join.n.repeated);
	value(out, open, "tenon_hub_join_looped_total", "counter", "Messages of this hub that came back.",
	      join.n.looped);
}

void join_status(struct text *out)
{
	if (!join_is_wanted())
		return;
	json_object(out, "join");
	json_bool(out, "connected", join.up);
	json_text(out, "url", join.up ? join.servers.list[join.at].given : NULL);
	json_text(out, "server", join.up ? join.server : NULL);
	json_number(out, "joins", join.n.joins);
	json_number(out, "sent", join.n.up);
	json_number(out, "received", join.n.down);
	json_number(out, "wanted", join.interest.count);
	json_number(out, "queue_bytes", join.queue.bytes);
	json_number(out, "queue_messages", join.queue.messages);
	json_number(out, "dropped", join.n.dropped);
	json_number(out, "refused", join.n.refused);
	json_number(out, "under_way", join.sent - join.confirmed);
	json_number(out, "unconfirmed", join.n.unconfirmed);
	json_number(out, "gaps", join.n.gaps);
	json_number(out, "missed", join.n.missed);
	json_number(out, "repeated", join.n.repeated);
	json_number(out, "looped", join.n.looped);
	json_object_end(out);
}
