/* Files of pre-shared keys: read or refused, in words that tell nothing of what stands in a line, since that may be a key. */
#include "fuzz.h"

#include "secure/creds_in.h"
#include "secure/psk.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tni_creds creds;
static char path[32];
static int fd;

static void begin(void)
{
	fd = memfd_create("psk", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	creds.ctx = SSL_CTX_new(TLS_method());
	CHECK(fd >= 0 && fchmod(fd, 0600) == 0 && creds.ctx);
}

static void check_words(void)
{
	char wanted[64];
	int len = snprintf(wanted, sizeof(wanted), "%s: ", path);

	CHECK(strncmp(tn_errmsg(), wanted, (size_t)len) == 0);
	for (const char *c = tn_errmsg(); *c; c++)
		CHECK(*c >= ' ' && *c < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int rc;

	if (!creds.ctx)
		begin();
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	creds.server = size % 2;
	rc = tni_psk_read(&creds, path);
	if (rc < 0)
		check_words();
	CHECK(rc == 0 ? creds.npsks > 0 : rc == TN_EFORMAT);
	CHECK(creds.npsks <= TNI_PSKS_MAX);
	for (size_t i = 0; i < creds.npsks; i++) {
		CHECK(*creds.psks[i].identity && strlen(creds.psks[i].identity) <= 128);
		CHECK(creds.psks[i].len >= 16 && creds.psks[i].len <= TNI_PSK_LEN_MAX);
	}
	tni_psk_free(&creds);
	creds.psks = NULL;
	creds.npsks = 0;
	return 0;
}
