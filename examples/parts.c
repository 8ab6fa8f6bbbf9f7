/* A protocol of its own on a stream without a frame: a number, a line feed, and so many bytes; the answer is their sum.
 * What comes is not cut into messages: a request may come in parts, and several may come in one. Run: parts [URL] then:
 * printf '5\nhello' | nc -N localhost 10005 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stop.h"

#define DIGITS_MAX 9

/* How far a client's request has come. */
struct request {
	char digits[DIGITS_MAX + 1]; /* of its number, until the line feed has come */
	size_t ndigits;
	unsigned long left; /* bytes that are still to come */
	unsigned long sum;
	int in_bytes; /* the number is complete */
};

static int answer(struct tn_conn *conn, struct request *r)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%lu\n", r->sum);

	*r = (struct request){0};
	return tn_send(conn, text, (size_t)len);
}

/* One byte of the number. < 0: it is none. */
static int take_digit(struct request *r, char c)
{
	if (c == '\n' && r->ndigits > 0) {
		r->left = strtoul(r->digits, NULL, 10);
		r->in_bytes = 1;
		return 0;
	}
	if (c < '0' || c > '9' || r->ndigits == DIGITS_MAX)
		return -EBADMSG;
	r->digits[r->ndigits++] = c;
	return 0;
}

/* Called with whatever has come: the state between two calls is in `r`. */
static int take(struct tn_conn *conn, struct request *r, const unsigned char *data, size_t len)
{
	int err = 0;

	for (size_t i = 0; i < len && err >= 0; i++) {
		if (!r->in_bytes) {
			err = take_digit(r, (char)data[i]);
		} else {
			r->sum += data[i];
			r->left--;
		}
		if (err >= 0 && r->in_bytes && r->left == 0)
			err = answer(conn, r);
	}
	return err;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct request *r = calloc(1, sizeof(*r));

	(void)arg;
	tn_conn_set_data(conn, r);
	if (!r)
		tn_abort(conn, -ENOMEM);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct request *r = tn_conn_data(conn);
	int err = r ? take(conn, r, msg->data, msg->len) : 0;

	(void)arg;
	if (err < 0)
		tn_abort(conn, err); /* a reset: what it asked for cannot be answered */
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	free(tn_conn_data(conn));
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10005";
	struct stop stopping = {0};
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &handler, NULL, &stopping.server);
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
