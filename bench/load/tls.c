/*
 * TLS on the load's connections, by OpenSSL on the socket itself; the server's certificate is not checked. And
 * handshakes alone: a closed loop of connections that are opened, agreed upon and closed.
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { EVENTS = 512 };

struct
try {
	int fd;
	SSL *ssl;
	uint64_t begun_ns;
	bool asked, got; /* to resume; a ticket */
};

static SSL_SESSION *ticket; /* the last one that came */

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct try *t = SSL_get_app_data(ssl);

	SSL_SESSION_free(ticket);
	ticket = session;
	if (t)
		t->got = true;
	return 1;
}

static SSL_CTX *context(void)
{
	static SSL_CTX *ctx;

	if (ctx)
		return ctx;
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		errx(1, "OpenSSL");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_ticket);
	return ctx;
}

static SSL *new_end(int fd)
{
	SSL *ssl = SSL_new(context());

	if (!ssl || !SSL_set_fd(ssl, fd))
		errx(1, "OpenSSL");
	SSL_set_connect_state(ssl);
	return ssl;
}

SSL *tls_connect(int fd)
{
	SSL *ssl = new_end(fd);

	if (SSL_do_handshake(ssl) != 1)
		errx(1, "TLS handshake: %s", ERR_reason_error_string(ERR_peek_error()));
	return ssl;
}

/* As a system call tells it: -1 and errno, 0 at the end. */
static ssize_t outcome(SSL *ssl, int rc)
{
	int what = SSL_get_error(ssl, rc);

	if (what == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE)
		errno = EAGAIN;
	else if (what != SSL_ERROR_SYSCALL || !errno)
		errno = EPROTO;
	ERR_clear_error();
	return -1;
}

ssize_t tls_send(SSL *ssl, const char *data, size_t len)
{
	int rc = SSL_write(ssl, data, (int)len);

	return rc > 0 ? rc : outcome(ssl, rc);
}

ssize_t tls_recv(SSL *ssl, char *data, size_t len)
{
	int rc = SSL_read(ssl, data, (int)len);

	return rc > 0 ? rc : outcome(ssl, rc);
}

/* ---- handshakes alone ---- */

static int poller;

static void try_begin(struct load *load, struct try *t)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = t};

	t->begun_ns = clock_now_ns();
	t->fd = lane_connect(&load->options);
	fcntl(t->fd, F_SETFL, O_NONBLOCK);
	t->ssl = new_end(t->fd);
	t->got = false;
	SSL_set_app_data(t->ssl, t);
	t->asked = load->options.resume && ticket && SSL_set_session(t->ssl, ticket);
	if (epoll_ctl(poller, EPOLL_CTL_ADD, t->fd, &event))
		err(1, "epoll_ctl");
	SSL_do_handshake(t->ssl);
}

static void try_end(struct try *t)
{
	SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	close(t->fd);
}

/* With tickets a connection is used until one has come: that is what a client does that wants to come back. */
static bool is_done(struct load *load, struct try *t)
{
	char byte;

	if (SSL_do_handshake(t->ssl) != 1) {
		if (SSL_get_error(t->ssl, -1) != SSL_ERROR_WANT_READ)
			load_fail(load, "handshake", 0);
		ERR_clear_error();
		return load->errors > 0;
	}
	if (!load->options.resume)
		return true;
	tls_recv(t->ssl, &byte, 1);
	return t->got;
}

static void step(struct load *load, struct try *t)
{
	if (!is_done(load, t))
		return;
	if (t->asked && !SSL_session_reused(t->ssl))
		load_fail(load, "the server did not resume", 0);
	load->now_ns = clock_now_ns();
	load->total++;
	if (load->phase == PHASE_COUNT) {
		load->messages++;
		hist_add(&load->hist, load->now_ns - t->begun_ns);
	}
	try_end(t);
	try_begin(load, t);
}

/* In PHASE_DRAIN nobody is waited for: what is under way is not counted. */
void run_handshakes(struct load *load)
{
	static struct epoll_event events[EVENTS];
	struct try *tries = calloc(load->options.conns, sizeof(*tries));
	unsigned conns = load->options.conns;

	poller = epoll_create1(EPOLL_CLOEXEC);
	if (!tries || poller < 0)
		err(1, "epoll");
	load->options.conns = 0; /* no lanes to start or to wait for */
	load_start(load);
	load->options.conns = conns;
	for (unsigned i = 0; i < conns; i++)
		try_begin(load, &tries[i]);
	while (load->phase < PHASE_DRAIN && !load->errors) {
		int count = epoll_wait(poller, events, EVENTS, WAIT_MS);

		for (int i = 0; i < count; i++)
			step(load, events[i].data.ptr);
		load->now_ns = clock_now_ns();
		load_phases(load);
	}
	for (unsigned i = 0; i < conns; i++)
		try_end(&tries[i]);
	free(tries);
}
