/* Heads of HTTP/1.1: nothing is read behind the end, and what is whole was not refused when there was less of it. */
#include "fuzz.h"

#include "web/http.h"

static struct tni_http head;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum tni_http_kind kind = size && data[0] & 1 ? TNI_RESPONSE : TNI_REQUEST;
	char *text = fuzz_string(data + (size ? 1 : 0), size ? size - 1 : 0);
	size_t len = size ? size - 1 : 0;
	long n = tni_http_read(&head, kind, text, len);

	CHECK(n <= (long)len && n <= TNI_HTTP_MAX);
	CHECK(n >= 0 || head.answer >= 400);
	if (n > 0) {
		CHECK(memcmp(text + n - 4, "\r\n\r\n", 4) == 0);
		CHECK(kind == TNI_RESPONSE ? head.status >= 100 : head.method.len > 0 && head.target.len > 0);
		for (int i = 0; i < head.nfields; i++) {
			const struct tni_http_field *f = &head.fields[i];

			CHECK(f->name.at >= text && f->value.at + f->value.len <= text + n);
			CHECK(tni_http_is_token(f->name.at, f->name.len));
			CHECK(tni_http_is_value(f->value.at, f->value.len));
		}
		for (long part = n - 1; part >= 0; part -= 1 + part / 4)
			CHECK(tni_http_read(&head, kind, text, (size_t)part) == 0);
	}
	free(text);
	return 0;
}
