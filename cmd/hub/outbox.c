/*
 * What goes out to a client. Short messages are gathered in one block (the cork), which the connection gets at the end
 * of the turn. When the connection's queue is at its mark, messages wait here, where the oldest can still be dropped.
 * That is bounded, and who exceeds it is slow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "client.h"
#include "events.h"
#include "plan.h"
#include "tenon.h"

#define CORK 4096
#define LATEST 1024 /* buckets */

/* Something that waits: a message for a subscription, or bytes that were answered. */
struct waiting {
	struct waiting *next, *bucket_next;
	struct kept *kept; /* NULL: bytes */
	uint32_t len;      /* of the bytes, or of the subscription's name */
	char bytes[];
};

/* ---- the connection ---- */

static void sent(struct client *client, int err)
{
	if (err != 1 && err != TN_EFULL)
		return;
	if (!client->full)
		client->full_since_ns = tn_loop_now(client->lane->loop);
	client->full = true;
}

static void cork_flush(struct client *client)
{
	struct lane *lane = client->lane;
	unsigned char *block = client->cork;

	if (!block)
		return;
	client->cork = NULL;
	if (!client->ending)
		sent(client, tn_send(client->conn, block, client->corked));
	client->corked = 0;
	memcpy(block, &lane->corks, sizeof(lane->corks));
	lane->corks = block;
}

void outbox_flush(struct lane *lane)
{
	struct client *client;

	while ((client = lane->dirty)) {
		lane->dirty = client->dirty_next;
		client->dirty = false;
		cork_flush(client);
	}
}

static bool cork_take(struct client *client)
{
	struct lane *lane = client->lane;

	client->cork = lane->corks;
	if (client->cork)
		memcpy(&lane->corks, client->cork, sizeof(lane->corks));
	else
		client->cork = malloc(CORK);
	if (client->cork && !client->dirty) {
		client->dirty = true;
		client->dirty_next = lane->dirty;
		lane->dirty = client;
	}
	return client->cork;
}

void lane_free_corks(struct lane *lane)
{
	unsigned char *block;

	while ((block = lane->corks)) {
		memcpy(&lane->corks, block, sizeof(lane->corks));
		free(block);
	}
}

unsigned char *hub_room(struct client *client, size_t len)
{
	if (len > CORK || client->ending)
		return NULL;
	if (client->corked + len > CORK)
		cork_flush(client);
	if (!client->cork && !cork_take(client))
		return NULL;
	client->corked += (uint32_t)len;
	return client->cork + client->corked - len;
}

void hub_write(struct client *client, const struct iovec *iov, int count)
{
	size_t len = 0;
	unsigned char *room;

	if (client->ending)
		return;
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	room = client->door->framed ? NULL : hub_room(client, len);
	if (!room) {
		cork_flush(client);
		sent(client, tn_sendv(client->conn, iov, count));
		return;
	}
	for (int i = 0; i < count; i++) {
		memcpy(room, iov[i].iov_base, iov[i].iov_len);
		room += iov[i].iov_len;
	}
}

void hub_write_shared(struct client *client, struct tn_shared *shared)
{
	cork_flush(client);
	if (!client->ending)
		sent(client, tn_send_shared(client->conn, shared));
}

/* ---- what waits ---- */

static size_t weight(const struct waiting *waiting)
{
	size_t kept = waiting->kept ? sizeof(struct kept) + waiting->kept->message.topic.len +
					      waiting->kept->message.reply.len + waiting->kept->message.body.len
				    : 0;

	return sizeof(*waiting) + waiting->len + kept + 16;
}

static struct waiting **bucket(struct client *client, const struct waiting *waiting)
{
	const struct span *topic = &waiting->kept->message.topic;
	return &client->latest[topic_hash(topic->data, topic->len) % LATEST];
}

static void bucket_leave(struct client *client, const struct waiting *waiting)
{
	struct waiting **at = client->latest && waiting->kept ? bucket(client, waiting) : NULL;

	for (; at && *at; at = &(*at)->bucket_next)
		if (*at == waiting) {
			*at = waiting->bucket_next;
			return;
		}
}

static void waiting_free(struct client *client, struct waiting *waiting)
{
	client->waits -= weight(waiting);
	bucket_leave(client, waiting);
	if (waiting->kept)
		kept_free(waiting->kept);
	free(waiting);
}

/* Takes one out of the list. */
static void unlink_at(struct client *client, struct waiting **at)
{
	struct waiting *waiting = *at;

	*at = waiting->next;
	if (!*at)
		client->last = at;
	waiting_free(client, waiting);
}

static void lost(struct client *client)
{
	client->dropped++;
	client->lane->dropped++;
	if (!client->slow_told)
		hub_events_slow(client, NULL);
	client->slow_told = true;
}

