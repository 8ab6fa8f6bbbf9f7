/*
 * URLs understood: schemes, every key and option with its values, frames and formats. Any text is an endpoint or
 * refused with words and a place; what it is agrees with what is told of it. Nothing is opened: tenon looks for
 * interfaces and algorithms only. (The grammar of URLs itself has fuzz_url.)
 */
#include "fuzz.h"

#include "endpoint/endpoint.h"

static void check_refusal(int rc, size_t len)
{
	CHECK(rc == TN_EURL && *tn_errmsg());
	CHECK(tn_errpos() >= -1 && tn_errpos() <= (long)len);
}

static void check_endpoint(const struct tni_endpoint *ep, const char *text)
{
	CHECK(strcmp(ep->url, text) == 0);
	CHECK(ep->scheme && ep->frame.ops && ep->frame.max > 0);
	CHECK(ep->port >= -1 && ep->port <= 65535);
	for (size_t i = 0; i < ep->noptions; i++)
		CHECK(tni_sockopt_find(ep->options[i].opt->key) == ep->options[i].opt);
}

static void understand(const char *text, enum tn_role role)
{
	struct tni_endpoint *ep = NULL;
	int rc = tni_endpoint_new(text, role, &ep);

	if (rc == 0)
		check_endpoint(ep, text);
	else
		check_refusal(rc, strlen(text));
	if (rc == 0)
		tni_endpoint_unref(ep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size);
	int keeps, kind;

	understand(text, TN_SERVE);
	understand(text, TN_DIAL);
	keeps = tn_url_keeps_messages(text);
	CHECK(keeps == 0 || keeps == 1 || keeps == TN_EURL);
	kind = tn_url_kind(text);
	CHECK(kind == TN_EURL || (kind >= 0 && kind < 2 * TN_URL_MEMORY));
	CHECK(kind < 0 || !(kind & TN_URL_PACKETS) || keeps == 1);
	free(text);
	return 0;
}
