/*
 * What a connection owes and is owed.
 *
 * A lane's stream is one endless pattern; a message is `size` bytes of it. Sending needs nothing but the position, so
 * there is no send buffer, and what comes back can be compared at any position: a byte lost, doubled or swapped shows.
 * Every byte is counted, the first message of each lane and every 1000th is compared.
 *
 * Framed, the pattern is a row of whole messages, each in its frame and as long as the others: the server sees
 * messages, and nothing changes here, neither what is done for a message nor what it costs.
 *
 * A datagram carries its slot and its number, so that a reply that was thought lost and comes late is told from the
 * real one.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <err.h>
#include <time.h>

char load_pattern[PERIOD + WRITE_MAX];
unsigned load_period = PERIOD;

/* The frames of the messages that the pattern is made of. A line must not hold an end, nor a CR in front of it. */
static void frame_pattern(const struct options *options)
{
	load_period = (unsigned)(PERIOD / options->size * options->size);
	for (size_t at = 0; at < load_period; at++) {
		if (load_pattern[at] == '\n' || load_pattern[at] == '\r')
			load_pattern[at] = '.';
	}
	for (size_t at = 0; at < load_period; at += options->size) {
		if (options->framing == FRAMING_LINE)
			load_pattern[at + options->payload] = '\n';
		for (unsigned i = 0; options->framing == FRAMING_U32 && i < 4; i++)
			load_pattern[at + i] = (char)(options->payload >> (24 - 8 * i));
	}
}

void pattern_fill(const struct options *options)
{
	uint64_t state = 88172645463325252;

	for (unsigned i = 0; i < PERIOD; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		load_pattern[i] = (char)(state >> 33);
	}
	if (options->framing != FRAMING_NONE)
		frame_pattern(options);
	for (unsigned i = load_period; i < sizeof(load_pattern); i++)
		load_pattern[i] = load_pattern[i - load_period];
}

uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The first error is told, all are counted. */
void load_fail(struct load *load, const char *what, int error)
{
	if (!load->errors++)
		fprintf(stderr, "load: %s%s%s\n", what, error ? ": " : "", error ? strerror(error) : "");
}

static void write_header(const struct load *load, struct lane *lane, unsigned slot)
{
	uint32_t header[2] = {slot, lane->slots[slot].number};

	memcpy(slot_message(load, lane, slot), header, sizeof(header));
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		err(1, "calloc");
	return memory;
}

void lane_open(struct load *load, struct lane *lane, unsigned index)
{
	const struct options *options = &load->options;

	lane->fd = lane_connect(options);
	/* Framed lanes start with a whole message. */
	lane->base = (uint32_t)(index * (options->framing ? options->size : 67) % load_period);
	if (options->proto == PROTO_TLS)
		lane->ssl = tls_connect(lane->fd);
	lane->end = options->size;
	if (!is_datagram(load)) {
		lane->due = options->depth * options->size;
		lane->due_ns = allocate(options->depth, sizeof(*lane->due_ns));
		return;
	}
	lane->slots = allocate(options->depth, sizeof(*lane->slots));
	lane->messages = allocate(options->depth, options->size);
	for (unsigned slot = 0; slot < options->depth; slot++) {
		memcpy(slot_message(load, lane, slot), load_pattern + lane->base, options->size);
		write_header(load, lane, slot);
	}
}

void lane_die(struct load *load, struct lane *lane, const char *what, int error)
{
	load_fail(load, what, error);
	lane->dead = true;
}

void load_start(struct load *load)
{
	uint64_t now = clock_now_ns();

	for (unsigned i = 0; i < load->options.conns; i++) {
		struct lane *lane = &load->lanes[i];

		for (unsigned at = 0; at < load->options.depth; at++) {
			if (is_datagram(load))
				lane->slots[at].due_ns = lane->slots[at].sent_ns = now;
			else
				lane->due_ns[at] = now;
		}
	}
	load->now_ns = now;
	load->until_ns = now + (uint64_t)(load->options.warmup_s * 1e9);
}

/* Every byte that was sent has come back. Datagrams may be lost: nobody waits for the last ones. */
static bool all_echoed(const struct load *load)
{
	for (unsigned i = 0; i < load->options.conns && !is_datagram(load); i++) {
		const struct lane *lane = &load->lanes[i];

		if (!lane->dead && lane->got != lane->due)
			return false;
	}
	return true;
}

static bool all_dead(const struct load *load)
{
	for (unsigned i = 0; i < load->options.conns; i++) {
		if (!load->lanes[i].dead)
			return false;
	}
	return true;
}

static void begin_counting(struct load *load)
{
	load->phase = PHASE_COUNT;
	load->begin_ns = load->now_ns;
	load->until_ns = load->now_ns + (uint64_t)(load->options.duration_s * 1e9);
	getrusage(RUSAGE_SELF, &load->usage_begin);
}

static void end_counting(struct load *load)
{
	load->phase = PHASE_DRAIN;
	load->end_ns = load->now_ns;
	load->until_ns = load->now_ns + DRAIN_MS * UINT64_C(1000000);
	getrusage(RUSAGE_SELF, &load->usage_end);
}

static bool next_phase(struct load *load, bool passed)
{
	if (load->phase == PHASE_WARMUP && passed)
		begin_counting(load);
	else if (load->phase == PHASE_COUNT && passed)
		end_counting(load);
	else
		return false;
	return true;
}

