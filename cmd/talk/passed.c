#include "passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *passed_add(const char *value, void *to)
{
	struct passed *passed = to;
	char *end;
	long fd;

	errno = 0;
	fd = strtol(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || fd > INT32_MAX)
		return "is no number of a descriptor, such as 3";
	if (fcntl((int)fd, F_GETFD) < 0)
		return "is no open descriptor (open it in the shell: 3< FILE)";
	if (passed->count == PASSED_MAX)
		return "is one more than the 64 that can be passed";
	passed->fd[passed->count++] = (int)fd;
	return NULL;
}

long passed_send(const struct passed *passed, int sock, const void *data, size_t len)
{
	size_t size = passed->count * sizeof(int);
	union {
		char room[CMSG_SPACE(PASSED_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(cmsg), passed->fd, size);
	do
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (long)n;
}
