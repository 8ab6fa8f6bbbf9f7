/*
 * A subscription's client, and the tree, change under the lock of the tree alone, held for writing by the client's own
 * loop; who publishes holds it for reading while it hands subscriptions over to other loops. What is freed goes the
 * same way, behind what was handed over before. With one loop there is no lock.
 */
#include "exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "client.h"
#include "common/clock.h"
#include "history.h"
#include "login.h"
#include "plan.h"
#include "tenon.h"
#include "tenon_value.h"
#include "users.h"

#define TICK_NS NS_PER_S
#define SILENT_TICKS 120          /* seconds without a word after which a client is asked */
#define UNKNOWN_NS (2 * NS_PER_S) /* time to say who one is */
#define MAIL_MAX (16 << 20)       /* bytes on their way to a loop, beyond which publishers wait */
#define MAIL_TURN 16384           /* deliveries of other loops' messages in one turn */
#define STALL_MS 1
#define BUSY_TOPICS 20
#define BUSY_NODES (1U << 15) /* takes a fraction of a millisecond */
#define RATE_MS 10            /* how often those are looked at that wait for their user's rate */

struct exchange_plan exchange_plan = {
	.payload = 1 << 20, .waits = 8 << 20, .deadline_ns = 10 * NS_PER_S, .slow = SLOW_CUT};

static struct {
	struct topics *topics;
	pthread_rwlock_t lock;
	struct lane *lanes;
	int count;
	struct hub_facts facts;
	_Atomic(unsigned) knowing;     /* lanes whose clients may refer to users who were replaced */
	const struct outside *outside; /* NULL: none */
} hub;

/* Written by the lane's own thread alone, so that no processor waits for another. */
static void count(_Atomic(uint64_t) *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static _Thread_local struct lane *here;

/* ---- locks ---- */

static void lock_to_read(void)
{
	if (hub.count > 1)
		pthread_rwlock_rdlock(&hub.lock);
}

static void lock_to_change(void)
{
	if (hub.count > 1)
		pthread_rwlock_wrlock(&hub.lock);
}

static void unlock(void)
{
	if (hub.count > 1)
		pthread_rwlock_unlock(&hub.lock);
}

/* ---- messages that are kept ---- */

struct kept *message_keep(struct message *message)
{
	struct kept *kept = message->kept;
	char *at;

	if (!kept) {
		kept = malloc(sizeof(*kept) + message->topic.len + message->reply.len + message->body.len);
		if (!kept)
			return NULL;
		kept->refs = 1; /* the message's own: message_drop() */
		kept->message = *message;
		at = kept->bytes;
		kept->message.topic.data = memcpy(at, message->topic.data, message->topic.len);
		at += message->topic.len;
		if (message->reply.len)
			kept->message.reply.data = memcpy(at, message->reply.data, message->reply.len);
		at += message->reply.len;
		if (message->body.len)
			kept->message.body.data = memcpy(at, message->body.data, message->body.len);
		message->kept = kept->message.kept = kept;
	}
	kept->refs++;
	return kept;
}

void kept_free(struct kept *kept)
{
	if (--kept->refs == 0)
		free(kept);
}

static void message_drop(struct message *message)
{
	if (message->kept)
		kept_free(message->kept);
	message->kept = NULL;
}

/* ---- subscriptions ---- */

static void mail_send(struct lane *lane, struct crossing *crossing);
static void mail_deliver_all(struct lane *lane);

/* What has gathered leaves. */
static void turn_over(struct lane *lane)
{
	outbox_flush(lane);
	if (hub.outside && !lane->index)
		hub.outside->flush();
}

/* Frees one that is in no tree any more, behind what other loops have sent to it. */
static void subscription_free(struct lane *lane, struct subscription *sub)
{
	struct crossing *crossing;

	sub->client = NULL;
	if (hub.count == 1) {
		free(sub);
		return;
	}
	crossing = malloc(sizeof(*crossing) + sizeof(sub));
	if (!crossing)
		return; /* it is lost rather than used after it was freed */
	*crossing = (struct crossing){.count = 1};
	crossing->subs[0] = sub;
	mail_send(lane, crossing);
}

static void give_back(struct client *client, uint32_t count)
{
	if (client->user)
		user_remove(client->user, count);
}

/* Under the lock, so that it comes there in order with what is published. */
static void tell_outside(struct lane *lane, const struct subscription *sub, bool more)
{
	static _Thread_local char pattern[TOPIC_MAX], group[TOPIC_MAX];
	struct crossing *crossing;
	size_t pattern_len, group_len;

	if (!hub.outside)
		return;
	pattern_len = topics_pattern(hub.topics, &sub->in, pattern);
	group_len = topics_group_name(hub.topics, &sub->in, group, sizeof(group));
	if (!lane->index) {
		hub.outside->wants((struct span){pattern, pattern_len}, (struct span){group, group_len}, more);
		return;
	}
	crossing = calloc(1, sizeof(*crossing));
	if (crossing)
		crossing->note = malloc(sizeof(struct note) + pattern_len + group_len);
	if (!crossing || !crossing->note) {
		free(crossing);
		return; /* it is wanted there for longer than here, or not at all */
	}
	*crossing->note = (struct note){more, pattern_len, group_len};
	memcpy(crossing->note->text, pattern, pattern_len);
	memcpy(crossing->note->text + pattern_len, group, group_len);
	mail_send(&hub.lanes[0], crossing);
}

/* Under the lock. */
static void leave_tree(struct lane *lane, struct subscription *sub)
{
	tell_outside(lane, sub, false);
	topics_remove(hub.topics, &sub->in);
}

static void subscription_end(struct subscription *sub)
{
	struct client *client = sub->client;

	give_back(client, 1);

	sids_remove(&client->sids, sub);
	lock_to_change();
	leave_tree(client->lane, sub);
	unlock();
	subscription_free(client->lane, sub);
}

static void all_subscriptions_end(struct client *client)
{
	give_back(client, client->sids.count);
	lock_to_change();
	for (uint32_t i = 0; i < client->sids.cap; i++)
		if (client->sids.at[i])
			leave_tree(client->lane, client->sids.at[i]);
	unlock();
	for (uint32_t i = 0; i < client->sids.cap; i++) {
		if (client->sids.at[i])
			subscription_free(client->lane, client->sids.at[i]);
	}
	sids_free(&client->sids);
}

static bool is_own_inbox(const struct client *client, struct span pattern)
{
	size_t len = strlen(client->inbox);

	return len && pattern.len > len && memcmp(pattern.data, client->inbox, len) == 0;
}

/* Whether nothing denies this topic to whom it is for; who is not known any more gets nothing. From any loop. */
static bool may_get(const struct subscription *sub, struct span topic)
{
	const struct user *user = sub->client->user;

	return user ? sub->own || user_may_get(user, topic) : !hub.facts.asks;
}

/* Messages of earlier times, for a subscription that has just been made. */
static void replay(struct client *client, const struct subscription *sub, const struct history_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct message message = list->list[i]->message;

		message.serial = ++client->lane->serial;
		message.missed = 0; /* was told to those who were there */
		if (may_get(sub, message.topic))
			outbox_deliver(client, sub, &message);
	}
}

