/* Colours on a terminal. */
#ifndef TENON_PAINT_H
#define TENON_PAINT_H

enum colour { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };
enum paint { PAINT_NONE, PAINT_BOLD, PAINT_DIM, PAINT_RED, PAINT_GREEN, PAINT_YELLOW, PAINT_CYAN };

/* The default is AUTO: on terminals, unless NO_COLOR is set. */
void paint_when(enum colour when);

/* The sequence that begins a colour on a descriptor, or "" where there are no colours. */
const char *paint_code(int fd, enum paint paint);

#endif
