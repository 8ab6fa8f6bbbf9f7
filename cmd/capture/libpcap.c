#include "libpcap.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct libpcap libpcap;

static char why[256];

static int find(void *library, const char *name, void *to)
{
	void *symbol = dlsym(library, name);

	if (!symbol)
		snprintf(why, sizeof(why), "libpcap is too old: it has no %s", name);
	memcpy(to, &symbol, sizeof(symbol));
	return symbol ? 0 : -1;
}

static int load(void)
{
	/* Debian's name, that of its makers, and whatever else there is */
	static const char *const names[] = {"libpcap.so.0.8", "libpcap.so.1", "libpcap.so"};
	void *library = NULL;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(why, sizeof(why), "libpcap is not installed here (Debian: apt-get install libpcap0.8)");
		return -1;
	}
#define LIBPCAP_FIND(name)                                   \
	if (find(library, "pcap_" #name, &libpcap.name) < 0) \
		return -1;
	LIBPCAP_FUNCTIONS(LIBPCAP_FIND)
	return 0;
}

int libpcap_load(void)
{
	static bool tried;
	static int result;

	if (!tried)
		result = load();
	tried = true;
	return result;
}

const char *libpcap_missing(void)
{
	return why;
}
