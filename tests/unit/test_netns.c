/* What is remembered of other networks' addresses (net/netns). The network is this one, by another name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "net/addr.h"
#include "net/netns.h"
#include "tenon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static unsigned opened;
static bool full;

static int open_own(const char *path, enum tn_file_use use, void *arg)
{
	int fd;

	(void)path, (void)use, (void)arg;
	opened++;
	if (full)
		return -EMFILE;
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static struct tn_addr address(const char *text, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct tn_addr addr = {.len = sizeof(in)};

	assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
	memcpy(addr.bytes, &in, sizeof(in));
	return addr;
}

static void test_addresses_are_remembered(void **state)
{
	struct tn_addr ours = address("127.0.0.1", 5353), others = address("198.51.100.77", 5353), many;
	struct tni_netns_known *known = NULL;
	int home;

	(void)state;
	tn_set_files(open_own, NULL);
	if (tni_netns_enter("/a/network", &home) < 0) {
		tn_set_files(NULL, NULL);
		skip(); /* it takes a privilege */
	}
	tni_netns_leave(home);
	full = true;
	assert_false(tni_netns_has(&known, "/a/network", &ours, SECOND)); /* which is no answer */
	full = false;
	opened = 0;
	for (int i = 0; i < 100; i++) {
		assert_true(tni_netns_has(&known, "/a/network", &ours, SECOND));
		assert_false(tni_netns_has(&known, "/a/network", &others, SECOND));
	}
	assert_int_equal(opened, 2);
	assert_true(tni_netns_has(&known, "/a/network", &ours, 2 * SECOND)); /* not for ever */
	assert_int_equal(opened, 3);
	for (int i = 0; i < 20; i++) { /* more than are kept */
		many = address("198.51.100.77", (uint16_t)(1 + i));
		assert_false(tni_netns_has(&known, "/a/network", &many, 2 * SECOND));
	}
	assert_int_equal(opened, 23);
	assert_true(tni_netns_has(&known, "/a/network", &ours, 2 * SECOND));
	assert_int_equal(opened, 24);
	tn_set_files(NULL, NULL);
	free(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses_are_remembered)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
