/* `tenon ping` */
#ifndef TENON_PING_H
#define TENON_PING_H

#include "common/command.h"

extern const struct command ping_command;

#endif
