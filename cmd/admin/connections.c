/*
 * /connections. Each loop tells of its connections, a few in a turn: thousands at once would keep everybody else on the
 * loop waiting.
 */
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "admin.h"
#include "common/json.h"
#include "common/tcp_state.h"
#include "common/text.h"
#include "common/workers.h"
#include "told.h"

/* So many connections a turn tells of: each is several system calls. */
#define AT_ONCE 100

/* Who asks, until all loops have answered. */
struct asking {
	struct tn_conn *where; /* NULL: it has gone meanwhile */
	uint64_t id;           /* of the one connection that is asked for; 0: all */
	bool last, head_only;
	int left; /* loops that have not answered */
	struct text out;
	struct asking *next;
};

struct noted {
	uint64_t id;
	struct tn_conn *conn; /* NULL: it has closed since */
};

/* What one loop has to say of one server: its connections are noted, and then told of a few at a time. */
struct part {
	struct asking *asking;
	struct told *told;
	uint64_t id;
	int number; /* of the server */
	int loop;
	bool begun;
	struct noted *noted; /* in the order of their ids */
	size_t count, room, next;
	struct text out;
	struct part *behind;
};

/* Of this thread's loop: the first is being told. */
static _Thread_local struct {
	struct part *first, **last;
} parts;

static struct asking *all;

/* ---- one connection ---- */

static void tcp_json(struct text *out, int fd)
{
	struct tcp_info tcp;
	socklen_t len = sizeof(tcp);
	int unread = 0, unsent = 0;

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCINQ, &unread) == 0)
		json_number(out, "unread", (uint64_t)unread);
	if (ioctl(fd, SIOCOUTQ, &unsent) == 0)
		json_number(out, "unacked", (uint64_t)unsent);
	memset(&tcp, 0, sizeof(tcp));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &len) < 0)
		return;
	json_number(out, "rtt_us", tcp.tcpi_rtt);
	json_number(out, "rttvar_us", tcp.tcpi_rttvar);
	json_number(out, "window_segments", tcp.tcpi_snd_cwnd);
	json_number(out, "retransmitted", tcp.tcpi_total_retrans);
}

/* What is worth its system calls for one connection, but not for each of many. */
static void detail_json(struct text *out, const struct tn_conn *conn, int fd)
{
	struct tn_option option;
	struct tcp_info tcp;
	socklen_t len = sizeof(tcp);
	char value[256];

	memset(&tcp, 0, sizeof(tcp));
	if (fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &len) == 0) {
		json_text(out, "state", tcp_state_name(tcp.tcpi_state));
		json_number(out, "rto_us", tcp.tcpi_rto);
		json_number(out, "segment_bytes", tcp.tcpi_snd_mss);
		json_number(out, "path_mtu", tcp.tcpi_pmtu);
		json_number(out, "unacked_segments", tcp.tcpi_unacked);
		json_number(out, "lost_segments", tcp.tcpi_lost);
		json_number(out, "last_received_ms", tcp.tcpi_last_data_recv);
		json_number(out, "last_sent_ms", tcp.tcpi_last_data_sent);
	}
	json_object(out, "options");
	for (int i = 0; tn_option_at(i, &option) == 0; i++)
		if (option.constant && tn_conn_option(conn, option.key, value, sizeof(value)) == 0)
			json_text(out, option.key, value);
	json_object_end(out);
}

static void connection_json(struct part *part, struct tn_conn *conn)
{
	struct text *out = &part->out;
	uint64_t now = tn_loop_now(tn_conn_loop(conn));
	struct tn_security security;
	struct tn_conn_info info;

	tn_conn_info(conn, &info);
	json_object(out, NULL);
	json_number(out, "id", tn_conn_id(conn));
	json_number(out, "server", (uint64_t)part->number);
	json_number(out, "loop", (uint64_t)part->loop);
	json_text(out, "peer", info.peer);
	json_text(out, "local", info.local);
	json_ms(out, "age_ms", now > info.opened_ns ? now - info.opened_ns : 0);
	json_number(out, "bytes_in", info.bytes_in);
	json_number(out, "bytes_out", info.bytes_out);
	json_number(out, "messages_in", info.msgs_in);
	json_number(out, "messages_out", info.msgs_out);
	json_number(out, "queued", tn_conn_queued(conn));
	json_ms(out, "stalled_ms", info.stalled_ns);
	if (tn_conn_security(conn, &security) == 0) {
		json_text(out, "protocol", security.protocol);
		json_text(out, "identity", *security.identity ? security.identity : NULL);
	}
	tcp_json(out, info.fd);
	if (part->id)
		detail_json(out, conn, info.fd);
	if (part->id && admin.more && admin.more->connection)
		admin.more->connection(out, conn);
	json_object_end(out);
}

/* ---- who asks ---- */

static void asking_free(struct asking *asking)
{
	for (struct asking **at = &all; *at; at = &(*at)->next)
		if (*at == asking) {
			*at = asking->next;
			break;
		}
	text_free(&asking->out);
	free(asking);
}

static void answer(struct asking *asking)
{
	const struct http_request request = {.method = {asking->head_only ? "HEAD" : "GET", 3 + asking->head_only},
					     .last = asking->last};
	struct http_response response = {.status = 200, .type = "application/json"};

	json_list_end(&asking->out);
	text_add(&asking->out, "}\n");
	response.body = asking->out.data;
	response.len = asking->out.len;
	if (asking->where && !asking->out.failed) {
		tn_resume(asking->where);
		(void)http_answer(asking->where, &request, &response);
	} else if (asking->where) {
		tn_close(asking->where);
	}
	asking_free(asking);
}

static void part_free(struct part *part)
{
	text_free(&part->out);
	free(part->noted);
	free(part);
}

