/* Sizes of messages: one, a range, a list with weights, or a distribution. */
#ifndef TENON_SIZES_H
#define TENON_SIZES_H

#include <stddef.h>
#include <stdint.h>

#define SIZES_LIST_MAX 16
#define SIZES_MAX (UINT64_C(1) << 30)
#define SIZES_WRITTEN \
	"a size (64, 16KiB), a range (16-4KiB), a list with weights (64@7,576@4,1500@1) or exp:512 (a mean), from 1 up"

struct sizes {
	uint64_t min, max; /* of what is drawn */
	uint64_t mean;     /* exp:MEAN; otherwise 0 */
	unsigned n;        /* of a list; otherwise 0 */
	uint64_t total;    /* of its weights */
	struct {
		uint64_t size, weight;
	} list[SIZES_LIST_MAX];
};

/*
 * Reads one of SIZES_WRITTEN. Sizes are at least `least`: exp:MEAN draws none below it, the others are refused if they
 * name one. Returns 0, -EINVAL, or -ERANGE: one is below `least`.
 */
int sizes_read(const char *text, uint64_t least, struct sizes *sizes);

/* As it is read, with all sizes in bytes. Returns `out`. */
const char *sizes_text(const struct sizes *sizes, char *out, size_t cap);

/* The size that belongs to a random number. */
uint64_t sizes_draw(const struct sizes *sizes, uint64_t random);

#endif
