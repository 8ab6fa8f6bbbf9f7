/*
 * The NATS client protocol (docs.nats.io, "Client Protocol"), core. What is not written there is as nats-server does
 * it: tests/e2e/test_hub.py asks both the same.
 *
 * Bytes are read where they have come; only what is cut at the end of what has come is kept until the rest is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "door.h"
#include "tenon_value.h"
#include "topics/topics.h"

#define LINE_MAX_BYTES 4096 /* arguments of a line; MAX_CONTROL_LINE_SIZE of nats-server */
#define ARGS_MAX 5
#define SMALL 1024       /* payloads up to here stand behind their head in one piece */
#define SHARED_FROM 8192 /* from here on all clients refer to one copy */
#define PINGS_MAX 2      /* without an answer */

struct nats {
	unsigned char *part; /* an operation that has come in part: a line, or a line and its payload */
	size_t len, cap;
	size_t need;                              /* its length, if that is known */
	bool quiet;                               /* not verbose */
	bool lax;                                 /* not pedantic */
	bool headers, no_responders, ended, said; /* said: CONNECT has come */
	bool again;                               /* the operation in front is to be read once more */
	bool held;                                /* `part` is what was left when the hub took nothing more */
	uint8_t pings;
};

/* ---- what goes out ---- */

static void answer(struct client *client, const char *text)
{
	hub_answer(client, text, strlen(text));
}

static void fine(struct client *client, const struct nats *nats)
{
	if (!nats->quiet)
		answer(client, "+OK\r\n");
}

static void end(struct client *client, struct nats *nats, const char *error)
{
	if (error)
		answer(client, error);
	nats->ended = true;
	hub_end(client);
}

static void tell_about(struct client *client)
{
	const struct hub_facts *hub = hub_facts();
	struct client_facts facts;
	static const char *const tls[] = {[HUB_TLS_NONE] = "",
					  [HUB_TLS_OFFERED] = ",\"tls_available\":true",
					  [HUB_TLS_WANTED] = ",\"tls_required\":true"};
	const char *nonce = hub_nonce(client);
	char info[720], more[128];

	hub_client_facts(client, &facts);
	snprintf(more, sizeof(more), "%s%s%s%s%s", tls[hub_tls(client)], nonce ? ",\"nonce\":\"" : "",
		 nonce ? nonce : "", nonce ? "\"" : "", hub->leaving ? ",\"ldm\":true" : "");
	snprintf(info, sizeof(info),
		 "INFO {\"server_id\":\"%s\",\"server_name\":\"%s\",\"version\":\"%s\",\"proto\":1,\"host\":\"%s\","
		 "\"port\":%d,\"headers\":true%s,\"max_payload\":%u,\"client_id\":%llu,\"client_ip\":\"%s\"%s} \r\n",
		 hub->id, hub->name, tn_version(), facts.host, facts.port, hub->asks ? ",\"auth_required\":true" : "",
		 hub->payload, (unsigned long long)facts.id, facts.from, more);
	answer(client, info);
}

/* What all who get a message get alike. One for those who take headers, one for those who do not. */
struct rendering {
	uint64_t serial;
	char *text; /* "MSG topic ", then " reply 5\r\n", and if it is short the payload */
	size_t cap, front, back;
	struct span payload;      /* behind that; if it is long */
	struct tn_shared *shared; /* the same with the line's end, if it is very long */
};

static _Thread_local struct rendering renderings[2];

static bool rendering_room(struct rendering *r, size_t size)
{
	char *grown = r->cap < size ? realloc(r->text, size) : r->text;

	if (!grown)
		return false;
	r->text = grown;
	r->cap = r->cap < size ? size : r->cap;
	return true;
}

static char *put(char *at, const void *data, size_t len)
{
	if (len) /* an empty body is at no address */
		memcpy(at, data, len);
	return at + len;
}

static char *put_number(char *at, size_t number)
{
	char digits[20];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + number % 10);
	while (number /= 10);
	return put(at, digits + n, sizeof(digits) - n);
}

