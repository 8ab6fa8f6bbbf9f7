#include "dialled.h"

#include "complain.h"
#include "status.h"
#include "tenon.h"

int dialled_check(const char *url)
{
	if (tn_url_check(url, TN_DIAL) < 0)
		return complain_library(TN_EURL, url);
	if (tn_url_has_key(url, "reconnect") != 1)
		return STATUS_DONE;
	complain("%s: key 'reconnect': here a connection that ends is not dialled again, as by connect and send", url);
	return STATUS_USAGE;
}
