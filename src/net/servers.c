#include "net/servers.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TIMEOUT_MS 2000 /* of the first try; c-ares doubles it for each further one */
#define TRIES 3
#define TYPE_A 1
#define TYPE_AAAA 28
#define CLASS_IN 1

/* One of c-ares' descriptors: c-ares opens and closes it, only the waiting is ours. */
struct channel_fd {
	struct tni_list node;
	struct tni_channel *channel;
	struct tni_fd fd;
};

/* ---- a channel driven by the loop ---- */

static struct channel_fd *find_fd(struct tni_channel *c, int sysfd)
{
	for (struct tni_list *node = c->fds.next; node != &c->fds; node = node->next) {
		struct channel_fd *f = tni_container_of(node, struct channel_fd, node);

		if (f->fd.fd == sysfd)
			return f;
	}
	return NULL;
}

/* c-ares tells time in milliseconds, rounded down: waking up early would be waking up in vain. */
static void arm_timer(struct tni_channel *c)
{
	struct timeval tv, *next = ares_timeout(c->ares, NULL, &tv);
	uint64_t ns;

	if (!next) {
		tni_loop_untimer(c->loop, &c->timer);
		return;
	}
	ns = (uint64_t)next->tv_sec * TNI_NS_PER_S + (uint64_t)next->tv_usec * TNI_NS_PER_US + TNI_NS_PER_MS;
	tni_timer_arm(&c->loop->timers, &c->timer, tni_clock_ns() + ns);
}

/* When the loop was busy, an answer may have come in time: it is read first. Once: a loop may be late always. */
static bool is_met_late(struct tni_channel *c)
{
	c->met_late = !c->met_late && tni_clock_ns() - c->timer.when_ns >= TNI_LATE_NS;
	return c->met_late;
}

static void timer_fire(struct tni_timer *timer)
{
	struct tni_channel *c = tni_container_of(timer, struct tni_channel, timer);

	if (is_met_late(c)) {
		tni_loop_timer(c->loop, timer, TNI_NS_PER_MS);
		return;
	}
	ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(c);
}

/*
 * Should waiting be refused for want of memory, c-ares is not told: the query then ends by its time-out, which is what
 * it would make of a lost packet.
 */
static void set_waiting(struct channel_fd *f, struct tni_op *op, enum tni_op_kind kind, bool wanted)
{
	if (wanted && !tni_op_busy(op))
		tni_submit(f->channel->loop, &f->fd, op, kind);
	else if (!wanted)
		tni_cancel(f->channel->loop, &f->fd, op);
}

/*
 * A poll tells news only, and c-ares may leave bytes behind: over TCP it reads a message's length, returns, and expects
 * to be called again. So the question is asked anew after each answer. The descriptor may be gone by then, or its
 * number be another one's.
 */
static void readable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.rd);
	struct tni_channel *c = f->channel;
	int sysfd = f->fd.fd;

	(void)res;
	ares_process_fd(c->ares, sysfd, ARES_SOCKET_BAD);
	f = find_fd(c, sysfd);
	if (f && tni_op_busy(&f->fd.rd)) {
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, true);
	}
	arm_timer(c);
}

/* Writing is waited for over TCP only, until c-ares has nothing more to write and says so. */
static void writable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.wr);
	struct tni_channel *c = f->channel;
	int sysfd = f->fd.fd;

	(void)res;
	set_waiting(f, op, TNI_OP_POLL_OUT, true);
	ares_process_fd(c->ares, ARES_SOCKET_BAD, sysfd);
	arm_timer(c);
}

/* c-ares is about to close it: close(2) is not ours. */
static void forget_fd(struct channel_fd *f)
{
	struct tn_loop *loop = f->channel->loop;

	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, false);
	tni_fd_release(loop, &f->fd);
	tni_list_del(&f->node);
	free(f);
}

/* c-ares says what it waits for; neither means that it closes the descriptor. */
static void state_changed(void *arg, ares_socket_t sysfd, int want_in, int want_out)
{
	static const struct tni_fd_done done = {.rd = readable, .wr = writable};
	struct tni_channel *c = arg;
	struct channel_fd *f = find_fd(c, sysfd);

	if (!want_in && !want_out) {
		if (f)
			forget_fd(f);
		return;
	}
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return;
		f->channel = c;
		tni_fd_init(&f->fd, sysfd, TNI_FD_POLLED);
		f->fd.done = &done;
		tni_list_add_tail(&c->fds, &f->node);
	}
	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, want_in);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, want_out);
}

/* ---- the channel ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
	library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int fail_channel(int status)
{
	return tni_err(status == ARES_ENOMEM ? -ENOMEM : TN_ERESOLVE, "resolver: %s", ares_strerror(status));
}

/* c-ares reads the name servers from resolv.conf itself, but only some of the options. */
static int open_channel(struct tni_channel *c, const struct tni_names *names)
{
	struct ares_options options = {
		.sock_state_cb = state_changed,
		.sock_state_cb_data = c,
		.flags = (names->use_tcp ? ARES_FLAG_USEVC : 0) | (names->edns ? ARES_FLAG_EDNS : 0),
		.timeout = names->timeout_ms ? names->timeout_ms : TIMEOUT_MS,
		.tries = names->attempts ? names->attempts : TRIES,
	};
	int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES, status;

	pthread_once(&library_once, library_init);
	status = library_status;
	if (status == ARES_SUCCESS)
		status = ares_init_options(&c->ares, &options,
					   mask | (names->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE));
	if (status == ARES_SUCCESS)
		return 0;
	c->ares = NULL;
	return fail_channel(status);
}

void tni_servers_free(struct tni_servers *servers)
{
	if (!servers)
		return;
	for (struct tni_channel *c = servers->channels; c < servers->channels + 2; c++) {
		if (c->ares)
			ares_destroy(c->ares);
		tni_loop_untimer(c->loop, &c->timer);
	}
	tni_list_del(&servers->node);
	free(servers);
}

int tni_servers_new(struct tn_loop *loop, const struct tni_names *names, struct tni_servers **out)
{
	struct tni_servers *servers = calloc(1, sizeof(*servers));
	int rc = 0;

	if (!servers)
		return tni_err(-ENOMEM, "resolver: out of memory");
	tni_list_init(&servers->node);
	for (struct tni_channel *c = servers->channels; c < servers->channels + 2; c++) {
		c->loop = loop;
		c->timer.fire = timer_fire;
		tni_list_init(&c->fds);
	}
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = open_channel(&servers->channels[i], names);
	if (rc < 0)
		tni_servers_free(servers);
	else
		*out = servers;
	return rc;
}

static int set_servers(struct tni_channel *c, const char *servers)
{
	int status = ares_set_servers_ports_csv(c->ares, servers);

	if (status == ARES_SUCCESS)
		return 0;
	return tni_err(status == ARES_ENOMEM ? -ENOMEM : -EINVAL, "name servers %s: %s", servers,
		       ares_strerror(status));
}

int tni_servers_set(struct tni_servers *servers, const char *text)
{
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++)
		rc = set_servers(&servers->channels[i], text);
	return rc;
}

void tni_servers_query(struct tni_servers *servers, const char *name, int family, ares_callback answer, void *arg)
{
	struct tni_channel *c = &servers->channels[family == AF_INET];

	ares_query(c->ares, name, CLASS_IN, family == AF_INET ? TYPE_A : TYPE_AAAA, answer, arg);
	arm_timer(c);
}

void tni_servers_cancel(struct tni_servers *servers)
{
	for (struct tni_channel *c = servers->channels; c < servers->channels + 2; c++) {
		ares_cancel(c->ares);
		arm_timer(c);
	}
}
