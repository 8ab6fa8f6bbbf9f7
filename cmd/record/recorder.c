#include "recorder.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/packet/capfile.h"
#include "capture/packet/packet.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/sandbox.h"
#include "common/series.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "wire/wire.h"

#define PIECE (768U << 10) /* is handed to the writer as one; always whole blocks of the file */
#define PIECES_MEMORY (2 * PIECE)
#define LATEST_NS (NS_PER_S / 4) /* what has passed is in the file after so long */

struct recorder_options recorder_options = {.memory = 16U << 20};

#define SPARE_MOST 4

struct piece {
	struct piece *next;
	bool begins; /* another file */
	unsigned packets;
	size_t len;
	unsigned char data[CAPWRITER_KEPT];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t writer;
	bool open, running, ending;
	/* Under the lock */
	struct capwriter *out; /* NULL: there was no memory for it; the next packet tries again */
	bool begins;
	unsigned unqueued; /* packets that `out` still holds */
	size_t pending;    /* bytes that `out` still holds */
	uint64_t in_file, file_since_ns;
	struct piece *filling; /* what `out` keeps stands in it */
	struct piece *first, **last;
	size_t waiting;      /* bytes in pieces */
	struct piece *spare; /* memory of pieces that were written: the kernel need not find and clear it again */
	unsigned spares;
	uint64_t recorded, lost, unwritten; /* packets; unwritten: by the disk, and lost too */
	uint64_t sessions;
	/* The writer's */
	const char *command;
	int fd;
	struct series series;
	off_t written;
	bool failed; /* this file takes no more */
	bool told;   /* that it failed; until something has been written again */
} recorder = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .last = &recorder.first};

struct recording {
	struct wire wire;
	bool messages;
	bool ended[2];
	bool reached;
	uint64_t number; /* of the session, from 1; 0: a datagram that stands for itself */
	bool told;       /* which session its datagrams are of */
};

/* ---- options ---- */

static const char *set_size(const char *value, uint64_t *to, uint64_t min, const char *range)
{
	int err = tn_parse_size(value, to);

	if (err == -EINVAL)
		return "is not a size (4096, 64KiB, 1MiB)";
	return err == 0 && *to >= min && *to <= UINT64_C(1) << 50 ? NULL : range;
}

const char *recorder_set_size(const char *value, void *to)
{
	return set_size(value, to, 64U << 10, "is out of range (from 64KiB)");
}

const char *recorder_set_memory(const char *value, void *to)
{
	return set_size(value, to, PIECES_MEMORY, "is out of range (from 1.5MiB)");
}

bool recorder_is_wanted(void)
{
	return recorder_options.path != NULL;
}

static bool rotates(void)
{
	return recorder_options.size || recorder_options.every_ns;
}

int recorder_check(const char *command)
{
	const char *wrong = NULL;

	if (!recorder_options.path && (rotates() || recorder_options.files))
		wrong = "--record-size, --record-every and --record-files are for --record FILE";
	else if (recorder_options.files && !rotates())
		wrong = "--record-files needs --record-size or --record-every, which say when the next file begins";
	else if (recorder_options.path && !*recorder_options.path)
		wrong = "--record needs the name of a file";
	else if (recorder_options.path && strcmp(recorder_options.path, "-") == 0) /* events stand there */
		wrong = "--record: standard output is no place for a recording (./- is a file)";
	if (!wrong)
		return STATUS_DONE;
	complain("%s: %s", command, wrong);
	return STATUS_USAGE;
}

int recorder_check_url(const char *command, const char *url)
{
	int kind = tn_url_kind(url);

	if (!recorder_is_wanted() || kind < 0 || !(kind & TN_URL_BELOW))
		return STATUS_DONE;
	complain("%s: --record: %s is below the transports: there are no sessions", command, url);
	return STATUS_USAGE;
}

/* ---- files ---- */

static const char *reason(int err)
{
	return err == -EBUSY ? "another process records into it" : tn_strerror(err);
}

/* Told once, until something has been written again. */
static void fail(int err, const char *what)
{
	char name[PATH_MAX];

	recorder.failed = true;
	if (!recorder.told)
		complain("%s: %s: %s; sessions go on, and are not recorded%s",
			 series_name(&recorder.series, recorder.series.number, name, sizeof(name)), what, reason(err),
			 rotates() ? " until the next file begins" : "");
	recorder.told = true;
}

