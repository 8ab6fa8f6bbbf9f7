#include "reason.h"

#include <errno.h>

#include "tenon.h"

const char *reason_of(int err)
{
	switch (err) {
	case 0:
		return "end";
	case TN_EIDLE:
		return "idle";
	case TN_EDRAIN:
		return "drain";
	case TN_ELIMIT:
		return "limit";
	case -EACCES:
		return "denied";
	case -ECANCELED:
		return "stopped";
	case -ECONNRESET:
	case -EPIPE:
		return "reset";
	case -ETIMEDOUT:
		return "timeout";
	case -ENOBUFS:
		return "lost";
	case TN_ETLS:
	case TN_ECERT:
		return "tls";
	case TN_EFULL:
		return "slow";
	case TN_ECUT:
		return "cut";
	default:
		return err <= TN_EFORMAT && err >= TN_EREPR ? "refused" : "error";
	}
}
