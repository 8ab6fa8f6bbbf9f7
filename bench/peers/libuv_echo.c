/*
 * An echo server the way its manual teaches it, with libuv: a peer to measure beside, not a floor.
 *
 *     libuv_echo tcp PORT | unix PATH | udp PORT        (udp replies "ack: " and the data)
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { BACKLOG = 4096, PREFIX = sizeof("ack: ") - 1 };

union stream {
	uv_handle_t handle;
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
};

static void must(int status, const char *what)
{
	if (status < 0)
		errx(1, "%s: %s", what, uv_strerror(status));
}

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		err(1, "malloc");
	return memory;
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	(void)handle;
	buffer->base = allocate(suggested);
	buffer->len = suggested;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void close_stream(uv_stream_t *stream)
{
	if (!uv_is_closing((uv_handle_t *)stream))
		uv_close((uv_handle_t *)stream, free_handle);
}

static void finish_shutdown(uv_shutdown_t *shutdown, int status)
{
	(void)status;
	close_stream(shutdown->handle);
	free(shutdown);
}

/* Closing at once would throw away what is still being written. */
static void end_stream(uv_stream_t *stream)
{
	uv_shutdown_t *shutdown = allocate(sizeof(*shutdown));

	if (uv_shutdown(shutdown, stream, finish_shutdown)) {
		free(shutdown);
		close_stream(stream);
	}
}

static void finish_write(uv_write_t *write, int status)
{
	if (status < 0)
		close_stream(write->handle);
	free(write->data);
	free(write);
}

static void echo(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
	uv_buf_t reply = uv_buf_init(buffer->base, len > 0 ? (unsigned)len : 0);
	uv_write_t *write;

	if (len <= 0) {
		free(buffer->base);
		if (len == UV_EOF)
			end_stream(stream);
		else if (len < 0)
			close_stream(stream);
		return;
	}
	write = allocate(sizeof(*write));
	write->data = buffer->base;
	must(uv_write(write, stream, &reply, 1, finish_write), "write");
}

static void accept_stream(uv_stream_t *listener, int status)
{
	union stream *peer = allocate(sizeof(*peer));

	must(status, "accept");
	if (listener->type == UV_TCP)
		uv_tcp_init(listener->loop, &peer->tcp);
	else
		uv_pipe_init(listener->loop, &peer->pipe, 0);
	must(uv_accept(listener, &peer->stream), "accept");
	if (listener->type == UV_TCP)
		uv_tcp_nodelay(&peer->tcp, 1);
	uv_read_start(&peer->stream, give_buffer, echo);
}

static void acknowledge(uv_udp_t *socket, ssize_t len, const uv_buf_t *buffer, const struct sockaddr *peer,
			unsigned flags)
{
	uv_buf_t reply[2] = {uv_buf_init((char[]){"ack: "}, PREFIX),
			     uv_buf_init(buffer->base, len > 0 ? (unsigned)len : 0)};

	(void)flags;
	if (peer)
		uv_udp_try_send(socket, reply, 2, peer);
	free(buffer->base);
}

static void print_port(const struct sockaddr_in *addr)
{
	printf("listening %u\n", ntohs(addr->sin_port));
}

static void listen_tcp(uv_loop_t *loop, const char *port)
{
	static uv_tcp_t listener;
	struct sockaddr_in addr;
	int len = sizeof(addr);

	uv_ip4_addr("127.0.0.1", atoi(port), &addr);
	uv_tcp_init(loop, &listener);
	must(uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0), "bind");
	must(uv_listen((uv_stream_t *)&listener, BACKLOG, accept_stream), "listen");
	must(uv_tcp_getsockname(&listener, (struct sockaddr *)&addr, &len), "getsockname");
	print_port(&addr);
}

static void listen_unix(uv_loop_t *loop, const char *path)
{
	static uv_pipe_t listener;

	uv_pipe_init(loop, &listener, 0);
	must(uv_pipe_bind(&listener, path), path);
	must(uv_listen((uv_stream_t *)&listener, BACKLOG, accept_stream), "listen");
	printf("listening %s\n", path);
}

static void serve_udp(uv_loop_t *loop, const char *port)
{
	static uv_udp_t socket;
	struct sockaddr_in addr;
	int len = sizeof(addr);

	uv_ip4_addr("127.0.0.1", atoi(port), &addr);
	uv_udp_init(loop, &socket);
	must(uv_udp_bind(&socket, (struct sockaddr *)&addr, 0), "bind");
	must(uv_udp_recv_start(&socket, give_buffer, acknowledge), "recv");
	must(uv_udp_getsockname(&socket, (struct sockaddr *)&addr, &len), "getsockname");
	print_port(&addr);
}

int main(int argc, char **argv)
{
	uv_loop_t *loop = uv_default_loop();

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts(uv_version_string());
		return 0;
	}
	if (argc != 3)
		errx(2, "usage: libuv_echo tcp PORT | unix PATH | udp PORT");
	if (!strcmp(argv[1], "tcp"))
		listen_tcp(loop, argv[2]);
	else if (!strcmp(argv[1], "unix"))
		listen_unix(loop, argv[2]);
	else
		serve_udp(loop, argv[2]);
	fflush(stdout);
	return uv_run(loop, UV_RUN_DEFAULT);
}
