/* Which engine a loop gets. */
#include "base/err.h"
#include "base/log.h"
#include "io/test_engines.h"
#include "io/turn.h"
#include "io/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int (*tni_test_engines)(struct tn_loop *loop, const char *name);

static int open_engine(struct tn_loop *loop, const struct tni_engine_ops *engine, uint64_t seed)
{
	loop->engine = engine;
	return engine->open(loop, seed);
}

/* One that no system refuses: what fails is for want of memory or descriptors. */
static int open_sure(struct tn_loop *loop, const struct tni_engine_ops *engine, uint64_t seed)
{
	int rc = open_engine(loop, engine, seed);

	return rc < 0 ? tni_err(rc, "engine %s: %s", engine->name, tn_strerror(rc)) : 0;
}

#ifdef TNI_HAVE_URING
/* Once, however many loops there are. 0: the ring was not even asked for. */
static void tell_why_epoll(int rc)
{
	static _Atomic(int) told = 1;

	if (atomic_exchange(&told, rc) == rc)
		return;
	if (rc == 0)
		tni_log(false, "engine uring: not chosen on a Linux before 6.6; epoll serves");
	else
		tni_log(false, "engine uring: the system refuses io_uring: %s; epoll serves", tn_strerror(rc));
}

/* False: epoll is to be used; the log says why. */
static bool open_best(struct tn_loop *loop)
{
	int rc;

	if (!tni_uring_is_mature()) {
		tell_why_epoll(0);
		return false;
	}
	rc = open_engine(loop, &tni_engine_uring, 0);
	if (rc < 0)
		tell_why_epoll(rc);
	return rc == 0;
}
#endif

int tni_engine_choose(struct tn_loop *loop, const char *name)
{
	int rc;

	if (!name)
		name = getenv("TENON_ENGINE");
	if (!name || !*name || !strcmp(name, "auto")) {
#ifdef TNI_HAVE_URING
		if (open_best(loop))
			return 0;
#endif
		return open_sure(loop, &tni_engine_epoll, 0);
	}
	if (!strcmp(name, "epoll"))
		return open_sure(loop, &tni_engine_epoll, 0);
	if (!strcmp(name, "uring")) {
#ifdef TNI_HAVE_URING
		rc = open_engine(loop, &tni_engine_uring, 0);
		if (rc < 0)
			tni_err(rc, "engine uring: the system refuses io_uring: %s", tn_strerror(rc));
		return rc;
#else
		return tni_err(-EOPNOTSUPP, "engine uring: %s", TNI_NOT_BUILT("liburing", "uring"));
#endif
	}
	rc = tni_test_engines ? tni_test_engines(loop, name) : -ENOENT;
	if (rc != -ENOENT)
		return rc < 0 ? tni_err(rc, "engine %s: %s", name, tn_strerror(rc)) : 0;
	return tni_err(rc, "engine %s: no such engine; there are auto, uring and epoll", name);
}
