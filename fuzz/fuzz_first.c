/*
 * What a client's first bytes say (cmd/relay/first). They are looked at as they come, so what is said once must not
 * change when more come, and more must be asked for while nothing is said.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "relay/first/first.h"

static int look(const uint8_t *data, size_t len, struct first *first)
{
	uint8_t *exact = malloc(len ? len : 1);
	int known;

	CHECK(exact);
	memcpy(exact, data, len);
	known = first_look(exact, len, first);
	free(exact);
	return known;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct first whole, part;
	size_t at = 0;
	int known = 0;

	if (size > 4096)
		return 0;
	while (at <= size && !(known = look(data, at, &part))) {
		CHECK(part.need > at);
		at++;
	}
	CHECK(look(data, size, &whole) == known);
	if (known) {
		CHECK(whole.protocol == part.protocol && strcmp(whole.server_name, part.server_name) == 0);
		CHECK(whole.alpn_len == part.alpn_len && memcmp(whole.alpn, part.alpn, whole.alpn_len) == 0);
	}
	(void)first_offers(&whole, "h2");
	(void)first_fits("*.example", whole.server_name);
	return 0;
}
