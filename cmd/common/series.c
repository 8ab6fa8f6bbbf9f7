#include "series.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first has the name that was given; of the others the number stands before what the name ends with. */
char *series_name(const struct series *series, unsigned number, char *name, size_t cap)
{
	const char *path = series->path, *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.'), *suffix = series->suffix ? series->suffix : "";
	int stem = (int)(dot && dot != base ? (size_t)(dot - path) : strlen(path));

	if (number == 1)
		snprintf(name, cap, "%s%s", path, suffix);
	else
		snprintf(name, cap, "%.*s-%u%s%s", stem, path, number, path + stem, suffix);
	return name;
}

/* It may hold secrets: others cannot read one that was there before either. In a sandbox the first is enough. */
static void make_private(int fd)
{
	const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	(void)!fchmod(fd, 0600);
	if (geteuid() == 0 && uid && gid && atol(uid) > 0)
		(void)!fchown(fd, (uid_t)atol(uid), (gid_t)atol(gid));
}

/*
 * Whether the file is ours alone, as long as it is open: two processes would write over each other, as when a server
 * is replaced by another that is started in the same way.
 */
static bool take_alone(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return true;
	return fcntl(fd, F_OFD_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES);
}

/* Of an earlier run, with a mode of its own. False: that run goes on. */
static bool remove_earlier(const char *name)
{
	int fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	bool alone = fd < 0 || take_alone(fd);

	if (fd >= 0)
		close(fd);
	if (alone)
		(void)unlink(name);
	return alone;
}

int series_next(struct series *series)
{
	char name[PATH_MAX];
	int fd;

	series_name(series, ++series->number, name, sizeof(name));
	if (series->number > 1 && !remove_earlier(name))
		return -EBUSY;
	fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (!take_alone(fd)) {
		close(fd);
		return -EBUSY;
	}
	(void)!ftruncate(fd, 0); /* a device cannot be */
	make_private(fd);
	if (series->keep && series->number > series->keep)
		(void)unlink(series_name(series, series->number - series->keep, name, sizeof(name)));
	return fd;
}
