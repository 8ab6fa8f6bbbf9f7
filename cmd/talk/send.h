/* `tenon send` */
#ifndef TENON_SEND_H
#define TENON_SEND_H

#include "common/command.h"

extern const struct command send_command;

#endif