/* One that stands among the client's, and is in no tree yet; `err` says why there is none. */
static struct subscription *subscription_new(struct client *client, const struct asked *asked, uint32_t max, int *err)
{
	struct span pattern = asked->pattern, sid = asked->sid;
	bool own = is_own_inbox(client, pattern);
	struct user *user = client->user;
	struct subscription *sub;

	*err = 0;
	if (sids_find(&client->sids, sid.data, sid.len))
		return NULL;
	if (!topic_is_pattern(pattern.data, pattern.len))
		*err = -EINVAL;
	else if (user && !own && !user_may_subscribe(user, pattern))
		*err = -EACCES;
	else if (exchange_plan.subscriptions && client->sids.count >= exchange_plan.subscriptions)
		*err = -E2BIG;
	else if (user && !user_may_add(user))
		*err = -E2BIG;
	if (*err < 0)
		return NULL;
	sub = malloc(sizeof(*sub) + sid.len);
	if (sub) {
		*sub = (struct subscription){.max = max, .client = client, .sid_len = sid.len & 0x7fff, .own = own};
		memcpy(sub->sid, sid.data, sid.len);
	}
	if (sub && sids_add(&client->sids, sub))
		return sub;
	*err = -ENOMEM;
	give_back(client, 1);
	free(sub);
	return NULL;
}

/* Into the tree. Under the lock. Returns whether it is there. */
static bool subscription_begin(struct asked *asked, struct span group)
{
	if (asked->sub)
		asked->err = topics_add(hub.topics, &asked->sub->in, asked->pattern.data, asked->pattern.len,
					group.data, group.len);
	return asked->sub && asked->err == 0;
}

int hub_subscribe_all(struct client *client, struct asked *asked, int count, struct span group,
		      const struct wanted *wanted)
{
	bool wants = wanted && (wanted->newest || wanted->resumes);
	struct history_list earlier = {0};
	struct span patterns[SUBSCRIBE_MAX];
	const struct subscription *first = NULL;
	int n = 0;

	if (group.len && !topic_is_name(group.data, group.len)) {
		for (int i = 0; i < count; i++)
			asked[i].err = -EINVAL;
		return 0;
	}
	for (int i = 0; i < count; i++)
		asked[i].sub = subscription_new(client, &asked[i], wanted ? wanted->max : 0, &asked[i].err);
	lock_to_change();
	for (int i = 0; i < count; i++)
		if (subscription_begin(&asked[i], group)) {
			first = first ? first : asked[i].sub;
			tell_outside(client->lane, asked[i].sub, true);
			patterns[n++] = asked[i].pattern;
		}
	/* Whoever publishes holds the lock: what is not in the list is delivered */
	if (n && wants)
		(void)!history_find(patterns, n, wanted, tn_loop_now(client->lane->loop), &earlier);
	unlock();
	for (int i = 0; i < count; i++)
		if (asked[i].sub && asked[i].err < 0) {
			sids_remove(&client->sids, asked[i].sub);
			give_back(client, 1);
			free(asked[i].sub);
		}
	if (n)
		replay(client, first, &earlier);
	history_list_free(&earlier);
	return earlier.gap;
}

int hub_subscribe(struct client *client, struct span pattern, struct span group, struct span sid,
		  const struct wanted *wanted)
{
	struct asked asked = {.pattern = pattern, .sid = sid};
	int gap = hub_subscribe_all(client, &asked, 1, group, wanted);

	return asked.err < 0 ? asked.err : gap;
}

