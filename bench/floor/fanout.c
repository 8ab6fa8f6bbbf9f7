/*
 * Bare fan-out: one message to every connection by a loop over send(2), and nothing else.
 *
 *     fanout NUNIX NTCP SIZE ROUNDS [CORE,CORE]
 *
 * Prints the CPU time of the publisher as JSON: see load/fanout.h.
 */
#include "../load/fanout.h"

#include <fcntl.h>

static void set_blocking(int fd)
{
	if (fcntl(fd, F_SETFL, 0))
		err(1, "fcntl");
}

static void accept_all(int listener, int *fds, int n)
{
	for (int i = 0; i < n; i++) {
		fds[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fds[i] < 0)
			err(1, "accept");
	}
}

static void publish(const struct fanout *f, const int *fds, const unsigned char *message)
{
	for (int i = 0; i < f->nunix + f->ntcp; i++)
		if (send(fds[i], message, (size_t)f->size, MSG_NOSIGNAL) != f->size)
			errx(1, "a socket takes no whole message");
}

int main(int argc, char **argv)
{
	struct sockaddr_in in = {0};
	char folder[] = "/tmp/fanout-XXXXXX", path[64];
	unsigned char *message;
	socklen_t len = sizeof(in);
	struct fanout f;
	int tcp, local, *fds;

	fanout_start(&f, argv + 1, argc - 1);
	if (!mkdtemp(folder))
		err(1, "%s", folder);
	snprintf(path, sizeof(path), "%s/s", folder);
	fds = calloc((size_t)(f.nunix + f.ntcp), sizeof(*fds));
	message = malloc((size_t)f.size);
	if (!fds || !message)
		err(1, "malloc");
	fanout_fill(message, f.size);
	tcp = open_listener("tcp", "0");
	local = open_listener("unix", path);
	set_blocking(tcp);
	set_blocking(local);
	getsockname(tcp, (struct sockaddr *)&in, &len);
	fanout_tell_where(&f, ntohs(in.sin_port), path);
	accept_all(local, fds, f.nunix);
	accept_all(tcp, fds + f.nunix, f.ntcp);
	while (fanout_goes_on(&f))
		publish(&f, fds, message);
	unlink(path);
	rmdir(folder);
	fanout_tell(&f, 0);
	return 0;
}
