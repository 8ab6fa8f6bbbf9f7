/* Key reconnect: what the user hears of a connection that is dialled again. */
#ifndef TENON_TALK_LOST_H
#define TENON_TALK_LOST_H

#include <stdbool.h>

struct tn_loss;

/* Whether the URL says so. */
bool lost_is_awaited(const char *url);

/*
 * In on_lost: tells it on standard error, of attempts that fail the first in a row (-v: each). `for_good`: nothing is
 * left to be said, so the command ends, and only an error is told. Returns whether bytes that were queued are lost for
 * certain.
 */
bool lost_tell(const char *url, int err, const struct tn_loss *loss, bool for_good);

/* It is there again. */
void lost_is_over(const char *url);

#endif
