/*
 * What a server's observer is told of trouble (tn_watch.on_trouble): at most once a second of each kind, with how many
 * like it were not told. A crowd of one kind must not hide the one of another kind that matters.
 */
#ifndef TNI_CONN_TROUBLE_H
#define TNI_CONN_TROUBLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct tni_part;

enum tni_trouble_kind {
	TNI_TROUBLE_IDENTITY, /* a certificate that is not good enough */
	TNI_TROUBLE_LIMIT,    /* too many connections */
	TNI_TROUBLE_STRANGER, /* who may not connect, or not send a PROXY header */
	TNI_TROUBLE_PEER,     /* a handshake that failed otherwise */
	TNI_TROUBLE_LOST,     /* datagrams that the kernel dropped */
	TNI_TROUBLE_SYSTEM,   /* accepting, files */
	TNI_TROUBLE_KINDS
};

/* Of one server, over all its loops. */
struct tni_troubles {
	pthread_mutex_t lock;
	struct tni_trouble {
		uint64_t told_ns; /* 0: never */
		unsigned waiting; /* not told yet */
		int err;          /* of the last of them */
		char text[512];
	} kinds[TNI_TROUBLE_KINDS];
};

void tni_troubles_init(struct tni_troubles *troubles);
void tni_troubles_free(struct tni_troubles *troubles);

/* Notes one whose words stand in tn_errmsg(). The part's task tells it. */
void tni_trouble_note(struct tni_part *part, int err);

/* From the part's task: tells what is due, and has the task run again when more is due. `all`: the server ends. */
void tni_trouble_tell(struct tni_part *part, bool all);

#endif
