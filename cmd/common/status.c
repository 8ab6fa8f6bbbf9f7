#include "status.h"

#include <errno.h>

#include "tenon.h"

enum status status_of(int err)
{
	if (err >= 0)
		return STATUS_DONE;
	if (err == TN_EURL)
		return STATUS_USAGE;
	if (err == -ETIMEDOUT || err == TN_EIDLE)
		return STATUS_TIMEOUT;
	if ((err <= TN_EFORMAT && err >= TN_EREPR) || err == -EMSGSIZE)
		return STATUS_REFUSED;
	return STATUS_FAILED;
}
