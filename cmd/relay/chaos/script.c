#include "script.h"

#include <stdlib.h>
#include <string.h>

#include "tenon.h"

#define STEPS_MAX 1024
#define TIME_MAX 64
#define BLANKS " \t"

static const char *read_time(const char *text, size_t len, uint64_t *at_ns)
{
	char word[TIME_MAX];

	if (len >= sizeof(word))
		return "the time is too long";
	memcpy(word, text, len);
	word[len] = '\0';
	return tn_parse_duration(word, at_ns) < 0 ? "a line begins with a time since the start (10s latency=5ms)"
						  : NULL;
}

static const char *read_spec(const char *text, size_t len, struct chaos_line *line, size_t *at)
{
	char *spec = strndup(text + line->spec_at, len);
	const char *why = spec ? chaos_parse(spec, &line->spec, at) : "finds no memory";

	*at = why && spec ? line->spec_at + *at : 0;
	free(spec);
	return why;
}

const char *chaos_line_read(const char *text, struct chaos_line *line, size_t *at)
{
	size_t time_len = strcspn(text, BLANKS), len;
	const char *spec, *why;

	*line = (struct chaos_line){.says = CHAOS_SAYS_NOTHING};
	*at = 0;
	if (!*text || *text == '#')
		return NULL;
	line->spec_at = time_len + strspn(text + time_len, BLANKS);
	spec = text + line->spec_at;
	for (len = strlen(spec); len && strchr(BLANKS, spec[len - 1]);)
		len--;
	why = read_time(text, time_len, &line->at_ns);
	if (why)
		return why;
	if (len == 3 && memcmp(spec, "off", len) == 0) {
		line->says = CHAOS_SAYS_OFF;
	} else if (len == 6 && memcmp(spec, "repeat", len) == 0) {
		line->says = CHAOS_SAYS_REPEAT;
		why = line->at_ns ? NULL : "repeat needs a time after 0s";
	} else {
		line->says = CHAOS_SAYS_SPEC;
		why = read_spec(text, len, line, at);
	}
	return why;
}

/* The step of this time; NULL: there are too many, or there is no memory. */
static struct chaos_step *step_at(struct chaos_script *script, uint64_t at_ns)
{
	struct chaos_step *grown;

	if (script->nsteps && script->steps[script->nsteps - 1].at_ns == at_ns)
		return &script->steps[script->nsteps - 1];
	grown = script->nsteps < STEPS_MAX
			? realloc(script->steps, (size_t)(script->nsteps + 1) * sizeof(*script->steps))
			: NULL;
	if (!grown)
		return NULL;
	script->steps = grown;
	grown += script->nsteps++;
	*grown = (struct chaos_step){.at_ns = at_ns, .set = script->base};
	return grown;
}

const char *chaos_script_add(struct chaos_script *script, const struct chaos_line *line, size_t *at)
{
	const struct chaos_step *last = script->nsteps ? &script->steps[script->nsteps - 1] : NULL;
	struct chaos_step *step;

	*at = 0;
	if (line->says == CHAOS_SAYS_NOTHING)
		return NULL;
	if (last && last->repeats)
		return "the line above begins anew (repeat): this one is never reached";
	if (last && line->at_ns < last->at_ns)
		return "the time is before that of the line above";
	step = step_at(script, line->at_ns);
	if (!step)
		return "there are too many times";
	step->repeats = line->says == CHAOS_SAYS_REPEAT;
	if (line->says != CHAOS_SAYS_SPEC)
		return NULL;
	*at = line->spec_at;
	if (step->set.count == CHAOS_SPECS_MAX)
		return "there are too many specs at this time";
	step->set.specs[step->set.count++] = line->spec;
	return NULL;
}

void chaos_script_free(struct chaos_script *script)
{
	free(script->steps);
	script->steps = NULL;
	script->nsteps = 0;
}
