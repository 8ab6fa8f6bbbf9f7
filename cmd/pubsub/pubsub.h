/* tenon pub, sub, request and reply: clients of a hub, or of nats-server. */
#ifndef TENON_PUBSUB_PUBSUB_H
#define TENON_PUBSUB_PUBSUB_H

#include "common/command.h"

extern const struct command pub_command, sub_command, request_command, reply_command;

#endif
