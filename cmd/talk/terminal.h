/* --raw: the terminal of standard input passes every key as it is, and is as it was before, however we end. */
#ifndef TENON_TALK_TERMINAL_H
#define TENON_TALK_TERMINAL_H

/*
 * Raw mode, until terminal_restore(): no echo, no lines, no signals from keys, nothing changed on the way out. Signals
 * that end or stop the process, and exit(3), restore it first; when it goes on in the foreground it is raw again.
 * Returns 0 or -errno.
 */
int terminal_raw(void);

/* As it was. May be called at any time. */
void terminal_restore(void);

#endif
