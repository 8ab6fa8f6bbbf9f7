#include "notify.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "complain.h"
#include "tenon.h"
#include "workers.h"

/* What an end takes at most besides the time that connections have. */
#define END_NS (5 * NS_PER_S)

static struct {
	int fd;
	uint64_t every_ms; /* 0: there is no watchdog */
	struct tn_timer *timer;
	_Atomic(int) missing; /* loops that have not answered yet */
} manager = {.fd = -1};

static void say(const char *text)
{
	/* A manager that does not read is no reason to wait */
	if (manager.fd >= 0)
		(void)send(manager.fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Its time in milliseconds, where it is meant for this process. */
static uint64_t watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	return strtoull(usec, NULL, 10) / 1000;
}

/* A socket that is connected to it; -1: its name is too long, of vsock, or nobody is there. */
static int reach(const char *place)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(place);
	int fd;

	if (len >= sizeof(addr.sun_path) || (*place != '/' && *place != '@'))
		return -1;
	memcpy(addr.sun_path, place, len);
	if (*place == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void notify_open(void)
{
	const char *place = getenv("NOTIFY_SOCKET");

	if (!place || !*place)
		return;
	manager.fd = reach(place);
	if (manager.fd < 0) {
		complain_warning("the service manager is not told anything: NOTIFY_SOCKET %s cannot be used", place);
		return;
	}
	manager.every_ms = watchdog_ms() / 2;
	/* What is started from here on is not the service. */
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

bool notify_is_open(void)
{
	return manager.fd >= 0;
}

/* ---- the watchdog ---- */

static void turn(void *arg);

static void again(void)
{
	if (tn_timer_start(workers_loops()[0], manager.every_ms, turn, NULL, &manager.timer) < 0)
		complain_warning("the service manager's watchdog is not told any more: %s", tn_errmsg());
}

static void present(void *arg)
{
	(void)arg;
	manager.missing--;
}

/* Those that have not answered since the last turn will, once they turn again. */
static void turn(void *arg)
{
	(void)arg;
	manager.timer = NULL;
	if (manager.missing == 0) {
		say("WATCHDOG=1");
		for (int i = 1; i < workers_count(); i++) {
			manager.missing++;
			if (!workers_post_to(i, present, NULL))
				manager.missing--;
		}
	}
	again();
}

/* ---- what happens ---- */

void notify_ready(void)
{
	say("READY=1\nSTATUS=Listening.");
	if (manager.fd >= 0 && manager.every_ms)
		turn(NULL);
}

void notify_reloading(void)
{
	char text[80];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_ns() / NS_PER_US));
	say(text);
}

void notify_reloaded(void)
{
	say("READY=1");
}

void notify_stopping(uint64_t drain_ns)
{
	char text[128];

	snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=Connections finish.\nEXTEND_TIMEOUT_USEC=%llu",
		 (unsigned long long)((drain_ns + END_NS) / NS_PER_US));
	say(text);
}

void notify_close(void)
{
	tn_timer_stop(manager.timer);
	manager.timer = NULL;
	if (manager.fd >= 0)
		close(manager.fd);
	manager.fd = -1;
}
