/* Plays a plan: its loops, by turns in one thread or each in its own; its servers and steps; its end. */
#include "compose.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DRAIN_MS 60000
#define KEEP_MS 3600000

struct world world;

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_stopped;

void lock(void)
{
	pthread_mutex_lock(&big);
}

void unlock(void)
{
	pthread_mutex_unlock(&big);
}

void trace(const char *format, ...)
{
	va_list ap;

	if (!world.told)
		return;
	printf("    ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

void wrong(const char *format, ...)
{
	char text[sizeof(world.wrong)];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	trace("WRONG: %s", text);
	if (!*world.wrong)
		snprintf(world.wrong, sizeof(world.wrong), "%s", text);
}

/* ---- calls on a loop ---- */

struct call {
	void (*fn)(void *arg);
	void *arg;
};

static void called(void *arg)
{
	struct call *c = arg;

	lock();
	world.act++;
	world.called++;
	c->fn(c->arg);
	unlock();
	free(c);
}

void world_post(unsigned loop, void (*fn)(void *arg), void *arg)
{
	struct call *c = malloc(sizeof(*c));

	if (!c)
		abort();
	*c = (struct call){fn, arg};
	world.posted++;
	if (tn_loop_post(world.loops[loop], called, c) < 0)
		wrong("tn_loop_post(): %s", tn_errmsg());
}

static void call_on(unsigned loop, bool posted, void (*fn)(void *arg), void *arg)
{
	world.act++;
	if (posted || world.plan->threads)
		world_post(loop, fn, arg);
	else
		fn(arg);
}

/* ---- turns ---- */

/* A turn of the loop outside, which does no more than it must. */
static void turn_outside(struct tn_loop *loop, int most_ms)
{
	struct pollfd p = {.fd = tn_loop_fd(loop), .events = POLLIN};
	int timeout_ms = tn_loop_timeout_ms(loop);

	if (p.fd < 0)
		wrong("tn_loop_fd(): %s", tn_errmsg());
	if (timeout_ms < 0 || timeout_ms > most_ms)
		timeout_ms = most_ms;
	if (poll(&p, 1, timeout_ms) <= 0 && tn_loop_timeout_ms(loop))
		return;
	if (tn_loop_step(loop, 0) < 0)
		wrong("tn_loop_step(): %s", tn_errmsg());
}

static void turn(int timeout_ms)
{
	if (world.plan->threads) {
		usleep(timeout_ms ? (useconds_t)timeout_ms * 1000 : 100);
		return;
	}
	for (unsigned i = 0; i < world.plan->nloops; i++)
		if (world.plan->embedded && !world.parked[i])
			turn_outside(world.loops[i], world.plan->nloops == 1 ? timeout_ms : timeout_ms > 0);
		else if (!world.parked[i] &&
			 tn_loop_step(world.loops[i], world.plan->nloops == 1 ? timeout_ms : timeout_ms > 0) < 0)
			wrong("tn_loop_step(): %s", tn_errmsg());
}

static bool is_wrong(void)
{
	bool is;

	lock();
	is = *world.wrong;
	unlock();
	return is;
}

static bool holds(bool (*cond)(void))
{
	bool is;

	lock();
	is = cond();
	unlock();
	return is;
}

static void until(bool (*cond)(void), const char *what)
{
	uint64_t start = seeded_now_ms();

	while (!holds(cond) && !is_wrong()) {
		turn(2);
		if ((double)(seeded_now_ms() - start) <= (double)world.patience_ms * seeded_load())
			continue;
		lock();
		wrong("hangs: waits for %s", what);
		unlock();
	}
}

/* ---- threads ---- */

static bool has_quit(void)
{
	return world.quit;
}

/* The loops are freed one after the other, when all have stopped: they post to each other. */
static void *run_loop(void *arg)
{
	unsigned nth = (unsigned)(uintptr_t)arg;
	static pthread_mutex_t freeing = PTHREAD_MUTEX_INITIALIZER;

	while (world.plan->embedded && !holds(has_quit))
		turn_outside(world.loops[nth], 1000);
	do
		if (tn_loop_run(world.loops[nth]) < 0)
			wrong("tn_loop_run(): %s", tn_errmsg());
	while (!holds(has_quit));
	lock();
	world.running--;
	unlock();
	pthread_barrier_wait(&all_stopped);
	pthread_mutex_lock(&freeing);
	lock();
	world.freed[nth] = true;
	unlock();
	tn_loop_free(world.loops[nth]);
	pthread_mutex_unlock(&freeing);
	return NULL;
}

/* ---- servers ---- */

void world_url(const char *url, const struct node *n, const struct client *c, char *out, size_t cap)
{
	unsigned max = c ? c->max : n->max, queue = c ? c->queue : n->queue;
	bool hurry = c ? c->hurry : n->hurry;
	unsigned idle_ms = c ? c->idle_ms : n->idle_ms;
	int at = snprintf(out, cap, "%s?spin=0", url);

	if (*n->frame->name)
		at += snprintf(out + at, cap - (size_t)at, "&frame=%s", n->frame->name);
	if (max)
		at += snprintf(out + at, cap - (size_t)at, "&max=%u", max);
	if (queue)
		at += snprintf(out + at, cap - (size_t)at, "&queue=%u", queue);
	if (n->small)
		at += snprintf(out + at, cap - (size_t)at, "&sndbuf=%u&rcvbuf=%u", n->small, n->small);
	if (!(n->scheme->traits & DGRAM))
		at += snprintf(out + at, cap - (size_t)at, "&drain=%s", hurry ? "5ms" : "30s");
	if (n->text)
		at += snprintf(out + at, cap - (size_t)at, "&format=text%s", n->bad_closes ? "&bad=close" : "");
	if (c && c->reconnects)
		at += snprintf(out + at, cap - (size_t)at, "&reconnect=1ms-4ms&reconnect-tries=3");
	if (idle_ms)
		at += snprintf(out + at, cap - (size_t)at, "&idle=%ums", idle_ms);
	if (HAVE_TLS_MAX && n->scheme->traits & SECURE && n->old_tls)
		at += snprintf(out + at, cap - (size_t)at, "&tls-max=1.2");
	if (n->scheme->traits & SECURE)
		snprintf(out + at, cap - (size_t)at, "&cert=%1$s/peer.pem&key=%1$s/peer.key&ca=%1$s/ca.pem", world.dir);
}

/* ---- the observer of a server: told of each connection's beginning and end right before its handler ---- */

static void expect(struct served *served, const struct tn_conn *conn)
{
	unsigned loop = 0;

	while (world.loops[loop] != tn_conn_loop(conn))
		loop++;
	if (served->on[loop])
		wrong("server %u: its observer was told twice, its handler not", served->nth);
	served->on[loop] = conn;
}

static void watch_open(struct tn_conn *conn, void *arg)
{
	struct served *served = arg;

	lock();
	served->opens++;
	expect(served, conn);
	unlock();
}

static void watch_close(struct tn_conn *conn, int err, void *arg)
{
	struct served *served = arg;

	(void)err;
	lock();
	served->closes++;
	expect(served, conn);
	unlock();
}

void world_watched(unsigned node, const struct tn_conn *conn)
{
	struct served *served = &world.served[node];
	unsigned loop = 0;

	while (world.loops[loop] != tn_conn_loop(conn))
		loop++;
	if (served->on[loop] != conn && !(world.plan->nodes[node].scheme->traits & (DGRAM | PAIR)))
		wrong("server %u: its handler is told, its observer was not", served->nth);
	served->on[loop] = NULL;
}

static void serve(unsigned nth)
{
	static const struct tn_watch watch = {.on_open = watch_open, .on_close = watch_close};

	const struct node *n = &world.plan->nodes[nth];
	struct served *served = &world.served[nth];
	struct tn_handler handler = side_handler(n->deaf, n->on_cut);
	char place[160], base[192], url[1024];
	int rc;

	snprintf(place, sizeof(place), n->scheme->place, world.dir, (int)getpid(), nth);
	if (n->scheme->traits & PAIR) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, served->pair) < 0)
			abort();
		snprintf(place, sizeof(place), "%d", served->pair[0]);
	}
	snprintf(base, sizeof(base), "%s%s", n->scheme->name, place);
	world_url(base, n, NULL, url, sizeof(url));
	trace("server %u: %s", nth, url);
	if (n->spread)
		rc = tn_serve_loops(world.loops, (int)world.plan->nloops, url, &handler, (void *)(uintptr_t)nth,
				    &served->server);
	else
		rc = tn_serve(world.loops[n->loop], url, &handler, (void *)(uintptr_t)nth, &served->server);
	if (rc < 0)
		wrong("tn_serve(): %s", tn_errmsg());
	else
		snprintf(served->url, sizeof(served->url), "%s", tn_server_url(served->server, 0));
	if (rc < 0)
		return;
	tn_server_watch(served->server, &watch, served);
	if (n->limit)
		tn_server_limit(served->server, n->limit);
}

