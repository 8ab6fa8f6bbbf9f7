/* People chat through a server: what one types the others read. A line is a message (frame=line).
 * Run: chat serve [URL]     and, for each person: chat join [URL [NAME]] */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include "stop.h"

#define DEFAULT_URL "tcp://localhost:10001?frame=line"
#define GUESTS_MAX 1000

/* ---- the server ---- */

struct room {
	struct tn_conn *guests[GUESTS_MAX];
	int count;
	struct tn_loop *loop;
	struct tn_timer *look;
};

#define LOOK_MS 1000
#define SLOW_NS 5000000000 /* has not read for so long */

static void guest_came(struct tn_conn *conn, void *arg)
{
	struct room *room = arg;

	if (room->count == GUESTS_MAX)
		tn_close(conn);
	else
		room->guests[room->count++] = conn;
}

static void guest_spoke(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct room *room = arg;

	for (int i = 0; i < room->count; i++)
		/* Full: its kernel and ours hold all they can. It would miss a line:
		 * better no more lines than a hole. */
		if (room->guests[i] != conn && tn_forward(room->guests[i], msg) == TN_EFULL)
			tn_abort(room->guests[i], TN_EFULL);
}

/* A guest that has stopped reading is let go: it must not fill the memory. */
static void look_for_slow_guests(void *arg)
{
	struct room *room = arg;
	struct tn_conn_info info;

	room->look = NULL;
	for (int i = 0; i < room->count; i++) {
		tn_conn_info(room->guests[i], &info);
		if (info.stalled_ns > SLOW_NS)
			tn_abort(room->guests[i], -ETIMEDOUT);
	}
	if (tn_timer_start(room->loop, LOOK_MS, look_for_slow_guests, room, &room->look) < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
}

static void room_ends(void *arg)
{
	struct room *room = arg;

	tn_timer_stop(room->look);
}

static void guest_left(struct tn_conn *conn, int err, void *arg)
{
	struct room *room = arg;

	(void)err;
	for (int i = 0; i < room->count; i++)
		if (room->guests[i] == conn)
			room->guests[i--] = room->guests[--room->count];
}

static int serve(struct tn_loop *loop, const char *url)
{
	static const struct tn_handler handler = {.on_open = guest_came, .on_msg = guest_spoke, .on_close = guest_left};
	static struct room room;
	static struct stop stop = {.before = room_ends, .arg = &room};

	room.loop = loop;
	if (tn_serve(loop, url, &handler, &room, &stop.server) < 0 || stop_on_signals(loop, &stop) < 0)
		return -1;
	look_for_slow_guests(&room);
	for (int i = 0; i < tn_server_nurls(stop.server); i++)
		printf("listening %s\n", tn_server_url(stop.server, i));
	fflush(stdout);
	return 0;
}

/* ---- a person: the terminal is a connection too ---- */

struct person {
	struct tn_conn *server, *input;
	const char *name;
};

static void heard(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	(void)arg;
	printf("%.*s\n", (int)msg->len, (const char *)msg->data);
	fflush(stdout);
}

static void server_left(struct tn_conn *conn, int err, void *arg)
{
	struct person *me = arg;

	(void)conn;
	if (err)
		fprintf(stderr, "%s\n", tn_errmsg());
	me->server = NULL;
	if (me->input)
		tn_close(me->input);
}

static void typed(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct person *me = arg;
	struct iovec line[] = {{(void *)me->name, strlen(me->name)}, {(void *)": ", 2}, {(void *)msg->data, msg->len}};

	(void)conn;
	if (me->server && tn_replyv(me->server, NULL, line, 3) < 0)
		fprintf(stderr, "not sent: %s\n", tn_errmsg());
}

static void input_ended(struct tn_conn *conn, int err, void *arg)
{
	struct person *me = arg;

	(void)conn;
	(void)err;
	me->input = NULL;
	if (me->server)
		tn_close(me->server);
}

static int join(struct tn_loop *loop, const char *url, struct person *me)
{
	static const struct tn_handler to_server = {.on_msg = heard, .on_close = server_left};
	static const struct tn_handler to_me = {.on_msg = typed, .on_close = input_ended};

	if (tn_dial(loop, url, &to_server, me, &me->server) < 0)
		return -1;
	return tn_dial(loop, "fd:0?frame=line", &to_me, me, &me->input);
}

int main(int argc, char **argv)
{
	const char *url = argc > 2 ? argv[2] : DEFAULT_URL;
	struct person me = {.name = argc > 3 ? argv[3] : "somebody"};
	struct tn_loop *loop = NULL;
	int rc;

	if (argc < 2 || (strcmp(argv[1], "serve") != 0 && strcmp(argv[1], "join") != 0))
		return fprintf(stderr, "usage: chat serve [URL] | chat join [URL [NAME]]\n"), 2;
	rc = tn_loop_new(&loop, NULL);
	if (rc == 0)
		rc = strcmp(argv[1], "serve") == 0 ? serve(loop, url) : join(loop, url, &me);
	if (rc == 0)
		rc = tn_loop_run(loop);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	tn_loop_free(loop);
	return rc < 0;
}
