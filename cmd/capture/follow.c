/*
 * Messages instead of packets: TCP streams are put together, and taken apart again by an endpoint's frame, in both
 * directions.
 */
#include "follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/complain.h"
#include "common/paint.h"
#include "common/settings.h"
#include "common/text.h"
#include "common/emit.h"
#include "json.h"
#include "line.h"
#include "packet/fragments.h"
#include "packet/mark.h"
#include "packet/packet.h"
#include "packet/streams.h"
#include "sink.h"
#include "tenon.h"
#include "tenon_value.h"

#define PAIR_COST 512      /* what a connection costs beside the bytes that wait */
#define FRAGMENTS_SHARE 16 /* of the memory that may be used, fragments have one part in so many */

/* One direction of a connection. */
struct way {
	struct tn_split *split;
	bool pieces;      /* its frame is lost for good: bytes are shown as they come */
	bool resyncing;   /* its frame is lost until the next byte that ends a message */
	bool closed;      /* WebSocket: its Close has come */
	struct text part; /* of a recorded message, of which the rest follows */
};

struct conversation {
	struct way way[2];
};

#define FORMATS_MAX 8 /* of recorded messages */

struct follow {
	struct mark mark; /* of the packet that is being looked at */
	struct tn_split *formats[FORMATS_MAX];
	size_t memory;
	struct streams *streams;
	struct fragments *fragments;
	struct sink *sink;
	struct tn_split *kind; /* what all splits are like */
	struct tn_value *value;
	struct tn_bytes bytes;
	const char *format; /* of the kind; NULL: raw */
	int delimiter;      /* ends a message wherever it stands; -1: a hole leaves no way to find the next one */
	bool framed;
	bool nanoseconds;
	uint64_t most, messages, unreadable, out_of_memory;
};

/* ---- recordings ---- */

/* What decodes the format that a message was recorded with; what was asked for goes first. NULL: nothing does. */
static struct tn_split *decoder(struct follow *f)
{
	char url[80];

	if (f->format || !*f->mark.format)
		return f->format ? f->kind : NULL;
	for (int i = 0; i < FORMATS_MAX; i++) {
		if (!f->formats[i]) {
			snprintf(url, sizeof(url), "tcp://localhost:1?frame=u32&format=%s", f->mark.format);
			if (tn_split_new(url, &f->formats[i]) < 0)
				return NULL;
		}
		if (strcmp(tn_split_format(f->formats[i]), f->mark.format) == 0)
			return f->formats[i];
	}
	return NULL;
}

/* ---- one line ---- */

/* Sender and receiver. */
struct speakers {
	const struct stream *stream; /* NULL: datagrams */
	unsigned ip;
	const unsigned char *from, *to;
	uint16_t from_port, to_port;
	int side;
};

static struct speakers speakers_of(const struct stream *s, int from)
{
	return (struct speakers){.stream = s,
				 .ip = s->ip,
				 .from = s->addr[from],
				 .to = s->addr[!from],
				 .from_port = s->port[from],
				 .to_port = s->port[!from],
				 .side = from};
}

static void begin_line(struct follow *f, const struct speakers *who, uint64_t ns)
{
	char *p = sink_begin(f->sink);

	if (settings.json) {
		p = EMIT(line_time_json(EMIT(p, "{\"time\":\""), ns), "\"");
		if (who->stream) {
			p = emit_number(EMIT(p, ",\"stream\":"), who->stream->id);
			p = emit_text(EMIT(p, ",\"from\":\""), who->side == 0 ? "client\"" : "server\"");
		}
		p = line_endpoint(EMIT(p, ",\"source\":\""), who->ip, who->from, true, who->from_port);
		p = line_endpoint(EMIT(p, "\",\"destination\":\""), who->ip, who->to, true, who->to_port);
		p = EMIT(p, "\"");
	} else {
		p = line_paint(line_time(line_paint(p, PAINT_DIM), ns, f->nanoseconds), PAINT_NONE);
		p = line_paint(p, who->stream && who->side == 0 ? PAINT_CYAN : PAINT_GREEN);
		p = line_gap(p);
		p = who->stream ? emit_number(EMIT(p, "#"), who->stream->id) : EMIT(p, "udp");
		p = line_endpoint(EMIT(p, " "), who->ip, who->from, true, who->from_port);
		p = line_endpoint(EMIT(p, " > "), who->ip, who->to, true, who->to_port);
		p = line_paint(p, PAINT_NONE);
	}
	sink_end(f->sink, p);
}

