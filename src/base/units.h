/* Numbers with units, as people read them. The parsers are public: tn_parse_size(), tn_parse_duration(). */
#ifndef TNI_BASE_UNITS_H
#define TNI_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Writes a duration with a unit that keeps it to three digits after the point: 1.5s, 20ms. Returns `out`. */
const char *tni_format_duration(uint64_t ns, char *out, size_t cap);

/* Writes a size: 64KiB where that is exact, otherwise plain bytes. Returns `out`. */
const char *tni_format_size(uint64_t bytes, char *out, size_t cap);

/* The words for on and off: on yes true 1, off no false 0. 1, 0, or -1 for any other. */
int tni_parse_switch(const char *text);

#endif
