#include "net/dial.h"

#include "base/err.h"
#include "net/addr.h"
#include "net/dial_state.h"
#include "net/netns.h"
#include "net/order.h"
#include "net/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the end ---- */

/* Everything but the records that the message is made of. */
static void close_all(struct tni_dial *d)
{
	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next)
		tni_dial_attempt_close(tni_container_of(node, struct tni_dial_attempt, node));
	tni_lookup_cancel(d->lookup);
	d->lookup = NULL;
	tni_loop_untimer(d->loop, &d->timer);
}

static void dial_free(struct tni_dial *d)
{
	struct tni_list *node, *next;

	close_all(d);
	for (node = d->attempts.next; node != &d->attempts; node = next) {
		struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		next = node->next;
		free(a->why);
		free(a);
	}
	tni_race_free(&d->race);
	tni_list_del(&d->task.node);
	tni_list_del(&d->owned.node);
	free(d->lookup_why);
	free(d->host);
	free(d->name);
	free(d);
}

void tni_dial_cancel(struct tni_dial *d)
{
	if (!d)
		return;
	if (d->finished && d->result >= 0)
		close(d->result);
	dial_free(d);
}

static void dial_destroy(struct tni_owned *owned)
{
	tni_dial_cancel(tni_container_of(owned, struct tni_dial, owned));
}

static void report(struct tni_task *task)
{
	struct tni_dial *d = tni_container_of(task, struct tni_dial, task);
	void (*done)(void *arg, int fd_or_err) = d->done;
	uint64_t looked_up_ns = d->looked_up_ns;
	uint32_t *lookup_us = d->lookup_us;
	void *arg = d->arg;
	int result = d->result < 0 ? tni_dial_explain(d) : d->result;

	dial_free(d);
	if (lookup_us)
		*lookup_us = tni_us_of(looked_up_ns + TNI_NS_PER_US - 1);
	done(arg, result);
}

void tni_dial_finish(struct tni_dial *d, int result)
{
	d->finished = true;
	d->result = result;
	close_all(d);
	tni_loop_ready(d->loop, &d->task);
}

void tni_dial_no_memory(struct tni_dial *d)
{
	d->out_of_memory = true;
	tni_dial_finish(d, -ENOMEM);
}

/* ---- going on ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void tell_lookup(struct tni_dial *d, uint64_t now)
{
	if (d->asked_ns && !d->looked_up_ns)
		d->looked_up_ns = now - d->asked_ns;
}

/* What was not begun in time, or has come meanwhile, gets a moment more. Once: a loop may be late always. */
static bool is_met_late(struct tni_dial *d, uint64_t now)
{
	if (d->met_late || now - d->deadline_ns < TNI_LATE_NS)
		return false;
	d->met_late = true;
	d->deadline_ns = now + TNI_LATE_NS;
	return true;
}

void tni_dial_advance(struct tni_dial *d)
{
	const struct tn_addr *addr;
	struct tni_dial_attempt *only;
	uint64_t now, retry, when;

	while (!d->finished) {
		now = tni_clock_ns();
		if (now >= d->deadline_ns && !is_met_late(d, now)) {
			d->timed_out = true;
			tni_dial_finish(d, -ETIMEDOUT);
			return;
		}
		retry = tni_dial_retry_busy(d, now);
		if (d->finished)
			return;
		switch (tni_race_next(&d->race, now, &addr, &when)) {
		case TNI_RACE_START:
			tell_lookup(d, now);
			tni_dial_attempt_start(d, addr);
			break;
		case TNI_RACE_LOST:
			tni_dial_finish(d, tni_dial_verdict(d));
			return;
		case TNI_RACE_WAIT:
			only = tni_dial_only_attempt(d);
			if (only) {
				tni_dial_attempt_win(only);
				break;
			}
			when = earlier(when, tni_dial_resend(d, now));
			when = earlier(earlier(when, retry), d->deadline_ns);
			if (when == TNI_NEVER)
				tni_loop_untimer(d->loop, &d->timer);
			else
				tni_timer_arm(&d->loop->timers, &d->timer, when);
			return;
		}
	}
}

static void timer_fire(struct tni_timer *timer)
{
	tni_dial_advance(tni_container_of(timer, struct tni_dial, timer));
}

/* ---- lookups ---- */

/* The addresses of one family, out of those of both. */
static int give_family(struct tni_dial *d, int family, const struct tn_addr *addrs, int n)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++)
		if (tni_addr_family(&addrs[i]) == family)
			rc = tni_race_answer(&d->race, family, &addrs[i], 1, tni_clock_ns());
	return rc;
}

/* Which family begins is RFC 6724's to say: the family of the better one of both best addresses. */
static void choose_first(struct tni_dial *d)
{
	struct tn_addr best[2];

	if (d->race.started || !d->race.n[0] || !d->race.n[1])
		return;
	best[0] = d->race.addrs[0][0];
	best[1] = d->race.addrs[1][0];
	tni_order_addrs(best, 2);
	tni_race_first(&d->race, tni_addr_family(&best[0]));
}