static void server_done(void *arg)
{
	struct served *served = arg;

	lock();
	trace("server %u: done", served->nth);
	if (served->done++)
		wrong("server %u: done() twice", served->nth);
	served->server = NULL;
	unlock();
}

static bool is_served_by(const struct side *s, const struct served *served)
{
	return s && !s->dialled && s->node_nth == served->nth;
}

/* What the kernel has taken of what was sent on a connection that both know to be open is answered. */
static void note_stop(const struct served *served)
{
	for (unsigned i = 0; i < world.nsides && !world.plan->threads; i++) {
		struct side *s = world.sides[i];

		if (is_served_by(s->pair, served) && s->conn && s->opens && s->pair->conn && !tn_conn_queued(s->conn))
			s->sent_before_stop = s->out.len;
	}
}

static void stop_in(struct served *served, uint64_t drain_ms)
{
	if (served->stopped)
		return;
	trace("server %u: tn_server_close(%ju ms)", served->nth, (uintmax_t)drain_ms);
	served->stopped = true;
	served->hurried = drain_ms < DRAIN_MS;
	note_stop(served);
	tn_server_close(served->server, drain_ms, server_done, served);
}

static void stop_slowly(void *arg)
{
	stop_in(arg, DRAIN_MS);
}

static void stop_now(void *arg)
{
	stop_in(arg, 1);
}

