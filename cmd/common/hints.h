/* Options and commands of other tools (nc, ncat, socat, openssl, curl, ping, iperf3, tcpdump, ss), and what does the
 * same here. */
#ifndef TENON_HINTS_H
#define TENON_HINTS_H

#include <stdbool.h>

/*
 * If the unknown option `typed` ("-u", "--listen", "-connect") is known from another tool, prints an error and a
 * command line to try, made of the arguments that were given. `command` may be NULL. `operands`: the `count` arguments
 * before the option that are no options. `rest`: the arguments after it, NULL-terminated; rest[-1] is the option
 * itself. Returns whether it is known.
 */
bool hint_option(const char *command, const char *typed, char **operands, int count, char **rest);

/*
 * If args[0] is the name of a command elsewhere ("listen", "tcpdump"), prints an error and what to try. Returns whether
 * it is.
 */
bool hint_command(char **args, int count);

/*
 * If there is a place where a command's name should be (a URL, HOST:PORT, or HOST and PORT), prints an error and what
 * to try. Returns whether there is.
 */
bool hint_place(char **args, int count);

#endif
