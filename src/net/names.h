/*
 * What the files of the system say about looking up names: which services are asked (nsswitch.conf(5), line "hosts"),
 * how DNS is asked (resolv.conf(5)) and what stands in hosts(5). The files are read anew for each look-up, so a change
 * counts at once. The rules are those of glibc's getaddrinfo(3): what it finds, tenon finds.
 */
#ifndef TNI_NET_NAMES_H
#define TNI_NET_NAMES_H

#include "tenon.h"

#include <stdbool.h>

enum tni_names_service {
	TNI_NAMES_FILES,
	TNI_NAMES_DNS,
	TNI_NAMES_FOREIGN, /* any other service or rule of the line: only getaddrinfo(3) itself can follow it */
};

/* How a service ended; each entry of the line says after which of these the search is over. */
enum tni_names_status {
	TNI_NAMES_SUCCESS,
	TNI_NAMES_NOTFOUND,
	TNI_NAMES_UNAVAIL,
	TNI_NAMES_TRYAGAIN,
};

struct tni_names_entry {
	enum tni_names_service service;
	unsigned returns; /* bit of each enum tni_names_status that ends the search */
};

#define TNI_NAMES_ENTRIES_MAX 8
#define TNI_NAMES_LEN_MAX 1024 /* a name to look up, with its domain and the zero byte */

struct tni_names {
	struct tni_names_entry entries[TNI_NAMES_ENTRIES_MAX];
	int nentries;
	char **search; /* the domains, in order */
	int nsearch;
	int ndots;
	int timeout_ms, attempts; /* 0: not said */
	bool rotate, use_tcp, edns, one_by_one, no_ipv6, no_bare;
};

/* Reads nsswitch.conf and resolv.conf, then the variables LOCALDOMAIN and RES_OPTIONS. A file that is missing has the
 * defaults of glibc. Free it with tni_names_free(). 0 or -ENOMEM. */
int tni_names_read(struct tni_names *names);
void tni_names_free(struct tni_names *names);

/* The same from texts, for tests; NULL: the file is missing. */
int tni_names_parse(struct tni_names *names, const char *nsswitch, const char *resolv);

/* Whether DNS can be asked for a host name: letters, digits, '-', '_' and dots, each label of 1 to 63 bytes, and no '-'
 * at the start (RFC 1123, 2.1; glibc takes '_' too). */
bool tni_names_is_valid(const char *host);

/* One walk through the names that DNS is asked for on behalf of one host name. */
struct tni_names_walk {
	const char *host;
	bool begun;
	int next;      /* of the list of domains */
	bool given_up; /* no more domains of the list: only the name as it stands */
	bool bare;     /* the name as it stands has been asked for */
};

/* Writes the next name to ask for. Returns false when there is none. */
bool tni_names_next(const struct tni_names *names, struct tni_names_walk *walk, char out[TNI_NAMES_LEN_MAX]);

/* The port of a service ("https") over a protocol ("tcp", "udp"), services(5). -ENOENT, or -ENOMEM. */
int tni_names_service(const char *name, const char *protocol);

/* The addresses that hosts(5) gives a name, in one family or (AF_UNSPEC) both, each once, in the order of the file. The
 * array is the caller's to free. Returns how many (0: none), -ENOMEM, or another -errno: the file cannot be read. */
int tni_names_in_hosts(const char *path, const char *host, int family, int port, struct tn_addr **addrs);

#endif
