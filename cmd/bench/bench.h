/* `tenon bench` */
#ifndef TENON_BENCH_H
#define TENON_BENCH_H

#include "common/command.h"

extern const struct command bench_command;

#endif
