/*
 * Fan-out by tenon: the same as floor/fanout.c, by tn_send_shared(), or by a tn_send() for each connection.
 *
 *     fanout_tenon ENGINE shared|send[?KEYS] NUNIX NTCP SIZE ROUNDS [CORE,CORE]
 */
#include <tenon.h>

#include "../load/fanout.h"

static struct fanout f;
static struct tn_server *servers[2];
static struct tn_loop *loop;
static unsigned char *message;
static bool shares;
static uint64_t spun_ns;
static struct tn_poll *done;
static int left;

static void send_to(struct tn_conn *conn, void *arg)
{
	int rc = shares ? tn_send_shared(conn, arg) : tn_send(conn, message, (size_t)f.size);

	if (rc < 0)
		errx(1, "%s", tn_errmsg());
}

static void publish(void)
{
	struct tn_shared *shared = NULL;

	if (shares && tn_shared_new(message, (size_t)f.size, TN_MSG_BINARY, &shared) < 0)
		errx(1, "%s", tn_errmsg());
	for (int i = 0; i < 2; i++)
		if (servers[i])
			tn_server_each(servers[i], send_to, shared);
	tn_shared_unref(shared);
}

static void all_read(void *arg)
{
	(void)arg;
	if (!fanout_goes_on(&f)) {
		tn_poll_stop(done);
		tn_loop_stop(loop);
		return;
	}
	if (f.round == WARMUP_ROUNDS)
		spun_ns = tn_loop_spun_ns(loop);
	publish();
}

/* All are connected, but are they accepted? */
static void on_open(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	if (--left == 0 && tn_poll_start(loop, f.done, all_read, NULL, &done) < 0)
		errx(1, "%s", tn_errmsg());
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_open = on_open};
	const char *keys = argc > 2 ? strchr(argv[2], '?') : NULL;
	char folder[] = "/tmp/fanout-XXXXXX", url[256];

	if (argc < 7)
		errx(2, "usage: fanout_tenon ENGINE shared|send[?KEYS] NUNIX NTCP SIZE ROUNDS [CORE,CORE]");
	shares = !strncmp(argv[2], "shared", 6);
	fanout_start(&f, argv + 3, argc - 3);
	message = malloc((size_t)f.size);
	if (!message || !mkdtemp(folder) || tn_loop_new(&loop, argv[1]) < 0)
		errx(1, "%s", tn_errmsg());
	fanout_fill(message, f.size);
	left = f.nunix + f.ntcp;
	snprintf(url, sizeof(url), "unix:%s/s%s", folder, keys ? keys : "");
	if (f.nunix && tn_serve(loop, url, &handler, NULL, &servers[0]) < 0)
		errx(1, "%s", tn_errmsg());
	snprintf(url, sizeof(url), "tcp://127.0.0.1:0%s", keys ? keys : "");
	if (tn_serve(loop, url, &handler, NULL, &servers[1]) < 0)
		errx(1, "%s", tn_errmsg());
	snprintf(url, sizeof(url), "%s/s", folder);
	fanout_tell_where(&f, atoi(strrchr(tn_server_url(servers[1], 0), ':') + 1), url);
	if (tn_loop_run(loop) < 0)
		errx(1, "%s", tn_errmsg());
	fanout_tell(&f, (double)(tn_loop_spun_ns(loop) - spun_ns) / 1e9);
	tn_loop_free(loop);
	rmdir(folder);
	return 0;
}