/* An older message of the same topic for the same subscription goes: the newer one takes its place. */
static bool replace(struct client *client, struct waiting *newer)
{
	struct waiting *old = *bucket(client, newer);

	for (; old; old = old->bucket_next) {
		const struct span *a = &old->kept->message.topic, *b = &newer->kept->message.topic;

		if (a->len != b->len || memcmp(a->data, b->data, a->len) != 0 || old->len != newer->len ||
		    memcmp(old->bytes, newer->bytes, old->len) != 0)
			continue;
		client->waits -= weight(old);
		kept_free(old->kept);
		old->kept = newer->kept;
		client->waits += weight(old);
		free(newer);
		lost(client);
		return true;
	}
	return false;
}

/* Answers stay: they are as many as the client has asked for, and it is not read from meanwhile. */
static void drop_oldest(struct client *client)
{
	struct waiting **at = &client->first;

	while (*at && client->waits > exchange_plan.waits) {
		if ((*at)->kept) {
			unlink_at(client, at);
			lost(client);
		} else {
			at = &(*at)->next;
		}
	}
}

static void append(struct client *client, struct waiting *waiting)
{
	struct waiting **at;

	if (exchange_plan.slow == SLOW_LAST && waiting->kept) {
		if (!client->latest)
			client->latest = calloc(LATEST, sizeof(struct waiting *));
		if (client->latest && replace(client, waiting))
			return;
		at = client->latest ? bucket(client, waiting) : NULL;
		if (at) {
			waiting->bucket_next = *at;
			*at = waiting;
		}
	}
	if (!client->first)
		client->last = &client->first;
	*client->last = waiting;
	client->last = &waiting->next;
	client->waits += weight(waiting);
}

static struct waiting *waiting_new(struct kept *kept, const void *bytes, size_t len)
{
	struct waiting *waiting = malloc(sizeof(*waiting) + len);

	if (!waiting)
		return NULL;
	*waiting = (struct waiting){.kept = kept, .len = (uint32_t)len};
	memcpy(waiting->bytes, bytes, len);
	return waiting;
}

void outbox_cut(struct client *client, const char *why)
{
	client->lane->cut++;
	hub_events_slow(client, why);
	outbox_clear(client);
	client->ending = true;
	tn_abort(client->conn, -ENOBUFS);
}

static void wait_for_room(struct client *client, const struct subscription *sub, struct message *message)
{
	struct kept *kept = message_keep(message);
	struct waiting *waiting = kept ? waiting_new(kept, sub->sid, sub->sid_len) : NULL;

	if (!waiting) {
		if (kept)
			kept_free(kept);
		lost(client);
		return;
	}
	if (exchange_plan.slow == SLOW_NEWEST && client->waits + weight(waiting) > exchange_plan.waits) {
		kept_free(kept);
		free(waiting);
		lost(client);
		return;
	}
	append(client, waiting);
	if (client->waits <= exchange_plan.waits)
		return;
	if (exchange_plan.slow == SLOW_CUT)
		outbox_cut(client, "its queue is full");
	else
		drop_oldest(client);
}

void outbox_deliver(struct client *client, const struct subscription *sub, struct message *message)
{
	if (client->ending)
		return;
	if (client->full || client->first)
		wait_for_room(client, sub, message);
	else
		client->door->deliver(client, client->state, (struct span){sub->sid, sub->sid_len}, message);
}

void hub_answer(struct client *client, const void *data, size_t len)
{
	struct waiting *waiting = client->full || client->first ? waiting_new(NULL, data, len) : NULL;

	if (!waiting) {
		hub_write(client, &(struct iovec){(void *)(uintptr_t)data, len}, 1);
		return;
	}
	append(client, waiting);
	if (!client->paused) {
		client->paused = true;
		tn_pause(client->conn);
	}
}

void outbox_room(struct client *client)
{
	const struct kept *before = NULL; /* for several subscriptions it is one message */
	struct waiting *waiting;

	client->full = false;
	while (!client->full && (waiting = client->first)) {
		client->first = waiting->next;
		if (waiting->kept) {
			struct message message = waiting->kept->message;

			message.kept = NULL;
			message.serial = waiting->kept == before ? client->lane->serial : ++client->lane->serial;
			before = waiting->kept;
			client->door->deliver(client, client->state, (struct span){waiting->bytes, waiting->len},
					      &message);
		} else {
			hub_write(client, &(struct iovec){waiting->bytes, waiting->len}, 1);
		}
		waiting_free(client, waiting);
	}
	cork_flush(client);
	if (client->first || client->full)
		return;
	free(client->latest);
	client->latest = NULL;
	if (client->slow_told)
		hub_events_caught_up(client);
	client->slow_told = false;
	if (client->paused && !hub_must_wait(client))
		tn_resume(client->conn);
	client->paused = false;
}

bool outbox_is_late(const struct client *client, uint64_t now_ns)
{
	return client->full && exchange_plan.deadline_ns && now_ns - client->full_since_ns > exchange_plan.deadline_ns;
}

void outbox_clear(struct client *client)
{
	while (client->first)
		unlink_at(client, &client->first);
	free(client->latest);
	client->latest = NULL;
}