/* What has been chosen for it by now is delivered, even if that is more: nobody else would get it. */
static void set_max(struct subscription *sub, uint32_t max)
{
	lock_to_change();
	if (!sub->in.group)
		sub->chosen = sub->delivered;
	sub->max = sub->chosen > max ? sub->chosen : max;
	unlock();
}

/* Its client wants no more. What it was chosen for by another loop is delivered first: nobody else of its group gets
 * it. */
static void subscription_leave(struct subscription *sub)
{
	struct client *client = sub->client;
	bool shares = hub.count > 1 && sub->in.group;

	lock_to_change();
	leave_tree(client->lane, sub);
	sub->max = 0; /* it is no last message that ends it */
	unlock();
	if (shares && sub->chosen != sub->delivered)
		mail_deliver_all(client->lane);
	give_back(client, 1);
	sids_remove(&client->sids, sub);
	subscription_free(client->lane, sub);
}

void hub_unsubscribe(struct client *client, struct span sid, uint32_t max)
{
	struct subscription *sub = sids_find(&client->sids, sid.data, sid.len);

	if (!sub)
		return;
	if (max > sub->delivered)
		set_max(sub, max);
	else
		subscription_leave(sub);
}

bool hub_find(struct client *client, struct span topic, struct span *sid)
{
	struct topic_match *match = &client->lane->match;
	const struct subscription *found = NULL;

	client->lane->matched_len = 0;
	lock_to_read();
	if (topics_match(hub.topics, topic.data, topic.len, match) == 0)
		for (size_t i = 0; i < match->count && !found; i++)
			for (uint32_t n = 0; n < match->spans[i].count && !found; n++) {
				const struct subscription *sub = (struct subscription *)match->spans[i].subs[n];

				found = sub->client == client ? sub : NULL;
			}
	unlock();
	if (found)
		*sid = (struct span){found->sid, found->sid_len};
	return found;
}

/* ---- from one to many ---- */

/* It is taken out of the tree when that is not being walked any more. */
static void note_over(struct lane *lane, struct subscription *sub)
{
	if (lane->nover == lane->over_cap) {
		size_t cap = lane->over_cap ? lane->over_cap * 2 : 16;
		struct subscription **grown = realloc(lane->over, cap * sizeof(struct subscription *));

		if (!grown)
			return; /* it stays, and gets nothing */
		lane->over = grown;
		lane->over_cap = cap;
	}
	lane->over[lane->nover++] = sub;
}

static void end_those_over(struct lane *lane)
{
	while (lane->nover)
		subscription_end(lane->over[--lane->nover]);
}

/* Of this loop. */
static bool client_takes(const struct client *client, const struct message *message)
{
	return !client->ending && !(client->no_echo && client->id == message->from);
}

/* To a subscription of this loop. */
static void deliver(struct lane *lane, struct subscription *sub, struct message *message)
{
	if (sub->max && sub->delivered >= sub->max)
		return;
	sub->delivered += sub->delivered < UINT32_MAX;
	if (sub->max && sub->delivered == sub->max)
		note_over(lane, sub);
	count(&lane->delivered, 1);
	outbox_deliver(sub->client, sub, message);
}

/*
 * Whether it takes one more. That is counted here, not where it is delivered, as several loops choose at a time: what
 * is refused later goes to no other member of the group.
 */
static bool choose(struct subscription *sub)
{
	uint32_t max = sub->max;

	if (hub.count == 1)
		return !max || sub->delivered < max;
	if (!max)
		return !sub->in.group || ++sub->chosen;
	return sub->chosen < max && sub->chosen++ < max;
}

static void choose_not(struct subscription *sub)
{
	if (sub->max || sub->in.group)
		sub->chosen--;
}

static bool hand_over(struct lane *lane, struct subscription *sub)
{
	int index = sub->client->lane->index;
	uint32_t cap = lane->away[index].cap;

	if (lane->away[index].count == cap) {
		struct subscription **grown;

		cap = cap ? cap * 2 : 64;
		grown = realloc(lane->away[index].subs, cap * sizeof(struct subscription *));
		if (!grown) {
			choose_not(sub);
			return false;
		}
		lane->away[index].subs = grown;
		lane->away[index].cap = cap;
	}
	lane->away[index].subs[lane->away[index].count++] = sub;
	return true;
}

static bool pass(struct lane *lane, struct subscription *sub, struct message *message)
{
	bool is_here = sub->client->lane == lane;

	if (!may_get(sub, message->topic) || (is_here && !client_takes(sub->client, message)) || !choose(sub))
		return false;
	if (!is_here)
		return hand_over(lane, sub);
	deliver(lane, sub, message);
	return true;
}

static void on_mail(void *arg);

static size_t mail_weight(const struct crossing *crossing)
{
	return sizeof(*crossing) + crossing->count * sizeof(void *) +
	       (crossing->kept ? crossing->kept->message.body.len : 0);
}

/* From any loop. */
static void mail_send(struct lane *lane, struct crossing *crossing)
{
	bool taken = true;

	pthread_mutex_lock(&lane->lock);
	if (lane->nmail == lane->mail_cap) {
		size_t cap = lane->mail_cap ? lane->mail_cap * 2 : 64;
		struct crossing **grown = realloc(lane->mail, cap * sizeof(struct crossing *));

		taken = grown;
		if (grown) {
			lane->mail = grown;
			lane->mail_cap = cap;
		}
	}
	if (taken) {
		lane->mail[lane->nmail++] = crossing;
		lane->mail_bytes += mail_weight(crossing);
		/* Without memory for this, what is there goes with the next one */
		if (!lane->posted && lane->running)
			lane->posted = tn_loop_post(lane->loop, on_mail, lane) == 0;
	}
	pthread_mutex_unlock(&lane->lock);
	if (!taken) {
		if (crossing->kept)
			kept_free(crossing->kept);
		free(crossing->note);
		free(crossing);
	}
}

