#include "calls.h"

#include "io/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- what can fail, and how ---- */

#define NETWORK ENETDOWN, ENETUNREACH, EHOSTUNREACH, EPROTO

const struct failable failables[] = {
	/* accept(2), connect(2), recv(2), send(2), recvmmsg(2), sendmmsg(2), poll(2); ip(7), tcp(7), unix(7);
	 * io_uring_enter(2) for ECANCELED */
	{"accept",
	 true,
	 {EAGAIN, EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK, EOPNOTSUPP,
	  EPERM, ENOPROTOOPT, EHOSTDOWN, ENONET, ECANCELED, NETWORK}},
	{"connect",
	 true,
	 {EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBUSY, EBADF, ECONNREFUSED, ECONNRESET,
	  EFAULT, ENOTSOCK, EPROTOTYPE, ETIMEDOUT, ENOMEM, ENOBUFS, NETWORK}},
	{"recv",
	 true,
	 {EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINTR, EINVAL, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK,
	  ETIMEDOUT, EPIPE, EIO, ECANCELED, NETWORK}},
	{"send", true, {EACCES,     EAGAIN,  EBADF,     ECONNRESET, EDESTADDRREQ, EFAULT,   EINTR,
			EINVAL,     EISCONN, EMSGSIZE,  ENOBUFS,    ENOMEM,       ENOTCONN, ENOTSOCK,
			EOPNOTSUPP, EPIPE,   ETIMEDOUT, EPERM,      ECANCELED,    ENETDOWN, EHOSTUNREACH}},
	{"splicein", true, {EAGAIN, EBADF, ECONNRESET, EINTR, EINVAL, EIO, ENOMEM, ENOSYS, ENOTCONN, EPERM}},
	{"spliceout", true, {EAGAIN, EBADF, ECONNRESET, EINTR, EINVAL, EIO, ENOMEM, ENOSYS, EPERM, EPIPE}},
	{"recvmm",
	 true,
	 {EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, ECONNRESET,
	  ECANCELED, NETWORK}},
	{"sendmm", true, {EACCES,   EAGAIN,     EBADF,   ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EFAULT,
			  EINTR,    EINVAL,     EISCONN, EMSGSIZE,     ENOBUFS,    ENOMEM,       ENOTCONN,
			  ENOTSOCK, EOPNOTSUPP, EPIPE,   EPERM,        ENOENT,     ECANCELED,    ENETUNREACH}},
	{"poll", true, {EFAULT, EINTR, EINVAL, ENOMEM, EBADF, ECANCELED}},
	/* What an engine says itself: no room for a request. */
	{"submit", true, {ENOMEM}},
	{"cancel", true, {ENOMEM}},

	{"socket", false, {EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT}},
	{"socketpair", false, {EAFNOSUPPORT, EFAULT, EMFILE, ENFILE, EOPNOTSUPP, EPROTONOSUPPORT}},
	{"bind",
	 false,
	 {EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM,
	  ENOTDIR, EROFS}},
	{"listen", false, {EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP}},
	{"accept4",
	 false,
	 {EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK, EOPNOTSUPP, EPERM,
	  EPROTO}},
	{"call-connect",
	 false,
	 {EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EISCONN,
	  ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT}},
	{"setsockopt", false, {EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, EPERM, ENOMEM}},
	{"getsockopt", false, {EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK}},
	{"getsockname", false, {EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK}},
	{"getpeername", false, {EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK}},
	{"shutdown", false, {EBADF, EINVAL, ENOTSOCK}}, /* ENOTCONN says that the peer has gone, which must be so */
	{"call-recv", false, {EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK}},
	{"recvmsg", false, {EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK}},
	{"recvmmsg", false, {EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK}},
	{"call-send",
	 false,
	 {EACCES, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT, EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN,
	  ENOTSOCK, EOPNOTSUPP, EPIPE}},
	{"sendto", false, {EACCES, EBADF, ECONNRESET, EINTR, EMSGSIZE, ENOBUFS, ENOMEM, EPIPE}},
	{"sendmsg",
	 false,
	 {EACCES, EBADF, ECONNRESET, EFAULT, EINTR, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, EPIPE}},
	{"sendmmsg",
	 false,
	 {EACCES, EBADF, ECONNRESET, EFAULT, EINTR, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, EPIPE}},
	{"read", false, {EBADF, EFAULT, EINTR, EINVAL, EIO}},
	{"write", false, {EBADF, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPERM, EPIPE}},
	{"writev", false, {EBADF, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPERM, EPIPE}},
	{"call-poll", false, {EFAULT, EINTR, EINVAL, ENOMEM}},
	{"fcntl64", false, {EACCES, EBADF, EINTR, EINVAL, EMFILE, EPERM, EBUSY}},
	{"ioctl", false, {EBADF, EFAULT, EINVAL, ENOTTY}},
	{"open64", false, {EACCES, EINTR, EINVAL, EISDIR, ELOOP, EMFILE, ENFILE, ENOENT, ENOMEM, ENXIO, EROFS}},
	{"close", false, {EINTR, EIO}},
	{"dup2", false, {EBADF, EBUSY, EINTR, EMFILE}},
	{"dup3", false, {EBADF, EBUSY, EINTR, EINVAL, EMFILE}},
	{"pipe2", false, {EFAULT, EINVAL, EMFILE, ENFILE}},
	{"splice", false, {EBADF, EINTR, EINVAL, ENOMEM, ESPIPE, EPERM, ENOSYS, ECONNRESET, EPIPE}},
	{"fork", false, {EAGAIN, ENOMEM, ENOSYS}},
	{"pidfd_open", false, {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH, ENOSYS}},
	{"pthread_create", false, {EAGAIN, EINVAL, EPERM}},
	{"fstat64", false, {EACCES, EBADF, EFAULT, ENOMEM}},
	{"lstat64", false, {EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR}},
	{"unlink", false, {EACCES, EBUSY, EIO, EISDIR, ENOENT, EPERM, EROFS}},
	{"mmap64", false, {EACCES, EAGAIN, EINVAL, ENFILE, ENODEV, ENOMEM, EPERM}},
	{"getrandom", false, {EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS}},
	{"eventfd", false, {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM}},
	{"epoll_create1", false, {EINVAL, EMFILE, ENFILE, ENOMEM}},
	{"epoll_ctl",
	 false,
	 {EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC}}, /* EPERM says that it is a regular file */
	{"epoll_wait", false, {EBADF, EFAULT, EINTR, EINVAL}},
	{"epoll_pwait2", false, {EBADF, EFAULT, EINTR, EINVAL, ENOSYS, EPERM}},
	/* io_uring_setup(2), io_uring_register(2), io_uring_enter(2) */
	{"io_uring_queue_init_params", false, {EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS, EOPNOTSUPP}},
	{"io_uring_register_buf_ring",
	 false,
	 {EACCES, EBADF, EBUSY, EEXIST, EFAULT, EINVAL, ENOMEM, ENXIO, EOPNOTSUPP, ENOSYS, EPERM}},
	{"syscall", false, {EACCES, EBADF, EBADFD, EBUSY, EFAULT, EINVAL, ENOMEM, ENXIO, EOPNOTSUPP, ENOSYS, EPERM}},
	{"io_uring_submit",
	 false,
	 {EAGAIN, EBADF, EBADFD, EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EOWNERDEAD, EINTR}},
	{"io_uring_submit_and_wait",
	 false,
	 {EAGAIN, EBADF, EBADFD, EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EOWNERDEAD, EINTR}},
	{"io_uring_submit_and_wait_timeout",
	 false,
	 {EAGAIN, EBADF, EBADFD, EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EOWNERDEAD, EINTR, ETIME, ENOMEM, EPERM,
	  ENOSYS}},
	{"io_uring_submit_and_get_events",
	 false,
	 {EAGAIN, EBADF, EBADFD, EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EOWNERDEAD, EINTR}},
};
const size_t nfailables = sizeof(failables) / sizeof(failables[0]);

