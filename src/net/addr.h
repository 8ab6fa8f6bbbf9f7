/* Socket addresses: the struct tn_addr of the public header, made, compared and written. */
#ifndef TNI_NET_ADDR_H
#define TNI_NET_ADDR_H

#include "tenon.h"

#include <stdbool.h>
#include <sys/socket.h>

/* An IPv4 or IPv6 literal (with an optional %zone). Returns 0, or -EINVAL: it is a name. */
int tni_addr_literal(struct tn_addr *addr, const char *host, int port);

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

/* "localhost", and with `below` the names below it: RFC 6761 section 6.3 wants DNS not to be asked for them. */
bool tni_addr_is_localhost(const char *host, bool below);

/* The two ends of a socket, as the kernel knows them. */
int tni_addr_local(int fd, struct tn_addr *addr);
int tni_addr_peer(int fd, struct tn_addr *addr);

#endif
