/*
 * TLS layers that hear from strangers, without a socket: a client or a server (the first byte, even or odd), with a
 * certificate or from 128 on with a pre-shared key, is fed the input as what came from its peer, in pieces as long as
 * the first of these bytes says.
 */
#include "tls_end.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct end e;
	size_t piece;

	if (size < 2)
		return 0;
	ends_begin();
	end_open(&e, data[0] & 0x80, data[0] & 1);
	data++, size--;
	piece = 1 + data[0] * 7U;
	while (size) {
		size_t len = size < piece ? size : piece;

		CHECK(tni_buf_append(&e.in, data, len, false) == 0);
		take_up(&e);
		tni_buf_clear(&e.up);
		data += len;
		size -= len;
	}
	end_close(&e);
	ends_finish();
	return 0;
}
