/* Descriptors of the user's: tn_poll_start(), tn_poll_events(). */
#include "base/err.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct tn_poll {
	struct tni_owned owned;
	struct tni_fd fd;
	struct tni_task task;
	struct tn_loop *loop;
	void (*on_new)(void *arg); /* of tn_poll_start(), which tells of new events only; otherwise NULL */
	void (*on_events)(int events, void *arg);
	void *arg;
	int events, seen; /* poll(2) bits: asked for; those that came, until fn is called */
	bool to_ask;      /* in the next turn */
	bool background;  /* does not keep the loop running */
};

static void see(struct tn_poll *p, int res)
{
	p->seen |= res < 0 ? POLLERR : res & (POLLIN | POLLOUT | POLLHUP | POLLERR);
	tni_loop_ready(p->loop, &p->task);
}

static void in_done(struct tni_op *op, int res)
{
	struct tni_fd *fd = tni_container_of(op, struct tni_fd, rd);

	see(tni_container_of(fd, struct tn_poll, fd), res);
}

static void out_done(struct tni_op *op, int res)
{
	struct tni_fd *fd = tni_container_of(op, struct tni_fd, wr);

	see(tni_container_of(fd, struct tn_poll, fd), res);
}

/* A readiness operation ends at once when cancelled; one that begins looks first at what is there already. */
static void ask_nothing(struct tn_poll *p)
{
	tni_cancel(p->loop, &p->fd, &p->fd.rd);
	tni_cancel(p->loop, &p->fd, &p->fd.wr);
}

static int ask(struct tn_poll *p)
{
	int rc = 0;

	ask_nothing(p);
	if (p->events & POLLIN)
		rc = tni_submit(p->loop, &p->fd, &p->fd.rd, TNI_OP_POLL_IN);
	if (rc >= 0 && p->events & POLLOUT)
		rc = tni_submit(p->loop, &p->fd, &p->fd.wr, TNI_OP_POLL_OUT);
	return rc < 0 ? rc : 0;
}

static void tell_new(struct tn_poll *p)
{
	if (!tni_op_busy(&p->fd.rd)) /* an error, which the call below may find for itself */
		(void)tni_submit(p->loop, &p->fd, &p->fd.rd, TNI_OP_POLL_IN);
	p->on_new(p->arg);
}

/* Both directions in one call. They are asked for in the next turn again: in this one they have had theirs. */
static void tell_all(struct tn_poll *p)
{
	struct pollfd now = {.fd = p->fd.fd, .events = (short)p->events};
	int seen = p->seen & (p->events | POLLHUP | POLLERR);

	p->seen = 0;
	if (p->events == (POLLIN | POLLOUT) && poll(&now, 1, 0) > 0)
		seen |= now.revents & (POLLIN | POLLOUT | POLLHUP | POLLERR);
	ask_nothing(p);
	p->to_ask = true;
	tni_loop_later(p->loop, &p->task);
	if (seen)
		p->on_events(seen, p->arg);
}

static void ask_again(struct tn_poll *p)
{
	p->to_ask = false;
	if (ask(p) < 0) /* the engine has no room for it: its user has to know */
		see(p, -ENOMEM);
}

static void poll_run(struct tni_task *task)
{
	struct tn_poll *p = tni_container_of(task, struct tn_poll, task);

	if (p->on_new)
		tell_new(p);
	else if (p->to_ask)
		ask_again(p);
	else
		tell_all(p);
}

static void poll_free(struct tn_poll *p)
{
	ask_nothing(p);
	tni_fd_close(p->loop, &p->fd);
	tni_list_del(&p->task.node);
	tni_list_del(&p->owned.node);
	p->loop->alive -= !p->background;
	free(p);
}

static void poll_destroy(struct tni_owned *owned)
{
	poll_free(tni_container_of(owned, struct tn_poll, owned));
}

/* NULL: `err` says why. */
static struct tn_poll *poll_new(struct tn_loop *loop, int fd, int *err)
{
	static const struct tni_fd_done done = {.rd = in_done, .wr = out_done};
	struct tn_poll *p;
	int own;

	if (!tni_fd_can_poll(fd)) {
		*err = tni_err(-EPERM, "descriptor %d cannot be polled: it is a regular file or the like", fd);
		return NULL;
	}
	/* Under a number of its own: epoll takes each once, and a connection or another poll may have this one. */
	own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (own < 0) {
		*err = tni_err(-errno, "poll of descriptor %d: %s", fd, tn_strerror(-errno));
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		close(own);
		*err = tni_err(-ENOMEM, "poll: out of memory");
		return NULL;
	}
	p->loop = loop;
	p->owned.destroy = poll_destroy;
	p->task.run = poll_run;
	tni_list_init(&p->task.node);
	tni_fd_init(&p->fd, own, TNI_FD_POLLED);
	p->fd.done = &done;
	tni_list_add_tail(&loop->helpers, &p->owned.node);
	loop->alive++;
	return p;
}

static int poll_begin(struct tn_poll *p, int fd, int events, struct tn_poll **out)
{
	int rc;

	p->events = events;
	rc = ask(p);
	if (rc < 0) {
		poll_free(p);
		return tni_err(rc, "poll of descriptor %d: %s", fd, tn_strerror(rc));
	}
	if (out)
		*out = p;
	return 0;
}

int tn_poll_start(struct tn_loop *loop, int fd, void (*fn)(void *arg), void *arg, struct tn_poll **out)
{
	int err;
	struct tn_poll *p = poll_new(loop, fd, &err);

	if (!p)
		return err;
	p->on_new = fn;
	p->arg = arg;
	return poll_begin(p, fd, POLLIN, out);
}

static int check_events(int events)
{
	return events & ~(POLLIN | POLLOUT)
		       ? tni_err(-EINVAL, "poll: events %#x: only POLLIN and POLLOUT can be asked for",
				 (unsigned)events)
		       : 0;
}

int tn_poll_events(struct tn_loop *loop, int fd, int events, void (*fn)(int events, void *arg), void *arg,
		   struct tn_poll **out)
{
	int err = check_events(events);
	struct tn_poll *p = err < 0 ? NULL : poll_new(loop, fd, &err);

	if (!p)
		return err;
	p->on_events = fn;
	p->arg = arg;
	return poll_begin(p, fd, events, out);
}

int tn_poll_change(struct tn_poll *p, int events)
{
	int rc = check_events(events);

	if (rc < 0)
		return rc;
	if (p->on_new)
		return tni_err(-EINVAL, "poll: one of tn_poll_start() asks for POLLIN, and nothing else");
	p->events = events;
	rc = p->to_ask ? 0 : ask(p);
	if (rc < 0) {
		p->events = 0;
		ask_nothing(p);
		return tni_err(rc, "poll of descriptor %d: %s", p->fd.fd, tn_strerror(rc));
	}
	return 0;
}

void tn_poll_keep_loop(struct tn_poll *p, bool keep)
{
	p->loop->alive += p->background;
	p->background = !keep;
	p->loop->alive -= p->background;
}

void tn_poll_stop(struct tn_poll *p)
{
	if (p)
		poll_free(p);
}
