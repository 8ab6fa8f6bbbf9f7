/* `tenon convert` */
#ifndef TENON_CONVERT_H
#define TENON_CONVERT_H

#include "common/command.h"

extern const struct command convert_command;

#endif