void world_stop(unsigned node, bool now)
{
	stop_in(&world.served[node], now ? 1 : DRAIN_MS);
}

static void reload(void *arg)
{
	struct served *served = arg;
	bool secure = world.plan->nodes[served->nth].scheme->traits & SECURE;
	int rc = served->stopped ? TN_ESTATE : tn_server_reload(served->server);

	if (rc < 0 && !served->stopped && (secure || rc != -EOPNOTSUPP))
		wrong("server %u: tn_server_reload(): %d %s", served->nth, rc, tn_errmsg());
}

/* ---- steps ---- */

struct job {
	const struct step *step;
	unsigned loop;
};

static struct job jobs[STEPS_MAX][LOOPS_MAX];

static void dial(const struct step *step)
{
	const struct client *c = &world.plan->clients[step->who];
	struct side *s = side_new(c->node, c, true);

	s->loop = c->loop;
	world.by_client[step->who] = s;
	side_dial(s);
}

static unsigned too_big(const struct side *s)
{
	return s->framed && s->node->max ? s->node->max + 100 : 0;
}

static void act_on_client(const struct step *step)
{
	struct side *s = world.by_client[step->who];

	if (!s || !s->conn)
		return;
	if (step->deed == SEND)
		side_send(s, step->count, step->len);
	else if (step->deed == SEND_BIG && too_big(s))
		side_send_one(s, too_big(s));
	else if (step->deed == PAUSE)
		side_pause(s, PAUSED_BY_STEP);
	else if (step->deed == RESUME)
		side_resume(s, PAUSED_BY_STEP);
	else if (step->deed == FINISH)
		side_finish(s);
	else if (step->deed == CLOSE)
		side_close(s);
	else if (step->deed == ABORT || step->deed == LEAVE)
		side_abort(s, 0);
	else if (step->deed == WATCH)
		side_watch(s);
	else if (step->deed == BARE_FIN)
		side_end_barely(s);
}

