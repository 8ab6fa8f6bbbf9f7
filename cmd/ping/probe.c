/* What a probe is: an ICMP echo request, a message and its reply, or a connection. */
#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "common/privileges.h"
#include "tenon.h"
#include "tenon_value.h"

#define ECHO4 8
#define ECHO4_REPLY 0
#define ECHO6 128
#define ECHO6_REPLY 129
#define ICMP_HEAD 8

/* In the payload of an echo, if there is room: which process it belongs to, and its number. */
#define MARK 16

static struct {
	struct probing p;
	void (*begun)(int err);
	struct tn_conn *conn; /* NULL: to be dialled again */
	bool open;
	uint64_t latest; /* the last that was asked for */
	uint64_t unsent; /* from this one to the latest, they wait for the connection; PROBE_PING: or for the answer to
			  * the one before; 0: none */
	uint64_t pinged; /* PROBE_PING: waits for its answer; 0: none */
	int family;
	uint64_t nonce;
	char from[384];
	unsigned char *data; /* of a message being made */
} state;

/* ---- ICMP echo ---- */

static void put_number(unsigned char *at, uint64_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (unsigned char)(number >> 8 * (bytes - 1 - i));
}

static uint64_t take_number(const unsigned char *at, int bytes)
{
	uint64_t number = 0;

	for (int i = 0; i < bytes; i++)
		number = number << 8 | at[i];
	return number;
}

static void fill(unsigned char *payload, uint64_t number)
{
	for (size_t i = 0; i < state.p.size; i++)
		payload[i] = (unsigned char)i;
	if (state.p.size >= MARK) {
		put_number(payload, state.nonce, 8);
		put_number(payload + 8, number, 8);
	}
}

static int send_echo(uint64_t number)
{
	unsigned char *data = state.data;

	memset(data, 0, ICMP_HEAD);
	data[0] = state.family == AF_INET6 ? ECHO6 : ECHO4;
	put_number(data + 6, number & 0xffff, 2);
	fill(data + ICMP_HEAD, number);
	return tn_send(state.conn, data, ICMP_HEAD + state.p.size);
}

/*
 * The number is in the payload. A short payload has only the 16 bits of ICMP's own number: then the latest probe with
 * these is meant.
 */
static uint64_t whole_number(const unsigned char *data, size_t len)
{
	uint64_t latest = state.latest;

	if (len >= ICMP_HEAD + MARK && state.p.size >= MARK)
		return take_number(data + ICMP_HEAD + 8, 8);
	return latest - ((latest - take_number(data + 6, 2)) & 0xffff);
}

static void take_echo(const unsigned char *data, size_t len, struct answer *answer)
{
	uint64_t number;

	if (len < ICMP_HEAD || data[0] != (state.family == AF_INET6 ? ECHO6_REPLY : ECHO4_REPLY))
		return;
	if (state.p.size >= MARK && len >= ICMP_HEAD + MARK && take_number(data + ICMP_HEAD, 8) != state.nonce)
		return; /* another's */
	number = whole_number(data, len);
	fill(state.data, number);
	answer->damaged = len != ICMP_HEAD + state.p.size || memcmp(data + ICMP_HEAD, state.data, state.p.size) != 0;
	state.p.user->answered(number, answer);
}

/* ---- messages ---- */

#define TOKEN_MAX 64

static size_t token_of(uint64_t number, char *out)
{
	return (size_t)snprintf(out, TOKEN_MAX, "ping %llu %016llx.", (unsigned long long)number,
				(unsigned long long)state.nonce);
}

/* {"ping": text}, or in a format without maps the text alone. NULL without memory. */
static struct tn_value *value_of(const char *format, const char *text, size_t len)
{
	struct tn_value *map, *value;

	if (!(tn_format_kind(format) & TN_FORMAT_VALUES))
		return tn_value_new_text(NULL, text, len);
	map = tn_value_new_map(NULL);
	value = map ? tn_value_new_text(map, text, len) : NULL;
	if (value && tn_value_put(map, "ping", value) == 0)
		return map;
	tn_value_free(map);
	return NULL;
}

