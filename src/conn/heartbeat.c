#include "conn/heartbeat.h"

#include "base/err.h"
#include "conn/pump.h"

#include <errno.h>
#include <stdlib.h>

/* A peer that sends one as often as we do is at most so many of them late. */
#define SILENT_BEATS 2

/* It looks twice in the time of the key: what has been quiet for half of it says something before all of it is over. */
struct tni_heartbeat {
	struct tni_timer timer;
	struct tn_conn *conn;
	uint64_t bytes_in, msgs_out; /* when it last looked */
	uint64_t silent_ns;          /* for how long nothing has come */
};

static bool is_silent(struct tni_heartbeat *h, uint64_t passed_ns)
{
	const struct tn_conn *c = h->conn;
	bool held = c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL | TNI_HOLD_FLOW);
	bool ended = c->flags & TNI_RX_END; /* it has nothing more to say */

	h->silent_ns = held || ended || c->bytes_in != h->bytes_in ? 0 : h->silent_ns + passed_ns;
	h->bytes_in = c->bytes_in;
	return h->silent_ns >= SILENT_BEATS * tni_endpoint_heartbeat(c->ep)->every_ns;
}

static void look(struct tni_timer *timer)
{
	struct tni_heartbeat *h = tni_container_of(timer, struct tni_heartbeat, timer);
	struct tn_conn *c = h->conn;
	const struct tni_heartbeat_spec *spec = tni_endpoint_heartbeat(c->ep);

	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	if (is_silent(h, spec->every_ns / 2)) {
		tni_conn_kill(c, TN_EIDLE);
		return;
	}
	/* One that cannot be sent, as the queue is full or our direction has ended, is not needed */
	if (c->msgs_out == h->msgs_out)
		(void)!tn_send(c, spec->text, spec->len);
	h->msgs_out = c->msgs_out;
	tni_loop_timer(c->loop, &h->timer, spec->every_ns / 2);
}

int tni_heartbeat_begin(struct tn_conn *c)
{
	struct tni_seldom *s;

	if (!tni_endpoint_heartbeat(c->ep))
		return 0;
	s = tni_seldom_get(c);
	if (!s || !(s->heartbeat = calloc(1, sizeof(*s->heartbeat))))
		return -ENOMEM;
	*s->heartbeat = (struct tni_heartbeat){.conn = c, .bytes_in = c->bytes_in, .msgs_out = c->msgs_out};
	s->heartbeat->timer.fire = look;
	tni_loop_timer(c->loop, &s->heartbeat->timer, tni_endpoint_heartbeat(c->ep)->every_ns / 2);
	return 0;
}

void tni_heartbeat_free(struct tn_loop *loop, struct tni_heartbeat *h)
{
	if (h)
		tni_loop_untimer(loop, &h->timer);
	free(h);
}
