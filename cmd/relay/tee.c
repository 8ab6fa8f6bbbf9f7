#include "tee.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "chaos/chaos.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "pass.h"
#include "tenon.h"
#include "tenon_value.h"

#define TEES_MAX 8
#define WAITING_MAX (1U << 20) /* bytes that a shadow has not taken yet */
#define BACKOFF_MIN NS_PER_S
#define HELD_MAX 4096            /* bytes of short messages that a session's shadows get together */
#define HELD_LONGEST 1024        /* longer ones are worth a system call each */
#define HELD_NS (10 * NS_PER_MS) /* so long at most */
#define BACKOFF_MAX (60 * NS_PER_S)

/* A shadow's endpoint. All threads share it. */
struct place {
	const char *url;
	bool datagrams;                              /* it has them */
	_Atomic(uint64_t) copied, dropped, sessions; /* messages; dropped: also what was said while it was down */
	_Atomic(uint64_t) again_ns, backoff_ns;      /* 0: it works */
};

static struct {
	struct place places[TEES_MAX];
	int count;
	double sample;
	bool sampled;
	_Atomic(uint64_t) sessions;
} all = {.sample = 1};

bool tee_replies;

/* A session's connection to a place. It may outlive the session. */
struct shadow {
	struct place *place; /* NULL: it gets nothing of this session */
	struct tee *tee;
	struct tn_conn *conn; /* NULL: there is none (any more) */
	bool works;           /* it has been connected: */
	uint64_t since_ns;
	uint64_t again_ns, backoff_ns; /* it was closed soon after: not dialled again before */
	bool spoiled;                  /* of a stream of bytes some are missing: no more of it is sent */
};

/* A message that is held back: its bytes follow. */
struct held {
	uint32_t len;
	enum tn_msg_kind kind;
};

struct tee {
	struct tn_loop *loop;
	bool keeps, over;
	unsigned open;          /* shadows that are connected, or about to be */
	struct tn_timer *timer; /* NULL: nothing has been held back yet */
	unsigned char *held;    /* HELD_MAX bytes */
	size_t held_len;
	struct shadow shadows[TEES_MAX];
};

/* ---- options ---- */

const char *tee_add(const char *value, void *to)
{
	(void)to;
	if (all.count == TEES_MAX)
		return "is one too many";
	all.places[all.count++].url = value;
	return NULL;
}

const char *tee_set_sample(const char *value, void *to)
{
	(void)to;
	all.sampled = true;
	return chaos_chance(value, &all.sample);
}

bool tee_wanted(void)
{
	return all.count > 0;
}

const char *tee_url(int n)
{
	return n < all.count ? all.places[n].url : NULL;
}

int tee_check(void)
{
	for (int i = 0; i < all.count; i++) {
		int kind = tn_url_kind(all.places[i].url);

		all.places[i].datagrams = kind > 0 && kind & TN_URL_DATAGRAMS;
	}
	if (all.count || !(tee_replies || all.sampled))
		return STATUS_DONE;
	complain("relay: --%s has no effect without --tee", all.sampled ? "tee-sample" : "tee-replies");
	return STATUS_USAGE;
}

/* ---- places ---- */

/* Only the first of those that fail at a time is told. */
static void place_failed(struct place *place)
{
	uint64_t now = clock_ns(), before = atomic_load(&place->backoff_ns);
	uint64_t next = before ? before * 2 : BACKOFF_MIN;

	if (atomic_load(&place->again_ns) > now)
		return;
	next = next > BACKOFF_MAX ? BACKOFF_MAX : next;
	atomic_store(&place->again_ns, now + next);
	atomic_store(&place->backoff_ns, next);
	if (!before)
		complain_warning("tee: %s; it is left out for a while", tn_errmsg());
}

static void place_works(struct place *place)
{
	if (atomic_exchange(&place->backoff_ns, 0))
		complain_notice("tee: %s works again", place->url);
	atomic_store(&place->again_ns, 0);
}

