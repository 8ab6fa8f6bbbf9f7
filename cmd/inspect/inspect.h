/* `tenon inspect` */
#ifndef TENON_INSPECT_H
#define TENON_INSPECT_H

#include "common/command.h"

extern const struct command inspect_command;

#endif
