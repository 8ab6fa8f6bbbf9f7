/* Headers of the PROXY protocol: nothing is read behind the end, and what is read can be written and read again. */
#include "fuzz.h"

#include "proxy/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1), out[TNI_PROXY_V2_MAX + 7];
	struct tni_proxy proxy, again;
	struct tni_proxy_ssl ssl;
	long n, len;

	CHECK(copy != NULL);
	if (size)
		memcpy(copy, data, size);
	n = tni_proxy_read(&proxy, copy, size);
	CHECK(n <= (long)size);
	if (n > 0) {
		(void)tni_proxy_ssl(&proxy, &ssl);
		for (long part = n - 1; part >= 0; part -= 1 + part / 8)
			CHECK(tni_proxy_read(&again, copy, (size_t)part) == 0);
		len = tni_proxy_write(&proxy, false, out, sizeof(out));
		CHECK(len > 0 && len <= TNI_PROXY_V2_MAX);
		/* A checksum may have been of a family that is written otherwise, so it may not fit any more. */
		if (tni_proxy_read(&again, out, (size_t)len) == len) {
			CHECK(again.version == proxy.version && again.family == proxy.family);
			CHECK(memcmp(&again.source, &proxy.source, sizeof(again.source)) == 0);
			CHECK(memcmp(&again.target, &proxy.target, sizeof(again.target)) == 0);
			CHECK(again.tlvs_len == proxy.tlvs_len);
		}
	}
	free(copy);
	return 0;
}