static const struct rendering *render(const struct message *m, bool headers)
{
	struct rendering *r = &renderings[headers];
	char *at;

	if (r->serial == m->serial)
		return r;
	if (!rendering_room(r, m->topic.len + m->reply.len + SMALL + 64))
		return NULL;
	tn_shared_unref(r->shared);
	r->shared = NULL;
	at = headers ? put(r->text, "HMSG ", 5) : put(r->text, "MSG ", 4);
	at = put(at, m->topic.data, m->topic.len);
	*at++ = ' ';
	r->front = (size_t)(at - r->text);
	*at++ = ' ';
	if (m->reply.len) {
		at = put(at, m->reply.data, m->reply.len);
		*at++ = ' ';
	}
	if (headers) {
		at = put_number(at, m->head_len);
		*at++ = ' ';
	}
	r->payload = headers ? m->body : message_payload(m);
	at = put_number(at, r->payload.len);
	at = put(at, "\r\n", 2);
	if (r->payload.len <= SMALL) {
		at = put(at, r->payload.data, r->payload.len);
		at = put(at, "\r\n", 2);
		r->payload.len = 0;
	}
	r->back = (size_t)(at - r->text) - r->front;
	r->serial = m->serial;
	return r;
}

/* Many refer to one copy, with the line's end behind it. */
static struct tn_shared *share(const struct rendering *rendering)
{
	struct rendering *r = (struct rendering *)(uintptr_t)rendering;
	char *copy;

	if (r->shared || r->payload.len < SHARED_FROM)
		return r->shared;
	copy = malloc(r->payload.len + 2);
	if (!copy)
		return NULL;
	put(put(copy, r->payload.data, r->payload.len), "\r\n", 2);
	if (tn_shared_new(copy, r->payload.len + 2, TN_MSG_ANY, &r->shared) < 0)
		r->shared = NULL;
	free(copy);
	return r->shared;
}

static void deliver(struct client *client, void *state, struct span sid, const struct message *message)
{
	const struct nats *nats = state;
	const struct rendering *r = render(message, message->head_len && nats->headers);
	struct tn_shared *shared;
	unsigned char *room;

	if (!r || (message->nobody && !nats->no_responders))
		return;
	room = r->payload.len ? NULL : hub_room(client, r->front + sid.len + r->back);
	if (room) {
		memcpy(room, r->text, r->front);
		memcpy(room + r->front, sid.data, sid.len);
		memcpy(room + r->front + sid.len, r->text + r->front, r->back);
		return;
	}
	shared = share(r);
	struct iovec iov[] = {{r->text, r->front},
			      {(char *)(uintptr_t)sid.data, sid.len},
			      {r->text + r->front, r->back},
			      {(char *)(uintptr_t)r->payload.data, r->payload.len},
			      {(char *)(uintptr_t) "\r\n", 2}};
	hub_write(client, iov, shared || !r->payload.len ? 3 : 5);
	if (shared)
		hub_write_shared(client, shared);
}

static void forget(void)
{
	for (int i = 0; i < 2; i++) {
		free(renderings[i].text);
		tn_shared_unref(renderings[i].shared);
		renderings[i] = (struct rendering){0};
	}
}

/* ---- what comes in: words ---- */

enum op { OP_NONE, OP_PUB, OP_HPUB, OP_SUB, OP_UNSUB, OP_PING, OP_PONG, OP_CONNECT, OP_INFO, OP_OK, OP_ERR, OP_PART };

static const struct {
	const char *name;
	uint8_t len;
	bool blank; /* must follow */
} ops[] = {
	[OP_PUB] = {"PUB", 3, true},          [OP_HPUB] = {"HPUB", 4, true},  [OP_SUB] = {"SUB", 3, true},
	[OP_UNSUB] = {"UNSUB", 5, true},      [OP_PING] = {"PING", 4, false}, [OP_PONG] = {"PONG", 4, false},
	[OP_CONNECT] = {"CONNECT", 7, false}, [OP_INFO] = {"INFO", 4, true},  [OP_OK] = {"+OK", 3, false},
	[OP_ERR] = {"-ERR", 4, true},
};