static void begin_file(void)
{
	if (recorder.fd >= 0)
		close(recorder.fd);
	recorder.written = 0;
	recorder.failed = false;
	recorder.fd = series_next(&recorder.series);
	if (recorder.fd < 0)
		fail(recorder.fd, "cannot be opened");
}

/* A piece that does not fit is taken back as a whole: the file stays one that can be read. Returns whether it did. */
static bool write_piece(const struct piece *piece)
{
	size_t done = 0;
	char name[PATH_MAX];

	while (!recorder.failed && done < piece->len) {
		ssize_t rc = write(recorder.fd, piece->data + done, piece->len - done);

		if (rc < 0 && errno != EINTR) {
			fail(-errno, "cannot be written");
			(void)!ftruncate(recorder.fd, recorder.written);
		} else if (rc > 0) {
			done += (size_t)rc;
		}
	}
	if (recorder.failed)
		return false;
	recorder.written += (off_t)piece->len;
	if (recorder.told)
		complain_notice("%s: sessions are recorded again",
				series_name(&recorder.series, recorder.series.number, name, sizeof(name)));
	recorder.told = false;
	return true;
}

/* ---- the queue ---- */

/* Under the lock, as all of these. */
static struct piece *piece_new(void)
{
	struct piece *piece = recorder.spare;

	if (!piece)
		return malloc(sizeof(*piece));
	recorder.spare = piece->next;
	recorder.spares--;
	return piece;
}

/* Its block is larger than what it holds, as when a file is soon full: then the rest of the block is not kept. */
static bool is_short(size_t len)
{
	return len < PIECE / 2;
}

static void piece_free(struct piece *piece)
{
	if (is_short(piece->len) || recorder.spares == SPARE_MOST) {
		free(piece);
		return;
	}
	piece->next = recorder.spare;
	recorder.spare = piece;
	recorder.spares++;
}

/* The next one may find no memory: flush() looks. */
static int queue(void *arg, const void *data, size_t len)
{
	struct piece *piece = recorder.filling, *next = piece_new();

	(void)arg, (void)data; /* which is the piece's */
	piece->next = NULL;
	piece->begins = recorder.begins;
	piece->packets = recorder.unqueued;
	piece->len = len;
	recorder.begins = false;
	recorder.unqueued = 0;
	*recorder.last = piece;
	recorder.last = &piece->next;
	recorder.waiting += len;
	recorder.filling = next;
	if (next)
		capwriter_keep_in(recorder.out, next->data);
	pthread_cond_signal(&recorder.more);
	return 0;
}

/* The head of a file. */
static int begin_capture(void)
{
	static const struct capfile_iface iface = {.link = LINK_RAW, .name = (char *)"tenon", .nanoseconds = true};
	char comment[64];
	int err;

	snprintf(comment, sizeof(comment), "recorded by tenon %s", recorder.command);
	capwriter_free(recorder.out);
	recorder.out = NULL;
	if (!recorder.filling && !(recorder.filling = piece_new()))
		return -ENOMEM;
	err = capwriter_new(&recorder.out, queue, NULL, false, "tenon", comment, strlen(comment));
	if (err == 0)
		capwriter_keep_in(recorder.out, recorder.filling->data);
	if (err == 0)
		err = capwriter_interface(recorder.out, &iface);
	if (err < 0) {
		capwriter_free(recorder.out);
		recorder.out = NULL;
		return err;
	}
	recorder.pending = recorder.in_file = 1;
	recorder.file_since_ns = clock_ns();
	return 0;
}

/* Without memory for more, nothing is begun until there is some again. */
static int flush(void)
{
	int err;

	if (!recorder.pending || !recorder.out)
		return 0;
	recorder.pending = 0;
	err = capwriter_flush(recorder.out);
	if (recorder.filling)
		return err;
	capwriter_free(recorder.out); /* what follows has a head of its own */
	recorder.out = NULL;
	return -ENOMEM;
}

static void put_counts(void)
{
	struct capfile_record counts = {.ns = clock_utc_ns(),
					.received = recorder.recorded + recorder.lost,
					.dropped = CAPFILE_UNCOUNTED,
					.os_dropped = recorder.lost};

	if (!recorder.out)
		return;
	recorder.pending = 1;
	(void)capwriter_counts(recorder.out, &counts);
}

