/*
 * What a server counts (tn_server_count()). Each part has counters of its own, which the thread of its loop alone
 * writes: no locked instruction is needed, and any thread reads them. A new counter is a field of struct tn_counts and
 * a tni_count() where it happens.
 */
#ifndef TNI_CONN_COUNTS_H
#define TNI_CONN_COUNTS_H

#include "tenon.h"

#include <stdatomic.h>

#define TNI_NCOUNTS (sizeof(struct tn_counts) / sizeof(uint64_t))
#define TNI_COUNT_OF(field) (offsetof(struct tn_counts, field) / sizeof(uint64_t))

struct tni_counts {
	_Atomic(uint64_t) n[TNI_NCOUNTS]; /* as the fields of struct tn_counts stand there */
};

/* Release: who sees that a connection was closed also sees that it was accepted. */
static inline void tni_counts_add(struct tni_counts *counts, size_t which, uint64_t n)
{
	uint64_t before = atomic_load_explicit(&counts->n[which], memory_order_relaxed);

	atomic_store_explicit(&counts->n[which], before + n, memory_order_release);
}

static inline void tni_counts_max(struct tni_counts *counts, size_t which, uint64_t n)
{
	if (n > atomic_load_explicit(&counts->n[which], memory_order_relaxed))
		atomic_store_explicit(&counts->n[which], n, memory_order_relaxed);
}

/* Counts `n` of a field of struct tn_counts for a part; or for a connection, which may be a dialled one. */
#define tni_count(part, field, n) tni_counts_add(&(part)->counts, TNI_COUNT_OF(field), (n))
#define tni_conn_count(conn, field, n)                       \
	do {                                                 \
		if ((conn)->part)                            \
			tni_count((conn)->part, field, (n)); \
	} while (0)

#endif
