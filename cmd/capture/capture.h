/* `tenon capture` */
#ifndef TENON_CAPTURE_H
#define TENON_CAPTURE_H

#include "common/command.h"

extern const struct command capture_command;

#endif