static void act_on_side(struct side *s, const struct step *step)
{
	bool stopped = world.served[step->who].stopped; /* and it may have begun to close */

	if (step->deed == SERVED_PAUSE && !stopped)
		side_pause(s, PAUSED_BY_STEP);
	else if (step->deed == SERVED_RESUME)
		side_resume(s, PAUSED_BY_STEP);
	else if (step->deed == SERVED_HOLD && !stopped)
		side_hold(s);
	else if (step->deed == SERVED_RELEASE && s->node->behaviour != RELAY && s->holds > s->nanswers)
		side_release(s);
	else if (step->deed == SERVED_SEND && s->node->behaviour != RELAY)
		side_send(s, step->count, step->len);
	else if (step->deed == SERVED_FINISH)
		side_finish(s);
	else if (step->deed == SERVED_CLOSE)
		side_close(s);
	else if (step->deed == SERVED_ABORT)
		side_abort(s, 0);
}

static void do_job(void *arg)
{
	const struct job *job = arg;
	const struct step *step = job->step;
	unsigned nsides = world.nsides;
	bool one = step->deed >= SERVED_FINISH && step->deed <= SERVED_ABORT;

	if (step->deed == DIAL) {
		dial(step);
		return;
	}
	if (step->deed < SERVED_PAUSE || step->deed == LEAVE || step->deed == WATCH || step->deed == BARE_FIN) {
		act_on_client(step);
		return;
	}
	for (unsigned i = 0; i < nsides; i++) {
		struct side *s = world.sides[i];

		if (!s->conn || s->dialled || s->node_nth != step->who || s->loop != job->loop ||
		    s->node->scheme->traits & DGRAM)
			continue;
		act_on_side(s, step);
		if (one)
			break;
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Posts two calls and stops the loop: they are called before tn_loop_run() returns. */
static void post_and_stop(void *arg)
{
	unsigned loop = *(unsigned *)arg;

	world_post(loop, nothing, NULL);
	world_post(loop, nothing, NULL);
	tn_loop_stop(world.loops[loop]);
}

static void run(unsigned loop)
{
	static unsigned loops[LOOPS_MAX] = {0, 1, 2};
	unsigned due;

	lock();
	due = world.posted + 3;
	world_post(loop, post_and_stop, &loops[loop]);
	unlock();
	if (world.plan->threads)
		return;
	if (tn_loop_run(world.loops[loop]) < 0)
		wrong("tn_loop_run(): %s", tn_errmsg());
	if (world.plan->nloops == 1 && world.called < due)
		wrong("tn_loop_run() returns before what was posted was called");
}

static void abort_and_stop(void *arg)
{
	const struct job *job = arg;

	act_on_client(job->step);
	tn_loop_stop(world.loops[job->loop]);
}

static const struct side *left;

static bool is_left(void)
{
	return left->closes || left->ends || left->cuts || left->paused;
}

/* A connection that was aborted has told its peer when tn_loop_run() returns, though the loop never runs again. */
static void leave(struct job *job)
{
	struct side *s = world.by_client[job->step->who];

	if (world.plan->threads || world.plan->nloops == 1 || !s || !s->conn || !s->pair || s->pair->loop == s->loop ||
	    s->node->scheme->traits & LOSSY) {
		call_on(job->loop, job->step->posted, do_job, job);
		return;
	}
	left = s->pair;
	world_post(job->loop, abort_and_stop, job);
	unlock();
	if (tn_loop_run(world.loops[job->loop]) < 0)
		wrong("tn_loop_run(): %s", tn_errmsg());
	world.parked[job->loop] = true;
	until(is_left, "the peer of a connection that was aborted right before its loop ended");
	lock();
	world.parked[job->loop] = false;
}

static struct {
	int pair[2];
	struct tn_poll *poll[2];
	unsigned told[2];
} polls;

static void readable(void *arg)
{
	unsigned nth = *(unsigned *)arg;

	lock();
	polls.told[nth]++;
	unlock();
}

static void start_polls(void *arg)
{
	static unsigned nth[2] = {0, 1};
	const struct job *job = arg;

	memset(&polls, 0, sizeof(polls));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, polls.pair) < 0)
		abort();
	for (int i = 0; i < 2; i++)
		if (tn_poll_start(world.loops[job->loop], polls.pair[0], readable, &nth[i], &polls.poll[i]) < 0)
			wrong("a second poll of a descriptor: %s", tn_errmsg());
	if (write(polls.pair[1], "x", 1) != 1)
		abort();
}

