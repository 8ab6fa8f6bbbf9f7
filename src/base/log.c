#include "base/log.h"

#include "tenon.h"

#include <stdarg.h>
#include <stdio.h>

static void (*sink)(bool important, const char *text, void *arg);
static void *sink_arg;

void tn_set_log(void (*fn)(bool important, const char *text, void *arg), void *arg)
{
	sink = fn;
	sink_arg = arg;
}

void tni_log(bool important, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!sink)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sink(important, text, sink_arg);
}