static bool same_letters(const unsigned char *p, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((p[i] >= 'a' && p[i] <= 'z' ? p[i] - 32 : p[i]) != name[i])
			return false;
	return true;
}

/* What is asked for. OP_PART: too little has come to know; OP_NONE: there is no such operation. */
static enum op op_of(const unsigned char *p, size_t len)
{
	for (enum op op = OP_PUB; op <= OP_ERR; op++) {
		size_t n = ops[op].len;

		if (!same_letters(p, ops[op].name, len < n ? len : n))
			continue;
		if (len < n + ops[op].blank)
			return OP_PART;
		if (!ops[op].blank || p[n] == ' ' || p[n] == '\t')
			return op;
	}
	return OP_NONE;
}

struct args {
	struct span at[ARGS_MAX];
	int count; /* ARGS_MAX + 1: too many */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A line without its line feed. A carriage return in it stands for one byte at its end that does not count. */
static void split(const char *p, size_t len, struct args *args)
{
	const char *from = NULL, *stop;

	if (len && p[len - 1] != '\r' && memchr(p, '\r', len))
		len--;
	args->count = 0;
	for (stop = p + len; p < stop && args->count < ARGS_MAX; p++) {
		if (!is_blank(*p)) {
			from = from ? from : p;
		} else if (from) {
			args->at[args->count++] = (struct span){from, (size_t)(p - from)};
			from = NULL;
		}
	}
	if (from)
		args->at[args->count++] = (struct span){from, (size_t)(p - from)};
}

/* A number of up to nine digits; -1: it is none. */
static long number(struct span text)
{
	long value = 0;

	if (!text.len || text.len > 9)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return -1;
		value = value * 10 + (text.data[i] - '0');
	}
	return value;
}

/* ---- operations ---- */

static void violation(struct client *client, const char *what, struct span topic, struct span group)
{
	char text[2 * LINE_MAX_BYTES + 128];

	snprintf(text, sizeof(text), "-ERR 'Permissions Violation for %s \"%.*s\"%s%.*s%s'\r\n", what, (int)topic.len,
		 topic.data, group.len ? " using queue \"" : "", (int)group.len, group.len ? group.data : "",
		 group.len ? "\"" : "");
	answer(client, text);
}

/* Nobody has it: who asked is told, by its own subscription to replies. */
static void tell_no_responders(struct client *client, struct span reply)
{
	static const char status[] = "NATS/1.0 503\r\n\r\n";
	struct message m = {.topic = reply, .body = {status, sizeof(status) - 1}, .head_len = sizeof(status) - 1};
	char line[LINE_MAX_BYTES * 2 + 64];
	struct span sid;
	int len;

	if (!hub_find(client, reply, &sid))
		return;
	len = snprintf(line, sizeof(line), "HMSG %.*s %.*s %zu %zu\r\n%s\r\n", (int)reply.len, reply.data, (int)sid.len,
		       sid.data, m.head_len, m.body.len, status);
	hub_answer(client, line, (size_t)len);
}