static void crossing_deliver(struct lane *lane, struct crossing *crossing)
{
	struct message message;

	if (crossing->note) {
		const struct note *note = crossing->note;

		hub.outside->wants((struct span){note->text, note->pattern},
				   (struct span){note->text + note->pattern, note->group}, note->more);
		free(crossing->note);
		return;
	}
	if (!crossing->kept) {
		free(crossing->subs[0]);
		return;
	}
	message = crossing->kept->message;
	message.serial = ++lane->serial;
	for (uint32_t i = 0; i < crossing->count; i++)
		if (crossing->subs[i]->client && client_takes(crossing->subs[i]->client, &message))
			deliver(lane, crossing->subs[i], &message);
	if (crossing->out)
		hub.outside->take(&message);
	kept_free(crossing->kept);
}

/* What has come, when all that came before has been delivered. */
static void mail_take(struct lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	lane->posted = false;
	if (lane->taken == lane->ntaken) {
		free(lane->took);
		lane->took = lane->mail;
		lane->ntaken = lane->nmail;
		lane->mail = NULL;
		lane->nmail = lane->mail_cap = 0;
		lane->taken = 0;
	}
	pthread_mutex_unlock(&lane->lock);
}

/* Of what was taken, until so many deliveries have been made. */
static void mail_deliver(struct lane *lane, size_t most)
{
	size_t deliveries = 0, bytes = 0;

	while (lane->taken < lane->ntaken && deliveries < most) {
		struct crossing *crossing = lane->took[lane->taken++];

		deliveries += crossing->count;
		bytes += mail_weight(crossing);
		crossing_deliver(lane, crossing);
		free(crossing);
	}
	lane->mail_bytes -= bytes;
	end_those_over(lane);
}

static void mail_deliver_all(struct lane *lane)
{
	mail_deliver(lane, SIZE_MAX);
	mail_take(lane);
	mail_deliver(lane, SIZE_MAX);
}

/* So much in one turn, and the rest in the next one: a loop has its own clients, and time, to look after too. */
static void on_mail(void *arg)
{
	struct lane *lane = arg;

	mail_take(lane);
	mail_deliver(lane, MAIL_TURN);
	turn_over(lane);
	pthread_mutex_lock(&lane->lock);
	if ((lane->taken < lane->ntaken || lane->nmail) && !lane->posted && lane->running)
		lane->posted = tn_loop_post(lane->loop, on_mail, lane) == 0;
	pthread_mutex_unlock(&lane->lock);
}

/* Under the lock: nothing that goes is freed before it has come there. */
static void send_away(struct lane *lane, struct message *message)
{
	if (message->kept) /* by somebody here, when it was not yet known; other loops only read */
		message->kept->message.takers = message->takers;
	for (int i = 0; i < hub.count; i++) {
		bool out = message->elsewhere && !i && lane->index;
		uint32_t n = lane->away[i].count;
		struct crossing *crossing;

		if (!n && !out)
			continue;
		lane->away[i].count = 0;
		crossing = malloc(sizeof(*crossing) + n * sizeof(struct subscription *));
		if (!crossing || !(crossing->kept = message_keep(message))) {
			free(crossing);
			while (n--)
				choose_not(lane->away[i].subs[n]);
			count(&lane->dropped, n + out);
			continue;
		}
		crossing->note = NULL;
		crossing->out = out;
		crossing->count = n;
		if (n)
			memcpy(crossing->subs, lane->away[i].subs, n * sizeof(crossing->subs[0]));
		mail_send(&hub.lanes[i], crossing);
	}
}

static uint64_t random_next(struct lane *lane)
{
	lane->random ^= lane->random << 13;
	lane->random ^= lane->random >> 7;
	lane->random ^= lane->random << 17;
	return lane->random;
}

/* One of a group; who does not want its own messages leaves them to the next. */
static bool pass_to_one(struct lane *lane, size_t *span, struct message *message)
{
	const struct topic_match *match = &lane->match;
	uint64_t nth = random_next(lane) >> 16;
	struct subscription *first = NULL;

	for (size_t from = *span;; nth++) {
		struct subscription *sub;

		*span = from;
		sub = (struct subscription *)topic_match_choose(match, span, nth);
		if (sub == first)
			return false;
		if (pass(lane, sub, message))
			return true;
		first = first ? first : sub;
	}
}

/* To one of a single group, which came from outside for that. */
static int spread_to_group(struct lane *lane, struct message *message, const struct span *group)
{
	const struct topic_match *match = &lane->match;
	uint32_t number = topics_group(hub.topics, group->data, group->len);

	for (size_t i = 0; number && i < match->count; i++)
		if (match->spans[i].group == number)
			return pass_to_one(lane, &i, message);
	return 0;
}

/* `groups`: to one of each queue group too. */
static int spread(struct lane *lane, struct message *message, bool groups)
{
	const struct topic_match *match = &lane->match;
	size_t i = 0;
	int found = 0;

	for (; i < match->count && !match->spans[i].group; i++)
		for (uint32_t n = 0; n < match->spans[i].count; n++)
			found += pass(lane, (struct subscription *)match->spans[i].subs[n], message);
	while (groups && i < match->count)
		found += pass_to_one(lane, &i, message);
	return found;
}

