#include "talks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/packet/capfile.h"
#include "capture/packet/fragments.h"
#include "capture/packet/mark.h"
#include "capture/packet/packet.h"
#include "capture/packet/streams.h"
#include "common/complain.h"
#include "common/status.h"
#include "common/text.h"
#include "tenon.h"
#include "tenon_value.h"

#define BUCKETS 4096
#define STREAMS_MEMORY (64U << 20)
#define FRAGMENTS_MEMORY (4U << 20)
#define FORMATS_MAX 16

/* One conversation while it is read. */
struct pair {
	struct talk *talk;
	struct tn_split *split[2]; /* of client, server; NULL: bytes, or marked */
	struct text part[2];
	size_t held; /* bytes of messages that are not whole yet */
};

struct flow {
	struct flow *same;
	struct talk *talk;
	unsigned ip;
	unsigned char addr[2][16];
	uint16_t port[2];
	char session[sizeof(((struct mark *)0)->session)]; /* "": it is not told */
};

struct reader {
	struct talks *talks;
	struct streams *streams;
	struct fragments *fragments;
	struct tn_split *kind; /* NULL: streams are bytes */
	struct mark mark;
	struct flow *flows[BUCKETS];
	size_t memory_max;
	size_t held; /* by all pairs */
	int fd, err;
};

/* Counts what the recording takes. Returns whether it may. */
static bool take_memory(struct reader *r, size_t len)
{
	r->talks->memory += len;
	if (r->talks->memory + r->held > r->memory_max && !r->err)
		r->err = TN_ETOOBIG;
	return r->err == 0;
}

static void hold(struct reader *r, struct pair *pair)
{
	size_t held = 0;

	for (int i = 0; i < 2; i++)
		held += pair->part[i].cap + (pair->split[i] ? tn_split_waiting(pair->split[i]) : 0);
	r->held += held - pair->held;
	pair->held = held;
	(void)take_memory(r, 0);
}

/* The names of formats stay for the process. */
static const char *kept_name(const char *name)
{
	static char names[FORMATS_MAX][32];

	for (int i = 0; *name && i < FORMATS_MAX; i++) {
		if (!*names[i])
			snprintf(names[i], sizeof(names[i]), "%s", name);
		if (strcmp(names[i], name) == 0)
			return names[i];
	}
	return NULL;
}

static struct talk *talk_new(struct reader *r, uint64_t ns)
{
	struct talk *talk = take_memory(r, sizeof(*talk)) ? calloc(1, sizeof(*talk)) : NULL;

	if (!talk) {
		r->err = r->err ? r->err : -ENOMEM;
		return NULL;
	}
	talk->last = &talk->first;
	talk->begin_ns = ns;
	talk->number = ++r->talks->count;
	*r->talks->last = talk;
	r->talks->last = &talk->next;
	if (talk->number == 1 || ns < r->talks->begin_ns)
		r->talks->begin_ns = ns;
	if (ns > r->talks->end_ns)
		r->talks->end_ns = ns;
	return talk;
}

static void add(struct reader *r, struct talk *talk, enum said_what what, bool by_client, uint64_t ns, const void *data,
		size_t len, int kind, const char *format)
{
	struct said *said;

	said = take_memory(r, sizeof(*said) + len) ? malloc(sizeof(*said) + len) : NULL;
	if (!said) {
		r->err = r->err ? r->err : -ENOMEM;
		return;
	}
	*said = (struct said){.ns = ns,
			      .what = what,
			      .by_client = by_client,
			      .kind = (uint8_t)kind,
			      .format = format,
			      .answers = -1,
			      .len = len};
	if (len)
		memcpy(said->data, data, len);
	if (what == SAID_DATA) {
		said->number = by_client ? talk->asked++ : talk->answered++;
		said->upto = talk->bytes[by_client] += len;
		r->talks->bytes_asked += by_client ? len : 0;
		*(by_client ? &r->talks->asked : &r->talks->answered) += 1;
	}
	*talk->last = said;
	talk->last = &said->next;
	if (ns > r->talks->end_ns)
		r->talks->end_ns = ns;
}