/* Returns how many bytes line and payload have; 0: more must come, `nats->need` says how many. */
static size_t publish(struct client *client, struct nats *nats, const unsigned char *p, size_t line, size_t len,
		      const struct args *args, bool headers)
{
	int last = args->count - 1;
	long head = headers && last >= 2 ? number(args->at[last - 1]) : 0,
	     size = last >= 1 ? number(args->at[last]) : -1;
	size_t whole = line + (size_t)size + 2;
	struct message m = {.topic = args->at[0], .head_len = (size_t)head};
	int found;

	if (last < 1 + headers || last > 2 + headers || size < 0 || head < 0 || head > size ||
	    (headers && !nats->headers)) {
		end(client, nats, NULL);
		return line;
	}
	if ((unsigned long)size > hub_payload_max(client)) {
		end(client, nats, "-ERR 'Maximum Payload Violation'\r\n");
		return line;
	}
	if (len < whole) {
		nats->need = whole;
		return 0;
	}
	if (p[whole - 2] != '\r' || p[whole - 1] != '\n') {
		end(client, nats, "-ERR 'Unknown Protocol Operation'\r\n");
		return whole;
	}
	if (last == 2 + headers)
		m.reply = args->at[1];
	m.body = (struct span){(const char *)p + line, (size_t)size};
	if (!nats->lax && !topic_is_literal(m.topic.data, m.topic.len))
		answer(client, "-ERR 'Invalid Publish Subject'\r\n");
	fine(client, nats);
	found = hub_publish(client, &m);
	if (found == -EACCES)
		violation(client, "Publish to", m.topic, (struct span){0});
	else if (found == -EBADMSG)
		answer(client, "-ERR 'Invalid Payload'\r\n");
	else if (found == 0 && !m.elsewhere && m.reply.len && nats->no_responders)
		tell_no_responders(client, m.reply);
	return whole;
}

static void subscribe(struct client *client, struct nats *nats, const struct args *args)
{
	struct span group = args->count == 3 ? args->at[1] : (struct span){0};
	int err;

	if (args->count < 2 || args->count > 3) {
		end(client, nats, NULL);
		return;
	}
	err = hub_subscribe(client, args->at[0], group, args->at[args->count - 1], NULL);
	if (err == -EINVAL)
		answer(client, "-ERR 'Invalid Subject'\r\n");
	else if (err == -EACCES)
		violation(client, "Subscription to", args->at[0], group);
	else if (err == -E2BIG)
		answer(client, "-ERR 'maximum subscriptions exceeded'\r\n");
	else if (err < 0)
		end(client, nats, NULL);
	else
		fine(client, nats);
}

static void unsubscribe(struct client *client, struct nats *nats, const struct args *args)
{
	long max = args->count == 2 ? number(args->at[1]) : 0;

	if (args->count < 1 || args->count > 2) {
		end(client, nats, NULL);
		return;
	}
	hub_unsubscribe(client, args->at[0], max > 0 ? (uint32_t)max : 0);
	fine(client, nats);
}

/* A member that is missing or null stays as it is. False: it is there and is none. */
static bool read_flag(const struct tn_value *options, const char *key, bool *flag, bool inverted)
{
	const struct tn_value *value = tn_value_get(options, key);

	if (tn_value_kind(value) == TN_BOOL)
		*flag = tn_value_bool(value) != inverted;
	return tn_value_kind(value) == TN_BOOL || tn_value_kind(value) == TN_NULL;
}

static bool read_text(const struct tn_value *options, const char *key, struct span *text)
{
	const struct tn_value *value = tn_value_get(options, key);

	*text = (struct span){0};
	if (tn_value_kind(value) == TN_TEXT)
		text->data = tn_value_text(value, &text->len);
	return tn_value_kind(value) == TN_TEXT || tn_value_kind(value) == TN_NULL;
}