/* Text, which every format can carry as it is. Longer messages are filled up with dots. */
static int send_message(uint64_t number)
{
	char token[TOKEN_MAX];
	size_t len = token_of(number, token), size = len > state.p.size ? len : state.p.size;
	const char *format = tn_conn_format(state.conn);
	struct tn_value *value;
	int err;

	memset(state.data, '.', size);
	memcpy(state.data, token, len);
	if (!format)
		return tn_send(state.conn, state.data, size);
	value = value_of(format, (char *)state.data, size);
	if (!value)
		return -ENOMEM;
	err = tn_reply_value(state.conn, NULL, value);
	tn_value_free(value);
	return err;
}

/* The peer may have wrapped the message. 0: the token is not in there. */
static uint64_t find_token(const char *data, size_t len)
{
	char token[TOKEN_MAX];
	const char *at = data, *end = data + len;
	unsigned long long number;
	size_t size;

	while ((at = memmem(at, (size_t)(end - at), "ping ", 5))) {
		char text[TOKEN_MAX];

		snprintf(text, sizeof(text), "%.*s", (int)(end - at < TOKEN_MAX - 1 ? end - at : TOKEN_MAX - 1), at);
		if (sscanf(text, "ping %llu ", &number) == 1) {
			size = token_of(number, token);
			if ((size_t)(end - at) >= size && !memcmp(at, token, size))
				return number;
		}
		at += 5;
	}
	return 0;
}

/* ---- one connection for all ---- */

static void send_now(uint64_t number)
{
	int err;

	state.p.user->left(number, clock_ns());
	state.pinged = number;
	err = state.p.kind == PROBE_ECHO   ? send_echo(number)
	      : state.p.kind == PROBE_PING ? tn_ping(state.conn)
					   : send_message(number);
	if (err < 0) {
		state.pinged = 0;
		state.p.user->failed(number, err);
	}
}

/* The first of those that wait is sent, or given up. */
static void waits_no_more(void)
{
	state.unsent = state.unsent < state.latest ? state.unsent + 1 : 0;
}

static void send_waiting(void)
{
	while (state.open && state.unsent && !(state.p.kind == PROBE_PING && state.pinged)) {
		uint64_t number = state.unsent;

		waits_no_more();
		send_now(number);
	}
}

static void begun(int err)
{
	void (*fn)(int err) = state.begun;

	state.begun = NULL;
	if (fn)
		fn(err);
}

/* What routers report about our datagrams ends the connection, with the reason: such a loss has a known cause. */
static void hear_routers(int fd)
{
	int type = 0, on = 1;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type == SOCK_STREAM)
		return;
	if (state.family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	else if (state.family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct tn_conn_info info;
	socklen_t len = sizeof(state.family);

	(void)arg;
	tn_conn_info(conn, &info);
	snprintf(state.from, sizeof(state.from), "%s", info.peer);
	(void)getsockopt(info.fd, SOL_SOCKET, SO_DOMAIN, &state.family, &len);
	hear_routers(info.fd);
	state.open = true;
	begun(0);
	send_waiting();
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct answer answer = {.came_ns = clock_ns(), .bytes = msg->len, .from = state.from};
	char text[128];

	(void)conn, (void)arg;
	if (msg->peer) /* one of many that may answer */
		answer.from = tn_addr_text(msg->peer, text, sizeof(text));
	if (state.p.kind == PROBE_ECHO)
		take_echo(msg->data, msg->len, &answer);
	else if (state.p.kind == PROBE_MESSAGE)
		state.p.user->answered(find_token(msg->data, msg->len), &answer);
}

static void on_pong(struct tn_conn *conn, uint64_t round_ns, void *arg)
{
	uint64_t now = clock_ns(), number = state.pinged;
	struct answer answer = {.sent_ns = now - round_ns, .came_ns = now, .from = state.from};

	(void)conn, (void)arg;
	if (!number)
		return;
	state.pinged = 0;
	state.p.user->left(number, answer.sent_ns);
	state.p.user->answered(number, &answer);
	send_waiting();
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)arg;
	if (conn != state.conn)
		return;
	state.conn = NULL;
	state.open = false;
	state.unsent = state.pinged = 0;
	if (state.begun)
		begun(err < 0 ? err : -ECONNRESET);
	else
		state.p.user->failed_all(err < 0 ? err : -ECONNRESET);
}

