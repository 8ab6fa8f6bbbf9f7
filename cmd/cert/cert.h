/* `tenon cert`: only in builds with OpenSSL */
#ifndef TENON_CERT_COMMAND_H
#define TENON_CERT_COMMAND_H

#include "common/command.h"

extern const struct command cert_command;

#endif
