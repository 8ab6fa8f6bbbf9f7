#include "nats_line.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tenon.h"
#include "tenon_value.h"

#define WORDS_MAX 7
#define NOBODY "NATS/1.0 503"

static size_t number(struct span text)
{
	size_t value = 0;

	for (size_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9' && value < SIZE_MAX / 100; i++)
		value = value * 10 + (size_t)(text.data[i] - '0');
	return value;
}

static bool begins(const char *text, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(text, word, strlen(word)) == 0;
}

static bool has_payload(const char *line, size_t len)
{
	return begins(line, len, "MSG ") || begins(line, len, "HMSG ");
}

static int words_of(const char *at, size_t len, struct span *words)
{
	const char *end = at + len;
	int count = 0;

	while (count < WORDS_MAX) {
		while (at < end && *at == ' ')
			at++;
		words[count].data = at;
		while (at < end && *at != ' ' && *at != '\r' && *at != '\n')
			at++;
		words[count].len = (size_t)(at - words[count].data);
		if (!words[count].len)
			break;
		count++;
	}
	return count;
}

/* The last number of a line is the length of what stands behind it. */
static int next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	const char *text = (const char *)data, *feed = memchr(text, '\n', len), *last;
	size_t line, size;

	(void)arg;
	if (!feed)
		return 0;
	line = (size_t)(feed + 1 - text);
	part->taken = part->len = line;
	if (!has_payload(text, line))
		return 1;
	last = (const char *)memrchr(text, ' ', line) + 1;
	size = number((struct span){last, (size_t)(feed - last)});
	if (size > 1 << 30) {
		part->why = "a message is too long";
		return TN_ETOOBIG;
	}
	part->taken = part->len = line + size + 2;
	part->need = part->taken;
	return len >= part->taken;
}

int nats_line_frame(void)
{
	static const struct tn_frame frame = {.size = sizeof(frame), .name = "nats-client", .next = next};
	int err = tn_frame_register(&frame);

	return err == -EEXIST ? 0 : err;
}

/* MSG topic sid [reply] size, HMSG topic sid [reply] head size; then the payload. */
static void read_message(struct nats_line *line, const char *text, size_t head, size_t len)
{
	struct message *m = &line->message;
	bool headers = text[0] == 'H';
	struct span words[WORDS_MAX];
	int count = words_of(text, head, words);

	if (count < 4 + headers || count > 5 + headers || len < head + 2)
		return;
	line->op = NATS_MSG;
	line->sid = words[2];
	m->topic = words[1];
	if (count == 5 + headers)
		m->reply = words[3];
	m->body = (struct span){text + head, len - head - 2};
	m->head_len = headers ? number(words[count - 2]) : 0;
	if (m->head_len > m->body.len)
		m->head_len = m->body.len;
	line->nobody = m->head_len == m->body.len && begins(m->body.data, m->head_len, NOBODY);
}

static struct span trimmed(const char *text, size_t len)
{
	while (len && (*text == ' ' || *text == '\''))
		text++, len--;
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' ' || text[len - 1] == '\''))
		len--;
	return (struct span){text, len};
}

void nats_line_read(struct nats_line *line, const void *data, size_t len)
{
	const char *text = data, *feed = memchr(text, '\n', len);
	size_t head = feed ? (size_t)(feed + 1 - text) : len;

	*line = (struct nats_line){.op = NATS_OTHER};
	if (has_payload(text, head)) {
		read_message(line, text, head, len);
	} else if (begins(text, head, "PING")) {
		line->op = NATS_PING;
	} else if (begins(text, head, "PONG")) {
		line->op = NATS_PONG;
	} else if (begins(text, head, "INFO ")) {
		line->op = NATS_INFO;
		line->text = trimmed(text + 5, head - 5);
	} else if (begins(text, head, "-ERR")) {
		line->op = NATS_ERR;
		line->text = trimmed(text + 4, head - 4);
	}
}

static bool offers(const struct tn_value *info, const char *key)
{
	return tn_value_bool(tn_value_get(info, key));
}

const char *nats_line_secure(struct tn_conn *conn, const struct tn_value *info, bool late, bool secured)
{
	if (late && !offers(info, "tls_required") && !offers(info, "tls_available"))
		return "offers no TLS";
	if (late && tn_start_tls(conn) < 0)
		return tn_errmsg();
	if (!late && !secured && offers(info, "tls_required"))
		return "wants TLS: nats://...?ca=FILE, or ?verify=on for the authorities of the system";
	return NULL;
}

/* A zero byte does not end a word: it is a letter like others. Returns the line's length, 0: it does not fit. */
static size_t line_of(char *out, size_t cap, const char *verb, struct span first, struct span second, const char *end)
{
	const struct span words[] = {{verb, strlen(verb)}, first, second, {end, strlen(end)}};
	size_t len = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!words[i].len)
			continue;
		if (words[i].len + 1 > cap - len)
			return 0;
		memcpy(out + len, words[i].data, words[i].len);
		len += words[i].len;
		out[len++] = ' ';
	}
	if (cap - len < 1)
		return 0;
	memcpy(out + len - 1, "\r\n", 2);
	return len + 1;
}

size_t nats_line_publish(char *out, size_t cap, const struct message *m, size_t extra)
{
	char sizes[48];

	if (m->head_len + extra)
		snprintf(sizes, sizeof(sizes), "%zu %zu", m->head_len + extra, m->body.len + extra);
	else
		snprintf(sizes, sizeof(sizes), "%zu", m->body.len);
	return line_of(out, cap, m->head_len + extra ? "HPUB" : "PUB", m->topic, m->reply, sizes);
}

size_t nats_line_subscribe(char *out, size_t cap, struct span pattern, struct span group, uint64_t sid)
{
	char name[24];

	snprintf(name, sizeof(name), "%llu", (unsigned long long)sid);
	return line_of(out, cap, "SUB", pattern, group, name);
}

bool nats_line_header(const struct message *m, const char *name, struct span *value)
{
	const char *at = m->body.data, *end = at + m->head_len, *feed;
	size_t len = strlen(name);

	for (; at < end && (feed = memchr(at, '\n', (size_t)(end - at))); at = feed + 1) {
		if ((size_t)(feed - at) <= len || memcmp(at, name, len) != 0 || at[len] != ':')
			continue;
		*value = trimmed(at + len + 1, (size_t)(feed - at) - len - 1);
		return true;
	}
	return false;
}
