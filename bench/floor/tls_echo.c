/*
 * Bare OpenSSL echo: epoll, a non-blocking socket under each SSL, one hot buffer. The best a loop does that has nothing
 * but TLS; its accept loop is the floor for handshakes.
 *
 *     tls_echo PORT CERT KEY
 */
#include "listener.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { EVENTS = 512, HOT_SIZE = 64 * 1024 };

struct conn {
	int fd;
	SSL *ssl;
	char *rest; /* what could not be written yet: from..len */
	int from, len;
	bool asks; /* for EPOLLOUT */
};

static char hot[HOT_SIZE] __attribute__((aligned(4096)));
static int poller;
static SSL_CTX *ctx;

static void watch(struct conn *conn, int how, bool writable)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | (writable ? EPOLLOUT : 0), .data.ptr = conn};

	if (epoll_ctl(poller, how, conn->fd, &event))
		err(1, "epoll_ctl");
	conn->asks = writable;
}

static void close_conn(struct conn *conn)
{
	SSL_shutdown(conn->ssl);
	SSL_free(conn->ssl);
	close(conn->fd);
	free(conn->rest);
	free(conn);
}

static void accept_conns(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));

		if (!conn || !(conn->ssl = SSL_new(ctx)) || !SSL_set_fd(conn->ssl, fd))
			err(1, "out of memory");
		SSL_set_accept_state(conn->ssl);
		conn->fd = fd;
		watch(conn, EPOLL_CTL_ADD, false);
	}
}

/* Whether the call that failed only has to wait. */
static bool must_wait(struct conn *conn, int rc)
{
	int what = SSL_get_error(conn->ssl, rc);

	ERR_clear_error();
	return what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE;
}

static void keep(struct conn *conn, const char *data, int len)
{
	conn->rest = malloc((size_t)len);
	if (!conn->rest)
		err(1, "malloc");
	memcpy(conn->rest, data, (size_t)len);
	conn->from = 0;
	conn->len = len;
}

/* 1: all is written; 0: it has to wait; -1: dead. */
static int write_all(struct conn *conn, const char *data, int len)
{
	int done = 0;

	while (done < len) {
		int rc = SSL_write(conn->ssl, data + done, len - done);

		if (rc <= 0 && !must_wait(conn, rc))
			return -1;
		if (rc <= 0) {
			keep(conn, data + done, len - done);
			return 0;
		}
		done += rc;
	}
	return 1;
}

static int write_rest(struct conn *conn)
{
	char *rest = conn->rest;
	int rc;

	if (!rest)
		return 1;
	conn->rest = NULL;
	rc = write_all(conn, rest + conn->from, conn->len - conn->from);
	free(rest);
	return rc;
}

static int echo(struct conn *conn)
{
	int rc = write_rest(conn), len;

	while (rc == 1) {
		len = SSL_read(conn->ssl, hot, sizeof(hot));
		if (len <= 0)
			return must_wait(conn, len) ? 1 : -1;
		rc = write_all(conn, hot, len);
	}
	return rc;
}

static void serve_conn(struct conn *conn)
{
	int rc = echo(conn);

	if (rc < 0)
		close_conn(conn);
	else if (conn->asks != !!conn->rest)
		watch(conn, EPOLL_CTL_MOD, !!conn->rest);
}

static void open_context(const char *cert, const char *key)
{
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		errx(1, "%s, %s: %s", cert, key, ERR_reason_error_string(ERR_peek_error()));
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(ctx, 1);
}

int main(int argc, char **argv)
{
	static struct epoll_event events[EVENTS];
	struct epoll_event event = {.events = EPOLLIN};
	int listener;

	if (argc != 4)
		errx(2, "usage: tls_echo PORT CERT KEY");
	signal(SIGPIPE, SIG_IGN);
	open_context(argv[2], argv[3]);
	listener = open_listener("tcp", argv[1]);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
		err(1, "epoll");
	for (;;) {
		int count = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				serve_conn(events[i].data.ptr);
			else
				accept_conns(listener);
		}
	}
}
