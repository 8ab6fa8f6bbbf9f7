/* fd:N: a connection over a descriptor that was handed over. */
#include "base/err.h"
#include "conn/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening these again gives the very same pipe or terminal; of other devices, a pty's master too, another one. */
static bool may_reopen(int fd)
{
	unsigned number;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	return S_ISFIFO(st.st_mode) || (isatty(fd) && ioctl(fd, TIOCGPTN, &number) < 0);
}

/* A terminal that names another's, as /dev/tty does, may have come to name a different one. */
static bool is_same_terminal(int a, int b)
{
	unsigned da = 0, db = 0;

	return !isatty(a) || (ioctl(a, TIOCGDEV, &da) == 0 && ioctl(b, TIOCGDEV, &db) == 0 && da == db);
}

/*
 * A pipe or terminal may be shared with others who do not expect O_NONBLOCK: it gets a description of its own under the
 * same number. Where that cannot be had, the flag is set and taken back at the end. Returns flags for tni_fd_init().
 */
static int make_nonblocking(int fd, int flags)
{
	char path[64];
	int mine;

	if (flags & O_NONBLOCK)
		return TNI_FD_FILE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mine = may_reopen(fd) ? open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
	if (mine >= 0 && is_same_terminal(fd, mine) && dup3(mine, fd, O_CLOEXEC) >= 0) {
		close(mine);
		return TNI_FD_FILE;
	}
	if (mine >= 0)
		close(mine);
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : TNI_FD_FILE | TNI_FD_RESTORE;
}

static int adopt_file(struct tn_conn *c, int fd, mode_t mode)
{
	int is = fcntl(fd, F_GETFL), access = is & O_ACCMODE;
	int flags = is < 0 ? -errno : S_ISFIFO(mode) || S_ISCHR(mode) ? make_nonblocking(fd, is) : TNI_FD_FILE;

	if (flags < 0)
		return tni_err(flags, "%s: %s", c->ep->url, tn_strerror(flags));
	if (access == O_RDONLY)
		c->flags |= TNI_READ_ONLY | TNI_FIN_WANTED | TNI_FIN_SENT;
	else if (access == O_WRONLY || c->ep->fd == STDOUT_FILENO || c->ep->fd == STDERR_FILENO)
		c->flags |= TNI_WRITE_ONLY; /* a terminal's three descriptors are one, open for both */
	else if (c->ep->fd == STDIN_FILENO)
		c->flags |= TNI_READ_ONLY | TNI_FIN_WANTED | TNI_FIN_SENT;
	(void)c->kind->open(c, fd, (unsigned)flags); /* a file has all it needs */
	tni_conn_opened(c);
	return 0;
}

const struct tni_kind *tni_kind_of_fd(int fd)
{
	socklen_t len = sizeof(int);
	struct stat st;
	int type = 0;

	if (fstat(fd, &st) == 0 && !S_ISSOCK(st.st_mode))
		return &tni_kind_file;
	(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	if (type == SOCK_DGRAM || type == SOCK_RAW)
		return &tni_kind_datagrams;
	return type == SOCK_SEQPACKET ? &tni_kind_packets : &tni_kind_bytes;
}

#ifdef TNI_HAVE_FILES

int tni_conn_open_device(struct tn_conn *c)
{
	const struct tni_endpoint *ep = c->ep;
	int fd = ep->scheme->place == TNI_AT_TTY   ? tni_tty_open(ep->host, ep->device)
		 : ep->scheme->place == TNI_AT_PTY ? tni_pty_open(ep->host, ep->device)
						   : tni_file_open_as(ep->host, ep->device->opened);
	struct stat st;
	int rc = fd;

	if (fd >= 0)
		rc = fstat(fd, &st) < 0 ? -errno : adopt_file(c, fd, st.st_mode);
	if (fd >= 0 && rc < 0)
		close(fd);
	return rc;
}

#endif

int tni_conn_adopt(struct tn_conn *c)
{
	int fd = c->ep->fd, listening = 0;
	struct tn_addr addr;
	socklen_t len = sizeof(listening);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return errno == EBADF
			       ? tni_err(-EBADF, "%s: no descriptor with this number was handed over", c->ep->url)
			       : tni_err(-errno, "%s: %s", c->ep->url, tn_strerror(-errno));
	if (!S_ISSOCK(st.st_mode))
		return adopt_file(c, fd, st.st_mode);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return tni_err(-errno, "%s: %s", c->ep->url, tn_strerror(-errno));
	if (listening)
		return tni_err(-EINVAL, "%s: this socket listens; serve it", c->ep->url);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (tni_addr_local(fd, &addr) < 0 || tni_endpoint_prepare(fd, tni_addr_family(&addr), c->ep) < 0)
		return tni_err_prefix(-EINVAL, "%s", c->ep->url);
	if (tni_conn_connected(c, fd) < 0)
		return -ENOMEM;
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		c->io.flags |= TNI_FD_POLLED; /* the ring does not wait on those */
	return 0;
}
