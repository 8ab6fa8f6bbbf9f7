/* Addresses: where a client comes from, and which are this relay's own. */
#ifndef TENON_RELAY_ADDRESS_H
#define TENON_RELAY_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_addr;
struct tn_conn;
struct tn_server;

/* Where an IP address of `len` bytes lies; NULL: it is none. And its port. */
const void *address_ip(const struct tn_addr *addr, size_t *len);
unsigned address_port(const struct tn_addr *addr);

/* A number for where a client comes from: the same for the same address, whatever its port. */
uint64_t source_of(const struct tn_addr *peer);

/* Notes where a server listens. Before the loops run. Returns 0 or -ENOMEM. */
int address_note_listener(const struct tn_server *server);
void address_forget_all(void);

/* Whether a connection that was dialled has reached one of these: then the relay would relay to itself for ever. */
bool address_is_ours(const struct tn_conn *target);

#endif
