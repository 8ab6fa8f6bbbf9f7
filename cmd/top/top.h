/* `tenon top` */
#ifndef TENON_TOP_H
#define TENON_TOP_H

#include "common/command.h"

extern const struct command top_command;

#endif