const struct failable *failable_find(const char *name)
{
	for (size_t i = 0; i < nfailables; i++)
		if (!strcmp(failables[i].name, name))
			return &failables[i];
	return NULL;
}

bool failable_is_harmless(const struct failable *f, int err)
{
	bool accepts = !strcmp(f->name, "accept") || !strcmp(f->name, "accept4");

	/* Of the ring's set-up they are a refusal as any other, and the descriptor table knows EINTR as an error. */
	if (!f->is_op)
		return (err == EINTR && strcmp(f->name, "open64") != 0 && strcmp(f->name, "dup2") != 0 &&
			strcmp(f->name, "dup3") != 0 && strcmp(f->name, "fcntl64") != 0) ||
		       (accepts && (err == ECONNABORTED || err == EPROTO));
	return err == EINTR || err == EAGAIN || err == ECANCELED || (accepts && (err == ECONNABORTED || err == EPROTO));
}

bool failable_is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM || err == EAGAIN;
}

/* ---- whose turn it is ---- */

static struct calls_plan *plan;
static _Atomic(bool) armed;

void calls_watch(struct calls_plan *to)
{
	plan = to;
}

void calls_arm(bool on)
{
	atomic_store(&armed, on);
	tni_fault_arm(on);
}

static bool fails(const char *name)
{
	const struct failable *f;
	uint64_t n;

	if (!plan || !atomic_load(&armed))
		return false;
	f = failable_find(name);
	n = __atomic_add_fetch(&plan->seen[f - failables], 1, __ATOMIC_RELAXED);
	if (strcmp(plan->name, name) != 0 || !(n == plan->fail_at || (plan->for_ever && n > plan->fail_at)))
		return false;
	__atomic_add_fetch(&plan->failed, 1, __ATOMIC_RELAXED);
	errno = plan->err;
	return true;
}

/* ---- the calls ---- */

#define WRAP_AS(type, function, name, failed, params, args)             \
	type __real_##function params;                                  \
	type __wrap_##function params;                                  \
	type __wrap_##function params                                   \
	{                                                               \
		return fails(name) ? (failed) : __real_##function args; \
	}
