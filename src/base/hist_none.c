/* What stands for hist_log.c in a build without zlib. */
#include "base/err.h"
#include "tenon_hist.h"

#include <errno.h>

static int not_built(void)
{
	return tni_err(-EOPNOTSUPP, "histogram: %s", TNI_NOT_BUILT("zlib", "zlib"));
}

int tn_hist_encode(const struct tn_hist *hist, char **text)
{
	(void)hist;
	*text = NULL;
	return not_built();
}

int tn_hist_decode(struct tn_hist *hist, const char *text, size_t len)
{
	(void)hist, (void)text, (void)len;
	return not_built();
}
