/*
 * Which processes a packet belongs to, as the kernel's tables have it at that time. Who may look into other processes
 * is a process of its own, which is started while there are privileges, and which reads no packets.
 */
#ifndef TENON_CAPTURE_OWNER_H
#define TENON_CAPTURE_OWNER_H

#include <stdbool.h>
#include <stddef.h>

#include "packet/packet.h"

struct owners;

struct owner {
	int pid; /* 0: not known */
	char command[16];
};

/* Before privileges are given up. Returns 0 or a negative errno. */
int owners_new(struct owners **owners);
void owners_free(struct owners *owners); /* NULL: nothing is done */

/* Who has sent it, and who receives it; on a loopback both are here. Returns whether any of the two is known. */
bool owners_of(struct owners *owners, const struct packet *packet, struct owner *sender, struct owner *receiver);

/* Whether it is this one: its number, its name, or `any`. */
bool owner_is(const struct owner *owner, const char *wanted);

#endif