#define WRAP(type, function, params, args) WRAP_AS(type, function, #function, -1, params, args)

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, socketpair, (int domain, int type, int protocol, int *fds), (domain, type, protocol, fds))
WRAP(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags), (fd, addr, len, flags))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len), (fd, level, name, value, len))
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len), (fd, level, name, value, len))
WRAP(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP_AS(ssize_t, recv, "call-recv", -1, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
WRAP(int, recvmmsg, (int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *timeout),
     (fd, v, n, flags, timeout))
WRAP_AS(ssize_t, send, "call-send", -1, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t len),
     (fd, data, size, flags, to, len))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
WRAP(int, sendmmsg, (int fd, struct mmsghdr *v, unsigned n, int flags), (fd, v, n, flags))
WRAP(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
WRAP(ssize_t, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n))
WRAP_AS(int, poll, "call-poll", -1, (struct pollfd * v, nfds_t n, int timeout), (v, n, timeout))
WRAP(int, ioctl, (int fd, unsigned long request, void *arg), (fd, request, arg))
WRAP(int, open64, (const char *path, int flags, mode_t mode), (path, flags, mode))
WRAP(int, dup2, (int from, int to), (from, to))
WRAP(int, dup3, (int from, int to, int flags), (from, to, flags))
WRAP(int, pipe2, (int *fds, int flags), (fds, flags))
WRAP(ssize_t, splice, (int in, off64_t *from, int out, off64_t *to, size_t len, unsigned flags),
     (in, from, out, to, len, flags))
WRAP(pid_t, fork, (void), ())
WRAP(int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags))
WRAP_AS(int, pthread_create, "pthread_create", errno,
	(void *thread, const void *attr, void *(*start)(void *), void *arg), (thread, attr, start, arg))
WRAP(int, fstat64, (int fd, void *st), (fd, st))
WRAP(int, lstat64, (const char *path, void *st), (path, st))
WRAP(int, unlink, (const char *path), (path))
WRAP_AS(void *, mmap64, "mmap64", (void *)-1, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
	(at, size, prot, flags, fd, offset))
WRAP(ssize_t, getrandom, (void *data, size_t size, unsigned flags), (data, size, flags))
WRAP(int, eventfd, (unsigned count, int flags), (count, flags))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int epfd, int what, int fd, struct epoll_event *event), (epfd, what, fd, event))
WRAP(int, epoll_wait, (int epfd, struct epoll_event *v, int n, int timeout), (epfd, v, n, timeout))
WRAP(int, epoll_pwait2, (int epfd, struct epoll_event *v, int n, const struct timespec *timeout, const void *mask),
     (epfd, v, n, timeout, mask))
WRAP(long, syscall, (long number, long a, long b, long c, long d, long e, long f), (number, a, b, c, d, e, f))

/* What hardened builds call in the place of two of these. */
WRAP_AS(ssize_t, __read_chk, "read", -1, (int fd, void *data, size_t size, size_t room), (fd, data, size, room))
WRAP_AS(int, __open64_2, "open64", -1, (const char *path, int flags), (path, flags))

/* It has been done all the same: the connection is being made, the descriptor is gone. */
int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	if (!fails("call-connect"))
		return __real_connect(fd, addr, len);
	if (plan->err == EINTR)
		__real_connect(fd, addr, len);
	errno = plan->err;
	return -1;
}

int __wrap_close(int fd)
{
	bool failed = fails("close");
	int rc = __real_close(fd);

	if (!failed)
		return rc;
	errno = plan->err;
	return -1;
}

/* Of these two an error is true of some descriptors or commands only. */
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __real_fcntl64(int fd, int command, long arg);
int __wrap_fcntl64(int fd, int command, long arg);

static bool is_eventfd(int fd)
{
	char path[32], target[32] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:[eventfd]");
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	return !(plan && plan->err != EINTR && is_eventfd(fd)) && fails("write") ? -1 : __real_write(fd, data, size);
}

int __wrap_fcntl64(int fd, int command, long arg)
{
	bool number = command == F_DUPFD || command == F_DUPFD_CLOEXEC;

	return (!plan || plan->err != EMFILE || number) && fails("fcntl64") ? -1 : __real_fcntl64(fd, command, arg);
}

/* liburing gives the error itself. */
#ifdef TNI_HAVE_URING
struct io_uring;
struct io_uring_cqe;

#define WRAP_RING(function, params, args) WRAP_AS(int, function, #function, -errno, params, args)

WRAP_RING(io_uring_queue_init_params, (unsigned n, struct io_uring *ring, void *params), (n, ring, params))
WRAP_RING(io_uring_register_buf_ring, (struct io_uring * ring, void *reg, unsigned flags), (ring, reg, flags))
WRAP_RING(io_uring_submit, (struct io_uring * ring), (ring))
WRAP_RING(io_uring_submit_and_wait, (struct io_uring * ring, unsigned n), (ring, n))
WRAP_RING(io_uring_submit_and_wait_timeout,
	  (struct io_uring * ring, struct io_uring_cqe **cqe, unsigned n, void *timeout, void *mask),
	  (ring, cqe, n, timeout, mask))
WRAP_RING(io_uring_submit_and_get_events, (struct io_uring * ring), (ring))
#endif