/* ---- streams ---- */

static void on_open(void *arg, struct stream *s, uint64_t ns)
{
	struct reader *r = arg;
	struct pair *pair = calloc(1, sizeof(*pair));

	if (pair)
		pair->talk = talk_new(r, ns);
	if (!pair || !pair->talk) {
		r->err = r->err ? r->err : -ENOMEM;
		free(pair);
		return;
	}
	pair->talk->damaged = s->joined;
	s->data = pair;
}

static void take_messages(struct reader *r, struct pair *pair, int from, uint64_t ns)
{
	const void *data;
	size_t len;
	int rc;

	while ((rc = tn_split_next(pair->split[from], &data, &len)) > 0)
		add(r, pair->talk, SAID_DATA, from == 0, ns, data, len, tn_split_kind(pair->split[from]),
		    tn_split_format(pair->split[from]));
	if (rc < 0)
		pair->talk->damaged = true;
}

static void take_marked(struct reader *r, struct pair *pair, int from, uint64_t ns, const void *data, size_t len)
{
	struct text *part = &pair->part[from];

	pair->talk->messages = true;
	text_bytes(part, data, len);
	if (part->failed)
		r->err = -ENOMEM;
	hold(r, pair);
	if (r->mark.what != MARK_MESSAGE)
		return;
	add(r, pair->talk, SAID_DATA, from == 0, ns, part->data, part->len, r->mark.kind, kept_name(r->mark.format));
	part->len = 0;
}

static void on_data(void *arg, struct stream *s, int from, uint64_t ns, const void *data, uint32_t len)
{
	struct reader *r = arg;
	struct pair *pair = s->data;

	if (!pair || pair->talk->damaged)
		return;
	if (r->mark.what) {
		take_marked(r, pair, from, ns, data, len);
		return;
	}
	if (!r->kind) {
		add(r, pair->talk, SAID_DATA, from == 0, ns, data, len, TN_MSG_ANY, NULL);
		return;
	}
	pair->talk->messages = true;
	if (!pair->split[from] && tn_split_another(r->kind, &pair->split[from]) < 0) {
		r->err = -ENOMEM;
		return;
	}
	if (tn_split_feed(pair->split[from], data, len) < 0)
		pair->talk->damaged = true;
	else
		take_messages(r, pair, from, ns);
	hold(r, pair);
}

/* A recorded message of no bytes. */
static void on_empty(void *arg, struct stream *s, int from, uint64_t ns)
{
	struct reader *r = arg;
	struct pair *pair = s->data;

	if (pair && !pair->talk->damaged && r->mark.what == MARK_MESSAGE)
		take_marked(r, pair, from, ns, "", 0);
}

static void on_gap(void *arg, struct stream *s, int from, uint64_t ns, uint32_t missing)
{
	struct pair *pair = s->data;

	(void)arg, (void)from, (void)ns, (void)missing;
	if (pair)
		pair->talk->damaged = true;
}

static void on_end(void *arg, struct stream *s, int from, uint64_t ns)
{
	struct reader *r = arg;
	struct pair *pair = s->data;

	if (!pair || pair->talk->damaged)
		return;
	if (pair->split[from]) {
		tn_split_end(pair->split[from]);
		take_messages(r, pair, from, ns);
	}
	add(r, pair->talk, SAID_END, from == 0, ns, NULL, 0, TN_MSG_ANY, NULL);
}

static void on_close(void *arg, struct stream *s, uint64_t ns, enum stream_end why)
{
	struct reader *r = arg;
	struct pair *pair = s->data;

	if (!pair)
		return;
	if (why == STREAM_RESET && !pair->talk->damaged)
		add(r, pair->talk, SAID_RESET, s->reset_by == 0, ns, NULL, 0, TN_MSG_ANY, NULL);
	if (why == STREAM_LET_GO)
		pair->talk->damaged = true;
	r->held -= pair->held;
	for (int i = 0; i < 2; i++) {
		tn_split_free(pair->split[i]);
		text_free(&pair->part[i]);
	}
	free(pair);
	s->data = NULL;
}