/* On the first loop: a loop has answered. */
static void collect(void *arg)
{
	struct part *part = arg;
	struct asking *asking = part->asking;
	const char *comma = asking->out.len && asking->out.data[asking->out.len - 1] == '}' ? "," : "";

	if (part->out.len)
		text_add(&asking->out, "%s", comma);
	text_bytes(&asking->out, part->out.data, part->out.len);
	asking->out.failed |= part->out.failed;
	part_free(part);
	if (--asking->left == 0)
		answer(asking);
}

/* ---- on the loop that is asked ---- */

static void note(struct tn_conn *conn, void *arg)
{
	struct part *part = arg;

	if (part->id && part->id != tn_conn_id(conn))
		return;
	if (part->told->is_one) { /* nobody is told when it closes */
		connection_json(part, conn);
		return;
	}
	if (part->count == part->room) {
		size_t room = part->room ? 2 * part->room : 64;
		struct noted *grown = realloc(part->noted, room * sizeof(*grown));

		part->out.failed |= !grown;
		if (!grown)
			return;
		part->noted = grown;
		part->room = room;
	}
	part->noted[part->count++] = (struct noted){.id = tn_conn_id(conn), .conn = conn};
}

static int by_id(const void *a, const void *b)
{
	const struct noted *one = a, *other = b;

	return one->id < other->id ? -1 : one->id > other->id;
}

/* The server may have ended meanwhile. */
static void begin(struct part *part)
{
	part->begun = true;
	pthread_mutex_lock(&part->told->lock);
	if (part->told->server)
		(void)tn_server_each(part->told->server, note, part);
	pthread_mutex_unlock(&part->told->lock);
	if (part->count)
		qsort(part->noted, part->count, sizeof(*part->noted), by_id);
}

/* Tells of `most` connections, at most. Returns of how many. */
static size_t go_on(struct part *part, size_t most)
{
	size_t from = part->next, end;

	if (!part->begun)
		begin(part);
	end = part->count - from > most ? from + most : part->count;
	for (; part->next < end; part->next++)
		if (part->noted[part->next].conn)
			connection_json(part, part->noted[part->next].conn);
	if (end == part->count) {
		parts.first = part->behind;
		if (!workers_post(collect, part)) /* the first loop has gone, and with it who has asked */
			part_free(part);
	}
	return end - from;
}

/* A turn of the loop, and then the next one: other clients are served in between. */
static void tell(void *arg)
{
	(void)arg;
	do {
		size_t left = AT_ONCE;

		while (parts.first && left)
			left -= go_on(parts.first, left);
	} while (parts.first && !workers_post_to(parts.first->loop, tell, NULL)); /* the loop ends: all at once */
}

static void gather(void *arg)
{
	struct part *part = arg;
	bool is_idle = !parts.first;

	if (is_idle)
		parts.last = &parts.first;
	*parts.last = part;
	parts.last = &part->behind;
	if (is_idle)
		tell(NULL);
}

void connections_closed(const struct tn_conn *conn)
{
	const struct noted key = {.id = tn_conn_id(conn)};

	for (struct part *part = parts.first; part; part = part->behind) {
		struct noted *noted = part->count ? bsearch(&key, part->noted, part->count, sizeof(key), by_id) : NULL;

		if (noted)
			noted->conn = NULL;
	}
}

/* ---- questions ---- */

static bool ask_loop(struct asking *asking, int index, int number)
{
	struct part *part = calloc(1, sizeof(*part));

	if (!part)
		return false;
	part->asking = asking;
	part->told = admin.list[number];
	part->number = number;
	part->id = asking->id;
	part->loop = index;
	asking->left++;
	if (workers_post_to(index, gather, part))
		return true;
	asking->left--;
	free(part);
	return false;
}

/* ?id=N: that connection alone, with all of its options. Returns 0: all connections; -1: it is no number. */
static int64_t id_asked(struct http_text query)
{
	char digits[20] = "", *end;
	int64_t id;

	if (!query.len)
		return 0;
	if (query.len < 4 || query.len - 3 >= sizeof(digits) || memcmp(query.at, "id=", 3) != 0)
		return -1;
	memcpy(digits, query.at + 3, query.len - 3);
	id = strtoll(digits, &end, 10);
	return *digits >= '0' && *digits <= '9' && !*end && id > 0 ? id : -1;
}

void connections_answer(struct tn_conn *conn, const struct http_request *request)
{
	int64_t id = id_asked(request->query);
	struct asking *asking = id < 0 ? NULL : calloc(1, sizeof(*asking));

	if (id < 0) {
		(void)http_words(conn, request, 400,
				 "/connections takes ?id=N, the number of a connection, or nothing");
		return;
	}
	if (!asking) {
		(void)http_words(conn, request, 503, "out of memory");
		return;
	}
	asking->where = conn;
	asking->id = (uint64_t)id;
	asking->last = request->last;
	asking->head_only = http_is(request->method, "HEAD");
	asking->next = all;
	all = asking;
	text_add(&asking->out, "{");
	json_list(&asking->out, "connections");
	asking->left = 1; /* ourselves, until all were asked */
	for (int i = 0; i < admin.count; i++)
		for (int n = 0; admin.list[i]->server && n < workers_count(); n++)
			asking->out.failed |= !ask_loop(asking, n, i);
	tn_pause(conn); /* the next request is answered behind this one */
	if (--asking->left == 0)
		answer(asking);
}

void connections_forget(const struct tn_conn *conn)
{
	for (struct asking *asking = all; asking; asking = asking->next)
		if (asking->where == conn)
			asking->where = NULL;
}

void connections_stop(void)
{
	for (struct asking *asking = all; asking; asking = asking->next)
		asking->where = NULL;
}