/* ---- publishers that are faster than another loop ---- */

static bool is_mail_above(const struct lane *lane, size_t bytes)
{
	for (int i = 0; i < hub.count; i++)
		if (i != lane->index && atomic_load_explicit(&hub.lanes[i].mail_bytes, memory_order_relaxed) > bytes)
			return true;
	return false;
}

/* It may be read from again; what its door has kept comes first. */
static void go_on(struct client *client)
{
	if (client->ending)
		return;
	if (!client->door->framed)
		client->door->input(client, client->state, NULL, 0);
	if (!client->ending && !client->paused && !hub_must_wait(client))
		tn_resume(client->conn);
}

static void on_resume(void *arg);

static bool resume_later(struct lane *lane, unsigned ms)
{
	return lane->resume || tn_timer_start(lane->loop, ms, on_resume, lane, &lane->resume) == 0;
}

static void resume_stalled(struct lane *lane)
{
	bool full = is_mail_above(lane, MAIL_MAX / 2), again = false;
	uint64_t now_ns = tn_loop_now(lane->loop);

	for (struct client *client = lane->clients; client; client = client->next) {
		if (!client->stalled)
			continue;
		if (full || client->until_ns > now_ns) {
			again = true;
			continue;
		}
		client->stalled = false;
		go_on(client);
	}
	if (again)
		(void)!resume_later(lane, full ? STALL_MS : RATE_MS); /* otherwise on_tick() does it */
	turn_over(lane);
}

static void on_resume(void *arg)
{
	struct lane *lane = arg;

	lane->resume = NULL;
	resume_stalled(lane);
}

bool hub_must_wait(const struct client *client)
{
	return client->stalled || client->attempt;
}

static void stall(struct client *client, unsigned ms)
{
	if (!resume_later(client->lane, ms))
		return;
	client->stalled = true;
	tn_pause(client->conn);
}

/* A publisher that is faster than another loop, or than its user's rate. */
static void slow_down(struct client *client, const struct message *message)
{
	struct lane *lane = client->lane;
	uint64_t now_ns = tn_loop_now(lane->loop);

	if (client->user)
		client->until_ns = user_spend(client->user, message->topic.len + message->body.len, now_ns);
	if (client->stalled)
		return;
	if (client->until_ns > now_ns)
		stall(client, RATE_MS);
	else if (hub.count > 1 && is_mail_above(lane, MAIL_MAX))
		stall(client, STALL_MS);
}

/* Many messages in a row often have one topic: then what was found for the last one holds. */
static int match(struct lane *lane, struct span topic)
{
	uint64_t version = topics_version(hub.topics);
	int err;

	if (topic.len && topic.len == lane->matched_len && version == lane->matched_version &&
	    memcmp(topic.data, lane->matched, topic.len) == 0)
		return 0;
	err = topics_match(hub.topics, topic.data, topic.len, &lane->match);
	lane->matched_len = err == 0 && topic.len <= sizeof(lane->matched) ? topic.len : 0;
	lane->matched_version = version;
	memcpy(lane->matched, topic.data, lane->matched_len);
	return err;
}

/* `group`: to one of that alone. Otherwise to all; `groups`: to one of each queue group too. */
static int publish(struct lane *lane, struct message *message, const struct span *group, bool groups)
{
	int found;

	message->serial = ++lane->serial;
	message->kept = NULL;
	message->offset = 0;
	lock_to_read();
	if (history_any() && !group)
		history_add(message, tn_loop_now(lane->loop));
	found = match(lane, message->topic);
	if (found == 0)
		found = group ? spread_to_group(lane, message, group) : spread(lane, message, groups);
	message->takers = found > 0 ? (unsigned)found : 0;
	if (hub.count > 1)
		send_away(lane, message);
	unlock();
	if (message->elsewhere && !lane->index)
		hub.outside->take(message);
	message_drop(message);
	end_those_over(lane);
	count(&lane->published, 1);
	return found;
}

int hub_publish(struct client *client, struct message *message)
{
	struct lane *lane = client->lane;
	int found;

	if (client->user && !user_may_publish(client->user, message->topic))
		return -EACCES;
	if (history_any() && !history_allows(message))
		return -EBADMSG;
	message->from = client->no_echo ? client->id : 0;
	message->elsewhere = hub.outside && hub.outside->goes(message->topic);
	found = publish(lane, message, NULL, !message->elsewhere || !hub.outside->chooses);
	slow_down(client, message);
	return found;
}

void exchange_set_outside(const struct outside *outside)
{
	hub.outside = outside;
}

bool exchange_bring(struct message *message, const struct span *group)
{
	if (history_any() && !history_allows(message))
		return false;
	message->from = 0;
	message->elsewhere = false;
	publish(here, message, group, false);
	return true;
}

void exchange_turn(void)
{
	turn_over(here);
}

bool exchange_is_behind(void)
{
	return hub.count > 1 && is_mail_above(here, MAIL_MAX / 2);
}

/* ---- clients ---- */