static const struct stream_ops ops = {on_open, on_data, on_gap, on_end, on_close, on_empty};

/* ---- datagrams ---- */

static bool is_flow(const struct flow *flow, const struct packet *p, int from)
{
	size_t len = p->ip == 4 ? 4 : 16;

	return flow->ip == p->ip && flow->port[from] == p->sport && flow->port[!from] == p->dport &&
	       memcmp(flow->addr[from], p->src, len) == 0 && memcmp(flow->addr[!from], p->dst, len) == 0;
}

/* Who speaks first is the client. */
static struct flow *flow_of(struct reader *r, const struct packet *p, uint64_t ns, int *from)
{
	struct flow **bucket = &r->flows[(p->sport ^ p->dport * 31U ^ p->src[3] ^ p->dst[3]) % BUCKETS], *flow;
	struct flow **other = &r->flows[(p->dport ^ p->sport * 31U ^ p->dst[3] ^ p->src[3]) % BUCKETS];
	size_t len = p->ip == 4 ? 4 : 16;

	for (*from = 0; *from < 2; ++*from)
		for (flow = *from ? *other : *bucket; flow; flow = flow->same)
			if (is_flow(flow, p, *from))
				return flow;
	*from = 0;
	flow = calloc(1, sizeof(*flow));
	if (flow)
		flow->talk = talk_new(r, ns);
	if (!flow || !flow->talk || !take_memory(r, sizeof(*flow))) {
		r->err = r->err ? r->err : -ENOMEM;
		free(flow);
		return NULL;
	}
	flow->talk->messages = true;
	flow->ip = p->ip;
	memcpy(flow->addr[0], p->src, len);
	memcpy(flow->addr[1], p->dst, len);
	flow->port[0] = p->sport;
	flow->port[1] = p->dport;
	flow->same = *bucket;
	return *bucket = flow;
}

/* A recording tells where a session begins: an address may have one after the other. */
static bool begin_session(struct reader *r, struct flow *flow, uint64_t ns)
{
	struct talk *talk = flow->talk;

	if (*flow->session && strcmp(flow->session, r->mark.session) != 0)
		talk = talk_new(r, ns);
	if (!talk)
		return false;
	talk->messages = true;
	flow->talk = talk;
	snprintf(flow->session, sizeof(flow->session), "%s", r->mark.session);
	return true;
}

static void take_datagram(struct reader *r, const struct packet *p, uint64_t ns)
{
	int from;
	struct flow *flow = flow_of(r, p, ns, &from);

	if (!flow || (*r->mark.session && !begin_session(r, flow, ns)))
		return;
	if (p->payload_cap < p->payload_len)
		flow->talk->damaged = true;
	else
		add(r, flow->talk, SAID_DATA, from == 0, ns, p->payload, p->payload_cap, TN_MSG_ANY,
		    kept_name(r->mark.format));
}

/* ---- the file ---- */

static void take_packet(struct reader *r, const struct capfile_record *record)
{
	struct packet packet, whole, *p = &packet;
	int rc = 1;

	packet_decode(p, record->iface->link, record->data, record->caplen, record->len);
	r->mark = mark_read(record->comment, record->comment_len);
	if (p->fragment && (p->proto == PROTO_TCP || p->proto == PROTO_UDP)) {
		rc = fragments_take(r->fragments, p, record->ns, &whole);
		p = &whole;
	}
	if (rc > 0 && p->kind == PACKET_UDP && p->payload)
		take_datagram(r, p, record->ns);
	else if (rc > 0)
		rc = streams_packet(r->streams, p, record->ns);
	if (rc < 0)
		r->err = rc;
}