static void greet(struct client *client, struct nats *nats, const struct tn_value *options)
{
	struct span name, account;
	struct login login;
	int64_t protocol = 0;
	bool echo = true;
	int err;

	if (!read_flag(options, "verbose", &nats->quiet, true) || !read_flag(options, "pedantic", &nats->lax, true) ||
	    !read_flag(options, "headers", &nats->headers, false) || !read_flag(options, "echo", &echo, false) ||
	    !read_flag(options, "no_responders", &nats->no_responders, false) || !read_text(options, "name", &name) ||
	    !read_text(options, "user", &login.user) || !read_text(options, "pass", &login.password) ||
	    !read_text(options, "auth_token", &login.token) || !read_text(options, "nkey", &login.nkey) ||
	    !read_text(options, "sig", &login.signature) || !read_text(options, "account", &account)) {
		end(client, nats, NULL);
		return;
	}
	(void)tn_value_int(tn_value_get(options, "protocol"), &protocol);
	err = account.len ? -EACCES : hub_login(client, &login);
	nats->again = err == -EINPROGRESS;
	if (nats->again)
		return;
	if (err < 0) {
		end(client, nats,
		    err == -EUSERS ? "-ERR 'maximum account active connections exceeded'\r\n"
				   : "-ERR 'Authorization Violation'\r\n");
		return;
	}
	if (protocol < 0 || protocol > 1) {
		end(client, nats, "-ERR 'invalid client protocol'\r\n");
		return;
	}
	if (nats->no_responders && !nats->headers) {
		end(client, nats, "-ERR 'no responders requires headers support'\r\n");
		return;
	}
	nats->said = true;
	hub_set_echo(client, echo);
	hub_set_name(client, name);
	fine(client, nats);
}

static void connect(struct client *client, struct nats *nats, const char *text, size_t len)
{
	struct tn_value *options = NULL;

	while (len && is_blank(text[len - 1]))
		len--;
	if (tn_decode("json", text, len, 0, &options) == 0 && tn_value_kind(options) == TN_MAP)
		greet(client, nats, options);
	else
		end(client, nats, NULL);
	tn_value_free(options);
}

static void act(struct client *client, struct nats *nats, enum op op, const char *text, size_t len)
{
	struct args args;

	switch (op) {
	case OP_SUB:
		split(text, len, &args);
		subscribe(client, nats, &args);
		break;
	case OP_UNSUB:
		split(text, len, &args);
		unsubscribe(client, nats, &args);
		break;
	case OP_PING:
		answer(client, "PONG\r\n");
		break;
	case OP_PONG:
		nats->pings = 0;
		break;
	case OP_CONNECT:
		connect(client, nats, text, len);
		break;
	case OP_ERR:
		end(client, nats, NULL);
		break;
	default:
		break;
	}
}

/* The first operation in these bytes. Returns how many it has; 0: more must come. */
static size_t operation(struct client *client, struct nats *nats, const unsigned char *p, size_t len)
{
	enum op op = len > 3 && (p[3] == ' ' && (p[0] | 32) == 'p' && (p[1] | 32) == 'u' && (p[2] | 32) == 'b')
			     ? OP_PUB
			     : op_of(p, len);
	size_t skip = op < OP_PART ? ops[op].len : 0, line;
	const unsigned char *feed;
	struct args args;

	nats->need = 0;
	if (op == OP_NONE) {
		end(client, nats, "-ERR 'Unknown Protocol Operation'\r\n");
		return len;
	}
	if (op == OP_PART)
		return 0;
	if (op != OP_CONNECT && !hub_is_known(client)) {
		end(client, nats, "-ERR 'Authorization Violation'\r\n");
		return len;
	}
	while (skip < len && (p[skip] == ' ' || p[skip] == '\t'))
		skip++;
	feed = memchr(p + skip, '\n', len - skip < LINE_MAX_BYTES + 2 ? len - skip : LINE_MAX_BYTES + 2);
	if (!feed && len - skip < LINE_MAX_BYTES + 2 && len < 2 * LINE_MAX_BYTES)
		return 0;
	if (!feed) {
		end(client, nats, "-ERR 'maximum control line exceeded'\r\n");
		return len;
	}
	line = (size_t)(feed + 1 - p);
	if (op != OP_PUB && op != OP_HPUB) {
		act(client, nats, op, (const char *)p + skip, line - 1 - skip);
		nats->held |= nats->again;
		return nats->again ? 0 : line;
	}
	split((const char *)p + skip, line - 1 - skip, &args);
	return publish(client, nats, p, line, len, &args, op == OP_HPUB);
}

/* ---- what has come in part ---- */

