#include "io/test_engines.h"

#include "io/fault.h"
#include "io/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int open_sim(struct tn_loop *loop, const char *seed)
{
	loop->engine = &tni_engine_sim;
	return tni_engine_sim.open(loop, seed ? strtoull(seed, NULL, 10) : 1);
}

static int open_by_name(struct tn_loop *loop, const char *name)
{
	if (!strcmp(name, "sim"))
		return open_sim(loop, NULL);
	if (!strncmp(name, "sim:", 4))
		return open_sim(loop, name + 4);
	if (!strncmp(name, "fault:", 6))
		return tni_fault_open(loop, name + 6);
	return -ENOENT;
}

__attribute__((constructor)) static void link_in(void)
{
	tni_test_engines = open_by_name;
}
