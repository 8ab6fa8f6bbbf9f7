/*
 * What the conformance suites share: which engine is under test, a watchdog, and the look round after every test for
 * what it left behind.
 */
#ifndef TENON_TESTS_CONFORMANCE_HARNESS_H
#define TENON_TESTS_CONFORMANCE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"

/* The engine under test, as tn_loop_new() takes it: uring, epoll, sim:7. */
extern const char *th_engine;

bool th_is_uring(void);
bool th_is_epoll(void);
bool th_is_sim(void);

/* A directory for socket files, made for the test and gone after it. */
extern char th_dir[64];

/* Seconds after which a test is hanging, on a machine that has a processor for each that wants one. */
#define TH_WATCHDOG_S 100

/*
 * How long th_until() waits for something that has to come: far longer than any of it takes, sanitizers included. Both
 * follow the load of the machine: where four processes want each processor, it is four times as long.
 */
#ifndef TH_PATIENCE_MS
#define TH_PATIENCE_MS 40000
#endif

/* How many processes want each processor now; at least 1. */
double th_load(void);

/* cmocka's set-up and tear-down of every test. The latter fails when the test left a descriptor, a child or a file. */
int th_setup(void **state);
int th_teardown(void **state);

/* Runs a group on the engine named by argv[1] or TENON_ENGINE, or on each in turn; of its tests those whose names match
 * argv[2], or a share: "0/4". Returns main()'s result; 77, which means "skipped", when the one engine asked for is
 * refused by the system. */
int th_main(int argc, char **argv, const char *group, const struct CMUnitTest *tests, size_t ntests);

uint64_t th_now_ms(void);

/* Fails with what was waited for when `deadline_ms` has passed. */
void th_check_deadline(uint64_t deadline_ms, const char *what, const char *file, int line);

/* Turns the loop until a condition holds. */
#define th_until(loop, cond)                                                       \
	do {                                                                       \
		uint64_t th_deadline = th_now_ms() + TH_PATIENCE_MS;               \
		while (!(cond)) {                                                  \
			assert_true(tn_loop_step((loop), 5) >= 0);                 \
			th_check_deadline(th_deadline, #cond, __FILE__, __LINE__); \
		}                                                                  \
	} while (0)

/* Turns the loop for a while: for what must not happen. */
void th_turn_for(struct tn_loop *loop, int ms);

/* Opens a loop with the engine under test. */
struct tn_loop *th_loop(void);

/* A connected pair: stream or seqpacket sockets of AF_UNIX, or loopback TCP (`tcp`). Blocking, close-on-exec. */
void th_pair(int type, int pair[2]);
void th_tcp_pair(int pair[2]);

/* A listening loopback TCP socket; `port` gets the kernel's choice. */
int th_tcp_listener(int backlog, int *port);

/* A blocking connection to it. */
int th_tcp_dial(int port);

void th_set_nonblock(int fd);

/* Open descriptors of this process. */
int th_count_fds(void);

/* The byte that stands at an offset of every test stream: its period is no power of two, so that no mix-up of blocks
 * goes unseen. */
static inline unsigned char th_byte(uint64_t at)
{
	return (unsigned char)(at * 31 + at / 251 + at / 65521);
}

void th_fill(void *out, size_t len, uint64_t at);

/* Whether the bytes are those of the test stream from an offset on. */
bool th_matches(const void *data, size_t len, uint64_t at);

#endif
