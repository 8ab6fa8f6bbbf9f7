/* What people type out of habit with other tools (nc, ncat, socat, openssl, curl, ping, iperf3, tcpdump, ss), and what
 * does the same here. */
#ifndef TENON_HABITS_H
#define TENON_HABITS_H

#include <stdbool.h>

/*
 * Says what does the same as the unknown option `typed` ("-u", "--listen", "-connect"), if that is known: a complaint,
 * and a command line to try that is made of the arguments that were given. `command` may be NULL. `operands`: the
 * `count` arguments before the option that are no options; `rest`: the arguments behind it, NULL-terminated; rest[-1]
 * is the option's own. Returns whether it is known.
 */
bool habit_hint(const char *command, const char *typed, char **operands, int count, char **rest);

/* args[0] is no command. Where it is the name of one elsewhere ("listen", "tcpdump"),
 * complains and says what to try. */
bool habit_command(char **args, int count);

/* Where a command's name should stand there is a place: a URL, HOST:PORT, or HOST and PORT. Complains, and says what to
 * try. */
bool habit_place(char **args, int count);

#endif
