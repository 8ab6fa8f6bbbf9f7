/* A terminal that shows one page after another in the same place. */
#ifndef TENON_SCREEN_H
#define TENON_SCREEN_H

#include <stdbool.h>

struct text;
struct tn_loop;

/* The columns of standard output: the terminal's, if it is one, otherwise 100. */
unsigned screen_columns(void);

/* Whether standard output is a terminal on which lines can be written over. */
bool screen_is_terminal(void);

/*
 * Shows a text in place of the one before. Lines are cut at the terminal's width; lines below its last line are shown
 * as a number. The terminal's state is not changed, so there is nothing to restore.
 */
void screen_draw(const struct text *text);

/* Leaves the cursor below what was drawn last. */
void screen_end(void);

/* Calls fn(arg) when the terminal has another size; screen_unwatch() before the loop is freed. 0 or a negative code. */
int screen_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg);
void screen_unwatch(void);

#endif