void tee_tell(void)
{
	for (int i = 0; i < all.count; i++) {
		struct place *place = &all.places[i];
		unsigned long long copied = place->copied, dropped = place->dropped;
		struct text line = {0};

		if (dropped)
			complain_warning("tee: %s: %llu copied, %llu dropped", place->url, copied, dropped);
		else if (settings.verbose)
			complain_notice("tee: %s: %llu copied, 0 dropped", place->url, copied);
		if (!json_is_wanted())
			continue;
		json_begin(&line, "tee");
		json_text(&line, "url", place->url);
		json_number(&line, "sessions", place->sessions);
		json_number(&line, "copied", copied);
		json_number(&line, "dropped", dropped);
		json_time(&line, "time");
		json_line(&line);
	}
}

/* ---- a session ---- */

static void free_if_done(struct tee *tee)
{
	if (tee->over && !tee->open)
		free(tee);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct shadow *shadow = arg;

	(void)conn;
	shadow->works = true;
	shadow->since_ns = clock_ns();
	place_works(shadow->place);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg, (void)arg; /* nobody asked for it */
}

/* Who closes a connection soon is not dialled again for each message; one that was idle for long may be closed. */
static void wait_a_while(struct shadow *shadow)
{
	uint64_t now = clock_ns(), lived_ns = now - shadow->since_ns;

	if (lived_ns >= BACKOFF_MIN && lived_ns >= shadow->backoff_ns) {
		shadow->backoff_ns = 0;
		return;
	}
	shadow->backoff_ns = shadow->backoff_ns ? shadow->backoff_ns * 2 : BACKOFF_MIN;
	if (shadow->backoff_ns > BACKOFF_MAX)
		shadow->backoff_ns = BACKOFF_MAX;
	shadow->again_ns = now + shadow->backoff_ns;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct shadow *shadow = arg;

	(void)conn;
	if (err < 0 && err != -ECANCELED && !shadow->works) /* a reset is about this session alone */
		place_failed(shadow->place);
	else if (shadow->works)
		wait_a_while(shadow);
	shadow->conn = NULL;
	shadow->spoiled |= !shadow->tee->keeps;
	shadow->tee->open--;
	free_if_done(shadow->tee);
}

static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};

static void dial(struct tee *tee, struct shadow *shadow)
{
	uint64_t now = clock_ns();

	if (atomic_load(&shadow->place->again_ns) > now || shadow->again_ns > now)
		return;
	shadow->works = false;
	if (tn_dial(tee->loop, shadow->place->url, &handler, shadow, &shadow->conn) < 0) {
		shadow->conn = NULL;
		place_failed(shadow->place);
		return;
	}
	shadow->place->sessions++;
	tee->open++;
}

/* Evenly over all sessions. */
static bool is_chosen(void)
{
	uint64_t n = atomic_fetch_add(&all.sessions, 1);

	return (uint64_t)((double)(n + 1) * all.sample) != (uint64_t)((double)n * all.sample);
}

struct tee *tee_begin(struct tn_loop *loop, enum tee_carries carries)
{
	bool keeps = carries != TEE_BYTES;
	struct tee *tee = all.count && is_chosen() ? calloc(1, sizeof(*tee)) : NULL;

	if (!tee)
		return NULL;
	tee->loop = loop;
	tee->keeps = keeps;
	for (int i = 0; i < all.count; i++) {
		if (carries != TEE_MESSAGES && all.places[i].datagrams != (carries == TEE_ASSOCIATION))
			continue;
		tee->shadows[i] = (struct shadow){.place = &all.places[i], .tee = tee};
		dial(tee, &tee->shadows[i]);
		tee->shadows[i].spoiled = !tee->shadows[i].conn && !keeps;
	}
	return tee;
}