/* What it has counts for this user from now on. Returns as hub_login(). */
static int become(struct client *client, struct user *user, bool there)
{
	struct user *before = client->user;

	if (user && user != before && !user_enter(user, there))
		return -EUSERS;
	if (user && user != before)
		user_add(user, client->sids.count);
	if (before && user != before) {
		user_remove(before, client->sids.count);
		user_leave(before);
	}
	client->user = user;
	client->known = user;
	return user ? 0 : -EACCES;
}

static uint64_t proof_of(const struct user *user, struct span password)
{
	return (topic_hash(user_name(user), strlen(user_name(user))) ^ topic_hash(password.data, password.len)) | 1;
}

/* Its door reads on, from the message that asked to be let in. */
static void on_judged(void *arg, bool right)
{
	struct client *client = arg;
	unsigned char *again = client->again;

	client->attempt = NULL;
	client->judged = client->asked;
	client->right = right;
	client->again = NULL;
	if (again && !client->ending)
		client->door->input(client, client->state, again, client->again_len);
	if (again && client->attempt)
		client->again = again; /* it is checked once more */
	else
		free(again);
	go_on(client);
	turn_over(client->lane);
}

static struct attempt *attempt_begin(struct client *client, const struct user *user, struct span password)
{
	struct login_from from = {.loop = client->lane->index};
	struct tn_addr peer = {0};

	if (tn_conn_peer(client->conn, &peer) == 0)
		from.source = login_source(&peer);
	return login_begin(&from, user_hash(user), password, on_judged, client);
}

/* Who does not exist is refused as slowly as who has a wrong password: the time does not tell who exists. */
static int login_by_password(struct client *client, const struct login *login)
{
	struct span password;
	struct user *user = users_named(login, &password);
	const struct user *judged = client->judged, *checked = user ? user : password.data ? users_decoy() : NULL;
	bool right = client->right && user;

	client->judged = NULL;
	if (!checked)
		return become(client, NULL, false);
	if (judged == checked) { /* of who stands there now: the file may have been read again meanwhile */
		client->proof = right ? proof_of(user, password) : 0;
		return become(client, right ? user : NULL, false);
	}
	if (user && client->known && user == client->user && client->proof == proof_of(user, password))
		return 0; /* as in its request before */
	client->attempt = attempt_begin(client, checked, password);
	if (!client->attempt)
		return become(client, NULL, false);
	client->asked = checked;
	tn_pause(client->conn);
	return -EINPROGRESS;
}

/* Who has shown a certificate may be known by that. */
static void know_by_cert(struct client *client)
{
	struct tn_security security;

	if (tn_conn_security(client->conn, &security) < 0)
		return;
	client->crowded = become(client, users_by_cert(security.identity), false) == -EUSERS;
}

int hub_login(struct client *client, const struct login *login)
{
	if (!hub.facts.asks)
		return 0;
	if (login->nkey.data)
		return become(client,
			      users_by_nkey(login, (struct span){client->nonce,
								 strnlen(client->nonce, sizeof(client->nonce))}),
			      false);
	if (login->user.data || login->token.data)
		return login_by_password(client, login);
	if (!client->known && client->listener->late)
		know_by_cert(client);
	return client->known ? 0 : client->crowded ? -EUSERS : -EACCES;
}

bool hub_is_known(const struct client *client)
{
	return client->known;
}

void hub_set_echo(struct client *client, bool echo)
{
	client->no_echo = !echo;
}

void hub_set_name(struct client *client, struct span name)
{
	free(client->name);
	client->name = name.len ? strndup(name.data, name.len < 256 ? name.len : 256) : NULL;
}

void hub_end(struct client *client)
{
	if (client->ending)
		return;
	turn_over(client->lane);
	client->ending = true;
	tn_close(client->conn);
}

enum hub_tls hub_tls(const struct client *client)
{
	const struct exchange_listener *listener = client->listener;

	if (listener->late)
		return listener->optional ? HUB_TLS_OFFERED : HUB_TLS_WANTED;
	return listener->secure ? HUB_TLS_WANTED : HUB_TLS_NONE;
}

const char *hub_format(const struct client *client)
{
	return client->format;
}

static void letters(char *out, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

	(void)!getrandom(out, len, 0);
	for (size_t i = 0; i < len; i++)
		out[i] = alphabet[(unsigned char)out[i] % 32];
}

const char *hub_nonce(struct client *client)
{
	if (!users_sign())
		return NULL;
	if (!client->nonce[0])
		letters(client->nonce, sizeof(client->nonce) - 1);
	return client->nonce;
}

uint32_t hub_payload_max(const struct client *client)
{
	return client->user ? user_payload(client->user, hub.facts.payload) : hub.facts.payload;
}

const char *hub_inbox(struct client *client)
{
	static const char prefix[] = "_INBOX.";

	if (!client->inbox[0]) {
		memcpy(client->inbox, prefix, sizeof(prefix) - 1);
		letters(client->inbox + sizeof(prefix) - 1, sizeof(client->inbox) - sizeof(prefix));
	}
	return client->inbox;
}

const struct hub_facts *hub_facts(void)
{
	return &hub.facts;
}

static int address_text(const struct tn_addr *addr, char *out, size_t cap)
{
	const struct sockaddr *sa = tn_addr_sockaddr(addr);

	if (addr->len && sa->sa_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, out, (socklen_t)cap);
		return ntohs(((const struct sockaddr_in *)sa)->sin_port);
	}
	if (addr->len && sa->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, out, (socklen_t)cap);
		return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
	}
	snprintf(out, cap, "localhost");
	return 0;
}

