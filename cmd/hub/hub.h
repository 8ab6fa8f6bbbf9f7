/* tenon hub: publish and subscribe. */
#ifndef TENON_HUB_HUB_H
#define TENON_HUB_HUB_H

#include "common/command.h"

struct door;

extern const struct command hub_command;

/* A door for URLs that begin with `prefix` ("redis" in redis://host and redis+unix:), whose bytes are a stream; `port`
 * where a URL has none. All three live for ever. Before main(): see tests/doors. */
void hub_add_door(const char *prefix, const struct door *door, const char *port);

#endif
