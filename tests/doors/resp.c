/*
 * A door for tests: Redis' publish and subscribe (RESP2), as far as redis-cli and a few clients need it. It is linked
 * into the command for tests alone, and proves that a door is a file: nothing else of the hub knows of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>

#include "hub/door.h"
#include "hub/hub.h"

#define ARGS_MAX 64
#define COMMAND_MAX (2 << 20)

struct resp {
	char *text; /* what has come and is not done yet */
	size_t len;
	unsigned subscriptions;
	bool over;
};

static void answer(struct client *client, const char *text)
{
	hub_answer(client, text, strlen(text));
}

/* "*2\r\n" or "$5\r\n". Returns its bytes; 0: it is not whole; -1: it is none. */
static long head(const char *at, size_t len, char kind, long *number)
{
	const char *feed = memchr(at, '\n', len < 16 ? len : 16);
	char *end;

	if (!feed)
		return len < 16 && (!len || *at == kind) ? 0 : -1;
	*number = strtol(at + 1, &end, 10);
	return *at == kind && end + 1 == feed && *end == '\r' && *number >= 0 && *number <= COMMAND_MAX ? feed + 1 - at
													: -1;
}

/* An array of texts. Returns as head(). */
static long command(const char *text, size_t len, struct span *args, int *count)
{
	long wanted, size, n = head(text, len, '*', &wanted), at = n;

	if (n <= 0 || wanted < 1 || wanted > ARGS_MAX)
		return n ? -1 : 0;
	for (*count = 0; *count < wanted; at += size + 2) {
		n = head(text + at, len - (size_t)at, '$', &size);
		if (n <= 0 || len - (size_t)(at + n) < (size_t)size + 2)
			return n < 0 ? -1 : 0;
		at += n;
		args[(*count)++] = (struct span){text + at, (size_t)size};
	}
	return at;
}

static bool is(struct span word, const char *name)
{
	return word.len == strlen(name) && strncasecmp(word.data, name, word.len) == 0;
}

static void confirm(struct client *client, const char *what, struct span name, unsigned count)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "*3\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(what), what, name.len);

	hub_answer(client, line, (size_t)n);
	hub_answer(client, name.data, name.len);
	n = snprintf(line, sizeof(line), "\r\n:%u\r\n", count);
	hub_answer(client, line, (size_t)n);
}

static void publish(struct client *client, const struct span *args)
{
	struct message m = {.topic = args[1], .body = args[2]};
	int found = hub_publish(client, &m);
	char line[32];

	snprintf(line, sizeof(line), ":%d\r\n", found);
	answer(client, found == -EACCES ? "-NOPERM not allowed\r\n" : found < 0 ? "-ERR not taken\r\n" : line);
}

static void subscribe(struct client *client, struct resp *resp, struct span what, struct span pattern)
{
	int err = hub_subscribe(client, pattern, (struct span){0}, pattern, NULL);

	resp->subscriptions += err >= 0;
	if (err < 0)
		answer(client, err == -EACCES ? "-NOPERM not allowed\r\n" : "-ERR no pattern\r\n");
	else
		confirm(client, is(what, "psubscribe") ? "psubscribe" : "subscribe", pattern, resp->subscriptions);
}

/* Returns false when it is to be done once more. */
static bool act(struct client *client, struct resp *resp, const struct span *args, int count)
{
	if (is(args[0], "auth") && count == 3) {
		int err = hub_login(client, &(struct login){.user = args[1], .password = args[2]});

		if (err == -EINPROGRESS)
			return false;
		answer(client, err < 0 ? "-WRONGPASS not known\r\n" : "+OK\r\n");
	} else if (is(args[0], "ping")) {
		answer(client, "+PONG\r\n");
	} else if (!hub_is_known(client)) {
		answer(client, "-NOAUTH who are you?\r\n");
	} else if (is(args[0], "publish") && count == 3 && args[2].len <= hub_payload_max(client)) {
		publish(client, args);
	} else if (is(args[0], "subscribe") || is(args[0], "psubscribe")) {
		for (int i = 1; i < count; i++)
			subscribe(client, resp, args[0], args[i]);
	} else if (is(args[0], "unsubscribe") || is(args[0], "punsubscribe")) {
		for (int i = 1; i < count; i++) {
			hub_unsubscribe(client, args[i], 0);
			resp->subscriptions -= resp->subscriptions > 0;
			confirm(client, "unsubscribe", args[i], resp->subscriptions);
		}
	} else {
		answer(client, "-ERR unknown command\r\n");
	}
	return true;
}

static void input(struct client *client, void *state, const unsigned char *data, size_t len)
{
	struct resp *resp = state;
	char *grown = realloc(resp->text, resp->len + len + 1);
	struct span args[ARGS_MAX];
	size_t done = 0;
	long n = 0;
	int count;

	if (!grown || resp->over) {
		resp->text = grown ? grown : resp->text;
		return;
	}
	resp->text = grown;
	if (len)
		memcpy(resp->text + resp->len, data, len);
	resp->len += len;
	resp->text[resp->len] = '\0';
	while (!hub_must_wait(client) && (n = command(resp->text + done, resp->len - done, args, &count)) > 0) {
		if (!act(client, resp, args, count))
			break;
		done += (size_t)n;
	}
	resp->len -= done;
	memmove(resp->text, resp->text + done, resp->len);
	if (n < 0 || resp->len > COMMAND_MAX) {
		resp->over = true;
		answer(client, "-ERR Protocol error\r\n");
		hub_end(client);
	}
}

static void deliver(struct client *client, void *state, struct span sid, const struct message *message)
{
	struct span body = {message->body.data + message->head_len, message->body.len - message->head_len};
	bool wild = memchr(sid.data, '*', sid.len) || memchr(sid.data, '>', sid.len);
	char first[64], topic[32], last[32];
	int a = snprintf(first, sizeof(first), "*%d\r\n$%d\r\n%s\r\n$%zu\r\n", wild ? 4 : 3, wild ? 8 : 7,
			 wild ? "pmessage" : "message", sid.len),
	    b = snprintf(topic, sizeof(topic), "\r\n$%zu\r\n", message->topic.len),
	    c = snprintf(last, sizeof(last), "\r\n$%zu\r\n", body.len);
	const struct iovec iov[] = {{first, (size_t)a},
				    {(char *)(uintptr_t)sid.data, sid.len},
				    {topic, wild ? (size_t)b : 0},
				    {(char *)(uintptr_t)message->topic.data, wild ? message->topic.len : 0},
				    {last, (size_t)c},
				    {(char *)(uintptr_t)body.data, body.len},
				    {(char *)(uintptr_t) "\r\n", 2}};

	(void)state;
	hub_write(client, iov, 7);
}

static bool notice(struct client *client, void *state, enum notice what)
{
	(void)state;
	if (what == NOTICE_UNKNOWN)
		answer(client, "-NOAUTH too late\r\n");
	return true;
}

static void closed(struct client *client, void *state)
{
	(void)client;
	free(((struct resp *)state)->text);
}

static const struct door resp_door = {.name = "resp",
				      .state = sizeof(struct resp),
				      .input = input,
				      .deliver = deliver,
				      .notice = notice,
				      .close = closed};

__attribute__((constructor)) static void add(void)
{
	hub_add_door("redis", &resp_door, "6379");
}
