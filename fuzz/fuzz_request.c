/*
 * What clients ask of a proxy, and the header of datagrams. However it is cut, the same is understood and answered;
 * nothing is asked for that could not stand in a URL.
 */
#include "fuzz.h"

#include "proxy/request.h"
#include "relay/first/datagram.h"

#include <errno.h>

static bool knows(const void *arg, const char *user, size_t user_len, const char *password, size_t password_len)
{
	(void)arg;
	return user_len == password_len && !memcmp(user, password, user_len);
}

struct outcome {
	struct tni_request request;
	long rc;
	size_t taken, replied;
	unsigned char replies[4 * TNI_REQUEST_REPLY_MAX];
};

static void feed(struct outcome *o, const struct tni_request_rules *rules, const uint8_t *data, size_t size)
{
	o->rc = 1;
	while (!o->request.whole && o->rc > 0 && o->taken < size) {
		size_t len = size - o->taken;
		char *copy = fuzz_string(data + o->taken, len);
		struct tni_request_reply reply;

		o->rc = tni_request_read(&o->request, rules, (unsigned char *)copy, len, &reply);
		free(copy);
		CHECK(o->rc <= (long)len);
		CHECK(o->replied + reply.len <= sizeof(o->replies));
		memcpy(o->replies + o->replied, reply.bytes, reply.len);
		o->replied += reply.len;
		o->taken += o->rc > 0 ? (size_t)o->rc : 0;
	}
}

static void check_datagram(const uint8_t *data, size_t size)
{
	char *copy = fuzz_string(data, size), host[256];
	unsigned char again[DATAGRAM_HEADER_MAX];
	int port = -1;
	long n = datagram_read((unsigned char *)copy, size, host, sizeof(host), &port);

	CHECK(n <= (long)size);
	if (n > 0) {
		CHECK(strlen(host) < sizeof(host) && port >= 0 && port <= 65535);
		for (long part = 0; part < n; part++)
			CHECK(datagram_read((unsigned char *)copy, (size_t)part, host, sizeof(host), &port) < 0);
		if (copy[3] != 3) {
			CHECK(datagram_write(again, (unsigned char *)copy + 4, copy[3] == 1 ? 4 : 16, port) ==
			      (size_t)n);
			CHECK(memcmp(again, copy, (size_t)n) == 0);
		}
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tni_request_rules rules = {.passwords = size && data[0] & 1, .knows = knows};
	static struct outcome whole, cut;
	struct tni_request_reply reply;
	size_t at;

	if (size < 2)
		return 0;
	at = data[1];
	data += 2;
	size -= 2;
	check_datagram(data, size);
	memset(&whole, 0, sizeof(whole));
	memset(&cut, 0, sizeof(cut));
	feed(&whole, &rules, data, size);
	if (at < size)
		feed(&cut, &rules, data, at);
	if (cut.rc >= 0)
		feed(&cut, &rules, data, size);
	CHECK(whole.request.whole == cut.request.whole && (whole.rc < 0) == (cut.rc < 0));
	CHECK(whole.replied == cut.replied || whole.rc < 0);
	if (!whole.request.whole)
		return 0;
	CHECK(whole.taken == cut.taken && whole.request.port == cut.request.port);
	CHECK(strcmp(whole.request.host, cut.request.host) == 0);
	CHECK(tni_request_is_host(whole.request.host, strlen(whole.request.host)));
	CHECK(whole.request.udp || whole.request.port > 0);
	tni_request_answer(&whole.request, data[size - 1] & 1 ? -ECONNREFUSED : 0, data, 4, 80, &reply);
	CHECK(reply.len >= 8);
	return 0;
}
