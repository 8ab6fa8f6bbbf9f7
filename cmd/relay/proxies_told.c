/* What --admin tells of the proxies that --chaos-api has made. */
#include "proxies.h"

#include "admin/admin.h"
#include "common/json.h"
#include "common/text.h"
#include "tenon.h"
#include "toxiproxy.h"

static uint64_t up_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)counts;
	return proxy->enabled;
}

static uint64_t toxics_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)counts;
	return (uint64_t)proxy->ntoxics;
}

static uint64_t sessions_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)proxy;
	return counts->open;
}

static uint64_t accepted_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)proxy;
	return counts->accepted;
}

static uint64_t received_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)proxy;
	return counts->bytes_in;
}

static uint64_t sent_of(const struct proxy *proxy, const struct tn_counts *counts)
{
	(void)proxy;
	return counts->bytes_out;
}

static const struct {
	const char *name, *type, *help, *member;
	uint64_t (*of)(const struct proxy *proxy, const struct tn_counts *counts);
} columns[] = {
	{"tenon_proxy_up", "gauge", "Whether a proxy of --chaos-api listens.", NULL, up_of},
	{"tenon_proxy_toxics", "gauge", "Toxics that it has.", "toxics", toxics_of},
	{"tenon_proxy_sessions", "gauge", "Its sessions that are open.", "sessions", sessions_of},
	{"tenon_proxy_accepted_sessions_total", "counter", "Its sessions so far.", "accepted", accepted_of},
	{"tenon_proxy_received_bytes_total", "counter", "What its clients have said.", "bytes_in", received_of},
	{"tenon_proxy_sent_bytes_total", "counter", "What they were sent.", "bytes_out", sent_of},
};

#define NCOLUMNS (sizeof(columns) / sizeof(columns[0]))

void proxies_metrics(struct text *out, bool open)
{
	for (size_t i = 0; i < NCOLUMNS && toxiproxy_is_wanted(); i++) {
		metrics_family(out, open, columns[i].name, columns[i].type, columns[i].help);
		for (struct proxy *proxy = proxies_first(); proxy; proxy = proxy->next) {
			struct tn_counts counts;

			served_count(&proxy->told, &counts);
			text_add(out, "%s{proxy=\"", columns[i].name);
			metrics_label(out, proxy->name);
			text_add(out, "\"} %llu\n", (unsigned long long)columns[i].of(proxy, &counts));
		}
	}
}

void proxies_status(struct text *out)
{
	if (!toxiproxy_is_wanted())
		return;
	json_list(out, "proxies");
	for (struct proxy *proxy = proxies_first(); proxy; proxy = proxy->next) {
		struct tn_counts counts;

		served_count(&proxy->told, &counts);
		json_object(out, NULL);
		json_text(out, "name", proxy->name);
		json_text(out, "listen", proxy->listen);
		json_text(out, "upstream", proxy->upstream);
		json_bool(out, "enabled", proxy->enabled);
		for (size_t i = 0; i < NCOLUMNS; i++)
			if (columns[i].member)
				json_number(out, columns[i].member, columns[i].of(proxy, &counts));
		json_object_end(out);
	}
	json_list_end(out);
}
