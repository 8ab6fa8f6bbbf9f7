/* An echo on tenon whose frame is the program's own, with the bytes of u32: what does it cost to ask a program?
 * own_echo URL */
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include <tenon.h>

static int own_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	(void)arg;
	if (len < 4)
		return 0;
	part->at = 4;
	part->len = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
	part->taken = part->need = 4 + part->len;
	return len >= part->need;
}

static int own_wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	(void)iov, (void)count, (void)arg;
	for (int i = 0; i < 4; i++)
		ends->head[i] = (unsigned char)(len >> (24 - 8 * i));
	ends->head_len = 4;
	return 0;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = tn_forward(conn, msg);

	(void)arg;
	if (err < 0)
		tn_abort(conn, err);
}

int main(int argc, char **argv)
{
	static const struct tn_frame own = {sizeof(own), "own", own_next, own_wrap, NULL};
	static const struct tn_handler echo = {.on_msg = on_msg};
	struct tn_server *server;
	struct tn_loop *loop;

	if (argc != 2 || tn_frame_register(&own) < 0 || tn_loop_new(&loop, NULL) < 0 ||
	    tn_serve(loop, argv[1], &echo, NULL, &server) < 0) {
		fprintf(stderr, "%s\n", tn_errmsg());
		return 1;
	}
	printf("listening %s\n", tn_server_url(server, 0));
	fflush(stdout);
	return tn_loop_run(loop) < 0;
}
