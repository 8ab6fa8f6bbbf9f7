/* The engines for tests, sim and fault: no part of the library, linked into programs that test it. */
#ifndef TNI_IO_TEST_ENGINES_H
#define TNI_IO_TEST_ENGINES_H

#include "io/io.h"

/* Opens the one of this name. Errors: -ENOENT (it is none of theirs), those of the engine. NULL: they are not linked
 * in. Set before main(). */
extern int (*tni_test_engines)(struct tn_loop *loop, const char *name);

#endif
