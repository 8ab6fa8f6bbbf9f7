#include "events.h"

#include <stdio.h>

#include "client.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/log.h"
#include "common/report.h"
#include "common/text.h"
#include "plan.h"
#include "tenon.h"

void hub_events_listening(const char *url, const char *door)
{
	char shown[64];

	snprintf(shown, sizeof(shown), "hub, %s", door);
	report_listener(url, door, shown);
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)arg;
	report_trouble(server, tn_server_nurls(server) > 0 ? tn_server_url(server, 0) : NULL, err, text);
}

void hub_events_watch(struct tn_server *server)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};

	tn_server_watch(server, &watch, NULL);
}

static void tell(const struct client *client, const char *event, const char *words, const char *why)
{
	struct text line = {0};
	struct tn_conn_info info;

	tn_conn_info(client->conn, &info);
	if (report_in_words())
		complain_warning("#%llu%s%s (%s) %s%s%s; messages dropped: %llu", (unsigned long long)client->id,
				 client->name ? " " : "", client->name ? client->name : "", info.peer, words,
				 why ? ": " : "", why ? why : "", (unsigned long long)client->dropped);
	if (!json_is_wanted())
		return;
	json_begin(&line, event);
	json_number(&line, "id", client->id);
	json_text(&line, "name", client->name);
	json_text(&line, "peer", info.peer);
	json_text(&line, "why", why);
	json_number(&line, "dropped", client->dropped);
	json_time(&line, "time");
	json_line(&line);
}

void hub_events_slow(const struct client *client, const char *why)
{
	tell(client, why ? "cut" : "slow", why ? "reads too slowly and is cut off" : "reads too slowly", why);
}

void hub_events_caught_up(const struct client *client)
{
	tell(client, "caught up", "has caught up", NULL);
}

void hub_events_join(const struct join_event *e)
{
	const struct {
		const char *key, *value;
	} texts[] = {{"cluster", e->cluster},
		     {"server", e->server},
		     {"topic", e->topic},
		     {"publisher", e->publisher},
		     {"why", e->why}};
	struct text line = {0};

	if (report_in_words()) {
		text_add(&line, "cluster: %s", e->event);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
			if (texts[i].value && *texts[i].value)
				text_add(&line, "%s %s", i == 4 ? ":" : i ? "," : "", texts[i].value);
		if (e->key && e->number)
			text_add(&line, "; %s: %llu", e->key, (unsigned long long)e->number);
		if (e->why)
			complain_warning("%s", line.failed ? e->event : line.data);
		else
			complain_notice("%s", line.failed ? e->event : line.data);
		text_free(&line);
	}
	if (!json_is_wanted())
		return;
	line = (struct text){0};
	json_begin(&line, e->event);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].value)
			json_text(&line, texts[i].key, texts[i].value);
	if (e->key)
		json_number(&line, e->key, e->number);
	json_time(&line, "time");
	json_line(&line);
}

void hub_events_stopped(const struct exchange_counts *counts)
{
	struct text line = {0};

	if (log_is_kept())
		complain_notice("stopped: %llu messages published, %llu delivered, %llu dropped, %llu clients cut off",
				(unsigned long long)counts->published, (unsigned long long)counts->delivered,
				(unsigned long long)counts->dropped, (unsigned long long)counts->cut);
	if (!json_is_wanted())
		return;
	json_begin(&line, "stopped");
	json_number(&line, "published", counts->published);
	json_number(&line, "delivered", counts->delivered);
	json_number(&line, "dropped", counts->dropped);
	json_number(&line, "cut", counts->cut);
	json_time(&line, "time");
	json_line(&line);
}