static void stop_polls(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		tn_poll_stop(polls.poll[i]);
		close(polls.pair[i]);
	}
}

static bool polls_told(void)
{
	return polls.told[0] && polls.told[1];
}

static void play_polls(struct job *job)
{
	lock();
	call_on(job->loop, true, start_polls, job);
	unlock();
	until(polls_told, "both polls of one descriptor");
	lock();
	call_on(job->loop, true, stop_polls, job);
	unlock();
}

static unsigned loop_of(const struct step *step)
{
	if (step->deed == STOP || step->deed == STOP_NOW || step->deed == RELOAD)
		return world.plan->nodes[step->who].loop;
	return world.plan->clients[step->who].loop;
}

/* What no client of the program would say; or half of it. */
static void play_stranger(const struct step *step)
{
	static const char words[] = "~RAW a stranger\n whose second line has no end";
	struct served *served = &world.served[step->who];
	const struct node *n = &world.plan->nodes[step->who];
	struct linger now = {.l_onoff = 1};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool local = n->scheme->traits & LOCAL;
	const char *at = strrchr(served->url, ':');
	int fd;

	if (n->scheme->traits & (PAIR | PACKETS) || !at)
		return;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", at + 1);
	in.sin_port = htons((uint16_t)atoi(at + 1));
	fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	lock();
	served->strangers++;
	unlock();
	if (connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof(un) : sizeof(in)) ==
		    0 ||
	    errno == EINPROGRESS) {
		(void)!send(fd, words, step->len % sizeof(words), MSG_NOSIGNAL);
		turn((int)step->ms);
		if (step->posted)
			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(fd);
}

/* A program without a loop, or with nothing else to do on it. What it says is nobody's who is known. */
static void play_call(const struct step *step)
{
	struct served *served = &world.served[step->who];
	const struct node *n = &world.plan->nodes[step->who];
	static const char request[] = "~RAW a request";
	bool echoes = n->behaviour == ECHO || n->behaviour == FORWARD;
	size_t len = sizeof(request) - 1, got;
	char url[1024];
	void *reply;
	int rc;

	if (n->scheme->traits & (PAIR | LOSSY) || world.plan->nloops > 1 || (n->max && n->max < len))
		return;
	lock();
	served->strangers++;
	world_url(served->url, n, NULL, url, sizeof(url));
	unlock();
	rc = tn_call(world.loops[0], url, request, len, &reply, &got, (int)step->ms * 20);
	trace("tn_call() of server %u: %d %s", step->who, rc, rc < 0 ? tn_errmsg() : "");
	if (rc < 0)
		return;
	lock();
	if (echoes && !n->greets && (got != len || memcmp(reply, request, len) != 0) &&
	    !(n->trick.what || served->stopped || n->limit || n->idle_ms))
		wrong("tn_call(): a reply of %zu bytes", got);
	unlock();
	free(reply);
}

