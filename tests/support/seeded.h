/* What the programs share that play seeded scripts on every engine: chance, time, engines, a directory. */
#ifndef TENON_TESTS_SUPPORT_SEEDED_H
#define TENON_TESTS_SUPPORT_SEEDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The next number of a series that its state alone determines. */
uint64_t seeded_next(uint64_t *state);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t seeded_now_ms(void);

/* How many processes want each processor now; at least 1. Deadlines are multiplied by it. */
double seeded_load(void);

/* `list` with room for `need` members, grown by doubling. Aborts without memory. */
void *seeded_grown(void *list, size_t *cap, size_t need, size_t size);

/* How many entries a directory has: open descriptors, files that are left behind. */
int seeded_entries(const char *path);

/* The name of an engine with the seed that it takes, where it takes one and `engine` names none. Returns `out`. */
const char *seeded_engine(const char *engine, uint64_t seed, char *out, size_t cap);

/* Says on standard output that the system refuses an engine. */
bool seeded_engine_is_refused(const char *engine);

/* Makes a directory with certificates (ca, peer), where the library has TLS; and removes it with all that is in it. */
void seeded_make_dir(const char *name, char *path, size_t cap);
void seeded_remove_dir(const char *path);

#endif
