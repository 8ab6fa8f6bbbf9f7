/*
 * TCP put together again. The input is a list of segments: whose, where, which flags, how long. Every byte of a stream
 * is known from its place, so that whatever comes out in whatever order can be checked against where it must have
 * stood; memory stays below its maximum, and every stream that is opened is closed once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/packet/packet.h"
#include "capture/packet/streams.h"

#define MEMORY 16384

/* Where streams can begin: all sequence numbers are close to where they wrap */
#define LOWEST ((uint32_t)-4096)
#define PLACES 12288U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
	uint32_t at;
	int placed;
};

static unsigned open_streams;
static uint8_t places[PLACES + UINT16_MAX]; /* byte_at(LOWEST) and those behind it: to be searched */

static void check(int holds)
{
	if (!holds)
		abort();
}

static uint8_t byte_at(uint32_t seq)
{
	seq = (seq ^ seq >> 16) * 0x7feb352dU;
	seq = (seq ^ seq >> 15) * 0x846ca68bU;
	return (uint8_t)(seq ^ seq >> 16);
}

static void on_open(void *arg, struct stream *s, uint64_t ns)
{
	(void)arg, (void)ns;
	s->data = calloc(2, sizeof(struct side));
	check(s->data != NULL);
	open_streams++;
}

/* Where a stream begins is not told: its first bytes must fit into one place of all that were sent,
 * the rest behind it. */
static void on_data(void *arg, struct stream *s, int from, uint64_t ns, const void *data, uint32_t len)
{
	struct side *side = (struct side *)s->data + from;
	const uint8_t *p = data;

	(void)arg, (void)ns;
	check(len > 0);
	if (!side->placed) {
		const uint8_t *place = memmem(places, PLACES + len - 1, data, len);

		check(place != NULL);
		side->at = LOWEST + (uint32_t)(place - places);
	}
	/* A short beginning may fit in more than one place: then nothing is known yet */
	if (!side->placed && len < 16)
		return;
	side->placed = 1;
	for (uint32_t i = 0; i < len; i++)
		check(p[i] == byte_at(side->at + i));
	side->at += len;
}

static void on_gap(void *arg, struct stream *s, int from, uint64_t ns, uint32_t missing)
{
	(void)arg, (void)ns;
	check(missing > 0);
	((struct side *)s->data)[from].at += missing;
}

static void on_end(void *arg, struct stream *s, int from, uint64_t ns)
{
	(void)arg, (void)s, (void)from, (void)ns;
}

static void on_empty(void *arg, struct stream *s, int from, uint64_t ns)
{
	(void)arg, (void)s, (void)from, (void)ns;
}

static void on_close(void *arg, struct stream *s, uint64_t ns, enum stream_end why)
{
	(void)arg, (void)ns, (void)why;
	free(s->data);
	s->data = NULL;
	check(open_streams-- > 0);
}

/* A sequence number near the place where they wrap: most of them close together. */
static uint32_t number(const uint8_t *data, int far)
{
	int16_t value = (int16_t)(data[0] << 8 | data[1]);

	return far ? (uint32_t)(value / 8) : data[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct stream_ops ops = {on_open, on_data, on_gap, on_end, on_close, on_empty};
	static const unsigned char addr[2][4] = {{10, 0, 0, 1}, {10, 0, 0, 2}};
	struct streams *streams;
	uint64_t ns = 0;

	if (!places[0])
		for (uint32_t i = 0; i < sizeof(places); i++)
			places[i] = byte_at(LOWEST + i);
	check(streams_new(&streams, &ops, NULL, MEMORY, 7) == 0);
	for (; size >= 8; data += 8, size -= 8) {
		int from = data[0] & 1;
		uint16_t port = (uint16_t)(1000 + (data[0] >> 1 & 3));
		uint32_t seq = number(data + 2, data[1] & 0x80);
		uint32_t len = data[4], cap = data[0] & 0x80 ? len / 2 : len;
		struct packet p = {.kind = PACKET_TCP,
				   .ip = 4,
				   .seq = seq,
				   .flags = data[1] & 0x3f,
				   .payload_len = len,
				   .payload_cap = cap,
				   .ports = true};
		uint8_t *payload = malloc(cap ? cap : 1);

		p.src = addr[from];
		p.dst = addr[!from];
		p.sport = from ? 80 : port;
		p.dport = from ? port : 80;
		p.ack = number(data + 5, data[1] & 0x80);
		p.payload = payload;
		for (uint32_t i = 0; i < cap; i++)
			payload[i] = byte_at(seq + (p.flags & TCP_SYN ? 1 : 0) + i);
		ns += data[7] * 10000000ULL;
		check(streams_packet(streams, &p, ns) == 0);
		check(streams_memory(streams) <= MEMORY);
		free(payload);
	}
	streams_over(streams, ns);
	streams_free(streams);
	check(open_streams == 0);
	return 0;
}