static void play_on_node(unsigned i)
{
	const struct step *step = &world.plan->steps[i];
	const struct node *n = &world.plan->nodes[step->who];

	for (unsigned loop = 0; loop < world.plan->nloops; loop++) {
		if (!n->spread && loop != n->loop)
			continue;
		jobs[i][loop] = (struct job){step, loop};
		call_on(loop, step->posted, do_job, &jobs[i][loop]);
	}
}

static void play_step(unsigned i)
{
	const struct step *step = &world.plan->steps[i];
	struct job *job = &jobs[i][0];

	if (step->deed == RUN) {
		run(step->who);
	} else if (step->deed == POLLS) {
		*job = (struct job){step, step->who};
		play_polls(job);
	} else if (step->deed == STRANGER) {
		play_stranger(step);
	} else if (step->deed == CALL) {
		play_call(step);
	} else if (step->deed != WAIT) {
		lock();
		if (step->deed == RELOAD) {
			call_on(loop_of(step), step->posted, reload, &world.served[step->who]);
		} else if (step->deed == STOP || step->deed == STOP_NOW) {
			call_on(loop_of(step), step->posted, step->deed == STOP ? stop_slowly : stop_now,
				&world.served[step->who]);
		} else if (step->deed >= SERVED_PAUSE && step->deed <= SERVED_ABORT) {
			play_on_node(i);
		} else {
			*job = (struct job){step, loop_of(step)};
			if (step->deed == LEAVE)
				leave(job);
			else
				call_on(job->loop, step->posted, do_job, job);
		}
		unlock();
	}
	for (uint64_t end = seeded_now_ms() + step->ms; seeded_now_ms() < end && !is_wrong();)
		turn(1);
	turn(0);
}

/* ---- the end ---- */

static bool all_called(void)
{
	return world.called == world.posted;
}

/* A datagram server is open until it is told to stop; and a DTLS client that aborts may leave its server unaware. */
static bool all_closed(void)
{
	for (unsigned i = 0; i < world.nsides; i++)
		if (world.sides[i]->conn && !(world.sides[i]->node->scheme->traits & LOSSY && !world.sides[i]->dialled))
			return false;
	return true;
}

static bool all_done(void)
{
	for (unsigned i = 0; i < world.plan->nnodes; i++)
		if (world.plan->nodes[i].on && !world.served[i].done)
			return false;
	return true;
}

static void wind_up(void *arg)
{
	unsigned loop = *(unsigned *)arg;

	for (unsigned i = 0; i < world.nsides; i++)
		if (world.sides[i]->loop == loop && world.sides[i]->conn)
			side_wind_up(world.sides[i]);
}

static void end_loop(void *arg)
{
	tn_timer_stop(world.keepers[*(unsigned *)arg]);
}

static bool none_runs(void)
{
	return world.running == 0;
}

static void end_threads(pthread_t *threads, bool stops)
{
	lock();
	world.quit = true;
	unlock();
	for (unsigned i = 0; i < world.plan->nloops && stops; i++)
		tn_loop_stop(world.loops[i]);
	until(none_runs, "a loop on which nothing is left");
	if (is_wrong())
		return;
	for (unsigned i = 0; i < world.plan->nloops; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&all_stopped);
}

/* All that is there comes to its end by itself. */
static void end_well(void)
{
	static unsigned loops[LOOPS_MAX] = {0, 1, 2};

	until(all_called, "posted calls");
	lock();
	world.winding_up = true;
	for (unsigned i = 0; i < world.plan->nloops; i++)
		call_on(i, true, wind_up, &loops[i]);
	unlock();
	until(all_closed, "the ends of all connections");
	lock();
	for (unsigned i = 0; i < world.plan->nnodes; i++)
		if (world.plan->nodes[i].on)
			call_on(world.plan->nodes[i].loop, true, stop_slowly, &world.served[i]);
	unlock();
	until(all_done, "the ends of all servers");
	lock();
	for (unsigned i = 0; i < world.plan->nloops; i++)
		call_on(i, true, end_loop, &loops[i]);
	unlock();
}

