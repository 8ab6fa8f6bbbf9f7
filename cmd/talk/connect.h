/* `tenon connect` */
#ifndef TENON_CONNECT_H
#define TENON_CONNECT_H

#include "common/command.h"

extern const struct command connect_command;

#endif
