/* Formats on endpoints: the check of what comes, and values instead of bytes. */
#ifndef TNI_CONN_FORMAT_H
#define TNI_CONN_FORMAT_H

#include "endpoint/endpoint.h"

/* Checks a message against the endpoint's format. 0, or a code of enum tn_err with the position in the detail. */
int tni_format_check(const struct tni_endpoint *ep, const void *data, size_t len);

/* Reads a message by the endpoint's format. As tn_decode(); -EINVAL: it has none. */
int tni_format_value(const struct tni_endpoint *ep, const void *data, size_t len, struct tn_value **value);

#endif