static bool is_full(size_t len)
{
	return (recorder_options.size && recorder.in_file + len > recorder_options.size) ||
	       (recorder_options.every_ns && clock_ns() - recorder.file_since_ns >= recorder_options.every_ns);
}

/* Under the lock. */
static int put(const struct capfile_record *record)
{
	size_t len = 48 + record->caplen + record->comment_len;
	int err = 0;

	if (recorder.waiting + recorder.pending + len + PIECE > recorder_options.memory)
		return -ENOBUFS;
	if (!recorder.out) {
		err = begin_capture();
	} else if (is_full(len) && recorder.in_file > 1) {
		put_counts();
		err = flush();
		recorder.begins = true;
		if (err == 0)
			err = begin_capture();
	} else if (recorder.pending + len > PIECE) {
		err = flush();
	}
	if (err == 0)
		err = capwriter_packet(recorder.out, record);
	if (err < 0)
		return err;
	recorder.unqueued++;
	if (recorder.pending <= 1) /* the writer waits for nothing */
		pthread_cond_signal(&recorder.more);
	recorder.pending += len;
	recorder.in_file += len;
	return 0;
}

static void *write_all(void *arg)
{
	struct timespec until;
	struct piece *piece;
	bool written;

	(void)arg;
	pthread_mutex_lock(&recorder.lock);
	for (;;) {
		while (!recorder.first && !recorder.ending && !recorder.pending)
			pthread_cond_wait(&recorder.more, &recorder.lock);
		if (!recorder.first && !recorder.ending) {
			uint64_t due = clock_utc_ns() + LATEST_NS;

			until = (struct timespec){(time_t)(due / NS_PER_S), (long)(due % NS_PER_S)};
			while (!recorder.first && !recorder.ending &&
			       pthread_cond_timedwait(&recorder.more, &recorder.lock, &until) == 0)
				;
		}
		if (!recorder.first)
			(void)flush();
		piece = recorder.first;
		if (!piece && recorder.ending)
			break;
		if (!piece)
			continue;
		recorder.first = piece->next;
		if (!recorder.first)
			recorder.last = &recorder.first;
		pthread_mutex_unlock(&recorder.lock);
		if (piece->begins)
			begin_file();
		written = write_piece(piece);
		pthread_mutex_lock(&recorder.lock);
		if (!written) {
			recorder.unwritten += piece->packets;
			recorder.lost += piece->packets;
			recorder.recorded -= piece->packets;
		}
		recorder.waiting -= piece->len;
		piece_free(piece);
	}
	pthread_mutex_unlock(&recorder.lock);
	return NULL;
}

/* ---- the process ---- */