static void end_line(struct follow *f)
{
	sink_bytes(f->sink, settings.json ? "}\n" : "\n", settings.json ? 2 : 1);
}

static void put(struct follow *f, const char *text)
{
	sink_bytes(f->sink, text, strlen(text));
}

/* Something that is no message: `event` for programs, `words` for people. `bytes`: how many; 0:
 * it is not about bytes. */
static void notice(struct follow *f, const struct speakers *who, uint64_t ns, const char *event, const char *words,
		   uint64_t bytes)
{
	char *p;

	begin_line(f, who, ns);
	p = sink_begin(f->sink);
	if (settings.json) {
		p = EMIT(emit_text(EMIT(p, ",\"event\":\""), event), "\"");
		if (bytes)
			p = emit_number(EMIT(p, ",\"bytes\":"), bytes);
	} else {
		p = EMIT(p, " -- ");
		if (bytes)
			p = EMIT(emit_number(p, bytes), " ");
		p = emit_text(p, words);
	}
	sink_end(f->sink, p);
	end_line(f);
}

/* What the format refuses is shown as it is, with the reason. */
static void show_unreadable(struct follow *f, const void *data, size_t len)
{
	f->unreadable++;
	if (settings.json) {
		put(f, ",\"error\":");
		line_json_string(f->sink, tn_errmsg(), strlen(tn_errmsg()));
		line_json_data(f->sink, data, len);
	} else {
		put(f, " (");
		put(f, tn_errmsg());
		put(f, ") ");
		line_escaped(f->sink, data, len);
	}
}

static void show_plain(struct follow *f, const void *data, size_t len)
{
	if (settings.json) {
		line_json_data(f->sink, data, len);
	} else {
		put(f, " ");
		line_escaped(f->sink, data, len);
	}
}

static void show_value(struct follow *f)
{
	put(f, settings.json ? ",\"value\":" : " ");
	sink_bytes(f->sink, f->bytes.data, f->bytes.len);
}

bool follow_is_full(const struct follow *f)
{
	return f->most && f->messages == f->most;
}

/* Text or binary, where messages are one of these. */
static void show_kind(struct follow *f, enum tn_msg_kind kind)
{
	static const char *const words[] = {[TN_MSG_TEXT] = " text", [TN_MSG_BINARY] = " binary"};

	if (kind == TN_MSG_ANY)
		return;
	put(f, settings.json ? ",\"kind\":\"" : words[kind]);
	if (settings.json) {
		put(f, words[kind] + 1);
		put(f, "\"");
	}
}

static void message(struct follow *f, const struct speakers *who, uint64_t ns, const void *data, size_t len,
		    enum tn_msg_kind kind, bool formatted)
{
	struct tn_split *split = !formatted ? NULL : f->mark.what ? decoder(f) : f->format ? f->kind : NULL;
	bool value = split && tn_format_kind(tn_split_format(split)) & TN_FORMAT_VALUES;

	if (follow_is_full(f)) /* a packet may hold more */
		return;
	f->messages++;
	begin_line(f, who, ns);
	show_kind(f, kind);
	if (settings.json) {
		char text[32] = ",\"length\":";

		*emit_number(text + strlen(text), len) = 0;
		put(f, text);
	}
	if (!split)
		show_plain(f, data, len);
	else if (tn_split_value(split, data, len, &f->value) < 0 ||
		 (value && tn_encode("json", f->value, 0, &f->bytes) < 0))
		show_unreadable(f, data, len);
	else if (value)
		show_value(f);
	else
		show_plain(f, data, len);
	end_line(f);
}

