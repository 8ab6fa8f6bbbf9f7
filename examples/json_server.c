/* A service that speaks JSON, a message a line: {"add": [1, 2, 3.5]} is answered with {"sum": 6.5}.
 * Run: json_server [URL]     then: json_client, or: nc localhost 10002 */
#include <stdio.h>
#include <tenon_value.h>

#include "stop.h"

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct tn_value *request = NULL, *reply = tn_value_new_map(NULL);
	const struct tn_value *list, *item;
	double number, sum = 0;
	int err;

	(void)arg;
	if (tn_msg_value(conn, msg, &request) == 0) {
		list = tn_value_get(request, "add");
		for (item = tn_value_first(list); item; item = tn_value_next(list, item))
			sum += tn_value_float(item, &number) == 0 ? number : 0;
		tn_value_put(reply, "sum", tn_value_new_float(reply, sum));
		err = tn_reply_value(conn, msg, reply);
		if (err < 0)
			tn_abort(conn, err); /* the client must not wait for a reply that cannot be sent */
	}
	tn_value_free(request);
	tn_value_free(reply);
}

int main(int argc, char **argv)
{
	static const struct tn_handler adder = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10002?frame=line&format=json";
	struct stop stopping = {0};
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &adder, NULL, &stopping.server);
	if (rc == 0)
		rc = stop_on_signals(loop, &stopping);
	for (int i = 0; rc == 0 && i < tn_server_nurls(stopping.server); i++)
		printf("listening %s\n", tn_server_url(stopping.server, i));
	fflush(stdout);
	if (rc == 0)
		rc = tn_loop_run(loop);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	tn_loop_free(loop);
	return rc < 0;
}
