/* Peers that refuse, say nothing, or do not listen: what the library ends by itself. */
#include "world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How long a silence is borne. Short, since all of it is waited for; of those who are waited for nobody is slow. */
#define BORNE "20ms"

/* ---- sockets of our own ---- */

struct place {
	int fd, fill[8], nfill;
	char url[256];
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	} addr;
	socklen_t len;
};

static int socket_type(const struct stack *stack)
{
	return stack->traits & (DGRAM | LOSSY) ? SOCK_DGRAM : stack->traits & PACKETS ? SOCK_SEQPACKET : SOCK_STREAM;
}

/* A place for the stack that is ours and where nobody listens. */
static void place_open(struct world *w, struct place *p)
{
	*p = (struct place){.len = sizeof(p->addr.in)};
	p->addr.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (w->stack->traits & UNIX) {
		p->len = sizeof(p->addr.un);
		p->addr.un = (struct sockaddr_un){.sun_family = AF_UNIX};
		snprintf(p->addr.un.sun_path, sizeof(p->addr.un.sun_path), "%s/ours", world_dir);
	}
	p->fd = socket(p->addr.any.sa_family, socket_type(w->stack) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0 || bind(p->fd, &p->addr.any, p->len) < 0 || getsockname(p->fd, &p->addr.any, &p->len) < 0)
		wrong(w, "a socket of our own: %m");
	if (w->stack->traits & UNIX)
		snprintf(p->url, sizeof(p->url), "%s%s", w->stack->scheme, p->addr.un.sun_path);
	else
		snprintf(p->url, sizeof(p->url), "%s127.0.0.1:%d", w->stack->scheme, ntohs(p->addr.in.sin_port));
}

static void place_close(struct world *w, struct place *p)
{
	for (int i = 0; i < p->nfill; i++)
		close(p->fill[i]);
	close(p->fd);
	if (w->stack->traits & UNIX)
		unlink(p->addr.un.sun_path);
}

static int connect_to(struct world *w, const struct place *p)
{
	int fd = socket(p->addr.any.sa_family, socket_type(w->stack) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || (connect(fd, &p->addr.any, p->len) < 0 && errno != EINPROGRESS && errno != EAGAIN))
		wrong(w, "a connection of our own: %m");
	return fd;
}

/* It listens, and its queue is full: who connects there waits. */
static void place_fill(struct world *w, struct place *p)
{
	if (listen(p->fd, 0) < 0)
		wrong(w, "listen: %m");
	while (p->nfill < 4)
		p->fill[p->nfill++] = connect_to(w, p);
}

static struct side *dial_place(struct world *w, const struct place *p, const char *keys)
{
	struct side *s = side_new(w, "dialled");
	char url[1024];

	s->opens_due = 0;
	world_full_url(w, p->url, keys, url, sizeof(url));
	if (!*w->wrong)
		side_dial(s, url);
	return s;
}

/* ---- nobody is there ---- */

static void play_refused(struct world *w)
{
	struct sockaddr_in nobody = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9)};
	unsigned traits = w->stack->traits;
	bool missing = traits & UNIX && one_in(w, 2);
	struct place p;
	struct side *s;

	place_open(w, &p);
	if (missing)
		unlink(p.addr.un.sun_path);
	/* A datagram socket that is connected hears nobody else. */
	if (traits & (DGRAM | LOSSY) &&
	    connect(p.fd, traits & UNIX ? &p.addr.any : (struct sockaddr *)&nobody,
		    traits & UNIX ? p.len : sizeof(nobody)) < 0 &&
	    !missing)
		wrong(w, "connect: %m");
	if (traits & UNIX && !missing)
		close(p.fd), p.fd = -1; /* a file without a socket */
	s = dial_place(w, &p, "");
	s->loose = true; /* what it sent was for nobody */
	if (traits & DGRAM && !(traits & UNIX))
		s->opens_due = 1;
	if (!*w->wrong && (traits & DGRAM || one_in(w, 2)))
		side_say(s, 10);
	will_close(s, missing ? -ENOENT : -ECONNREFUSED);
	settle(w, "refused");
	place_close(w, &p);
}

/* ---- nobody answers ---- */

static void play_unanswered(struct world *w)
{
	static const char *const keys[] = {"connect=" BORNE, "", "", "drain=" BORNE};
	static const int errs[] = {-ETIMEDOUT, 0, ABORTED, TN_EDRAIN};
	unsigned how = (unsigned)below(w, 4);
	struct place p;
	struct side *s;

	place_open(w, &p);
	place_fill(w, &p);
	s = dial_place(w, &p, keys[how]);
	turn(w, (unsigned)below(w, 4));
	if (!*w->wrong && (how == 3 || (how != 1 && one_in(w, 2)))) /* otherwise it can leave at once */
		side_say(s, 10);
	if (!*w->wrong && how & 1)
		side_close(s);
	else if (!*w->wrong && how)
		side_abort(s, ABORTED);
	will_close(s, errs[how]);
	settle(w, "unanswered");
	place_close(w, &p);
}

/* ---- who connects and does not speak TLS ---- */

static const char nonsense[] = "hello? this is no TLS, whatever it is\r\n\r\n";

/* And nothing more: who is told that nobody understands would otherwise wait for it to end. */
static void say_nonsense(struct world *w, int fd)
{
	if (send(fd, nonsense, sizeof(nonsense), MSG_NOSIGNAL) != (ssize_t)sizeof(nonsense) ||
	    shutdown(fd, SHUT_WR) < 0)
		wrong(w, "what is no TLS: %m");
}

