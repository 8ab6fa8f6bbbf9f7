/* tenon hub: publish and subscribe. */
#ifndef TENON_HUB_HUB_H
#define TENON_HUB_HUB_H

#include "common/command.h"

extern const struct command hub_command;

#endif
