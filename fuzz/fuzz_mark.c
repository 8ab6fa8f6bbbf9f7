/* What --record says of packets, in comments that anybody may have written (cmd/capture/packet/mark). */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "capture/packet/mark.h"
#include "tenon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *exact = malloc(size ? size : 1);
	struct mark mark;

	CHECK(exact);
	memcpy(exact, data, size);
	mark = mark_read(exact, size);
	CHECK(mark.what <= MARK_MESSAGE && mark.kind >= TN_MSG_ANY && mark.kind <= TN_MSG_BINARY);
	CHECK(memchr(mark.format, '\0', sizeof(mark.format)) && memchr(mark.session, '\0', sizeof(mark.session)));
	CHECK(mark.what || (!mark.kind && !*mark.format && !*mark.session));
	free(exact);
	return 0;
}