/* ---- streams ---- */

static void hold(struct follow *f, struct stream *s)
{
	struct conversation *pair = s->data;

	if (pair)
		streams_hold(f->streams, s,
			     PAIR_COST + tn_split_memory(pair->way[0].split) + tn_split_memory(pair->way[1].split) +
				     pair->way[0].part.cap + pair->way[1].part.cap);
}

static void on_open(void *arg, struct stream *s, uint64_t ns)
{
	struct follow *f = arg;
	struct conversation *pair = calloc(1, sizeof(*pair));
	struct speakers who = speakers_of(s, 0);

	if (!pair || tn_split_another(f->kind, &pair->way[0].split) < 0 ||
	    tn_split_another(f->kind, &pair->way[1].split) < 0) {
		if (pair)
			tn_split_free(pair->way[0].split);
		free(pair);
		f->out_of_memory++;
		return;
	}
	s->data = pair;
	hold(f, s);
	if (s->joined)
		notice(f, &who, ns, "joined", "joined after its beginning", 0);
	else if (settings.verbose)
		notice(f, &who, ns, "open", "open", 0);
}

/* The frame's rules are broken, or bytes are missing: it is not known where the next message begins. */
static void lose_frame(struct follow *f, struct way *way, const struct speakers *who, uint64_t ns)
{
	tn_split_reset(way->split);
	way->resyncing = f->delimiter >= 0;
	way->pieces = !way->resyncing && f->framed;
	if (way->pieces)
		notice(f, who, ns, "unframed", "where messages begin is lost: the rest is shown as it came", 0);
}

static void broken_frame(struct follow *f, struct way *way, const struct speakers *who, uint64_t ns)
{
	f->unreadable++;
	begin_line(f, who, ns);
	put(f, settings.json ? ",\"event\":\"broken\",\"error\":" : " -- ");
	if (settings.json)
		line_json_string(f->sink, tn_errmsg(), strlen(tn_errmsg()));
	else
		put(f, tn_errmsg());
	end_line(f);
	lose_frame(f, way, who, ns);
}

/* The Close of a WebSocket, if it has come. */
static void meet_close(struct follow *f, struct way *way, const struct speakers *who, uint64_t ns)
{
	const char *reason;
	int code = tn_split_closed(way->split, &reason);
	char text[24];

	if (!code)
		return;
	way->closed = true;
	begin_line(f, who, ns);
	*emit_number(text, (uint64_t)code) = 0;
	put(f, settings.json ? ",\"event\":\"closing\",\"code\":" : " -- closes with ");
	put(f, text);
	if (settings.json) {
		put(f, ",\"reason\":");
		line_json_string(f->sink, reason, strlen(reason));
	} else if (*reason) {
		put(f, ": ");
		line_escaped(f->sink, reason, strlen(reason));
	}
	end_line(f);
}

static void take_messages(struct follow *f, struct way *way, const struct speakers *who, uint64_t ns)
{
	const void *data;
	size_t len;
	int rc;

	while ((rc = tn_split_next(way->split, &data, &len)) > 0)
		message(f, who, ns, data, len, tn_split_kind(way->split), true);
	if (rc < 0)
		broken_frame(f, way, who, ns);
	else if (!way->closed)
		meet_close(f, way, who, ns);
}

static void take_marked(struct follow *f, struct way *way, const struct speakers *who, uint64_t ns, const void *data,
			size_t len)
{
	if (f->mark.what == MARK_PART || way->part.len)
		text_bytes(&way->part, data, len);
	if (way->part.failed || way->part.len > f->memory) {
		notice(f, who, ns, "missing", "bytes of a recorded message that is too long (--memory)", way->part.len);
		text_free(&way->part);
		way->part = (struct text){0};
		f->out_of_memory++;
	} else if (f->mark.what == MARK_MESSAGE) {
		message(f, who, ns, way->part.len ? way->part.data : data, way->part.len ? way->part.len : len,
			(enum tn_msg_kind)f->mark.kind, true);
		way->part.len = 0;
	}
}

