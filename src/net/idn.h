/* Host names in letters beyond ASCII (IDNA2008, RFC 5891), as they are written in DNS and in certificates. */
#ifndef TNI_NET_IDN_H
#define TNI_NET_IDN_H

#include <stdbool.h>
#include <stddef.h>

#define TNI_IDN_MAX 256

bool tni_idn_is_ascii(const char *name);

/* Writes a name in UTF-8 in its ASCII form (xn--...). 0, TN_EURL with what is wrong and what to type, or -ENOMEM. */
int tni_idn_to_ascii(const char *name, char *out, size_t cap);

#endif