void load_phases(struct load *load)
{
	next_phase(load, load->now_ns >= load->until_ns);
}

/* Called once a turn, with the clock read: moves through the phases and says when it is over. */
bool load_over(struct load *load)
{
	bool passed = load->now_ns >= load->until_ns;

	if (load->errors && all_dead(load))
		passed = true;
	if (next_phase(load, passed)) {
		/* The next turn looks again. */
	} else if (load->phase == PHASE_DRAIN) {
		if (all_echoed(load))
			load->phase = PHASE_OVER;
		else if (passed) {
			load->phase = PHASE_OVER;
			load_fail(load, "bytes are missing at the end", 0);
		}
	}
	return load->phase == PHASE_OVER;
}

static void count_message(struct load *load, uint64_t due_ns)
{
	load->total++;
	if (load->phase != PHASE_COUNT)
		return;
	load->messages++;
	hist_add(&load->hist, load->now_ns - due_ns);
}

/* The bytes a stream may still send. */
size_t lane_owes(const struct lane *lane)
{
	uint64_t len = lane->due - lane->sent;

	return len < WRITE_MAX ? (size_t)len : WRITE_MAX;
}

/* Where in the pattern they start. */
size_t lane_offset(const struct lane *lane)
{
	return (lane->base + lane->sent) % load_period;
}

/* Compares what of data belongs to the message to check, and chooses the next one when that is done. */
static void check_stream(struct load *load, struct lane *lane, const char *data, size_t len)
{
	uint64_t size = load->options.size, stop = lane->got + len;

	while (lane->check < stop) {
		uint64_t from = lane->check > lane->got ? lane->check : lane->got;
		uint64_t to = lane->check + size < stop ? lane->check + size : stop;
		const char *wanted = load_pattern + (lane->base + from) % load_period;

		/* The drivers read at most 64 KiB at once: the pattern is long enough. */
		if (from < to && memcmp(data + (from - lane->got), wanted, to - from) != 0)
			load_fail(load, "the echo differs from what was sent", 0);
		if (to < lane->check + size)
			return;
		lane->check += CHECK_EVERY * size;
	}
}

/* Accounts for bytes that came back. data is NULL where they were thrown away unseen. */
void lane_take(struct load *load, struct lane *lane, const char *data, size_t len)
{
	if (lane->got + len > lane->sent) {
		lane_die(load, lane, "more bytes came back than were sent", 0);
		return;
	}
	if (data)
		check_stream(load, lane, data, len);
	lane->got += len;
	while (lane->got >= lane->end) {
		uint64_t *due_ns = &lane->due_ns[lane->oldest];

		count_message(load, *due_ns);
		*due_ns = load->now_ns;
		if (++lane->oldest == load->options.depth)
			lane->oldest = 0;
		lane->end += load->options.size;
		if (load->phase < PHASE_DRAIN)
			lane->due += load->options.size;
	}
}

static bool same_datagram(const struct load *load, const struct lane *lane, const char *data, unsigned slot)
{
	size_t prefix = load->options.ack ? strlen("ack: ") : 0;

	return !memcmp(data, "ack: ", prefix) &&
	       !memcmp(data + prefix, slot_message(load, lane, slot), load->options.size);
}

/* Accounts for a reply. Returns the slot whose next datagram is due, or -1. */
int lane_take_datagram(struct load *load, struct lane *lane, const char *data, size_t len)
{
	size_t prefix = load->options.ack ? strlen("ack: ") : 0;
	uint32_t header[2];
	struct slot *slot;

	if (len != load->options.size + prefix) {
		load_fail(load, "a reply has the wrong length", 0);
		return -1;
	}
	memcpy(header, data + prefix, sizeof(header));
	if (header[0] >= load->options.depth) {
		load_fail(load, "a reply answers nothing that was sent", 0);
		return -1;
	}
	slot = &lane->slots[header[0]];
	if (header[1] != slot->number) {
		load->late++; /* answered before: it had been sent twice */
		return -1;
	}
	if (lane->answered++ % CHECK_EVERY == 0 && !same_datagram(load, lane, data, header[0]))
		load_fail(load, "the reply differs from what was sent", 0);
	count_message(load, slot->due_ns);
	slot->due_ns = slot->sent_ns = load->now_ns;
	slot->number++;
	write_header(load, lane, header[0]);
	return load->phase < PHASE_DRAIN ? (int)header[0] : -1;
}

/* Sends again what has had no reply for LOST_MS, and counts it. */
unsigned load_find_lost(struct load *load, void (*resend)(struct load *, struct lane *, unsigned slot))
{
	unsigned found = 0;

	if (load->now_ns < load->retry_ns || load->phase >= PHASE_DRAIN)
		return 0;
	load->retry_ns = load->now_ns + WAIT_MS * UINT64_C(1000000);
	for (unsigned i = 0; i < load->options.conns; i++) {
		struct lane *lane = &load->lanes[i];

		for (unsigned slot = 0; slot < load->options.depth; slot++) {
			if (load->now_ns < lane->slots[slot].sent_ns + LOST_MS * UINT64_C(1000000))
				continue;
			lane->slots[slot].sent_ns = load->now_ns;
			resend(load, lane, slot);
			found++;
		}
	}
	load->lost += found;
	return found;
}
