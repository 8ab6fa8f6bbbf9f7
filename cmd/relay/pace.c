#include "pace.h"

#include "plan.h"
#include "tenon.h"

bool pace_wanted(void)
{
	return plan.rate_in || plan.rate_out || plan.source_rate_in || plan.source_rate_out;
}

void pace_begin(struct pace *pace, uint64_t source)
{
	*pace = (struct pace){0};
	if (plan.source_rate_in || plan.source_rate_out)
		pace->share = share_join(source);
}

void pace_end(struct pace *pace)
{
	share_leave(pace->share);
	pace->share = NULL;
}

void pace_passed(struct pace *pace, struct tn_conn *from, bool in, size_t len)
{
	uint64_t now = tn_loop_now(tn_conn_loop(from));
	bool empty = bucket_take(in ? &pace->in : &pace->out, in ? plan.rate_in : plan.rate_out, len, now);

	empty |= share_take(pace->share, in, in ? plan.source_rate_in : plan.source_rate_out, len, now);
	if (!empty)
		return;
	*(in ? &pace->in_waits : &pace->out_waits) = true;
	pace->times++;
	tn_pause(from);
}

static void resume(struct pace *pace, struct tn_conn *from, bool in, uint64_t now)
{
	bool *waits = in ? &pace->in_waits : &pace->out_waits;

	if (!*waits || !from || !bucket_has(in ? &pace->in : &pace->out, in ? plan.rate_in : plan.rate_out, now) ||
	    !share_has(pace->share, in, in ? plan.source_rate_in : plan.source_rate_out, now))
		return;
	*waits = false;
	tn_resume(from);
}

void pace_tick(struct pace *pace, struct tn_conn *client, struct tn_conn *target, uint64_t now)
{
	resume(pace, client, true, now);
	resume(pace, target, false, now);
}
