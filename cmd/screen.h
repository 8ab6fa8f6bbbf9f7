/* A terminal that shows one page after another in the same place. */
#ifndef TENON_SCREEN_H
#define TENON_SCREEN_H

#include <stdbool.h>

struct text;
struct tn_loop;

/* How many columns standard output has: of a terminal that is known, otherwise what a page is made for (100). */
unsigned screen_columns(void);

/* Whether standard output is a terminal on which lines can be written over. */
bool screen_is_terminal(void);

/*
 * Shows a text in the place of the one before. Lines are cut at the terminal's width, and what is below its last line
 * is told as a number. Nothing of the terminal's state is changed, so there is nothing to restore.
 */
void screen_draw(const struct text *text);

/* Leaves the cursor below what was drawn last. */
void screen_end(void);

/* Calls fn(arg) when the terminal has another size; screen_unwatch() before the loop is freed. 0 or -errno. */
int screen_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg);
void screen_unwatch(void);

#endif
