#include "join.h"

#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "common/complain.h"
#include "common/dialled.h"
#include "common/json.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "common/text.h"
#include "exchange.h"
#include "join_state.h"
#include "nats_line.h"
#include "tenon.h"
#include "topics/topics.h"
#include "url.h"

struct join_plan join_plan = {.queue = 64 << 20};
struct join join = {.at = -1, .groups = {.groups = true}};

bool join_is_wanted(void)
{
	return join.servers.count > 0;
}

/* Ready to be dialled; the text is freed. */
static char *with_keys(char *url)
{
	url = url_with(url, "frame=nats-client");
	if (url && tn_url_has_key(url, "max") == 0)
		url = url_with(url, "max=1GiB");
	if (url && tn_url_has_key(url, "queue") == 0)
		url = url_with(url, "queue=1GiB"); /* what is under way is bounded here */
	if (url && tn_url_has_key(url, "connect") == 0)
		url = url_with(url, "connect=1s");
	return url;
}

static const char *add_one(const char *given)
{
	size_t place = strstr(given, "://") ? strcspn(strstr(given, "://") + 3, "/?#") : 0;
	char *url;
	bool added, late = false;

	if (!url_is_of(given, "nats"))
		return "is none of nats://HOST, nats+tls://HOST:PORT";
	if (place && memchr(strstr(given, "://") + 3, '@', place))
		return "has a user in it, which others on this machine would see; --join-login FILE";
	if (nats_line_frame() < 0)
		return "cannot be read: out of memory";
	url = with_keys(url_under(given, "nats", NATS_PORT, &late));
	added = url && join_servers_add(&join.servers, url, given,
					tn_url_kind(url) > 0 && tn_url_kind(url) & TN_URL_SECURE, late);
	free(url);
	return added ? NULL : "is one too many, or there is no memory";
}

/* Keys of a URL may have commas in them. */
const char *join_add(const char *urls)
{
	while (*urls) {
		const char *end = urls, *why;
		char *one;

		do
			end += 1 + strcspn(end + 1, ",");
		while (*end && strncmp(end, ",nats:", 6) != 0 && strncmp(end, ",nats+", 6) != 0);
		one = strndup(urls, (size_t)(end - urls));
		why = one ? add_one(one) : "is too much: out of memory";
		free(one);
		if (why)
			return why;
		urls = *end ? end + 1 : end;
	}
	return join.servers.count ? NULL : "is empty";
}

const char *join_add_local(const char *pattern)
{
	if (!topic_is_pattern(pattern, strlen(pattern)))
		return "is no pattern (words with dots; * one word, > at the end one or more)";
	if (join.nlocals == JOIN_LOCALS_MAX)
		return "is one too many";
	join.locals[join.nlocals] = strdup(pattern);
	join.nlocals += join.locals[join.nlocals] != NULL;
	return NULL;
}

int join_check(void)
{
	const char *why;
	int status;

	if (!join_is_wanted()) {
		const char *name = join_plan.login    ? "--join-login"
				   : join_plan.number ? "--number"
				   : join_plan.here   ? "--join-groups"
				   : join.nlocals     ? "--local"
						      : NULL;

		if (name)
			complain("hub: %s: there is nothing to join", name);
		if (name)
			complain_hint("--join nats://HOST");
		return name ? STATUS_USAGE : STATUS_DONE;
	}
	for (int i = 0; i < join.servers.count; i++) {
		status = dialled_check(join.servers.list[i].url);
		if (status != STATUS_DONE)
			return status;
	}
	why = join_login_check();
	if (why)
		complain("%s: %s", join_plan.login, why);
	return why ? STATUS_USAGE : STATUS_DONE;
}

void join_free(void)
{
	while (join.nlocals)
		free(join.locals[--join.nlocals]);
	join_servers_free(&join.servers);
	if (join.interest.topics)
		join_interest_free(&join.interest);
	join_queue_free(&join.queue);
	join_numbers_free(&join.given);
	join_numbers_free(&join.seen);
	free(join.requests);
	join.requests = NULL;
}

static const struct outside outside_once = {
	.chooses = true, .goes = join_goes, .wants = join_wants, .take = join_take, .flush = join_flush};
static const struct outside outside_here = {
	.chooses = false, .goes = join_goes, .wants = join_wants, .take = join_take, .flush = join_flush};

