/* A WebSocket client that sends back what comes: to each case of a conformance server, one after the other.
 * Run: websocket_echo_client [URL [AGENT]]     URL as ws://localhost:9001?max=16MiB&deflate=on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>

struct client {
	struct tn_loop *loop;
	const char *url, *agent;
	int cases;
};

static void on_count(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	char text[16];

	(void)conn;
	snprintf(text, sizeof(text), "%.*s", (int)msg->len, (const char *)msg->data);
	((struct client *)arg)->cases = atoi(text);
}

/* As text what came as text, and as binary what came as that. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = tn_forward(conn, msg);

	(void)arg;
	if (err < 0)
		tn_abort(conn, err);
}

/* Dials a path of the server and is done when that connection has ended, however it did: most cases break a rule. */
static int visit(struct client *c, const struct tn_handler *handler, const char *path)
{
	size_t place = strcspn(c->url, "?"); /* what stands there are keys of ours */
	char url[1024];
	int rc;

	snprintf(url, sizeof(url), "%.*s/%s%s", (int)place, c->url, path, c->url + place);
	rc = tn_dial(c->loop, url, handler, c, NULL);
	return rc < 0 ? rc : tn_loop_run(c->loop);
}

int main(int argc, char **argv)
{
	static const struct tn_handler counter = {.on_msg = on_count}, echo = {.on_msg = on_msg}, nothing = {0};
	struct client c = {.url = argc > 1 ? argv[1] : "ws://localhost:9001", .agent = argc > 2 ? argv[2] : "tenon"};
	char path[300];
	int rc = tn_loop_new(&c.loop, NULL);

	if (rc == 0)
		rc = visit(&c, &counter, "getCaseCount");
	for (int i = 1; rc == 0 && i <= c.cases; i++) {
		snprintf(path, sizeof(path), "runCase%%3Fcase=%d&agent=%s", i, c.agent); /* %3F: the server's query */
		rc = visit(&c, &echo, path);
	}
	snprintf(path, sizeof(path), "updateReports%%3Fagent=%s", c.agent);
	if (rc == 0)
		rc = visit(&c, &nothing, path);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	printf("%d cases\n", c.cases);
	tn_loop_free(c.loop);
	return rc < 0 || c.cases == 0;
}
