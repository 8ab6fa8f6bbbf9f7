/* What the options of every command have set. */
#ifndef TENON_SETTINGS_H
#define TENON_SETTINGS_H

#include <stdbool.h>

struct settings {
	const char *program; /* as it was called, for commands that are proposed */
	const char *engine;  /* NULL: none was asked for */
	bool json, quiet;
	int verbose;
};

extern struct settings settings;

#endif