static void on_data(void *arg, struct stream *s, int from, uint64_t ns, const void *data, uint32_t len)
{
	struct follow *f = arg;
	struct conversation *pair = s->data;
	struct way *way = pair ? &pair->way[from] : NULL;
	struct speakers who = speakers_of(s, from);
	const unsigned char *at = data, *ending;

	if (way && f->mark.what) {
		take_marked(f, way, &who, ns, data, len);
		hold(f, s);
		return;
	}
	if (way && way->resyncing) {
		ending = memchr(at, f->delimiter, len);
		if (!ending)
			return;
		len -= (uint32_t)(ending + 1 - at);
		at = ending + 1;
		way->resyncing = false;
	}
	if (len == 0)
		return;
	if (!way || way->pieces) {
		message(f, &who, ns, at, len, TN_MSG_ANY, false);
		return;
	}
	if (tn_split_feed(way->split, at, len) < 0)
		broken_frame(f, way, &who, ns);
	else
		take_messages(f, way, &who, ns);
	hold(f, s);
}

/* A recorded message of no bytes. */
static void on_empty(void *arg, struct stream *s, int from, uint64_t ns)
{
	struct follow *f = arg;
	struct conversation *pair = s->data;
	struct speakers who = speakers_of(s, from);

	if (pair && f->mark.what == MARK_MESSAGE)
		take_marked(f, &pair->way[from], &who, ns, "", 0);
}

static void on_gap(void *arg, struct stream *s, int from, uint64_t ns, uint32_t missing)
{
	struct follow *f = arg;
	struct conversation *pair = s->data;
	struct speakers who = speakers_of(s, from);

	notice(f, &who, ns, "missing", "bytes are missing from the capture", missing);
	if (pair && !pair->way[from].pieces)
		lose_frame(f, &pair->way[from], &who, ns);
	hold(f, s);
}

/* What is left when a direction ends may be a last message, such as a line without its end. */
static void on_end(void *arg, struct stream *s, int from, uint64_t ns)
{
	struct follow *f = arg;
	struct conversation *pair = s->data;
	struct speakers who = speakers_of(s, from);

	if (pair && !pair->way[from].pieces) {
		tn_split_end(pair->way[from].split);
		take_messages(f, &pair->way[from], &who, ns);
		hold(f, s);
	}
	if (settings.verbose)
		notice(f, &who, ns, "end", "has ended its direction", 0);
}

static void on_close(void *arg, struct stream *s, uint64_t ns, enum stream_end why)
{
	static const char *const events[] = {"close", "reset", "reused", "let go", "over"};
	static const char *const words[] = {"closed", "reset", "its ports are used again, without an end",
					    "let go: --memory is used up", "still open when the capture ended"};
	struct follow *f = arg;
	struct conversation *pair = s->data;
	struct speakers who = speakers_of(s, 0);
	size_t waiting;

	for (int from = 0; pair && from < 2; from++) {
		who = speakers_of(s, from);
		waiting = tn_split_waiting(pair->way[from].split) + pair->way[from].part.len;
		if (waiting)
			notice(f, &who, ns, "unfinished", "bytes of a message that never became whole", waiting);
		tn_split_free(pair->way[from].split);
		text_free(&pair->way[from].part);
	}
	free(pair);
	s->data = NULL;
	who = speakers_of(s, 0);
	if (settings.verbose || (why != STREAM_FINISHED && why != STREAM_OVER))
		notice(f, &who, ns, events[why], words[why], 0);
}

/* ---- what the command calls ---- */

static const struct stream_ops ops = {on_open, on_data, on_gap, on_end, on_close, on_empty};

