/* An end of a TLS connection without a socket: its layer, and the queues around it. */
#ifndef FUZZ_TLS_END_H
#define FUZZ_TLS_END_H

#include "creds.h"

#include "secure/tls.h"

struct end {
	struct tni_layer *layer;
	struct tn_buf in, net, up;
	bool failed;
};

static struct tni_mem mem;

/* Before each input. */
static inline void ends_begin(void)
{
	if (!credentials[0][CLIENT])
		make_credentials(false);
	tni_mem_init(&mem);
}

static inline void ends_finish(void)
{
	CHECK(!mem.nslices_out && !mem.small.nout && !mem.large.nout);
	tni_mem_free(&mem);
}

static inline void end_open(struct end *e, bool psk, bool server)
{
	*e = (struct end){0};
	tni_buf_init(&e->in, &mem, SIZE_MAX);
	tni_buf_init(&e->net, &mem, SIZE_MAX);
	tni_buf_init(&e->up, &mem, SIZE_MAX);
	CHECK(tni_tls_new(tni_creds_ref(credentials[psk][server]), server ? NULL : "localhost", &e->layer) == 0);
	CHECK(e->layer->ops->open(e->layer, &e->net) == 0);
}

static inline void end_close(struct end *e)
{
	if (!e->failed && !e->layer->ended)
		CHECK(e->layer->ops->cut(e->layer) < 0);
	e->layer->ops->free(e->layer);
	tni_buf_clear(&e->in);
	tni_buf_clear(&e->net);
	tni_buf_clear(&e->up);
}

/* What has come in goes through the layer. */
static inline void take_up(struct end *e)
{
	int rc;

	if (e->failed) {
		tni_buf_clear(&e->in);
		return;
	}
	rc = e->layer->ops->up(e->layer, &e->in, &e->up, &e->net, SIZE_MAX);
	e->failed = rc < 0;
	CHECK(rc == 0 || *tn_errmsg());
	/* A server leaves a part of the first record where it is. */
	CHECK(rc < 0 || !e->in.head || (!e->layer->open && e->in.len < 5 + 16384));
}

#endif