/* Whether it has been taken. */
static bool put(struct tee *tee, struct shadow *shadow, struct tn_conn *from, const struct tn_msg *msg)
{
	if (shadow->spoiled)
		return false;
	if (!shadow->conn)
		dial(tee, shadow);
	if (!shadow->conn || tn_conn_queued(shadow->conn) > WAITING_MAX)
		return false;
	return (from ? pass_message(from, msg, shadow->conn, NULL) : pass_later(shadow->conn, msg)) >= 0;
}

static void put_all(struct tee *tee, struct tn_conn *from, const struct tn_msg *msg)
{
	for (int i = 0; i < all.count; i++) {
		struct shadow *shadow = &tee->shadows[i];

		if (!shadow->place)
			continue;
		if (put(tee, shadow, from, msg)) {
			shadow->place->copied++;
			continue;
		}
		shadow->place->dropped++;
		if (tee->keeps || shadow->spoiled)
			continue;
		shadow->spoiled = true; /* an end in good order would say that this was all */
		if (shadow->conn)
			tn_abort(shadow->conn, -ECANCELED);
	}
}

static void put_held(void *arg)
{
	struct tee *tee = arg;
	size_t at = 0, len = tee->held_len;

	tee->held_len = 0;
	while (at < len) {
		struct held head;

		memcpy(&head, tee->held + at, sizeof(head));
		at += sizeof(head);
		put_all(tee, NULL, &(struct tn_msg){.data = tee->held + at, .len = head.len, .kind = head.kind});
		at += head.len;
	}
}

/* A message that a shadow wants in another format is made while its own connection is there. */
static bool may_be_held(const struct tee *tee, const struct tn_conn *from, const struct tn_msg *msg)
{
	if (msg->len > HELD_LONGEST)
		return false;
	for (int i = 0; from && tn_conn_format(from) && i < all.count; i++) {
		const struct shadow *shadow = &tee->shadows[i];

		if (shadow->place && !(shadow->conn && pass_is_plain(from, shadow->conn)))
			return false;
	}
	return true;
}

/* A shadow's system calls, and its own, would cost as much as those of the session, if each short message had some. */
static bool hold(struct tee *tee, const struct tn_msg *msg)
{
	struct held head = {.len = (uint32_t)msg->len, .kind = msg->kind};

	if (!tee->held)
		tee->held = malloc(HELD_MAX);
	if (!tee->held || (!tee->timer && tn_timer_repeat(tee->loop, UINT64_MAX, 0, put_held, tee, &tee->timer) < 0))
		return false;
	if (tee->held_len + sizeof(head) + msg->len > HELD_MAX)
		put_held(tee);
	if (tee->held_len == 0)
		tn_timer_again(tee->timer, HELD_NS, 0);
	memcpy(tee->held + tee->held_len, &head, sizeof(head));
	memcpy(tee->held + tee->held_len + sizeof(head), msg->data, msg->len);
	tee->held_len += sizeof(head) + msg->len;
	return true;
}

void tee_put(struct tee *tee, struct tn_conn *from, bool by_client, const struct tn_msg *msg)
{
	if (!tee || (!by_client && !tee_replies))
		return;
	if (may_be_held(tee, from, msg) && hold(tee, msg))
		return;
	put_held(tee);
	put_all(tee, from, msg);
}

void tee_end(struct tee *tee)
{
	if (!tee || tee_replies)
		return;
	put_held(tee);
	for (int i = 0; i < all.count; i++)
		if (tee->shadows[i].conn && !tee->shadows[i].spoiled)
			(void)tn_finish(tee->shadows[i].conn);
}

void tee_over(struct tee *tee)
{
	if (!tee)
		return;
	put_held(tee);
	tn_timer_stop(tee->timer);
	free(tee->held);
	tee->over = true;
	tee->open++; /* until all have been told */
	for (int i = 0; i < all.count; i++)
		if (tee->shadows[i].conn)
			tn_close(tee->shadows[i].conn);
	tee->open--;
	free_if_done(tee);
}