static void give(struct tni_dial *d, const struct tn_addr *addrs, int n, bool more)
{
	int rc = give_family(d, AF_INET6, addrs, n);

	if (rc == 0)
		rc = give_family(d, AF_INET, addrs, n);
	if (rc == 0 && !more)
		rc = tni_race_answer(&d->race, AF_INET6, NULL, 0, tni_clock_ns());
	if (rc == 0 && !more)
		rc = tni_race_answer(&d->race, AF_INET, NULL, 0, tni_clock_ns());
	if (rc < 0)
		tni_dial_no_memory(d);
	else
		choose_first(d);
}

static void lookup_done(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct tni_dial *d = arg;

	if (!more)
		d->lookup = NULL;
	if (err < 0) {
		d->lookup_err = err;
		d->lookup_why = strdup(tn_errmsg());
	}
	give(d, addrs, n, more);
	tni_dial_advance(d);
}

/* The number of an interface behind an address is that of the network that is dialled in. */
static int known_there(const struct tni_dial_spec *spec, struct tn_addr known[2])
{
	int home = -1, n;

#ifdef TNI_HAVE_SOCKOPTS
	n = tni_netns_enter(spec->netns, &home);
	if (n < 0)
		return n;
#endif
	n = tni_resolve_known(spec->host, spec->family, spec->port, known);
	tni_netns_leave(home);
	return n;
}

/* Both families are announced before either can be there (RFC 8305 section 3). */
static int find_addrs(struct tni_dial *d, const struct tni_dial_spec *spec)
{
	struct tn_addr known[2];
	int n, rc = 0;

	if (spec->addr)
		return tni_race_answer(&d->race, tni_addr_family(spec->addr), spec->addr, 1, 0);
	n = known_there(spec, known);
	if (n < 0)
		return tni_err_prefix(n, "%s", d->name);
	for (int i = 0; i < n && rc == 0; i++)
		rc = tni_race_answer(&d->race, tni_addr_family(&known[i]), &known[i], 1, 0);
	if (n)
		return rc;
	if (spec->family != AF_INET)
		tni_race_expect(&d->race, AF_INET6);
	if (spec->family != AF_INET6)
		tni_race_expect(&d->race, AF_INET);
	d->asked_ns = tni_clock_ns();
	return tni_lookup_start(d->loop, d->host, spec->family, spec->port, lookup_done, d, &d->lookup);
}

/* ---- the start ---- */

/* Which family begins: IPv6, but for datagrams to localhost. */
static int first_family(const struct tni_dial_spec *spec)
{
	bool localhost = !spec->addr && (!*spec->host || tni_addr_is_localhost(spec->host, true));

	return localhost && spec->type == SOCK_DGRAM ? AF_INET : AF_INET6;
}

static struct tni_dial *dial_new(struct tn_loop *loop, const struct tni_dial_spec *spec)
{
	struct tni_dial *d = calloc(1, sizeof(*d));
	uint64_t now = spec->began_ns ? spec->began_ns : tni_clock_ns();

	if (!d)
		return NULL;
	d->loop = loop;
	d->type = spec->type;
	d->protocol = spec->protocol;
	d->prepare = spec->prepare;
	d->open = spec->open;
	d->permits = spec->permits;
	d->portless = spec->portless;
	d->many = spec->many;
#ifdef TNI_HAVE_SOCKOPTS
	d->unconnected = spec->unconnected;
	d->netns = spec->netns;
	d->ports = spec->ports;
#endif
	d->first = spec->first;
	d->greeted = spec->greeted;
	d->timeout_ns = spec->timeout_ns;
	d->lookup_us = spec->lookup_us;
	d->deadline_ns = spec->timeout_ns < TNI_NEVER - now ? now + spec->timeout_ns : TNI_NEVER;
	d->owned.destroy = dial_destroy;
	d->task.run = report;
	d->timer.fire = timer_fire;
	tni_list_init(&d->attempts);
	tni_list_init(&d->task.node);
	tni_race_init(&d->race, first_family(spec));
	d->name = strdup(spec->name);
	d->host = strdup(spec->addr ? "" : spec->host);
	tni_list_add_tail(&loop->owned, &d->owned.node);
	return d;
}

int tni_dial_start(struct tn_loop *loop, const struct tni_dial_spec *spec, void (*done)(void *arg, int fd_or_err),
		   void *arg, struct tni_dial **out)
{
	struct tni_dial *d = dial_new(loop, spec);
	int rc = -ENOMEM;

	if (d && d->name && d->host) {
		d->done = done;
		d->arg = arg;
		rc = find_addrs(d, spec);
	}
	if (rc == -ENOMEM)
		tni_err(rc, "%s: out of memory", spec->name);
	if (rc < 0) {
		if (d)
			dial_free(d);
		return rc;
	}
	tni_dial_advance(d);
	if (out)
		*out = d;
	return 0;
}