void hub_client_facts(const struct client *client, struct client_facts *facts)
{
	struct tn_addr local = {0}, peer = {0};

	*facts = (struct client_facts){.id = client->id};
	if (tn_conn_local(client->conn, &local) < 0)
		local = (struct tn_addr){0};
	if (tn_conn_peer(client->conn, &peer) < 0)
		peer = (struct tn_addr){0};
	facts->port = address_text(&local, facts->host, sizeof(facts->host));
	address_text(&peer, facts->from, sizeof(facts->from));
}

static void on_open(struct tn_conn *conn, void *arg)
{
	const struct exchange_listener *listener = arg;
	const struct door *door = listener->door;
	struct lane *lane = here;
	struct client *client = calloc(1, sizeof(*client) + door->state);

	if (!client) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	client->conn = conn;
	client->lane = lane;
	client->door = door;
	client->listener = listener;
	client->id = tn_conn_id(conn);
	client->format = tn_conn_format(conn);
	client->opened_ns = tn_loop_now(lane->loop);
	client->known = !hub.facts.asks;
	if (hub.facts.asks)
		know_by_cert(client);
	client->next = lane->clients;
	client->link = &lane->clients;
	if (client->next)
		client->next->link = &client->next;
	lane->clients = client;
	lane->nclients++;
	tn_conn_set_data(conn, client);
	if (door->open)
		door->open(client, client->state);
	turn_over(lane);
	if (listener->late && tn_start_tls(conn) < 0)
		tn_abort(conn, -ENOMEM);
}

/* The message with which it asked to be let in. Without memory it is not. */
static void keep_for_later(struct client *client, const struct tn_msg *msg)
{
	client->again = malloc(msg->len + 1);
	if (!client->again) {
		hub_end(client);
		return;
	}
	memcpy(client->again, msg->data, msg->len);
	client->again_len = msg->len;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *client = tn_conn_data(conn);

	(void)arg;
	if (!client || client->ending)
		return;
	client->heard = true;
	client->door->input(client, client->state, msg->data, msg->len);
	if (client->attempt && client->door->framed)
		keep_for_later(client, msg);
	turn_over(client->lane);
}

/* The door tries to read it too, and says what is wrong. */
static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	(void)err;
	on_msg(conn, msg, arg);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct client *client = tn_conn_data(conn);

	(void)arg;
	if (!client || client->ending)
		return;
	outbox_room(client);
	turn_over(client->lane);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *client = tn_conn_data(conn);

	(void)arg;
	(void)err;
	if (!client)
		return;
	client->ending = true;
	all_subscriptions_end(client);
	outbox_clear(client);
	(void)!become(client, NULL, false);
	if (client->attempt)
		login_forget(client->attempt);
	free(client->again);
	if (client->door->close)
		client->door->close(client, client->state);
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	client->lane->nclients--;
	free(client->name);
	free(client);
}

const struct tn_handler exchange_handler = {
	.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close, .on_bad = on_bad};

/* ---- time ---- */

static void look_after(struct client *client, uint64_t now_ns)
{
	if (client->ending)
		return;
	if (!client->known && !client->attempt && now_ns - client->opened_ns > UNKNOWN_NS) {
		client->door->notice(client, client->state, NOTICE_UNKNOWN);
		hub_end(client);
		return;
	}
	if (outbox_is_late(client, now_ns)) {
		outbox_cut(client, "it takes nothing");
		return;
	}
	client->quiet = client->heard ? 0 : client->quiet + 1;
	client->heard = false;
	if (client->quiet < SILENT_TICKS || client->full || client->stalled) /* stalled: what it says is not read */
		return;
	client->quiet = 0;
	if (!client->door->notice(client, client->state, NOTICE_SILENT))
		hub_end(client);
}

static void on_tick(void *arg)
{
	struct lane *lane = arg;
	uint64_t now_ns = tn_loop_now(lane->loop);

	for (struct client *client = lane->clients; client; client = client->next)
		look_after(client, now_ns);
	if (!lane->resume)
		resume_stalled(lane);
	turn_over(lane);
}

static void tell_all_to_leave(void *arg)
{
	struct lane *lane = arg;

	for (struct client *client = lane->clients; client; client = client->next)
		if (!client->ending)
			client->door->notice(client, client->state, NOTICE_LEAVE);
	turn_over(lane);
}

/* Ends what the client has subscribed to and must not have any more. */
static void narrow(struct client *client)
{
	char pattern[TOPIC_MAX];

	for (uint32_t i = 0; i < client->sids.cap; i++) {
		struct subscription *sub = client->sids.at[i];
		struct span text = {pattern, 0};

		if (!sub || sub->own)
			continue;
		lock_to_read();
		text.len = topics_pattern(hub.topics, &sub->in, pattern);
		unlock();
		if (user_may_subscribe(client->user, text))
			continue;
		if (client->door->denied)
			client->door->denied(client, client->state, (struct span){sub->sid, sub->sid_len}, text);
		subscription_end(sub);
		i--; /* another one may have moved into its place */
	}
}

static void client_know_again(struct client *client)
{
	client->proof = 0; /* its password may be another */
	client->asked = client->judged = NULL;
	if (!client->user)
		return;
	if (become(client, client->ending ? NULL : users_again(client->user), true) == 0)
		narrow(client);
	else
		hub_end(client);
}

