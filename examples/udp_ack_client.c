/* Sends datagrams, each when the one before has been acknowledged; sends again what was lost.
 * Run: udp_ack_client [URL [MESSAGE...]] */
#include <stdio.h>
#include <string.h>
#include <tenon.h>

#define TRIES 5
#define PATIENCE_MS 200

struct client {
	struct tn_conn *conn;
	struct tn_timer *timer;
	char **messages; /* the one under way, and those after it */
	int left, tries, err;
};

static void send_again(void *arg)
{
	struct client *c = arg;

	c->timer = NULL;
	if (c->tries++ == TRIES) {
		fprintf(stderr, "no answer to '%s'\n", c->messages[0]);
		c->err = 1;
		tn_close(c->conn);
		return;
	}
	c->err = tn_send(c->conn, c->messages[0], strlen(c->messages[0]));
	if (c->err >= 0)
		c->err = tn_timer_start(tn_conn_loop(c->conn), PATIENCE_MS, send_again, c, &c->timer);
	if (c->err < 0) {
		fprintf(stderr, "%s\n", tn_errmsg());
		tn_close(c->conn);
	}
}

static void next_message(struct client *c)
{
	tn_timer_stop(c->timer);
	c->timer = NULL;
	c->tries = 0;
	if (c->left-- > 0)
		send_again(c);
	else
		tn_close(c->conn);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	next_message(arg);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *c = arg;

	(void)conn;
	printf("%.*s\n", (int)msg->len, (const char *)msg->data);
	c->messages++;
	next_message(c);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *c = arg;

	(void)conn;
	tn_timer_stop(c->timer);
	if (err) {
		fprintf(stderr, "%s\n", tn_errmsg());
		c->err = 1;
	}
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	static char hello_text[] = "Hello, world!", *hello[] = {hello_text};
	const char *url = argc > 1 ? argv[1] : "udp://localhost:10000";
	struct client c = {.messages = argc > 2 ? argv + 2 : hello, .left = argc > 2 ? argc - 2 : 1};
	struct tn_loop *loop = NULL;

	if (tn_loop_new(&loop, NULL) < 0 || tn_dial(loop, url, &handler, &c, &c.conn) < 0 || tn_loop_run(loop) < 0)
		fprintf(stderr, "%s\n", tn_errmsg()), c.err = 1;
	tn_loop_free(loop);
	return c.err != 0;
}
