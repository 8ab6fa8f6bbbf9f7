/* Option --admin-trace: the last messages of each session, for who asks --admin about it. */
#ifndef TENON_LAST_H
#define TENON_LAST_H

#include <stdbool.h>
#include <stddef.h>

#include "tenon.h"

struct last;
struct text;

#define ADMIN_TRACE_MEANING "keep the last N messages of each connection, and show them on the page of --admin"
const char *last_set_count(const char *value, void *to);

/* Whether --admin-trace was given. */
bool last_is_wanted(void);

/* None is kept yet. NULL: there is no memory. last_free(NULL) is allowed. */
struct last *last_new(void);
void last_free(struct last *last);

/* Keeps a message, of its bytes the first `most`; it takes the place of the oldest. */
void last_keep(struct last *last, bool in, const struct tn_msg *msg, const char *format, size_t most);

/* Adds them as items of a list, the oldest first. */
void last_json(const struct last *last, struct text *out);

#endif
