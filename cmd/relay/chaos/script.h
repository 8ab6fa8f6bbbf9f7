/* Faults that change with time, as a script says: lines of TIME SPEC, TIME off, TIME repeat. Pure. */
#ifndef CHAOS_SCRIPT_H
#define CHAOS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos.h"

enum chaos_says { CHAOS_SAYS_NOTHING, CHAOS_SAYS_OFF, CHAOS_SAYS_REPEAT, CHAOS_SAYS_SPEC };

struct chaos_line {
	enum chaos_says says;
	uint64_t at_ns;
	struct chaos_spec spec;
	size_t spec_at; /* the byte at which it begins */
};

/* What is in force from a time on. */
struct chaos_step {
	uint64_t at_ns;
	bool repeats; /* the script begins anew */
	struct chaos_set set;
};

struct chaos_script {
	struct chaos_set base;    /* is in force beside each step, and before the first */
	struct chaos_step *steps; /* by time */
	int nsteps;
};

/* Reads a line without its line feed. Returns NULL, or why not, with the byte in *at; as chaos_parse(). */
const char *chaos_line_read(const char *text, struct chaos_line *line, size_t *at);

/* Puts a line behind those before it: lines of one time are in force together. Returns as chaos_line_read(). */
const char *chaos_script_add(struct chaos_script *script, const struct chaos_line *line, size_t *at);
void chaos_script_free(struct chaos_script *script);

#endif