int follow_new(struct follow **out, struct sink *sink, const char *url, size_t memory, uint64_t most)
{
	struct follow *f = calloc(1, sizeof(*f));
	uint64_t seed = 0;
	int err;

	if (!f)
		return complain_library(-12, NULL);
	f->sink = sink;
	f->most = most;
	f->memory = memory;
	err = tn_split_new(url, &f->kind);
	if (err == 0) {
		(void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
		f->format = tn_split_format(f->kind);
		f->delimiter = tn_frame_delimiter(tn_split_frame(f->kind));
		f->framed = tn_url_keeps_messages(url) == 1;
		err = streams_new(&f->streams, &ops, f, memory - memory / FRAGMENTS_SHARE, seed);
	}
	if (err == 0)
		err = fragments_new(&f->fragments, memory / FRAGMENTS_SHARE);
	if (err < 0) {
		follow_free(f);
		return complain_library(err, url);
	}
	*out = f;
	return 0;
}

int follow_packet(struct follow *f, const struct packet *p, uint64_t ns, bool nanoseconds, const char *comment,
		  size_t comment_len)
{
	struct packet whole;
	int rc = 1;

	f->nanoseconds = nanoseconds;
	f->mark = mark_read(comment, comment_len);
	if (p->fragment && (p->proto == PROTO_TCP || p->proto == PROTO_UDP)) {
		rc = fragments_take(f->fragments, p, ns, &whole);
		f->out_of_memory += rc < 0;
		p = &whole;
	}
	if (rc <= 0)
		return f->sink->err;
	if (p->kind == PACKET_UDP && p->payload) {
		struct speakers who = {
			.ip = p->ip, .from = p->src, .to = p->dst, .from_port = p->sport, .to_port = p->dport};

		message(f, &who, ns, p->payload, p->payload_cap, (enum tn_msg_kind)f->mark.kind, true);
		if (p->payload_cap < p->payload_len)
			notice(f, &who, ns, "missing", "bytes are missing from the capture",
			       p->payload_len - p->payload_cap);
	} else if (streams_packet(f->streams, p, ns) < 0) {
		f->out_of_memory++;
	}
	return f->sink->err;
}

static void tell(uint64_t count, const char *what)
{
	if (count && !settings.quiet)
		complain("%llu %s", (unsigned long long)count, what);
}

bool follow_over(struct follow *f, uint64_t ns)
{
	const struct streams_counts *c = streams_counted(f->streams);
	const struct fragments_counts *pieces = fragments_over(f->fragments);

	streams_over(f->streams, ns);
	sink_flush(f->sink); /* the summary stands behind the messages */
	complain("%llu messages, %llu TCP connections", (unsigned long long)f->messages,
		 (unsigned long long)c->streams);
	tell(c->out_of_order, "segments out of order");
	tell(c->retransmitted, "segments retransmitted");
	tell(c->overlapping, "segments overlapping others");
	tell(c->conflicting, "overlapping segments that say different things: the first one was believed");
	tell(c->outside, "segments far outside their stream: ignored");
	tell(c->missing_bytes, "bytes missing");
	tell(c->let_go, "connections let go for lack of memory (--memory)");
	tell(pieces->unfinished, "datagrams of which not all IP fragments were captured");
	tell(pieces->conflicting, "datagrams whose IP fragments say different things: ignored");
	tell(f->out_of_memory, "times out of memory");
	tell(f->unreadable, "messages that are not what the format or the frame allows");
	return f->unreadable == 0;
}

void follow_free(struct follow *f)
{
	if (!f)
		return;
	if (f->streams) /* what is kept for each is freed when it closes; whoever wanted to hear of it has gone */
		streams_over(f->streams, 0);
	streams_free(f->streams);
	fragments_free(f->fragments);
	for (int i = 0; i < FORMATS_MAX; i++)
		tn_split_free(f->formats[i]);
	tn_split_free(f->kind);
	tn_value_free(f->value);
	tn_bytes_free(&f->bytes);
	free(f);
}
