#include "conn/counts.h"

#include "conn/server.h"

#include <string.h>

void tn_server_count(const struct tn_server *server, struct tn_counts *counts)
{
	uint64_t sum[TNI_NCOUNTS] = {0}, peak = 0, n;

	for (int i = 0; i < server->nparts; i++) {
		/* Backwards: what was closed is read before what was accepted. */
		for (size_t which = TNI_NCOUNTS; which-- > 0;) {
			n = atomic_load_explicit(&server->parts[i].counts.n[which], memory_order_acquire);
			sum[which] += n;
			if (which == TNI_COUNT_OF(queue_peak) && n > peak)
				peak = n;
		}
	}
	memcpy(counts, sum, sizeof(*counts));
	counts->queue_peak = peak;
	counts->open = counts->accepted - counts->closed;
}
