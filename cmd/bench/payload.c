/*
 * What is sent, and whether a reply is right. Messages are letters and digits, which every frame and format can carry.
 * The first twelve characters number a message: two stand for the run and the connection, ten are the number in base
 * 64. They find the message that a datagram answers, and give every message of a stream other contents.
 */
#include "payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/complain.h"
#include "flow/message.h"
#include "plan.h"
#include "tenon.h"
#include "tenon_value.h"

#define TAG_LEN 2
#define CHECK_ALL_MAX 4096 /* bytes: of longer messages one in CHECK_EVERY is compared */
#define CHECK_EVERY 64

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* The number of a connection's messages as text but for its last digit, which alone is another one for each of 64. Of
 * each connection two may be in use, since replies are behind what is sent. */
static _Thread_local struct known {
	bool made;
	uint64_t seed, conn, block;
	char text[NUMBER_LEN];
} known[128];

static void tag_text(const struct message_id *id, char *to)
{
	uint64_t tag = mix(id->seed ^ mix(id->conn));

	to[0] = letters[tag & 63];
	to[1] = letters[tag >> 6 & 63];
}

static void know(struct known *k, const struct message_id *id, uint64_t block)
{
	*k = (struct known){.made = true, .seed = id->seed, .conn = id->conn, .block = block};
	tag_text(id, k->text);
	for (int i = NUMBER_LEN - 2; i >= TAG_LEN; i--, block >>= 6)
		k->text[i] = letters[block & 63];
}

static void number_text(const struct message_id *id, char *to)
{
	uint64_t block = id->number >> 6;
	struct known *k = &known[(id->conn << 1 | (block & 1)) % (sizeof(known) / sizeof(known[0]))];

	if (!k->made || k->block != block || k->conn != id->conn || k->seed != id->seed)
		know(k, id, block);
	memcpy(to, k->text, NUMBER_LEN - 1);
	to[NUMBER_LEN - 1] = letters[id->number & 63];
}

size_t payload_size_drawn(const struct plan *plan, const struct message_id *id)
{
	return (size_t)sizes_draw(&plan->payload.sizes, mix(id->seed ^ mix(id->conn + 1) ^ id->number));
}

uint64_t payload_think_ns(const struct plan *plan, const struct message_id *id)
{
	uint64_t span_ns = plan->think_max_ns - plan->think_min_ns;

	return plan->think_min_ns + (span_ns ? mix(mix(id->seed) ^ mix(id->conn + 2) ^ id->number) % (span_ns + 1) : 0);
}

void payload_number(const struct plan *plan, char *data, const struct message_id *id)
{
	if (plan->payload.numbered)
		number_text(id, data + plan->payload.number_at);
}

/* The template, while it becomes one message after another. What is asked for each stands here. */
struct turning {
	const struct plan *plan;
	char *data, *digit; /* digit: the last of its number; NULL: it has none */
	struct message_id id;
};

static inline struct turning turn_to(const struct plan *plan, char *data, const struct message_id *first)
{
	char *digit = plan->payload.numbered ? data + plan->payload.number_at + NUMBER_LEN - 1 : NULL;

	payload_number(plan, data, first);
	return (struct turning){.plan = plan, .data = data, .digit = digit, .id = *first};
}

static inline void turn_to_next(struct turning *t)
{
	if (++t->id.number & 63 && t->digit)
		*t->digit = letters[t->id.number & 63];
	else
		payload_number(t->plan, t->data, &t->id);
}

size_t payload_write(const struct plan *plan, char *data, const struct message_id *first, uint64_t *n, char *to,
		     size_t cap)
{
	bool alike = plan->payload.size_min == plan->payload.size_max;
	struct turning t = turn_to(plan, data, first);
	size_t size = plan->payload.size_max, len = 0;
	uint64_t i;

	for (i = 0; i < *n; i++, len += size) {
		if (i)
			turn_to_next(&t);
		if (!alike)
			size = payload_size_drawn(plan, &t.id);
		if (size > cap - len)
			break;
		memcpy(to + len, data, size);
	}
	*n = i;
	return len;
}

static bool is_checked(const struct plan *plan, const struct message_id *id)
{
	return plan->payload.size_max <= CHECK_ALL_MAX || id->number % CHECK_EVERY == 0;
}

uint64_t payload_wrong(const struct plan *plan, char *data, const struct message_id *first, uint64_t n,
		       const char *came)
{
	struct turning t = turn_to(plan, data, first);
	size_t size = plan->payload.size_max;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < n; i++, came += size) {
		if (i)
			turn_to_next(&t);
		wrong += is_checked(plan, &t.id) && memcmp(came, data, size) != 0;
	}
	return wrong;
}

static bool number_read(const char *text, const char *wanted_tag, uint64_t *number)
{
	uint64_t value = 0;

	if (memcmp(text, wanted_tag, TAG_LEN) != 0)
		return false;
	for (int i = TAG_LEN; i < NUMBER_LEN; i++) {
		int digit = flow_digit(text[i]);

		if (digit < 0)
			return false;
		value = value << 6 | (unsigned)digit;
	}
	*number = value;
	return true;
}

