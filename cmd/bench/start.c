#include "start.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

#define SECONDS_MAX UINT64_C(9999999999) /* the year 2286 */

/* So many digits as a number, and steps over them; false: something else stands there. */
static bool take_digits(const char **at, unsigned digits, int *value)
{
	*value = 0;
	for (; digits; digits--, ++*at) {
		if (**at < '0' || **at > '9')
			return false;
		*value = *value * 10 + (**at - '0');
	}
	return true;
}

static bool take(const char **at, char wanted)
{
	bool stands = **at == wanted;

	*at += stands;
	return stands;
}

/* ".5": what is beyond nanoseconds is cut off. */
static bool take_fraction(const char **at, uint64_t *ns)
{
	uint64_t unit = NS_PER_S;

	*ns = 0;
	if (!take(at, '.'))
		return true;
	if (**at < '0' || **at > '9')
		return false;
	for (; **at >= '0' && **at <= '9'; ++*at) {
		unit /= 10;
		*ns += unit * (uint64_t)(**at - '0');
	}
	return true;
}

/* Z, +01:00: how many seconds its clocks are ahead of UTC. */
static bool take_zone(const char **at, int *seconds)
{
	int sign = **at == '-' ? -1 : 1, hours, minutes;

	*seconds = 0;
	if (take(at, 'Z') || take(at, 'z'))
		return true;
	if ((!take(at, '+') && !take(at, '-')) || !take_digits(at, 2, &hours) || !take(at, ':') ||
	    !take_digits(at, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool read_rfc3339(const char *at, uint64_t *utc_ns)
{
	struct tm tm = {0}, again;
	uint64_t fraction;
	int zone, second;
	time_t seconds;

	if (!take_digits(&at, 4, &tm.tm_year) || !take(&at, '-') || !take_digits(&at, 2, &tm.tm_mon) ||
	    !take(&at, '-') || !take_digits(&at, 2, &tm.tm_mday) || (!take(&at, 'T') && !take(&at, 't')) ||
	    !take_digits(&at, 2, &tm.tm_hour) || !take(&at, ':') || !take_digits(&at, 2, &tm.tm_min) ||
	    !take(&at, ':') || !take_digits(&at, 2, &second) || !take_fraction(&at, &fraction) ||
	    !take_zone(&at, &zone) || *at)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	tm.tm_sec = second;
	again = tm;
	seconds = timegm(&again); /* which makes the 31st of June the 1st of July */
	if (again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon || again.tm_hour != tm.tm_hour ||
	    again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec || seconds - zone < 0 ||
	    (uint64_t)(seconds - zone) > SECONDS_MAX)
		return false;
	*utc_ns = (uint64_t)(seconds - zone) * NS_PER_S + fraction;
	return true;
}

static bool read_epoch(const char *at, uint64_t *utc_ns)
{
	uint64_t seconds = 0, fraction;

	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9' && seconds <= SECONDS_MAX; at++)
		seconds = seconds * 10 + (uint64_t)(*at - '0');
	if (seconds > SECONDS_MAX || !take_fraction(&at, &fraction) || *at)
		return false;
	*utc_ns = seconds * NS_PER_S + fraction;
	return true;
}

bool time_read(const char *text, uint64_t *utc_ns)
{
	return strchr(text, '-') ? read_rfc3339(text, utc_ns) : read_epoch(text, utc_ns);
}
