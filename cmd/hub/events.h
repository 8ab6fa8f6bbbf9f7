/* What a hub reports: its listeners, troubles, and subscribers that read too slowly. */
#ifndef TENON_HUB_EVENTS_H
#define TENON_HUB_EVENTS_H

#include <stdint.h>

struct client;
struct exchange_counts;
struct tn_server;

void hub_events_listening(const char *url, const char *door);
void hub_events_watch(struct tn_server *server);

/* A client loses messages from now on (`why` NULL), or is cut off for this reason. */
void hub_events_slow(const struct client *client, const char *why);
/* It has room again. */
void hub_events_caught_up(const struct client *client);
/*
 * What happens with the cluster that was joined: "joined", "parted" and so on. What is NULL is not told; `key`: what
 * the number is.
 */
struct join_event {
	const char *event, *cluster, *server, *topic, *publisher, *why, *key;
	uint64_t number;
};
void hub_events_join(const struct join_event *event);

/* All that was counted, at the end. */
void hub_events_stopped(const struct exchange_counts *counts);

#endif
