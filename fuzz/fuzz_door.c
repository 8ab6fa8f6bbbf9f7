/*
 * A door of tenon hub (cmd/hub), with verbs of its own in place of the hub's. Of a stream the input is given in one
 * piece, and again in pieces whose lengths it says itself, to a hub that has it wait behind each message: what the door
 * asks for and answers must be the same. A door
 * of messages gets one for each line.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "hub/door.h"
#include "hub/topics/topics.h"

struct client {
	unsigned char *said; /* all that was asked for and answered */
	size_t len, cap;
	bool ended, known;
	bool judged;        /* a login was put off, and comes again */
	bool pauses, waits; /* behind each message the hub takes nothing more for a moment */
	struct span last;   /* the name of the last subscription */
	char name[32];
};

static const struct hub_facts facts = {.id = "ID", .name = "fuzzed", .payload = 1000};

static void say(struct client *client, const void *data, size_t len)
{
	if (client->len + len > client->cap) {
		client->cap = (client->len + len) * 2;
		client->said = realloc(client->said, client->cap);
		CHECK(client->said);
	}
	if (len)
		memcpy(client->said + client->len, data, len);
	client->len += len;
}

int hub_publish(struct client *client, struct message *message)
{
	static uint64_t serial;

	CHECK(!client->ended && client->known && !client->waits);
	client->waits = client->pauses && !DOOR.framed;
	CHECK(message->head_len <= message->body.len && message->body.len <= facts.payload);
	message->serial = ++serial;
	say(client, "publish", 7);
	say(client, message->topic.data, message->topic.len);
	say(client, message->reply.data, message->reply.len);
	say(client, message->body.data, message->body.len);
	if (client->last.len)
		DOOR.deliver(client, client + 1, client->last, message);
	if (client->last.len && DOOR.denied && message->body.len == 1)
		DOOR.denied(client, client + 1, client->last, message->topic);
	return client->last.len != 0;
}

int hub_subscribe(struct client *client, struct span pattern, struct span group, struct span sid,
		  const struct wanted *wanted)
{
	if (wanted)
		say(client, &wanted->newest, sizeof(wanted->newest));
	CHECK(!client->ended && client->known && sid.len);
	if (!topic_is_pattern(pattern.data, pattern.len))
		return -EINVAL;
	say(client, "subscribe", 9);
	say(client, pattern.data, pattern.len);
	say(client, group.data, group.len);
	if (sid.len < sizeof(client->name)) {
		memcpy(client->name, sid.data, sid.len);
		client->last = (struct span){client->name, sid.len};
	}
	return 0;
}

int hub_subscribe_all(struct client *client, struct asked *asked, int count, struct span group,
		      const struct wanted *wanted)
{
	CHECK(count > 0 && count <= SUBSCRIBE_MAX);
	for (int i = 0; i < count; i++)
		asked[i].err = hub_subscribe(client, asked[i].pattern, group, asked[i].sid, wanted);
	return 0;
}

void hub_unsubscribe(struct client *client, struct span sid, uint32_t max)
{
	CHECK(!client->ended && client->known);
	say(client, &max, sizeof(max));
	say(client, sid.data, sid.len);
	client->last.len = 0;
}

bool hub_find(struct client *client, struct span topic, struct span *sid)
{
	*sid = client->last;
	return sid->len && topic.len;
}

int hub_login(struct client *client, const struct login *login)
{
	bool right = !login->user.data || (login->user.len && login->user.data[0] == 'u');

	CHECK(!client->waits);
	if (client->pauses && !DOOR.framed && !client->judged && login->user.data) {
		client->judged = client->waits = true;
		return -EINPROGRESS;
	}
	client->judged = false;
	client->known = right;
	return right ? 0 : -EACCES;
}

enum hub_tls hub_tls(const struct client *client)
{
	return client->known ? HUB_TLS_OFFERED : HUB_TLS_WANTED;
}

const char *hub_nonce(struct client *client)
{
	return client->known ? "nonce" : NULL;
}

uint32_t hub_payload_max(const struct client *client)
{
	(void)client;
	return facts.payload;
}

bool hub_is_known(const struct client *client)
{
	return client->known;
}

const char *hub_format(const struct client *client)
{
	(void)client;
	return "json";
}

const char *hub_inbox(struct client *client)
{
	(void)client;
	return "_INBOX.X";
}

bool hub_must_wait(const struct client *client)
{
	return client->waits;
}

void hub_set_echo(struct client *client, bool echo)
{
	say(client, &echo, 1);
}

void hub_set_name(struct client *client, struct span name)
{
	say(client, name.data, name.len);
}

unsigned char *hub_room(struct client *client, size_t len)
{
	static const unsigned char nothing[4096];

	if (len > sizeof(nothing))
		return NULL;
	say(client, nothing, len);
	return client->said + client->len - len;
}

void hub_write(struct client *client, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		say(client, iov[i].iov_base, iov[i].iov_len);
}

void hub_write_shared(struct client *client, struct tn_shared *shared)
{
	size_t len;
	const void *data = tn_shared_data(shared, &len);

	say(client, data, len);
}

void hub_answer(struct client *client, const void *data, size_t len)
{
	CHECK(!client->ended);
	say(client, data, len);
}

void hub_end(struct client *client)
{
	CHECK(!client->ended);
	client->ended = true;
}

const struct hub_facts *hub_facts(void)
{
	return &facts;
}

void hub_client_facts(const struct client *client, struct client_facts *out)
{
	(void)client;
	*out = (struct client_facts){.host = "h", .from = "f", .port = 1, .id = 1};
}

/* Each piece is a copy of its own: what reads beyond its end is found. `lens` NULL: one piece. */
static struct client *talk(const uint8_t *data, size_t size, const uint8_t *lens, bool known)
{
	struct client *client = calloc(1, sizeof(*client) + DOOR.state);
	size_t n = 0;

	CHECK(client);
	client->known = known;
	client->pauses = lens;
	if (DOOR.open)
		DOOR.open(client, client + 1);
	while (size && !client->ended) {
		const uint8_t *feed = DOOR.formats ? memchr(data, '\n', size) : NULL;
		size_t len = feed ? (size_t)(feed + 1 - data) : lens && !DOOR.framed ? 1 + lens[n++ % 4] % 16 : size;
		unsigned char *piece;

		len = len < size ? len : size;
		piece = malloc(len);
		CHECK(piece);
		memcpy(piece, data, len);
		DOOR.input(client, client + 1, piece, len);
		free(piece);
		while (client->waits && !client->ended) {
			client->waits = false;
			DOOR.input(client, client + 1, NULL, 0);
		}
		data += len;
		size -= len;
	}
	if (DOOR.close)
		DOOR.close(client, client + 1);
	DOOR.forget();
	return client;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client *whole, *cut;

	if (size < 5)
		return 0;
	whole = talk(data + 5, size - 5, NULL, data[4] & 1);
	cut = talk(data + 5, size - 5, data, data[4] & 1);
	CHECK(whole->len == cut->len && (!cut->len || memcmp(whole->said, cut->said, cut->len) == 0));
	CHECK(whole->ended == cut->ended);
	free(whole->said);
	free(whole);
	free(cut->said);
	free(cut);
	return 0;
}
