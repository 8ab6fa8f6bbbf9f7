#include "association.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "address.h"
#include "events.h"
#include "first/datagram.h"
#include "pace.h"
#include "plan.h"
#include "tee.h"
#include "tap/tap.h"
#include "tenon.h"

/* So many places a client may talk to at a time: each has a socket. The one that was quiet for longest goes for a new
 * one. */
#define PLACES_MAX 64

#define HOST_MAX 256

/* Where datagrams go: a name or address as the client has written it, and a port. */
struct place {
	struct place *next;
	struct association *association;
	struct tn_conn *target;
	char host[HOST_MAX];
	int port;
	uint64_t used_ns;
	bool paused; /* what comes from it has to wait for a limit */
	bool over;   /* it is being ended */
};

struct association {
	struct tn_conn *client;      /* whose it is; NULL: it has gone */
	struct pace *pace;           /* the session's; NULL: there are no limits, or it has gone */
	const struct record *record; /* the session's; NULL: it is not told of */
	struct tap *tap;             /* NULL: nobody looks on, or nothing has come */
	struct tee *tee;             /* NULL: nothing is copied */
	struct tn_server *server;
	struct tn_conn *socket; /* NULL: not open yet, or not any more */
	struct tn_addr peer;    /* where the client sends from: its address, with the port of its first datagram */
	int port;               /* that the client has named; 0: none */
	bool known;             /* the first datagram has come */
	struct place *places;
	int count;
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out, lost;
	bool closed; /* the server has */
};

/* ---- the end ---- */

static void free_if_done(struct association *a)
{
	if (!a->client && a->closed && !a->places)
		free(a);
}

static void on_server_closed(void *arg)
{
	struct association *a = arg;

	a->closed = true;
	free_if_done(a);
}

static void place_end(struct place *place, int err)
{
	if (place->over)
		return;
	place->over = true;
	tn_abort(place->target, err);
}

void association_end(struct association *a, struct record *record)
{
	if (record) {
		record->bytes_in = a->bytes_in;
		record->bytes_out = a->bytes_out;
		record->msgs_in = a->msgs_in;
		record->msgs_out = a->msgs_out;
		record->lost = a->lost;
	}
	record_end_tap(record, a->tap);
	tee_over(a->tee);
	a->tee = NULL;
	a->tap = NULL;
	a->record = NULL;
	a->client = NULL;
	a->pace = NULL;
	for (struct place *place = a->places; place; place = place->next)
		place_end(place, -ECANCELED);
	tn_server_close(a->server, 0, on_server_closed, a);
}

uint64_t association_moved(const struct association *a)
{
	return a->bytes_in + a->bytes_out;
}

/* Datagrams have passed: the connection that they belong to is not idle, though it says nothing itself. */
static void note_passed(struct association *a, struct tn_conn *from, bool in, size_t len)
{
	if (!a->client)
		return;
	tn_conn_hold(a->client);
	tn_conn_release(a->client);
	if (a->pace)
		pace_passed(a->pace, from, in, len);
}

/* One of the places stands for all that wait. */
static void go_on(struct association *a, uint64_t now)
{
	struct place *place = a->places;

	while (place && !place->paused)
		place = place->next;
	pace_tick(a->pace, a->socket, place ? place->target : NULL, now);
	for (; place && !a->pace->out_waits; place = place->next)
		if (place->paused) {
			place->paused = false;
			tn_resume(place->target);
		}
}

void association_tick(struct association *a, uint64_t now)
{
	if (a->pace)
		go_on(a, now);
	for (struct place *place = a->places; place; place = place->next)
		if (now - place->used_ns >= plan.idle_ns)
			place_end(place, TN_EIDLE);
}

/* ---- replies ---- */

