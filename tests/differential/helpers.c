/* What a loop does besides sockets: timers, some of which are stopped; polls, which are removed; calls posted to it. */
#include "world.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICKS_MAX 12

struct tick {
	struct world *world;
	struct tn_timer *timer;
	struct tick *victim; /* stopped by it when it fires */
	uint64_t delay_ms;
	int nth, fired;
	bool stopped;
};

struct ticks {
	struct tick tick[TICKS_MAX];
	int n;
	int last[8]; /* that fired, of each delay: those of one delay keep their order */
};

static struct ticks ticks;

static void stop(struct tick *t)
{
	trace(t->world, "timer %d: stopped", t->nth);
	tn_timer_stop(t->timer);
	t->timer = NULL;
	t->stopped = true;
}

static void tick(void *arg)
{
	struct tick *t = arg;

	trace(t->world, "timer %d: fires", t->nth);
	t->timer = NULL;
	if (t->fired++ || t->stopped)
		wrong(t->world, "timer %d fires %s", t->nth, t->stopped ? "although it was stopped" : "twice");
	if (ticks.last[t->delay_ms] > t->nth)
		wrong(t->world, "timer %d fires behind one that was started later", t->nth);
	ticks.last[t->delay_ms] = t->nth;
	if (t->victim && t->victim->timer)
		stop(t->victim);
}

/* A victim was started later and is due later, so that it cannot have fired before. */
static struct tick *draw_victim(struct world *w, const struct tick *t)
{
	struct tick *v = &ticks.tick[below(w, (uint64_t)ticks.n)];

	return v > t && v->delay_ms > t->delay_ms && one_in(w, 2) ? v : NULL;
}

static bool all_done(void)
{
	for (int i = 0; i < ticks.n; i++)
		if (ticks.tick[i].timer)
			return false;
	return true;
}

static void play_timers(struct world *w)
{
	ticks = (struct ticks){.n = 1 + (int)below(w, TICKS_MAX)};
	for (int i = 0; i < ticks.n; i++)
		ticks.tick[i] = (struct tick){.world = w, .nth = i, .delay_ms = below(w, 5)};
	for (int i = 0; i < ticks.n; i++) {
		struct tick *t = &ticks.tick[i];

		t->victim = draw_victim(w, t);
		if (tn_timer_start(w->loop, t->delay_ms, tick, t, &t->timer) < 0)
			wrong(w, "timer: %s", tn_errmsg());
	}
	for (int i = 0; i < ticks.n; i++)
		if (one_in(w, 4))
			stop(&ticks.tick[i]);
	wait_for(w, all_done());
	for (int i = 0; i < ticks.n; i++)
		record(w, "timer %d: fired %d, stopped %d\n", i, ticks.tick[i].fired, ticks.tick[i].stopped);
}

/* ---- polls ---- */

struct watch {
	struct world *world;
	struct tn_poll *poll;
	int fd;
	size_t got, stop_at; /* it stops itself at so many bytes */
};

static void readable(void *arg)
{
	struct watch *p = arg;
	char bytes[16];
	ssize_t n;

	if (!p->poll)
		wrong(p->world, "a poll is called although it was stopped");
	while ((n = read(p->fd, bytes, sizeof(bytes))) > 0)
		p->got += (size_t)n;
	trace(p->world, "poll: %zu bytes", p->got);
	if (p->got >= p->stop_at) {
		tn_poll_stop(p->poll);
		p->poll = NULL;
	}
}

static void play_poll(struct world *w)
{
	struct watch p = {.world = w, .stop_at = SIZE_MAX};
	size_t written = 0;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return wrong(w, "socketpair");
	p.fd = pair[0];
	if (tn_poll_start(w->loop, pair[0], readable, &p, &p.poll) < 0)
		wrong(w, "poll: %s", tn_errmsg());
	for (uint64_t rounds = 1 + below(w, 6); rounds && !*w->wrong; rounds--) {
		size_t len = 1 + below(w, 60);

		if (rounds == 1 && one_in(w, 2))
			p.stop_at = written + len;
		written += write(pair[1], "............................................................", len) > 0 ? len
														   : 0;
		wait_for(w, p.got == written);
	}
	tn_poll_stop(p.poll);
	p.poll = NULL;
	if (write(pair[1], "late", 4) != 4)
		wrong(w, "write");
	turn(w, 4);
	record(w, "poll: %zu bytes\n", p.got);
	close(pair[0]);
	close(pair[1]);
}

/* ---- posts ---- */

struct post {
	struct world *world;
	int nth;
	int *last;
};

static void posted(void *arg)
{
	struct post *p = arg;

	if (*p->last != p->nth - 1)
		wrong(p->world, "what was posted as number %d comes behind number %d", p->nth, *p->last);
	*p->last = p->nth;
}

static void play_posts(struct world *w)
{
	struct post posts[8];
	int n = 1 + (int)below(w, 8), last = -1;

	for (int i = 0; i < n; i++) {
		posts[i] = (struct post){w, i, &last};
		if (tn_loop_post(w->loop, posted, &posts[i]) < 0)
			wrong(w, "post: %s", tn_errmsg());
		turn(w, (unsigned)below(w, 2));
	}
	wait_for(w, last == n - 1);
	record(w, "posts: %d\n", n);
}

void play_helpers(struct world *w)
{
	play_timers(w);
	play_poll(w);
	play_posts(w);
}