static long read_in(void *arg, void *buf, size_t len)
{
	const struct reader *r = arg;
	ssize_t got;

	do
		got = read(r->fd, buf, len);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (long)got;
}

static int read_all(struct reader *r, const char *path)
{
	struct capfile *file;
	struct capfile_record record;
	uint64_t at;
	const char *why;
	int err = capfile_new(&file, read_in, r);

	if (err < 0)
		return complain_library(err, NULL);
	while (r->err == 0 && (err = capfile_next(file, &record)) > 0)
		if (record.kind == CAPFILE_PACKET)
			take_packet(r, &record);
	if (r->err == 0 && err < 0) {
		why = capfile_why(file, &at);
		complain("%s: byte %llu: %s", path, (unsigned long long)at, why);
	} else if (r->err == 0) {
		r->mark = (struct mark){0};
		streams_over(r->streams, r->talks->end_ns);
	}
	capfile_free(file);
	if (r->err == TN_ETOOBIG)
		complain("%s: what was said does not fit into %zu bytes (--memory)", path, r->memory_max);
	else if (r->err < 0)
		complain("%s: %s", path, tn_strerror(r->err));
	return r->err < 0 ? STATUS_FAILED : err < 0 ? (int)status_of(err) : STATUS_DONE;
}

/* Which of the client's messages each of the server's answers: the same in number where there are as many of both,
 * otherwise the one that was said last. */
static void pair_up(struct talk *talk)
{
	unsigned asked = 0;
	long last = -1;

	for (struct said *said = talk->first; said; said = said->next) {
		if (said->what != SAID_DATA)
			continue;
		if (said->by_client) {
			asked++;
			continue;
		}
		if (talk->messages && talk->asked == talk->answered)
			said->answers = said->number;
		else if ((long)asked - 1 > last)
			said->answers = last = (long)asked - 1;
	}
}

static int open_reader(struct reader *r, const char *url)
{
	int kind = tn_url_kind(url), err = 0;
	bool splits = tn_url_keeps_messages(url) > 0 && !(kind > 0 && kind & (TN_URL_PACKETS | TN_URL_SECURE));

	if (splits)
		err = tn_split_new(url, &r->kind);
	if (err == 0)
		err = streams_new(&r->streams, &ops, r, STREAMS_MEMORY, 0);
	if (err == 0)
		err = fragments_new(&r->fragments, FRAGMENTS_MEMORY);
	return err < 0 ? complain_library(err, url) : STATUS_DONE;
}

static void close_reader(struct reader *r)
{
	if (r->streams) {
		streams_over(r->streams, 0);
		streams_free(r->streams);
	}
	fragments_free(r->fragments);
	tn_split_free(r->kind);
	for (int i = 0; i < BUCKETS; i++)
		for (struct flow *flow = r->flows[i], *next; flow; flow = next) {
			next = flow->same;
			free(flow);
		}
	if (r->fd > STDIN_FILENO)
		close(r->fd);
}

int talks_read(struct talks *talks, const char *path, const char *url, size_t memory_max)
{
	static struct reader reader;
	int status;

	*talks = (struct talks){.last = &talks->first};
	reader = (struct reader){.talks = talks, .memory_max = memory_max};
	reader.fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (reader.fd < 0) {
		complain("%s: %s", path, tn_strerror(-errno));
		return STATUS_FAILED;
	}
	status = open_reader(&reader, url);
	if (status == STATUS_DONE)
		status = read_all(&reader, path);
	close_reader(&reader);
	for (struct talk *talk = talks->first; talk; talk = talk->next) {
		talks->damaged += talk->damaged;
		pair_up(talk);
	}
	return status;
}

void talks_free(struct talks *talks)
{
	for (struct talk *talk = talks->first, *after; talk; talk = after) {
		after = talk->next;
		for (struct said *said = talk->first, *next; said; said = next) {
			next = said->next;
			free(said);
		}
		free(talk);
	}
	talks->first = NULL;
}
