/* A server of the Redis protocol, with a frame of its own. It knows PING, GET, SET, INCR and DEL.
 * Run: resp_server [URL]     then: redis-cli -p 6380 set name value */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "stop.h"
#define IS(word, name) ((word)->iov_len == strlen(name) && !strncasecmp((word)->iov_base, name, strlen(name)))
enum { WORDS_MAX = 64, LONGEST = 512 << 20, BUCKETS = 1 << 16 };

static struct entry {
	struct entry *next;
	size_t key_len, len;
	char bytes[]; /* the key, then the value as a reply of `len` bytes: "$5\r\nvalue\r\n" */
} * table[BUCKETS];

/* How much is one request, "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n"? The words in it go to `arg`, behind their number. */
static int next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	struct iovec unused[WORDS_MAX + 1], *words = arg ? arg : unused;
	size_t at = 0;

	part->why = "not a request of the Redis protocol, or one of more than 64 words";
	for (size_t i = 0, number = 0; !i || i <= words->iov_len; i++, number = 0) {
		if (at < len && data[at++] != (i ? '$' : '*'))
			return TN_EFORMAT;
		for (; at < len && data[at] >= '0' && data[at] <= '9' && number < LONGEST; at++)
			number = number * 10 + data[at] - '0';
		if (at + 2 > len)
			return at < len && data[at] != '\r' ? TN_EFORMAT : 0;
		if (data[at] != '\r' || data[at + 1] != '\n' || number > (i ? LONGEST : WORDS_MAX))
			return TN_EFORMAT;
		words[i] = (struct iovec){(void *)&data[at + 2], number};
		at += i ? 2 + number + 2 : 2;
		if (at > len)
			return part->need = at, 0; /* it is not asked again before so many bytes are there */
	}
	part->taken = part->len = at;
	return 1;
}

/* Where the entry of a key is linked, or would be. */
static struct entry **find(const struct iovec *key)
{
	struct entry **link;
	unsigned hash = 5381;

	for (size_t i = 0; i < key->iov_len; i++)
		hash = hash * 33 + ((unsigned char *)key->iov_base)[i];
	for (link = &table[hash % BUCKETS]; *link; link = &(*link)->next)
		if ((*link)->key_len == key->iov_len && !memcmp((*link)->bytes, key->iov_base, key->iov_len))
			break;
	return link;
}

static void set(struct entry **link, const struct iovec *key, const void *value, size_t len)
{
	struct entry *next = *link ? (*link)->next : NULL;
	char head[32];
	int n = snprintf(head, sizeof(head), "$%zu\r\n", len);

	if (!(*link = realloc(*link, sizeof(**link) + key->iov_len + (size_t)n + len + 3)))
		abort();
	**link = (struct entry){next, key->iov_len, (size_t)n + len + 2};
	memcpy((*link)->bytes, key->iov_base, key->iov_len);
	memcpy(mempcpy(mempcpy((*link)->bytes + key->iov_len, head, (size_t)n), value, len), "\r\n", 3);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct iovec words[WORDS_MAX + 1];
	const char *text = "-ERR unknown command, or not that many words\r\n";
	char sum[32], *end;
	uint64_t number, len = 0;

	(void)arg;
	if (next(msg->data, msg->len, &(struct tn_frame_part){0}, words) != 1)
		return;
	const size_t n = words->iov_len;
	struct entry **link = find(n > 1 ? &words[2] : words), *entry = *link;
	if (n == 2 && IS(&words[1], "GET")) {
		text = entry ? entry->bytes + entry->key_len : "$-1\r\n";
		len = entry ? entry->len : 0;
	} else if (n == 3 && IS(&words[1], "SET")) {
		set(link, &words[2], words[3].iov_base, words[3].iov_len);
		text = "+OK\r\n";
	} else if (n == 2 && IS(&words[1], "INCR")) {
		number = 1 + (uint64_t)strtoll(entry ? strchr(entry->bytes + entry->key_len, '\n') : "0", &end, 10);
		snprintf(sum, sizeof(sum), ":%lld\r\n", (long long)number);
		text = (entry && *end != '\r') || number == 1ULL << 63 ? "-ERR not an integer\r\n" : sum;
		if (text == sum)
			set(link, &words[2], sum + 1, strlen(sum) - 3);
	} else if (n == 2 && IS(&words[1], "DEL")) {
		text = entry ? ":1\r\n" : ":0\r\n";
		*link = entry ? entry->next : NULL;
		free(entry);
	} else if (n == 1 && IS(&words[1], "PING")) {
		text = "+PONG\r\n";
	} else if (n > 0 && (IS(&words[1], "COMMAND") || IS(&words[1], "CONFIG"))) {
		text = IS(&words[1], "COMMAND") ? "*0\r\n" : "*2\r\n$0\r\n\r\n$0\r\n\r\n";
	}
	if (tn_send(conn, text, len ? len : strlen(text)) < 0)
		tn_abort(conn, TN_EFULL); /* a reply that is missing must be seen */
}

int main(int argc, char **argv)
{
	static const struct tn_frame resp = {sizeof(resp), "resp", next, NULL, NULL};
	static const struct tn_handler handler = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:6380?frame=resp";
	static struct tn_loop *loop;
	struct stop stopping = {0};

	if (tn_frame_register(&resp) < 0 || tn_loop_new(&loop, NULL) < 0 ||
	    tn_serve(loop, url, &handler, NULL, &stopping.server) < 0 || stop_on_signals(loop, &stopping) < 0)
		return fprintf(stderr, "%s\n", tn_errmsg()), 1;
	dprintf(STDOUT_FILENO, "listening %s\n", tn_server_url(stopping.server, 0));
	return tn_loop_run(loop) < 0 || (tn_loop_free(loop), 0);
}