/* Its reader would have to keep up, at the end too. */
static bool is_pipe(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int recorder_open(const char *command)
{
	int err;

	if (!recorder_is_wanted())
		return STATUS_DONE;
	if (is_pipe(recorder_options.path)) {
		complain("%s: a recording goes into a file, not into a pipe", recorder_options.path);
		return STATUS_USAGE;
	}
	recorder.command = command;
	recorder.series = (struct series){.path = recorder_options.path, .keep = recorder_options.files};
	recorder.fd = series_next(&recorder.series);
	if (recorder.fd < 0) {
		complain("%s: %s", recorder_options.path, reason(recorder.fd));
		return STATUS_FAILED;
	}
	recorder.open = true;
	err = begin_capture();
	return err < 0 ? complain_library(err, NULL) : STATUS_DONE;
}

void recorder_allow(struct sandbox *box)
{
	static char folder[PATH_MAX];
	char *slash;

	if (!recorder_is_wanted() || !rotates())
		return;
	snprintf(folder, sizeof(folder), "%s", recorder_options.path);
	slash = strrchr(folder, '/');
	if (slash == folder)
		slash++;
	if (slash)
		*slash = '\0';
	box->writes = slash ? folder : ".";
}

int recorder_start(void)
{
	int err = recorder_is_wanted() ? pthread_create(&recorder.writer, NULL, write_all, NULL) : 0;

	if (err)
		return complain_library(-err, NULL);
	recorder.running = recorder_is_wanted();
	return STATUS_DONE;
}

static void tell_lost(void)
{
	unsigned long long all = recorder.lost + recorder.recorded, unwritten = recorder.unwritten;

	if (recorder.lost > recorder.unwritten)
		complain_warning("%s: %llu of %llu packets are not in it: there was no room for them (--record-memory)",
				 recorder_options.path, (unsigned long long)recorder.lost - unwritten, all);
	if (unwritten)
		complain_warning("%s: %llu of %llu packets are not in it: they could not be written",
				 recorder_options.path, unwritten, all);
}

static void free_pieces(void)
{
	struct piece *piece;

	free(recorder.filling);
	recorder.filling = NULL;
	while ((piece = recorder.spare)) {
		recorder.spare = piece->next;
		free(piece);
	}
	recorder.spares = 0;
}

void recorder_close(void)
{
	if (!recorder.open)
		return;
	recorder.open = false;
	pthread_mutex_lock(&recorder.lock);
	put_counts();
	recorder.ending = true;
	pthread_cond_signal(&recorder.more);
	pthread_mutex_unlock(&recorder.lock);
	if (recorder.running)
		pthread_join(recorder.writer, NULL);
	recorder.running = false;
	tell_lost();
	if (!recorder.lost && settings.verbose)
		complain_notice("%s: %llu packets of %llu sessions", recorder_options.path,
				(unsigned long long)recorder.recorded, (unsigned long long)recorder.sessions);
	capwriter_free(recorder.out);
	recorder.out = NULL;
	free_pieces();
	if (recorder.fd >= 0)
		close(recorder.fd);
	recorder.fd = -1;
}

/* ---- a session ---- */

void recorder_lose(void)
{
	pthread_mutex_lock(&recorder.lock);
	recorder.lost++;
	pthread_mutex_unlock(&recorder.lock);
}

static void put_packet(struct recording *r, int from, unsigned flags, const void *data, size_t len, size_t full,
		       const struct text *comment)
{
	unsigned char head[WIRE_HEAD_MAX];
	uint32_t head_len;
	int err;

	if (comment && comment->failed) { /* without its comment it would say something else */
		recorder_lose();
		return;
	}
	head_len = (uint32_t)wire_head(&r->wire, from, flags, data, len, head);
	pthread_mutex_lock(&recorder.lock);
	err = put(&(struct capfile_record){.ns = clock_utc_ns(),
					   .head = head,
					   .head_len = head_len,
					   .data = data,
					   .caplen = head_len + (uint32_t)len,
					   .len = head_len + (uint32_t)full,
					   .comment = comment && comment->len ? comment->data : NULL,
					   .comment_len = comment ? (uint32_t)comment->len : 0});
	*(err < 0 ? &recorder.lost : &recorder.recorded) += 1;
	pthread_mutex_unlock(&recorder.lock);
}

static void put_empty(struct recording *r, int from, unsigned flags, const struct text *comment)
{
	if (!r->wire.datagrams)
		put_packet(r, from, flags, NULL, 0, 0, comment);
}

/* Returns whether it is an address of IP. */
static bool take_addr(struct wire *wire, int side, const struct tn_addr *addr)
{
	const struct sockaddr *sa = addr && addr->len ? tn_addr_sockaddr(addr) : NULL;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (sa && sa->sa_family == AF_INET) {
		memcpy(&in, sa, sizeof(in));
		memcpy(wire->addr[side], &in.sin_addr, 4);
		wire->port[side] = ntohs(in.sin_port);
		wire->ip = 4;
	} else if (sa && sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		memcpy(wire->addr[side], &in6.sin6_addr, 16);
		wire->port[side] = ntohs(in6.sin6_port);
		wire->ip = 6;
	} else {
		return false;
	}
	return true;
}

/* `number`: what stands for the addresses that a side does not have. */
static void name_sides(struct recording *r, const struct recording_ends *ends, uint64_t number)
{
	r->messages = ends->messages;
	r->wire.datagrams = ends->datagrams;
	/* Another one for each session: a client that uses its port again begins another connection by it */
	r->wire.seq[0] = r->wire.seq[1] = (uint32_t)number * 0x9e3779b1U + 1;
	if (!take_addr(&r->wire, WIRE_CLIENT, ends->client) || !take_addr(&r->wire, WIRE_SERVER, ends->local))
		wire_make_up(&r->wire, number);
}

struct recording *recording_new(const struct recording_ends *ends)
{
	struct recording *r = recorder_is_wanted() ? calloc(1, sizeof(*r)) : NULL;
	struct text comment = {0};

	if (!r) {
		if (recorder_is_wanted())
			recorder_lose();
		return NULL;
	}
	pthread_mutex_lock(&recorder.lock);
	r->number = ++recorder.sessions;
	pthread_mutex_unlock(&recorder.lock);
	name_sides(r, ends, r->number - 1);
	text_add(&comment, "tenon session %llu: ", (unsigned long long)ends->id);
	text_clean(&comment, ends->client_text);
	text_add(&comment, " at %.*s", (int)strcspn(ends->url, "?"), ends->url); /* keys may hold secrets */
	put_empty(r, WIRE_CLIENT, WIRE_SYN, &comment);
	text_free(&comment);
	return r;
}

/* The same address always gets the same one. */
static uint64_t number_of(const struct tn_addr *addr)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < addr->len; i++)
		h = (h ^ addr->bytes[i]) * 0x100000001b3;
	return h >> 16;
}

