/* `tenon serve` */
#ifndef TENON_SERVE_H
#define TENON_SERVE_H

#include "common/command.h"

extern const struct command serve_command;

#endif
