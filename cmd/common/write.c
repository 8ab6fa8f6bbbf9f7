#include "write.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

/* Another process may have made the descriptor non-blocking. That is not an error, but a reason to wait. */
int fd_write(int fd, const void *data, size_t len)
{
	const char *from = data;

	while (len > 0) {
		ssize_t done = write(fd, from, len);

		if (done < 0 && errno == EAGAIN)
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		else if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			from += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

int file_write(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int err = fd < 0 ? -errno : fd_write(fd, data, len);

	if (fd >= 0 && close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}