static bool keep(struct nats *nats, const unsigned char *data, size_t len)
{
	size_t size = nats->need > nats->len + len ? nats->need : nats->len + len;
	unsigned char *grown;

	if (size > nats->cap) {
		size = size < 128 ? 128 : size < 4096 ? size * 2 : size;
		grown = realloc(nats->part, size);
		if (!grown)
			return false;
		nats->part = grown;
		nats->cap = size;
	}
	memcpy(nats->part + nats->len, data, len);
	nats->len += len;
	return true;
}

static void part_free(struct nats *nats)
{
	free(nats->part);
	nats->part = NULL;
	nats->len = nats->cap = nats->need = 0;
}

/* How much of what has come belongs to the operation that is there in part: to its end, or that of its line. */
static size_t belongs(const struct nats *nats, const unsigned char *data, size_t len)
{
	const unsigned char *feed;

	if (nats->need)
		return nats->need - nats->len < len ? nats->need - nats->len : len;
	feed = memchr(data, '\n', len);
	return feed ? (size_t)(feed + 1 - data) : len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES;
}

static size_t go_on(struct client *client, struct nats *nats, const unsigned char *data, size_t len)
{
	size_t taken = belongs(nats, data, len);

	if (!keep(nats, data, taken)) {
		end(client, nats, NULL);
		return len;
	}
	if (nats->len >= nats->need && operation(client, nats, nats->part, nats->len))
		part_free(nats);
	return taken;
}

static void read_operations(struct client *client, struct nats *nats, const unsigned char *data, size_t len)
{
	while (len && !nats->ended) {
		bool waits = hub_must_wait(client);
		size_t taken = waits       ? 0
			       : nats->len ? go_on(client, nats, data, len)
					   : operation(client, nats, data, len);

		if (!taken && !keep(nats, data, len))
			end(client, nats, NULL);
		nats->held |= waits;
		if (!taken)
			return;
		data += taken;
		len -= taken;
	}
}

static void input(struct client *client, void *state, const unsigned char *data, size_t len)
{
	struct nats *nats = state;
	unsigned char *part = nats->part;

	if (data) {
		read_operations(client, nats, data, len);
	} else if (nats->held) {
		len = nats->len;
		nats->part = NULL;
		part_free(nats);
		nats->held = false;
		read_operations(client, nats, part, len);
		free(part);
	}
}

/* ---- the rest ---- */

static void opened(struct client *client, void *state)
{
	(void)state;
	tell_about(client);
}

/* As nats-server says it when its configuration was read again. */
static void denied(struct client *client, void *state, struct span sid, struct span pattern)
{
	char text[2 * LINE_MAX_BYTES + 128];

	(void)state;
	snprintf(text, sizeof(text), "-ERR 'Permissions Violation for Subscription to \"%.*s\" (sid \"%.*s\")'\r\n",
		 (int)pattern.len, pattern.data, (int)sid.len, sid.data);
	answer(client, text);
}

static bool notice(struct client *client, void *state, enum notice what)
{
	struct nats *nats = state;

	switch (what) {
	case NOTICE_LEAVE:
		tell_about(client);
		return true;
	case NOTICE_SLOW:
		answer(client, "-ERR 'Slow Consumer'\r\n");
		return true;
	case NOTICE_UNKNOWN:
		answer(client, "-ERR 'Authentication Timeout'\r\n");
		return true;
	case NOTICE_SILENT:
		if (nats->pings < PINGS_MAX) {
			nats->pings++;
			answer(client, "PING\r\n");
			return true;
		}
		answer(client, "-ERR 'Stale Connection'\r\n");
		return false;
	}
	return true;
}

static void closed(struct client *client, void *state)
{
	(void)client;
	part_free(state);
}

const struct door nats_door = {
	.name = "nats",
	.state = sizeof(struct nats),
	.open = opened,
	.input = input,
	.deliver = deliver,
	.denied = denied,
	.notice = notice,
	.close = closed,
	.forget = forget,
};
