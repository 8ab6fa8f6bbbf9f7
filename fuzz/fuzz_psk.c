/* Files of pre-shared keys: read or refused, in words that tell nothing of what stands in a line, since that may be a
 * key. */
#include "fuzz.h"

#include "secure/creds_in.h"
#include "secure/psk.h"

static void check_words(void)
{
	CHECK(strncmp(tn_errmsg(), "keys: ", 6) == 0);
	for (const char *c = tn_errmsg(); *c; c++)
		CHECK(*c >= ' ' && *c < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tni_creds creds = {0};
	char *text = fuzz_string(data, size);
	int rc = tni_psk_take(&creds, "keys", text);

	if (rc < 0)
		check_words();
	CHECK(rc == 0 ? creds.npsks > 0 : rc == TN_EFORMAT);
	CHECK(creds.npsks <= TNI_PSKS_MAX);
	for (size_t i = 0; i < creds.npsks; i++) {
		CHECK(*creds.psks[i].identity && strlen(creds.psks[i].identity) <= 128);
		CHECK(creds.psks[i].len >= 16 && creds.psks[i].len <= TNI_PSK_LEN_MAX);
	}
	tni_psk_free(&creds);
	free(text);
	return 0;
}
