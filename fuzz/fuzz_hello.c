/* Extensions of a client's hello: counted without reading behind their end, whatever their lengths say. */
#include "fuzz.h"

#include "secure/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned extensions[] = {TLSEXT_TYPE_supported_groups,
					      TLSEXT_TYPE_signature_algorithms,
					      TLSEXT_TYPE_signature_algorithms_cert,
					      TLSEXT_TYPE_key_share,
					      TLSEXT_TYPE_psk,
					      TLSEXT_TYPE_application_layer_protocol_negotiation};

	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		const char *why = tni_hello_odd(extensions[i], data, size);

		CHECK(!why || strstr(why, "more than"));
		CHECK(size >= 70 || !why); /* the least that is odd: 17 key shares of 4 bytes, behind a length */
	}
	return 0;
}
