/* Host names and addresses as certificates hold them. */
#ifndef TNI_SECURE_HOSTS_H
#define TNI_SECURE_HOSTS_H

#include <stddef.h>
#include <openssl/x509v3.h>

/*
 * The subject alternative names for these hosts: names (in lower case, without the dot at the end), *.names, addresses
 * (with or without brackets); each once. The caller frees them with GENERAL_NAMES_free(). 0; -EINVAL naming the host
 * and what is wrong with it; -ENOMEM.
 */
int tni_hosts_parse(const char *const *hosts, size_t count, GENERAL_NAMES **names);

/* What an authority made for these names may sign for: them, the names below them, and this machine's loopback. NULL
 * without memory. */
NAME_CONSTRAINTS *tni_hosts_limits(const GENERAL_NAMES *names);

#endif
