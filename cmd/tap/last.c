#include "last.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "trace.h"

#define COUNT_MAX 1000
#define MEMORY (64u << 20) /* bytes of messages, of all sessions; of what is beyond only the length is kept */

struct kept {
	uint64_t utc_ns;
	size_t len, kept;
	char *data;
	const char *format; /* of the connection's endpoint */
	char *peer;         /* of a socket of many; otherwise NULL */
	enum tn_msg_kind kind;
	bool in;
};

struct last {
	unsigned at, count; /* of the oldest */
	struct kept kept[];
};

static unsigned wanted;
static _Atomic(size_t) used;

const char *last_set_count(const char *value, void *to)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	(void)to;
	if (*value < '0' || *value > '9' || *end || n < 1 || n > COUNT_MAX)
		return "is no number from 1 to 1000";
	wanted = (unsigned)n;
	return NULL;
}

bool last_is_wanted(void)
{
	return wanted > 0;
}

struct last *last_new(void)
{
	return calloc(1, sizeof(struct last) + wanted * sizeof(struct kept));
}

static void drop(struct kept *kept)
{
	used -= kept->kept;
	free(kept->data);
	free(kept->peer);
	*kept = (struct kept){0};
}

void last_free(struct last *last)
{
	for (unsigned i = 0; last && i < last->count; i++)
		drop(&last->kept[i]);
	free(last);
}

void last_keep(struct last *last, bool in, const struct tn_msg *msg, const char *format, size_t most)
{
	size_t len = msg->len < most ? msg->len : most;
	struct kept *kept;
	char peer[128];

	if (!last)
		return;
	if (last->count < wanted) {
		kept = &last->kept[last->count++];
	} else {
		kept = &last->kept[last->at];
		last->at = (last->at + 1) % wanted;
		drop(kept);
	}
	*kept = (struct kept){.utc_ns = clock_utc_ns(), .len = msg->len, .format = format, .kind = msg->kind, .in = in};
	if (msg->peer)
		kept->peer = strdup(tn_addr_text(msg->peer, peer, sizeof(peer)));
	if (used + len > MEMORY || !(kept->data = malloc(len + 1)))
		return;
	if (len)
		memcpy(kept->data, msg->data, len);
	kept->kept = len;
	used += len;
}

void last_json(const struct last *last, struct text *out)
{
	for (unsigned i = 0; last && i < last->count; i++) {
		const struct kept *kept = &last->kept[(last->at + i) % wanted];

		json_object(out, NULL);
		json_text(out, "direction", kept->in ? "in" : "out");
		if (kept->peer)
			json_text(out, "peer", kept->peer);
		if (kept->kind != TN_MSG_ANY)
			json_text(out, "kind", kept->kind == TN_MSG_TEXT ? "text" : "binary");
		trace_data_json(out, kept->data, kept->kept, kept->len, kept->format, true);
		json_time_at(out, "time", kept->utc_ns);
		json_object_end(out);
	}
}
