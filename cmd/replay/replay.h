/* `tenon replay` */
#ifndef TENON_REPLAY_H
#define TENON_REPLAY_H

#include "common/command.h"

extern const struct command replay_command;

#endif
