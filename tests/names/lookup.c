/*
 * What getaddrinfo(3) finds and what tenon finds, side by side. Reads lines "FAMILY NAME" (0, 4 or 6), writes for each
 * two lines "system NAME RESULT ADDRESS ..." and "tenon NAME RESULT ADDRESS ...": RESULT is 0 or an error's words.
 */
#include "net/addr.h"
#include "net/resolve.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_addr(const struct tn_addr *addr)
{
	struct tn_addr bare = *addr;
	char text[128];

	tni_addr_set_port(&bare, 0);
	printf("\t%s", tn_addr_text(&bare, text, sizeof(text)));
}

static void ask_system(const char *name, int family)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *found = NULL;
	int rc = getaddrinfo(name, NULL, &hints, &found);

	printf("system\t%s\t%s", name, rc ? gai_strerror(rc) : "0");
	for (struct addrinfo *ai = found; ai; ai = ai->ai_next) {
		struct tn_addr addr;

		tni_addr_from(&addr, ai->ai_addr, ai->ai_addrlen);
		print_addr(&addr);
	}
	printf("\n");
	if (found)
		freeaddrinfo(found);
}

static void ask_tenon(const char *name, int family)
{
	struct tn_addr *addrs;
	int n = tni_resolve_now(name, family, 0, 30000, &addrs);

	printf("tenon\t%s\t%s", name, n < 0 ? tn_errmsg() : "0");
	for (int i = 0; i < n; i++)
		print_addr(&addrs[i]);
	printf("\n");
	free(addrs);
}

int main(void)
{
	char line[512], name[500];
	int family;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%d %499s", &family, name) != 2)
			return 2;
		family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
		ask_system(name, family);
		ask_tenon(name, family);
		fflush(stdout);
	}
	return 0;
}
