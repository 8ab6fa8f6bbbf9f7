/* Reports that are no failures; see tn_set_log(). */
#ifndef TNI_BASE_LOG_H
#define TNI_BASE_LOG_H

#include <stdbool.h>

void tni_log(bool important, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
