/* Layers (src/layer.h) for tests: one of each sort that a chain must carry, and some that it must not. */
#ifndef TESTS_SUPPORT_LAYERS_H
#define TESTS_SUPPORT_LAYERS_H

#include "layer.h"

enum layer_sort {
	LAYER_TALKS,                /* shakes hands, asks and answers by itself, says its own last word */
	LAYER_BEATS,                /* the same, and asks by the clock, too */
	LAYER_LEAVES,               /* sends or expects one header, and is done */
	LAYER_EXPANDS,              /* a byte that comes becomes up to 64 KiB */
	LAYER_MESSAGES,             /* makes whole messages; only as the highest */
	LAYER_GOOD,                 /* so many are good */
	LAYER_ENDLESS = LAYER_GOOD, /* makes bytes of nothing, without end */
	LAYER_ALWAYS,               /* wants to be called at once, always */
	LAYER_ASKS,                 /* puts an answer for each byte that comes, far longer than that */
	LAYER_FAILS,                /* in the step that layer_failing_step names */
	LAYER_NAMES,                /* sends or expects "PEER 192.0.2.1\n", or "PEER -\n" for nobody, and is done */
};

extern const char *const layer_names[];

/*
 * How often tick() has been called, over all layers; and the step that LAYER_FAILS fails in: open, up, down, shut,
 * tick.
 */
extern unsigned layer_ticks, layer_failing_step;

/* NULL without memory. */
struct tni_layer *layer_make(enum layer_sort sort, bool dialled);

#endif
