/* A tenon loop inside a program that waits with poll(2): an echo server.
 * Run: embed_poll [URL [ask]]     then: nc localhost 10010. SIGINT and SIGTERM end it. */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "embed.h"

int main(int argc, char **argv)
{
	struct embed e = {0};
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
	struct signalfd_siginfo info;
	sigset_t set;
	int rc = embed_start(&e, argc, argv, "tcp://localhost:10010");

	if (rc < 0)
		return embed_end(&e, rc);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fds[0].fd = rc;
	fds[1].fd = signalfd(-1, &set, SFD_CLOEXEC);
	do {
		e.turns++;
		poll(fds, 2, tn_loop_timeout_ms(e.loop));
		if (fds[1].revents && read(fds[1].fd, &info, sizeof(info)) == sizeof(info))
			tn_server_close(e.server, DRAIN_MS, NULL, NULL); /* a second one changes nothing */
		rc = tn_loop_step(e.loop, 0);
		embed_ask(&e);
	} while (rc > 0);
	close(fds[1].fd);
	return embed_end(&e, rc);
}