int join_open(struct tn_loop *loop)
{
	int err;

	if (!join_is_wanted())
		return 0;
	join.loop = loop;
	join.queue.limit = join_plan.queue;
	join.headers = true; /* until a server says no */
	err = join_interest_new(&join.interest, join_chance());
	if (err == 0)
		err = join_numbers_new(&join.given, JOIN_NUMBERS_MAX);
	if (err == 0)
		err = join_numbers_new(&join.seen, JOIN_NUMBERS_MAX);
	if (err == 0)
		err = tn_timer_repeat(loop, NS_PER_MS, 0, join_on_tick, NULL, &join.timer);
	if (err < 0)
		return err;
	tn_timer_keep_loop(join.timer, false);
	exchange_set_outside(join_plan.here ? &outside_here : &outside_once);
	return 0;
}

void join_finish(uint64_t within_ns, void (*done)(void))
{
	if (!join.loop) {
		done();
		return;
	}
	join.done = done;
	join.until_ns = join_now() + within_ns;
	join_pump();
	join_check_finished();
	if (join.done)
		join_arm(NS_PER_MS);
}

void join_close(void)
{
	if (!join.loop)
		return;
	join_part(false);
	tn_timer_stop(join.timer);
	join.timer = NULL;
	join.loop = NULL; /* whoever goes from now on is not told of there */
}

void join_allow(struct sandbox *box)
{
	if (join_is_wanted() && join_plan.login)
		sandbox_allow(box, join_plan.login, TN_FILE_READ);
	for (int i = 0; i < join.servers.count; i++)
		sandbox_allow_url(box, join.servers.list[i].url);
}

static void value(struct text *out, bool open, const char *name, const char *type, const char *help, uint64_t number)
{
	metrics_family(out, open, name, type, help);
	text_add(out, "%s %llu\n", name, (unsigned long long)number);
}

void join_metrics(struct text *out, bool open)
{
	if (!join_is_wanted())
		return;
	value(out, open, "tenon_hub_join_connected", "gauge", "Whether the hub is with the cluster.", join.up);
	value(out, open, "tenon_hub_join_total", "counter", "How often the hub has come to the cluster.", join.n.joins);
	value(out, open, "tenon_hub_join_sent_total", "counter", "Messages that went to the cluster.", join.n.up);
	value(out, open, "tenon_hub_join_received_total", "counter", "Messages that came from the cluster.",
	      join.n.down);
	value(out, open, "tenon_hub_join_queue_bytes", "gauge", "What waits for the cluster.", join.queue.bytes);
	value(out, open, "tenon_hub_join_queue_messages", "gauge", "Messages that wait for the cluster.",
	      join.queue.messages);
	value(out, open, "tenon_hub_join_dropped_total", "counter", "Messages that had no room in that queue.",
	      join.n.dropped);
	value(out, open, "tenon_hub_join_refused_total", "counter", "Messages that the cluster, or a format, refused.",
	      join.n.refused);
	value(out, open, "tenon_hub_join_unconfirmed_total", "counter",
	      "Messages that were under way when a server went, and may be lost.", join.n.unconfirmed);
	value(out, open, "tenon_hub_join_missed_total", "counter",
	      "Messages of other hubs that have not come, by their numbers.", join.n.missed);
	value(out, open, "tenon_hub_join_repeated_total", "counter",
	      "Messages of other hubs that came twice or out of order, and were left out.", join.n.repeated);
	value(out, open, "tenon_hub_join_looped_total", "counter", "Messages of this hub that came back.",
	      join.n.looped);
}

void join_status(struct text *out)
{
	if (!join_is_wanted())
		return;
	json_object(out, "join");
	json_bool(out, "connected", join.up);
	json_text(out, "url", join.up ? join.servers.list[join.at].given : NULL);
	json_text(out, "server", join.up ? join.server : NULL);
	json_number(out, "joins", join.n.joins);
	json_number(out, "sent", join.n.up);
	json_number(out, "received", join.n.down);
	json_number(out, "wanted", join.interest.count);
	json_number(out, "queue_bytes", join.queue.bytes);
	json_number(out, "queue_messages", join.queue.messages);
	json_number(out, "dropped", join.n.dropped);
	json_number(out, "refused", join.n.refused);
	json_number(out, "under_way", join.sent - join.confirmed);
	json_number(out, "unconfirmed", join.n.unconfirmed);
	json_number(out, "gaps", join.n.gaps);
	json_number(out, "missed", join.n.missed);
	json_number(out, "repeated", join.n.repeated);
	json_number(out, "looped", join.n.looped);
	json_object_end(out);
}
