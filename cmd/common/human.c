#include "human.h"

#include <stdio.h>
#include <string.h>

const char *human_count(double value, char *out, size_t cap)
{
	static const char *const units[] = {"", "k", "M", "G", "T"};
	unsigned unit = 0;

	while (value >= 999.5 && unit < 4) {
		value /= 1000;
		unit++;
	}
	snprintf(out, cap, "%.*f%s",
		 unit == 0 && value >= 100 ? 0
		 : value >= 99.95          ? 0
		 : value >= 9.995          ? 1
					   : 2,
		 value, units[unit]);
	return out;
}

const char *human_us(double us, char *out, size_t cap)
{
	const char *unit = "us";
	double value = us;

	if (us >= 999500)
		value = us / 1e6, unit = "s";
	else if (us >= 999.5)
		value = us / 1e3, unit = "ms";
	snprintf(out, cap, "%.*f %s", value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value, unit);
	return out;
}

const char *human_bytes(double bytes, char *out, size_t cap)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	while (bytes >= 1023.5 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, cap, "%.*f %s", unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2, bytes, units[unit]);
	return out;
}

const char *human_bits(double bits, char *out, size_t cap)
{
	char count[24], unit;
	size_t len;

	human_count(bits, count, sizeof(count));
	len = strlen(count);
	unit = count[len - 1];
	if (unit > '9')
		count[len - 1] = '\0';
	snprintf(out, cap, "%s %.*sbit", count, unit > '9', &unit);
	return out;
}