static void free_loops(bool well)
{
	for (unsigned i = 0; i < world.plan->nloops && well; i++)
		for (uint64_t end = seeded_now_ms() + world.patience_ms; tn_loop_step(world.loops[i], 2) > 0;)
			if (seeded_now_ms() > end) {
				wrong("hangs: something is left on loop %u", i);
				return;
			}
	for (unsigned i = 0; i < world.plan->nloops; i++) {
		world.freed[i] = true;
		tn_loop_free(world.loops[i]);
	}
}

static bool begin(pthread_t *threads)
{
	const struct plan *p = world.plan;

	for (unsigned i = 0; i < p->nloops; i++)
		if (tn_loop_new(&world.loops[i], world.engine) < 0 ||
		    tn_timer_start(world.loops[i], KEEP_MS, nothing, NULL, &world.keepers[i]) < 0) {
			wrong("a loop: %s", tn_errmsg());
			return false;
		}
	for (unsigned i = 0; i < p->nnodes && !*world.wrong; i++) {
		world.served[i].nth = i;
		if (p->nodes[i].on)
			serve(i);
	}
	if (*world.wrong || !p->threads)
		return !*world.wrong;
	world.running = p->nloops;
	pthread_barrier_init(&all_stopped, NULL, p->nloops);
	for (unsigned i = 0; i < p->nloops; i++)
		if (pthread_create(&threads[i], NULL, run_loop, (void *)(uintptr_t)i) != 0)
			abort();
	return true;
}

static void clean_up(void)
{
	for (unsigned i = 0; i < world.plan->nnodes; i++)
		if (world.served[i].pair[1] > 0)
			close(world.served[i].pair[1]);
	for (unsigned i = 0; i < world.nsides; i++)
		side_free(world.sides[i]);
}

void world_play(const struct plan *p, const char *engine, const char *dir, bool told, uint64_t patience_ms)
{
	int fds = seeded_entries("/proc/self/fd"), files = seeded_entries(dir);
	pthread_t threads[LOOPS_MAX] = {0};

	world = (struct world){.plan = p, .engine = engine, .told = told, .patience_ms = patience_ms};
	world.real = !strcmp(engine, "epoll") || !strcmp(engine, "uring");
	snprintf(world.dir, sizeof(world.dir), "%s", dir);
	if (begin(threads)) {
		for (unsigned i = 0; i < p->nsteps && !is_wrong(); i++)
			if (p->steps[i].on) {
				trace("- step %u -", i);
				play_step(i);
			}
		if (!p->freed)
			end_well();
		if (p->threads)
			end_threads(threads, p->freed);
		else if (!is_wrong())
			free_loops(!p->freed);
	}
	if (*world.wrong) {
		for (unsigned i = 0; i < world.nsides && !strncmp(world.wrong, "hangs", 5); i++)
			side_print(world.sides[i]);
		return; /* as it is: the process ends with it */
	}
	model_check();
	for (unsigned i = 0; i < p->nnodes; i++)
		if (world.served[i].opens != world.served[i].closes)
			wrong("server %u: its observer was told of %u beginnings, %u ends", i, world.served[i].opens,
			      world.served[i].closes);
	clean_up();
	if (world.called != world.posted)
		wrong("%u calls were posted, %u called", world.posted, world.called);
	if (seeded_entries("/proc/self/fd") != fds)
		wrong("descriptors: %d before, %d after", fds, seeded_entries("/proc/self/fd"));
	if (seeded_entries(dir) != files)
		wrong("a socket file is left behind");
}