static int dial_again(void)
{
	static const struct tn_handler handler = {
		.on_open = on_open, .on_msg = on_msg, .on_close = on_close, .on_pong = on_pong};
	int err = tn_dial(state.p.loop, state.p.url, &handler, NULL, &state.conn);

	if (err >= 0)
		privileges_hold_keys_of(state.conn);
	return err;
}

/* ---- a connection each ---- */

struct attempt {
	struct attempt *next;
	uint64_t number, started_ns;
	struct tn_conn *conn;
	bool done;
};

static struct attempt *attempts;

static void attempt_open(struct tn_conn *conn, void *arg)
{
	struct attempt *a = arg;
	struct tn_conn_info info;
	struct tn_security security;
	struct answer answer = {.sent_ns = a->started_ns, .came_ns = clock_ns()};

	tn_conn_info(conn, &info);
	answer.from = info.peer;
	answer.lookup_ns = info.lookup_ns;
	answer.sent_ns += info.lookup_ns;
	state.p.user->left(a->number, answer.sent_ns);
	if (tn_conn_security(conn, &security) == 0)
		answer.connected_ns = info.opened_ns;
	a->done = true;
	state.p.user->answered(a->number, &answer);
	tn_close(conn);
}

static void attempt_close(struct tn_conn *conn, int err, void *arg)
{
	struct attempt *a = arg, **at = &attempts;

	(void)conn;
	if (!a->done)
		state.p.user->failed(a->number, err < 0 ? err : -ECONNRESET);
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a);
}

static void attempt_start(uint64_t number)
{
	static const struct tn_handler handler = {.on_open = attempt_open, .on_close = attempt_close};
	struct attempt *a = calloc(1, sizeof(*a));
	int err;

	if (!a) {
		state.p.user->failed(number, -ENOMEM);
		return;
	}
	a->number = number;
	a->started_ns = clock_ns();
	a->next = attempts;
	attempts = a;
	state.p.user->left(number, a->started_ns);
	err = tn_dial(state.p.loop, state.p.url, &handler, a, &a->conn);
	if (err >= 0)
		privileges_hold_keys_of(a->conn);
	if (err < 0) {
		attempts = a->next;
		free(a);
		state.p.user->failed(number, err);
	}
}

/* ---- the interface ---- */

int probe_begin(const struct probing *probing, void (*fn)(int err))
{
	size_t room = probing->size > TOKEN_MAX ? probing->size : TOKEN_MAX;

	state.p = *probing;
	state.data = calloc(1, ICMP_HEAD + room);
	if (!state.data)
		return -ENOMEM;
	if (getrandom(&state.nonce, sizeof(state.nonce), 0) != sizeof(state.nonce))
		state.nonce = clock_ns();
	if (probing->kind == PROBE_CONNECT) {
		fn(0);
		return 0;
	}
	state.begun = fn;
	return dial_again();
}

void probe_send(uint64_t number)
{
	int err = 0;

	state.latest = number;
	if (state.p.kind == PROBE_CONNECT) {
		attempt_start(number);
		return;
	}
	if (!state.conn)
		err = dial_again();
	if (err < 0) {
		state.conn = NULL;
		state.p.user->failed(number, err);
	} else {
		if (!state.unsent)
			state.unsent = number;
		send_waiting();
	}
}

void probe_forget(uint64_t number)
{
	if (number == state.unsent)
		waits_no_more();
	for (struct attempt *a = attempts; a; a = a->next)
		if (a->number == number && !a->done) {
			a->done = true;
			tn_abort(a->conn, -ETIMEDOUT);
			return;
		}
}

void probe_end(void)
{
	free(state.data);
	state.data = NULL;
}