void recording_datagram(const struct recording_ends *ends, enum recording_side side, const struct tn_msg *msg,
			const char *format)
{
	struct recording r = {0};

	if (!recorder_is_wanted())
		return;
	name_sides(&r, ends, number_of(ends->client));
	recording_data(&r, side, msg, format);
}

void recording_reached(struct recording *r, const char *target)
{
	struct text comment = {0};

	if (!r || r->reached)
		return;
	r->reached = true;
	if (target)
		text_add(&comment, "tenon target ");
	if (target)
		text_clean(&comment, target);
	put_empty(r, WIRE_SERVER, WIRE_SYN | WIRE_ACK, &comment);
	put_empty(r, WIRE_CLIENT, WIRE_ACK, NULL);
	text_free(&comment);
}

/* Where a message ends is told by the packet with its last byte; the packets before it say so too. The first datagram
 * of a session says which that is: an address may have one after the other. */
static void mark(struct text *comment, struct recording *r, const struct tn_msg *msg, const char *format, bool last)
{
	bool begins = r->wire.datagrams && r->number && !r->told;

	if (r->messages)
		text_add(comment, last ? "tenon message" : "tenon part");
	else if (format || begins)
		text_add(comment, "tenon datagram");
	if (!comment->len || !last)
		return;
	if (msg->kind != TN_MSG_ANY)
		text_add(comment, " kind=%s", msg->kind == TN_MSG_TEXT ? "text" : "binary");
	if (format)
		text_add(comment, " format=%s", format);
	if (begins)
		text_add(comment, " session=%llu", (unsigned long long)r->number);
	r->told |= begins;
}

void recording_data(struct recording *r, enum recording_side side, const struct tn_msg *msg, const char *format)
{
	int from = side == RECORDING_CLIENT ? WIRE_CLIENT : WIRE_SERVER;
	const unsigned char *at = msg->data;
	size_t left = msg->len;

	if (!r)
		return;
	recording_reached(r, NULL);
	do {
		size_t len = left < WIRE_DATA_MAX ? left : WIRE_DATA_MAX;
		struct text comment = {0};

		mark(&comment, r, msg, format, len == left || r->wire.datagrams);
		if (r->wire.datagrams && len < left)
			text_add(&comment, "%stenon: %zu bytes, cut", comment.len ? ", " : "", left);
		put_packet(r, from, WIRE_ACK | WIRE_PSH, at, len, len, &comment);
		text_free(&comment);
		at += len;
		left -= len;
	} while (left && !r->wire.datagrams);
}

void recording_ended(struct recording *r, enum recording_side side)
{
	int from = side == RECORDING_CLIENT ? WIRE_CLIENT : WIRE_SERVER;

	if (!r || r->ended[from])
		return;
	recording_reached(r, NULL);
	r->ended[from] = true;
	put_empty(r, from, WIRE_FIN | WIRE_ACK, NULL);
}

void recording_close(struct recording *r, enum recording_side side, const char *by, const char *why, bool is_reset)
{
	int from = side == RECORDING_CLIENT ? WIRE_CLIENT : WIRE_SERVER;
	struct text comment = {0};

	if (!r)
		return;
	if (!is_reset) { /* who closed it first: a client that a server has let go had not ended */
		recording_ended(r, side);
		recording_ended(r, side == RECORDING_CLIENT ? RECORDING_SERVER : RECORDING_CLIENT);
	}
	text_add(&comment, "tenon end%s%s", by ? " by the " : "", by ? by : "");
	text_add(&comment, why ? ": " : "");
	text_clean(&comment, why ? why : "");
	put_empty(r, from, is_reset ? WIRE_RST | WIRE_ACK : WIRE_ACK, &comment);
	text_free(&comment);
	free(r);
}