/* Users were read again: who is not among them any more is cut off, and the others may do what stands there now. */
static void know_again(void *arg)
{
	struct lane *lane = arg;

	for (struct client *client = lane->clients; client; client = client->next)
		client_know_again(client);
	hub.knowing--;
	turn_over(lane);
}

/* Calls fn(lane) on the thread of each lane, soon. */
static void on_all_lanes(void (*fn)(void *lane))
{
	for (int i = 0; i < hub.count; i++) {
		struct lane *lane = &hub.lanes[i];

		pthread_mutex_lock(&lane->lock);
		if (lane->running)
			(void)!tn_loop_post(lane->loop, fn, lane);
		pthread_mutex_unlock(&lane->lock);
	}
}

void exchange_leave(void)
{
	hub.facts.leaving = true;
	on_all_lanes(tell_all_to_leave);
}

void exchange_users_changed(void)
{
	hub.knowing += (unsigned)hub.count;
	on_all_lanes(know_again); /* who cannot be told refers to them for ever */
}

/* Others look at a client's user while they hold the lock of the tree. */
void exchange_users_settle(void)
{
	if (hub.knowing)
		return;
	lock_to_change();
	users_forget();
	unlock();
}

/* ---- the whole ---- */

static void facts_make(void)
{
	letters(hub.facts.id, sizeof(hub.facts.id) - 1);
	hub.facts.id[0] = 'N';
	snprintf(hub.facts.name, sizeof(hub.facts.name), "%s", exchange_plan.name ? exchange_plan.name : hub.facts.id);
	hub.facts.payload = exchange_plan.payload;
	hub.facts.asks = users_any();
	hub.facts.keeps = history_any();
}

int exchange_new(struct tn_loop *const *loops, int count)
{
	uint64_t seeds[3] = {1, 2, 3};
	pthread_rwlockattr_t attr;

	(void)!getrandom(seeds, sizeof(seeds), 0);
	topic_set_secret(seeds[0]);
	facts_make();
	hub.topics = topics_new(seeds[1]);
	hub.lanes = calloc((size_t)count, sizeof(*hub.lanes));
	if (!hub.topics || !hub.lanes)
		return -ENOMEM;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&hub.lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	hub.count = count;
	for (int i = 0; i < count; i++) {
		struct lane *lane = &hub.lanes[i];

		lane->loop = loops[i];
		lane->index = i;
		lane->running = true;
		lane->random = (seeds[2] + (uint64_t)i) | 1;
		pthread_mutex_init(&lane->lock, NULL);
		lane->away = calloc((size_t)count, sizeof(*lane->away));
		if (!lane->away)
			return -ENOMEM;
	}
	return 0;
}

void exchange_begin(int index)
{
	struct lane *lane = &hub.lanes[index];

	here = lane;
	if (tn_timer_repeat(lane->loop, TICK_NS, TICK_NS, on_tick, lane, &lane->tick) == 0)
		tn_timer_keep_loop(lane->tick, false);
}

void exchange_end(int index)
{
	struct lane *lane = &hub.lanes[index];

	tn_timer_stop(lane->tick);
	tn_timer_stop(lane->resume);
	lane->tick = lane->resume = NULL;
	pthread_mutex_lock(&lane->lock);
	lane->running = false; /* the loop goes: nobody may wake it */
	pthread_mutex_unlock(&lane->lock);
}

static void crossing_free(struct crossing *crossing)
{
	free(crossing->note);
	if (crossing->kept)
		kept_free(crossing->kept);
	else if (!crossing->note)
		free(crossing->subs[0]);
	free(crossing);
}

static void lane_free(struct lane *lane)
{
	while (lane->taken < lane->ntaken)
		crossing_free(lane->took[lane->taken++]);
	free(lane->took);
	for (size_t i = 0; i < lane->nmail; i++)
		crossing_free(lane->mail[i]);
	free(lane->mail);
	for (int i = 0; i < hub.count && lane->away; i++)
		free(lane->away[i].subs);
	free(lane->away);
	free(lane->over);
	topic_match_free(&lane->match);
	lane_free_corks(lane);
	pthread_mutex_destroy(&lane->lock);
}

void exchange_free(void)
{
	for (int i = 0; i < hub.count; i++)
		lane_free(&hub.lanes[i]);
	free(hub.lanes);
	topics_free(hub.topics);
	if (hub.count)
		pthread_rwlock_destroy(&hub.lock);
	hub.lanes = NULL;
	hub.topics = NULL;
	hub.count = 0;
}

void exchange_count(struct exchange_counts *counts)
{
	*counts = (struct exchange_counts){0};
	for (int i = 0; i < hub.count; i++) {
		counts->published += hub.lanes[i].published;
		counts->delivered += hub.lanes[i].delivered;
		counts->dropped += hub.lanes[i].dropped;
		counts->cut += hub.lanes[i].cut;
	}
	lock_to_read();
	counts->subscriptions = topics_count(hub.topics);
	unlock();
}

void exchange_topics(void (*fn)(const char *pattern, size_t len, uint32_t count, void *arg), void *arg)
{
	struct topic_busy busy[BUSY_TOPICS];
	char pattern[TOPIC_MAX];
	size_t n;

	lock_to_read();
	n = topics_busiest(hub.topics, BUSY_NODES, busy, BUSY_TOPICS);
	for (size_t i = 0; i < n; i++)
		fn(pattern, topics_pattern(hub.topics, &busy[i].sub, pattern), busy[i].count, arg);
	unlock();
}
