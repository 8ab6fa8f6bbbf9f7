/* /status. */
#include <unistd.h>

#include "admin.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "common/workers.h"
#include "told.h"

static void counts_json(struct text *out, const struct tn_counts *c)
{
	json_number(out, "open", c->open);
	json_number(out, "accepted", c->accepted);
	json_number(out, "closed", c->closed);
	json_number(out, "bytes_in", c->bytes_in);
	json_number(out, "bytes_out", c->bytes_out);
	json_number(out, "messages_in", c->msgs_in);
	json_number(out, "messages_out", c->msgs_out);
	json_number(out, "bad", c->bad);
	json_number(out, "lost", c->lost);
	json_number(out, "dropped", c->dropped);
	json_number(out, "refused", c->refused_limit + c->refused_source + c->refused_access + c->refused_proxy);
	json_number(out, "handshakes", c->handshakes);
	json_number(out, "handshakes_failed", c->handshakes_failed + c->handshakes_timed_out);
	json_number(out, "queue_peak", c->queue_peak);
}

void status_write(struct text *out)
{
	json_text(out, "command", admin.command);
	json_text(out, "version", tn_version());
	json_text(out, "engine", tn_loop_engine(workers_loops()[0]));
	json_number(out, "loops", (uint64_t)workers_count());
	json_number(out, "pid", (uint64_t)getpid());
	json_text(out, "state", admin.draining ? "draining" : admin.ready ? "ready" : "starting");
	json_time_at(out, "started", admin.started_utc_ns);
	json_ms(out, "uptime_ms", tn_loop_now(workers_loops()[0]) - admin.started_ns);
	json_time(out, "time");
	json_list(out, "servers");
	for (int i = 0; i < admin.count; i++) {
		struct told *told = admin.list[i];

		json_object(out, NULL);
		json_number(out, "server", (uint64_t)i);
		json_text(out, "url", told->url);
		json_text(out, "handler", told->handler);
		json_bool(out, "over", !told->server);
		counts_json(out, told_count(told));
		json_object_end(out);
	}
	json_list_end(out);
	if (admin.more && admin.more->status)
		admin.more->status(out);
}
