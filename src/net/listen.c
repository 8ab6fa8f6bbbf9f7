#include "net/listen.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "net/bound.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *unix_path(const struct tn_addr *addr)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(uintptr_t)addr->bytes;

	return tni_addr_family(addr) == AF_UNIX && un->sun_path[0] ? un->sun_path : NULL;
}

static int fail(int err, const char *what)
{
	return tni_err(err, "%s: %s", what, tn_strerror(err));
}

static int set_flag(int fd, int level, int name)
{
	int on = 1;

	return setsockopt(fd, level, name, &on, sizeof(on));
}

/* The defaults, which options of the URL may override afterwards. */
static int set_defaults(int fd, const struct tni_listen_spec *spec, const struct tn_addr *addr)
{
	int family = tni_addr_family(addr), v6only = !tni_addr_is_mapped(addr);

	if (family == AF_UNIX || spec->open)
		return 0;
	/* For datagrams it would let two servers share a port unknowingly. */
	if (spec->type == SOCK_STREAM && set_flag(fd, SOL_SOCKET, SO_REUSEADDR) < 0)
		return fail(-errno, "setsockopt SO_REUSEADDR");
	/* So that [::] and 0.0.0.0 can stand side by side, as tenon itself opens them for '*'. An IPv4 address in
	 * IPv6's words (::ffff:127.0.0.1) is one that such a socket could not have. */
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) < 0)
		return fail(-errno, "setsockopt IPV6_V6ONLY");
	if (spec->shared && set_flag(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
		return fail(-errno, "setsockopt SO_REUSEPORT");
	return 0;
}

static int open_bound(const struct tni_listen_spec *spec, const struct tn_addr *addr)
{
	int family = tni_addr_family(addr), rc;
	int fd = spec->open ? spec->open(family, spec->arg)
			    : socket(family, spec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, spec->protocol);

	if (fd < 0)
		return spec->open ? fd : fail(-errno, "socket");
	rc = set_defaults(fd, spec, addr);
	if (rc == 0 && spec->prepare)
		rc = spec->prepare(fd, family, spec->arg);
	/* Before anybody can reach it, and less the umask; what that leaves out is added by own_file() */
	if (rc >= 0 && family == AF_UNIX && spec->mode >= 0 && fchmod(fd, (mode_t)spec->mode) < 0)
		rc = fail(-errno, "mode");
	if (rc >= 0 && bind(fd, tn_addr_sockaddr(addr), addr->len) < 0)
		rc = errno == EINVAL && tni_addr_is_mapped(addr)
			     ? tni_err(-EINVAL, "bind: this is an address of IPv4, which v6only=on rules out")
			     : fail(-errno, "bind");
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

/* Is somebody there? 1: yes; 0: the file was left by a dead server; < 0: cannot tell. */
static int is_served(const struct tni_listen_spec *spec, const struct tn_addr *addr)
{
	int fd = socket(AF_UNIX, spec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 1;

	if (fd < 0)
		return -errno;
	if (connect(fd, tn_addr_sockaddr(addr), addr->len) < 0) {
		if (errno == ECONNREFUSED)
			rc = 0;
		else if (errno != EAGAIN && errno != EPROTOTYPE)
			rc = -errno;
	}
	close(fd);
	return rc;
}

/*
 * A socket refuses until listen(2), so another server that has only just bound it looks dead. Servers therefore take
 * turns in a directory, from before they bind until they listen. Anybody may lock a directory that he can read, so
 * nobody is waited for beyond a second; where it cannot be locked at all, the moment between two calls is the risk.
 */
static int lock_directory(const char *path)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	const char *slash = strrchr(path, '/');
	int fd;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && i < 500; i++)
		nanosleep(&pause, NULL);
	return fd;
}

/* Removes a dead server's file, with the directory locked. */
static int remove_stale(const struct tni_listen_spec *spec, const struct tn_addr *addr, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return tni_err(-EADDRINUSE, "the file exists and is no socket; it is left alone");
	if (is_served(spec, addr) != 0)
		return tni_err(-EADDRINUSE, "another process serves this socket");
	if (tni_unix_is_bound(&st) == 1)
		return tni_err(-EADDRINUSE, "another process has bound this socket, and does not listen yet");
	return unlink(path) < 0 && errno != ENOENT ? fail(-errno, "removing a dead server's socket") : 0;
}

static int bind_unix(const struct tni_listen_spec *spec, const struct tn_addr *addr)
{
	const char *path = unix_path(addr);
	int fd = open_bound(spec, addr), rc;

	if (fd != -EADDRINUSE || !path)
		return fd;
	rc = remove_stale(spec, addr, path);
	return rc < 0 ? rc : open_bound(spec, addr);
}

/* By a descriptor of the file: who can write in its directory could put another in its place,
 * and we would change that. */
static int own_file(const struct tni_listen_spec *spec, const char *path)
{
	char name[32];
	struct stat st;
	int fd, rc = 0;

	if (spec->mode < 0 && spec->user == -1 && spec->group == -1)
		return 0;
	fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		rc = fail(-EBUSY, "the socket's file has been exchanged");
	} else {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		if ((spec->user != -1 || spec->group != -1) && /* numbers from 2^31 on are negative here */
		    fchownat(fd, "", (uid_t)spec->user, (gid_t)spec->group, AT_EMPTY_PATH) < 0)
			rc = fail(-errno, "changing the socket's owner (keys user, group)");
		if (rc == 0 && spec->mode >= 0 && chmod(name, (mode_t)spec->mode) < 0)
			rc = fail(-errno, "changing the socket's permissions (key mode)");
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* SO_REUSEPORT would let us in beside a stranger of the same user: a socket without it finds that out first. */
static int bind_shared(const struct tni_listen_spec *spec, const struct tn_addr *addr)
{
	struct tni_listen_spec probe = *spec;
	int fd;

	probe.shared = false;
	fd = open_bound(&probe, addr);
	if (fd < 0)
		return fd;
	close(fd);
	return open_bound(spec, addr);
}

static int listen_on(const struct tni_listen_spec *spec, struct tn_addr *addr)
{
	struct tn_addr bound;
	const char *path;
	int fd, rc = 0;

	if (tni_addr_family(addr) == AF_UNIX)
		fd = bind_unix(spec, addr);
	else
		fd = spec->shared && !spec->join ? bind_shared(spec, addr) : open_bound(spec, addr);
	if (fd < 0)
		return fd;
	path = unix_path(addr);
	if (path)
		rc = own_file(spec, path);
	if (rc >= 0 && spec->type != SOCK_DGRAM && spec->prepare_listen)
		rc = spec->prepare_listen(fd, tni_addr_family(addr), spec->arg);
	if (rc >= 0 && spec->type != SOCK_DGRAM && listen(fd, spec->backlog) < 0)
		rc = fail(-errno, "listen");
	if (rc >= 0)
		rc = tni_addr_local(fd, &bound);
	if (rc < 0) {
		close(fd);
		path = unix_path(addr);
		if (path) /* made just now, and nobody else's: the directory is ours */
			unlink(path);
		return rc;
	}
	*addr = bound;
	return fd;
}

int tni_listen_open(const struct tni_listen_spec *spec, struct tn_addr *addr)
{
	const char *path = unix_path(addr);
	int lock = path ? lock_directory(path) : -1;
	int fd = listen_on(spec, addr);

	if (lock >= 0)
		close(lock);
	return fd;
}

int tni_listen_take(int fd)
{
	int peer;

	do {
		peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	} while (peer < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
	return peer < 0 ? -errno : peer;
}

void tni_unix_file_note(struct tni_unix_file *file, const struct tn_addr *addr)
{
	const char *path = unix_path(addr);
	struct stat st;

	*file = (struct tni_unix_file){0};
	if (path && lstat(path, &st) == 0)
		*file = (struct tni_unix_file){.device = st.st_dev, .inode = st.st_ino};
}

void tni_unix_file_remove(const struct tni_unix_file *file, const struct tn_addr *addr)
{
	const char *path = unix_path(addr);
	struct stat st;
	int rc;

	if (!path || !file->inode)
		return;
	if (tni_file_is_elsewhere()) {
		rc = tni_file_remove_elsewhere(path);
	} else {
		rc = lstat(path, &st);
		if (rc == 0 && st.st_dev == file->device && st.st_ino == file->inode)
			rc = unlink(path);
		rc = rc < 0 ? -errno : 0;
	}
	if (rc < 0 && rc != -ENOENT)
		tni_log(true, "%s: the socket stays behind: %s", path, tn_strerror(rc));
}
