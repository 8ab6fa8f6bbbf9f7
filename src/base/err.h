/* The detail of the last failure: one text per thread, beside the code that a function returns. */
#ifndef TNI_BASE_ERR_H
#define TNI_BASE_ERR_H

#include "tenon.h"

/*
 * Formats the detail of a failure and is `code`, so that a caller can write `return tni_err(...)`. A macro, so that
 * compiler and analyser see what is returned.
 */
#define tni_err(code, ...) tni_err_code(code, (tni_err_detail(__VA_ARGS__), 0))
void tni_err_detail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* leaves errno alone */
static inline int tni_err_code(int code, int unused)
{
	(void)unused;
	return code;
}

/* What is said of a part that was left out when the library was built: a text to be put together with others. */
#define TNI_NOT_BUILT(what, option) "this build has no " what " (configure it with -D" option "=enabled)"

/* Puts "text: " in front of the detail that stands there; returns `code`. */
int tni_err_prefix(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where in a URL or message the failure lies, in bytes from 0; set after tni_err(), which resets it to -1. */
void tni_err_at(long position);

#endif