/* What passes between the client and us, with the headers that say where it goes and comes from. */
static void tap_reply(struct association *a, const struct iovec iov[2])
{
	size_t len = iov[0].iov_len + iov[1].iov_len;
	unsigned char *whole = a->tap ? malloc(len) : NULL;
	const struct tn_msg msg = {.data = whole, .len = len};

	if (!a->tap)
		return;
	if (!whole) {
		recorder_lose();
		return;
	}
	memcpy(whole, iov[0].iov_base, iov[0].iov_len);
	if (iov[1].iov_len)
		memcpy(whole + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	tap_data(a->tap, RECORDING_SERVER, &msg, NULL);
	free(whole);
}

static void place_open(struct tn_conn *target, void *arg)
{
	if (address_is_ours(target))
		place_end(arg, -ELOOP);
}

static void place_msg(struct tn_conn *target, const struct tn_msg *msg, void *arg)
{
	struct place *place = arg;
	struct association *a = place->association;
	struct tn_msg question = {.peer = &a->peer};
	unsigned char header[DATAGRAM_HEADER_MAX], *ip;
	struct iovec iov[] = {{.iov_base = header}, {.iov_base = (void *)(uintptr_t)msg->data, .iov_len = msg->len}};
	struct tn_addr from;
	size_t ip_len;

	if (place->over || !a->socket || tn_conn_peer(target, &from) < 0)
		return;
	ip = (unsigned char *)(uintptr_t)address_ip(&from, &ip_len);
	if (!ip)
		return;
	iov[0].iov_len = datagram_write(header, ip, ip_len, (int)address_port(&from));
	place->used_ns = tn_loop_now(tn_conn_loop(target));
	if (tn_replyv(a->socket, &question, iov, 2) < 0) {
		a->lost++;
		return;
	}
	tap_reply(a, iov);
	tee_put(a->tee, NULL, false, &(struct tn_msg){.data = msg->data, .len = msg->len});
	a->msgs_out++;
	a->bytes_out += msg->len;
	note_passed(a, target, false, msg->len);
	place->paused = a->pace && a->pace->out_waits;
}

static void place_close(struct tn_conn *target, int err, void *arg)
{
	struct place *place = arg, **at = &place->association->places;
	struct association *a = place->association;
	struct tn_conn_info info;

	tn_conn_info(target, &info);
	a->lost += info.lost;
	if (err && !place->over && a->client)
		tn_conn_trouble(a->client, err, tn_errmsg());
	while (*at != place)
		at = &(*at)->next;
	*at = place->next;
	a->count--;
	free(place);
	free_if_done(a);
}

static const struct tn_handler place_handler = {.on_open = place_open, .on_msg = place_msg, .on_close = place_close};

/* ---- datagrams of the client ---- */

static struct place *place_find(const struct association *a, const char *host, int port)
{
	for (struct place *place = a->places; place; place = place->next)
		if (!place->over && place->port == port && strcmp(place->host, host) == 0)
			return place;
	return NULL;
}

static void make_room(struct association *a)
{
	struct place *oldest = NULL;

	for (struct place *place = a->places; place; place = place->next)
		if (!place->over && (!oldest || place->used_ns < oldest->used_ns))
			oldest = place;
	if (oldest)
		place_end(oldest, TN_ELIMIT);
}

static struct place *place_new(struct association *a, const char *host, int port)
{
	struct place *place;
	int err;

	if (a->count >= PLACES_MAX)
		make_room(a);
	place = a->count < 2 * PLACES_MAX ? calloc(1, sizeof(*place)) : NULL;
	if (!place)
		return NULL;
	*place = (struct place){.next = a->places, .association = a, .port = port};
	snprintf(place->host, sizeof(place->host), "%s", host);
	err = tn_dial_asked(a->client, TN_ASKED_UDP, host, port, NULL, &place_handler, place, &place->target);
	if (err < 0) {
		tn_conn_trouble(a->client, err, tn_errmsg());
		free(place);
		return NULL;
	}
	a->places = place;
	a->count++;
	return place;
}

/* Others must not send by it. Which port is the client's its first datagram says, unless the client has said it. */
static bool is_of_client(struct association *a, const struct tn_addr *peer)
{
	struct tn_addr client;
	size_t len, client_len;
	const void *ip = address_ip(peer, &len), *client_ip;

	if (!a->client || tn_conn_peer(a->client, &client) < 0)
		return false;
	client_ip = address_ip(&client, &client_len);
	if (!ip || !client_ip || len != client_len || memcmp(ip, client_ip, len) != 0 ||
	    (a->known && address_port(peer) != address_port(&a->peer)) ||
	    (a->port && address_port(peer) != (unsigned)a->port))
		return false;
	a->peer = *peer;
	return true;
}

/* Its messages are shown with the client's connection: of the socket nobody tells. */
static void begin_tap(struct association *a, const struct tn_conn *socket, const struct tn_msg *msg)
{
	a->tap = record_begin_tap(a->record, true, true, socket, msg);
	tap_show_at(a->tap, a->client);
}

static void on_datagram(struct tn_conn *socket, const struct tn_msg *msg, void *arg)
{
	struct association *a = arg;
	const unsigned char *data = msg->data;
	char host[HOST_MAX];
	struct place *place;
	int port;
	long at;

	if (!msg->peer || !is_of_client(a, msg->peer)) {
		a->lost++;
		return;
	}
	if (!a->known)
		a->tee = tee_begin(tn_conn_loop(socket), TEE_ASSOCIATION);
	a->known = true;
	if (!a->tap)
		begin_tap(a, socket, msg);
	tap_data(a->tap, RECORDING_CLIENT, msg, NULL);
	at = datagram_read(data, msg->len, host, sizeof(host), &port);
	place = at < 0 ? NULL : place_find(a, host, port);
	if (at >= 0 && !place)
		place = place_new(a, host, port);
	if (!place || tn_send(place->target, data + at, msg->len - (size_t)at) < 0) {
		a->lost++;
		return;
	}
	tee_put(a->tee, NULL, true, &(struct tn_msg){.data = data + at, .len = msg->len - (size_t)at});
	place->used_ns = tn_loop_now(tn_conn_loop(socket));
	a->msgs_in++;
	a->bytes_in += msg->len - (size_t)at;
	note_passed(a, socket, true, msg->len - (size_t)at);
}

/* ---- the socket ---- */

static void on_open(struct tn_conn *socket, void *arg)
{
	struct association *a = arg;

	a->socket = socket;
	if (a->client && tn_conn_answer(a->client, 0, socket) < 0)
		tn_abort(a->client, -ENOMEM);
}

static void on_close(struct tn_conn *socket, int err, void *arg)
{
	struct association *a = arg;

	(void)socket;
	a->socket = NULL;
	if (a->client)
		tn_abort(a->client, err ? err : -ECANCELED);
}

static const struct tn_handler socket_handler = {.on_open = on_open, .on_msg = on_datagram, .on_close = on_close};

/* What a client behind a translation of addresses says of its own is of no use. */
static int named_port(const struct tn_asked *asked, const struct tn_conn *client)
{
	static const char *const any[] = {"0.0.0.0", "0:0:0:0:0:0:0:0"};
	struct tn_addr peer;
	char text[128];

	if (strcmp(asked->host, any[0]) == 0 || strcmp(asked->host, any[1]) == 0)
		return asked->port;
	if (tn_conn_peer(client, &peer) < 0)
		return 0;
	tn_addr_text(&peer, text, sizeof(text));
	return strncmp(text, asked->host, strlen(asked->host)) == 0 && text[strlen(asked->host)] == ':' ? asked->port
													: 0;
}

/* The address that the client has connected to is one that it reaches. */
static int open_socket(struct association *a)
{
	struct tn_addr own;
	char text[128], url[160];
	size_t len;

	if (tn_conn_local(a->client, &own) < 0 || !address_ip(&own, &len))
		return -EAFNOSUPPORT;
	tn_addr_text(&own, text, sizeof(text));
	*strrchr(text, ':') = '\0';
	snprintf(url, sizeof(url), "udp://%s:0", text);
	return tn_serve(tn_conn_loop(a->client), url, &socket_handler, a, &a->server);
}

int association_begin(struct tn_conn *client, const struct tn_asked *asked, struct pace *pace,
		      const struct record *record, struct association **out)
{
	struct association *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	a->client = client;
	a->pace = pace;
	a->record = record;
	a->port = named_port(asked, client);
	err = open_socket(a);
	if (err < 0)
		free(a);
	else
		*out = a;
	return err < 0 ? err : 0;
}
