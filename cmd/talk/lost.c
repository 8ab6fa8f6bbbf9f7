#include "lost.h"

#include "common/clock.h"
#include "common/complain.h"
#include "common/settings.h"
#include "tenon.h"

bool lost_is_awaited(const char *url)
{
	return tn_url_has_key(url, "reconnect") == 1;
}

bool lost_tell(const char *url, int err, const struct tn_loss *loss, bool for_good)
{
	double wait_s = (double)loss->again_ns / NS_PER_S;

	if (loss->unsent > 0)
		complain("%s: %llu bytes have not been sent, and are lost", url, (unsigned long long)loss->unsent);
	if (for_good && err < 0)
		complain("%s", tn_errmsg());
	if (for_good || settings.quiet || (!settings.verbose && loss->failed > 1))
		return loss->unsent > 0;
	if (err == 0)
		complain("%s: the peer ended the connection; again in %.1f s", url, wait_s);
	else
		complain("%s; again in %.1f s", tn_errmsg(), wait_s);
	return loss->unsent > 0;
}

void lost_is_over(const char *url)
{
	if (!settings.quiet)
		complain("%s: connected again", url);
}
