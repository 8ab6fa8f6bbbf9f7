#include "paint.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum colour colour_when;

void paint_when(enum colour when)
{
	colour_when = when;
}

static bool colour_on(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (colour_when != COLOUR_AUTO)
		return colour_when == COLOUR_ALWAYS;
	return !(no && *no) && isatty(fd) && term && strcmp(term, "dumb") != 0;
}

const char *paint_code(int fd, enum paint paint)
{
	static const char *const sequences[] = {"\033[0m",  "\033[1m",  "\033[2m", "\033[31m",
						"\033[32m", "\033[33m", "\033[36m"};

	return colour_on(fd) ? sequences[paint] : "";
}