bool payload_find(const struct plan *plan, const void *reply, size_t len, const struct message_id *id, uint64_t *number)
{
	size_t at = plan->payload.number_at, size = plan->payload.size_max;
	const char *text = reply;
	size_t behind = len > size && plan->payload.size_min == size ? len - size : 0;
	char wanted[NUMBER_LEN];

	number_text(id, wanted);
	if (len >= behind + at + NUMBER_LEN && memcmp(text + behind + at, wanted, NUMBER_LEN) == 0) {
		*number = id->number;
		return true;
	}
	/* Another one. An echo; then a reply behind a word of the server's; then anywhere. */
	if (len >= at + NUMBER_LEN && number_read(text + at, wanted, number))
		return true;
	if (behind && number_read(text + behind + at, wanted, number))
		return true;
	for (size_t i = 0; i + NUMBER_LEN <= len && i < 1024; i++)
		if (number_read(text + i, wanted, number))
			return true;
	return false;
}

bool payload_matches(const struct plan *plan, const struct message_id *id, size_t offset, const void *data, size_t len)
{
	const struct payload *p = &plan->payload;
	const char *got = data;
	char number[NUMBER_LEN];
	size_t from = p->number_at, to = p->number_at + NUMBER_LEN, end = offset + len;

	if (!is_checked(plan, id))
		return true;
	if (!p->numbered || offset >= to || end <= from)
		return memcmp(got, p->data + offset, len) == 0;
	number_text(id, number);
	if (offset < from && memcmp(got, p->data + offset, from - offset) != 0)
		return false;
	if (end > to && memcmp(got + (to - offset), p->data + to, end - to) != 0)
		return false;
	from = from > offset ? from : offset;
	to = to < end ? to : end;
	return memcmp(got + (from - offset), number + (from - p->number_at), to - from) == 0;
}

/* ---- making ---- */

static int read_file(struct payload *p, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;
	size_t len = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		complain("bench: --payload: %s: %s", path, fd < 0 ? tn_strerror(-errno) : "not a regular file");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	p->data = malloc((size_t)st.st_size + 1);
	while (p->data && len < (size_t)st.st_size) {
		ssize_t got = read(fd, p->data + len, (size_t)st.st_size - len);

		if (got <= 0) {
			err = got < 0 ? errno : EIO;
			break;
		}
		len += (size_t)got;
	}
	close(fd);
	if (!p->data || err || !len) {
		complain("bench: --payload: %s: %s", path,
			 err       ? tn_strerror(-err)
			 : p->data ? "is empty"
				   : "out of memory");
		return -1;
	}
	p->size_min = p->size_max = len;
	p->sizes = (struct sizes){.min = len, .max = len};
	p->from_file = true;
	return 0;
}

/* A text of the format's own, as long as the size asked for allows. */
static int encode_text(struct payload *p, const char *format)
{
	struct tn_bytes bytes = {0};
	struct tn_value *text;
	size_t len = p->size_max;
	int rc = 0;

	for (int tries = 0; tries < 4; tries++) {
		text = tn_value_new_text(NULL, p->data, len);
		rc = text ? tn_encode(format, text, 0, &bytes) : -ENOMEM;
		tn_value_free(text);
		if (rc < 0 || bytes.len <= p->size_max || len <= bytes.len - p->size_max)
			break;
		len -= bytes.len - p->size_max;
	}
	if (rc >= 0) {
		free(p->data);
		p->data = (char *)bytes.data;
		p->size_min = p->size_max = bytes.len;
		p->sizes = (struct sizes){.min = bytes.len, .max = bytes.len};
		return 0;
	}
	tn_bytes_free(&bytes);
	complain("bench: a message of the format %s: %s", format, tn_errmsg());
	return -1;
}

static int generate(struct plan *plan)
{
	struct payload *p = &plan->payload;
	uint64_t state = mix(plan->seed);

	p->data = malloc(p->size_max + 1);
	if (!p->data) {
		complain("bench: out of memory");
		return -1;
	}
	for (size_t i = 0; i < p->size_max; i++) {
		state = state * 6364136223846793005 + 1442695040888963407;
		p->data[i] = letters[state >> 58];
	}
	return 0;
}

/* In the endpoint's format. */
static int encode(struct plan *plan)
{
	struct payload *p = &plan->payload;
	struct tn_split *kind;
	const char *format;
	bool values;
	int rc = tn_split_new(plan->url, &kind);

	if (rc < 0) {
		complain_library(rc, plan->url);
		return -1;
	}
	format = tn_split_format(kind); /* NULL: raw */
	values = tn_format_kind(format) & TN_FORMAT_VALUES;
	if (values && plan->mode == MODE_ONEWAY) {
		complain("bench: --mode one-way: messages of the format %s have no room for a head: leave key format "
			 "out",
			 format);
		rc = -1;
	} else if (values && p->size_min != p->size_max) {
		complain("bench: --size: messages of the format %s are of one size", format);
		rc = -1;
	} else if (values) {
		rc = encode_text(p, format);
	}
	tn_split_free(kind);
	return rc;
}

int payload_make(struct plan *plan, const char *path)
{
	struct payload *p = &plan->payload;
	char first[NUMBER_LEN];
	const char *at;

	if (path)
		return read_file(p, path);
	if (generate(plan) < 0)
		return -1;
	memcpy(first, p->data, p->size_max < NUMBER_LEN ? p->size_max : NUMBER_LEN);
	if (encode(plan) < 0)
		return -1;
	if (p->size_min < NUMBER_LEN || plan->mode == MODE_ONEWAY)
		return 0; /* too short to be numbered */
	at = memmem(p->data, p->size_min, first, NUMBER_LEN);
	p->numbered = at != NULL;
	p->number_at = at ? (size_t)(at - p->data) : 0;
	return 0;
}
