/* Sockets without connections: few datagrams at a time, so that nothing of them gets lost. */
#include "world.h"

#include <stdio.h>

#define CLIENTS_MAX 3

static size_t draw_len(struct world *w)
{
	uint64_t kind = below(w, 20);

	return kind == 0 ? 0 : 1 + below(w, kind < 15 ? 100 : kind < 19 ? 1400 : 9000);
}

static void play_round(struct world *w, struct side *server, struct side *clients[], int n)
{
	bool paused = one_in(w, 4);

	server->at_msg = FORWARD + (enum deed)below(w, 3);
	if (paused)
		side_pause(server);
	for (int i = 0; i < n; i++)
		for (uint64_t times = below(w, 5); times && clients[i]->conn; times--)
			side_say(clients[i], draw_len(w));
	turn(w, (unsigned)below(w, 6));
	if (paused)
		side_resume(server);
	settle(w, "round");
}

static void end_client(struct side *s)
{
	if (one_in(s->world, 2)) {
		side_close(s);
		will_close(s, 0);
	} else {
		side_abort(s, ABORTED);
		will_close(s, ABORTED);
	}
}

/* What is sent to nobody comes back as an error. */
static void end_server(struct world *w, struct side *server, struct side *clients[], int n)
{
	bool orderly = one_in(w, 20);

	will_close(server, orderly ? 0 : -ECANCELED);
	world_close_server(w, orderly ? PATIENCE_MS : 0);
	wait_for(w, w->server_done);
	for (int i = 0; i < n; i++) {
		if (!clients[i]->conn)
			continue;
		side_say(clients[i], 10);
		clients[i]->loose = true;
		will_close(clients[i], -ECONNREFUSED);
	}
	settle(w, "the server's end");
}

void play_datagrams(struct world *w)
{
	int n = 1 + (int)below(w, CLIENTS_MAX), rounds = 1 + (int)below(w, 4);
	struct side *clients[CLIENTS_MAX] = {0}, *server = side_new(w, "served");
	char name[24], url[1024];

	server->served = true;
	w->awaited = server;
	if (!world_serve(w, ""))
		return;
	settle(w, "open");
	world_full_url(w, w->url, "", url, sizeof(url));
	for (int i = 0; i < n && !*w->wrong; i++) {
		snprintf(name, sizeof(name), "%d dialled", i);
		clients[i] = side_new(w, name);
		clients[i]->from = &clients[i]->out;
		side_dial(clients[i], url);
	}
	if (*w->wrong)
		return;
	for (int r = 0; r < rounds; r++)
		play_round(w, server, clients, n);
	for (int i = 0; i < n && !*w->wrong; i++)
		if (one_in(w, 2))
			end_client(clients[i]);
	settle(w, "ends");
	if (!*w->wrong)
		end_server(w, server, clients, n);
}
