/* `tenon options` */
#ifndef TENON_OPTIONS_COMMAND_H
#define TENON_OPTIONS_COMMAND_H

#include "common/command.h"

extern const struct command options_command;

#endif