static void play_server_without_tls(struct world *w, bool silent)
{
	struct place p;
	struct side *s;
	int fd = -1;

	place_open(w, &p);
	if (listen(p.fd, 8) < 0)
		wrong(w, "listen: %m");
	s = dial_place(w, &p, silent ? "handshake=" BORNE : "");
	wait_for(w, (fd = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	if (!silent && fd >= 0)
		say_nonsense(w, fd);
	will_close(s, silent ? -ETIMEDOUT : TN_ETLS);
	settle(w, "no TLS there");
	if (strstr(s->words, "it sent '"))
		*strstr(s->words, "it sent '") = '\0'; /* as much of it as had come */
	if (fd >= 0)
		close(fd);
	place_close(w, &p);
}

/* What is at the place where the world serves. */
static void place_of_server(struct world *w, struct place *p)
{
	*p = (struct place){.len = sizeof(p->addr.in)};
	if (w->stack->traits & UNIX) {
		p->len = sizeof(p->addr.un);
		p->addr.un = (struct sockaddr_un){.sun_family = AF_UNIX};
		snprintf(p->addr.un.sun_path, sizeof(p->addr.un.sun_path), "%.100s", strchr(w->url, ':') + 1);
	} else {
		p->addr.in = (struct sockaddr_in){.sin_family = AF_INET,
						  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
						  .sin_port = htons((uint16_t)atoi(strrchr(w->url, ':') + 1))};
	}
}

static void play_client_without_tls(struct world *w, bool silent)
{
	struct place p;
	char bytes[512];
	ssize_t n = -1;
	int fd;

	if (!world_serve(w, silent ? "handshake=" BORNE : ""))
		return;
	place_of_server(w, &p);
	fd = connect_to(w, &p);
	if (!silent)
		say_nonsense(w, fd);
	wait_for(w, w->troubles[!silent]);
	wait_for(w, (n = recv(fd, bytes, sizeof(bytes), 0)) >= 0 || errno != EAGAIN);
	record(w, "troubles: %u and %u, connections: %d\n", w->troubles[0], w->troubles[1], w->strays);
	if (w->troubles[0] != silent || w->troubles[1] == silent || w->strays)
		wrong(w, "%u and %u troubles, %d connections", w->troubles[0], w->troubles[1], w->strays);
	close(fd);
}

/* ---- connections that the library ends by itself ---- */

static void open_duo(struct world *w, struct side *side[2], const char *dial_keys, const char *serve_keys)
{
	char url[1024];

	for (int i = 0; i < 2; i++) {
		side[i] = side_new(w, i ? "served" : "dialled");
		side[i]->served = i;
	}
	side[0]->from = &side[1]->out;
	side[1]->from = &side[0]->out;
	w->awaited = side[1];
	if (!world_serve(w, serve_keys))
		return;
	world_full_url(w, w->url, dial_keys, url, sizeof(url));
	side_dial(side[0], url);
}

/*
 * Only the one that will be idle speaks: the other could not know whether it still hears. How far it comes before its
 * time is up, the time of a slow machine included, is chance.
 */
static void play_idle(struct world *w)
{
	struct side *side[2], *x, *y;
	unsigned who = (unsigned)below(w, 2);

	open_duo(w, side, who ? "" : "idle=" BORNE, who ? "idle=" BORNE : "");
	x = side[who];
	y = side[!who];
	x->loose = y->loose = true;
	y->opens_due = -1;
	y->at_end = CLOSE;
	x->at_open = one_in(w, 2) ? SAY : NOTHING;
	x->say_len = 1 + below(w, 5000);
	will_close(x, TN_EIDLE);
	settle(w, "idle");
	will_close(y, 0, -ECONNRESET, -EPIPE, TN_ECUT, TN_ETLS);
	wait_for(w, y->closes || !y->conn);
}

/* What the other does not take cannot be sent in time. */
static void play_stuck(struct world *w)
{
	bool tcp = w->stack->traits & PORT;
	const char *keys = tcp ? "sndbuf=8KiB&rcvbuf=8KiB&queue=1MiB" : "sndbuf=64KiB&queue=1MiB";
	unsigned who = (unsigned)below(w, 2);
	struct side *side[2], *x, *y;
	char hasty[128];

	snprintf(hasty, sizeof(hasty), "%s&drain=" BORNE, keys);
	open_duo(w, side, who ? keys : hasty, who ? hasty : keys);
	settle(w, "open");
	if (*w->wrong)
		return;
	x = side[who];
	y = side[!who];
	side_pause(y);
	for (int i = 0; i < 30; i++)
		side_say(x, 30000);
	turn(w, (unsigned)below(w, 20));
	side_close(x);
	will_close(x, TN_EDRAIN);
	x->loose = x->drains_loose = y->loose = true;
	settle(w, "stuck");
	will_close(y, 0, -ECONNRESET, -EPIPE, TN_ECUT);
	y->at_end = CLOSE;
	if (y->conn)
		side_resume(y);
	settle(w, "what was stuck");
}

void play_trouble(struct world *w)
{
	unsigned traits = w->stack->traits;
	bool secure = traits & SECURE && !(traits & LOSSY), silent = one_in(w, 2);

	if (traits & DGRAM) {
		play_refused(w);
		return;
	}
	switch (below(w, secure ? 7 : 5)) {
	case 0:
		play_refused(w);
		break;
	case 1:
	case 2:
		play_idle(w);
		break;
	case 3:
		if (!(traits & LOSSY)) {
			play_stuck(w);
			break;
		}
		/* fall through */
	case 4:
		if (!(traits & LOSSY)) {
			play_unanswered(w);
			break;
		}
		play_refused(w);
		break;
	case 5:
		play_client_without_tls(w, silent);
		break;
	default:
		play_server_without_tls(w, silent);
	}
}
