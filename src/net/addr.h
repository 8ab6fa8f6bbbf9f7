/* Socket addresses: the struct tn_addr of the public header, made, compared and written. */
#ifndef TNI_NET_ADDR_H
#define TNI_NET_ADDR_H

#include "tenon.h"

#include <stdbool.h>
#include <sys/socket.h>

/* An IPv4 or IPv6 literal (with an optional %zone). Returns 0, or -EINVAL: it is a name. */
int tni_addr_literal(struct tn_addr *addr, const char *host, int port);

/*
 * Whether a host can be looked up, or is an address: "127.1", "0177.0.0.1", "0x7f.1", "::g" and "fe80::1%nope" are
 * neither. What ends in a number or has a colon is meant as an address, and no name server is asked for it. 0, or
 * TN_EURL with what is wrong.
 */
int tni_addr_check_host(const char *host);

/* A Unix address: a path, or @name in the abstract namespace; "" is unnamed. -ENAMETOOLONG beyond 107 bytes. */
int tni_addr_unix(struct tn_addr *addr, const char *path, size_t len);

/* The path of a Unix socket's address; an abstract name begins with a zero byte. NULL when it has none. */
const char *tni_addr_path(const struct tn_addr *addr, size_t *len);

/* The loopback address, or the any-address, of a family (AF_INET, AF_INET6). */
void tni_addr_loopback(struct tn_addr *addr, int family, int port);
void tni_addr_any(struct tn_addr *addr, int family, int port);

void tni_addr_from(struct tn_addr *addr, const struct sockaddr *sa, socklen_t len);
bool tni_addr_equal(const struct tn_addr *a, const struct tn_addr *b);

/* What IPv4 only can use: an IPv4-mapped IPv6 address becomes an IPv4 one, and so does ::1. Others stay as they are. */
void tni_addr_unmap(struct tn_addr *addr);
int tni_addr_family(const struct tn_addr *addr);
int tni_addr_port(const struct tn_addr *addr);
void tni_addr_set_port(struct tn_addr *addr, int port);

/* IPv4's address in IPv6's words: ::ffff:192.0.2.1. */
bool tni_addr_is_mapped(const struct tn_addr *addr);

/* A group's address, or the one that stands for all of this host's; IPv4's in IPv6's words included. */
bool tni_addr_is_multicast(const struct tn_addr *addr);
bool tni_addr_is_any(const struct tn_addr *addr);

/* Whether this host has it: what can be bound to is an address of its own,
 * or of a group or network that it belongs to. */
bool tni_addr_is_ours(const struct tn_addr *addr);

/* The address of this host that `peer` remembers (its member local), in the words of its family. False: it has none. */
bool tni_addr_from_local(struct tn_addr *addr, const struct tn_addr *peer, int port);

/* A datagram's sender that a proxy has told of keeps the proxy's address, which replies go to. False: there is none. */
void tni_addr_set_via(struct tn_addr *addr, const struct tn_addr *via);
bool tni_addr_via(const struct tn_addr *addr, struct tn_addr *via);

/* "localhost", and with `below` the names below it: RFC 6761 section 6.3 wants DNS not to be asked for them. */
bool tni_addr_is_localhost(const char *host, bool below);

/* The two ends of a socket, as the kernel knows them. */
int tni_addr_local(int fd, struct tn_addr *addr);
int tni_addr_peer(int fd, struct tn_addr *addr);

#endif
