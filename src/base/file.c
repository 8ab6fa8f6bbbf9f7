#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int (*elsewhere)(const char *path, enum tn_file_use use, void *arg);
static void *elsewhere_arg;

void tn_set_files(int (*fn)(const char *path, enum tn_file_use use, void *arg), void *arg)
{
	elsewhere = fn;
	elsewhere_arg = arg;
}

bool tni_file_is_elsewhere(void)
{
	return elsewhere;
}

int tni_file_open(const char *path, enum tn_file_use use)
{
	int flags = O_CLOEXEC | O_NOCTTY, fd;

	if (elsewhere)
		return elsewhere(path, use, elsewhere_arg);
	flags |= use == TN_FILE_APPEND ? O_WRONLY | O_APPEND | O_CREAT : O_RDONLY;
	fd = open(path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

int tni_file_state(const char *path, struct stat *st)
{
	int fd, err;

	if (!elsewhere)
		return stat(path, st) < 0 ? -errno : 0;
	fd = elsewhere(path, TN_FILE_LOOK, elsewhere_arg);
	if (fd < 0)
		return fd;
	err = fstat(fd, st) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int tni_file_remove_elsewhere(const char *path)
{
	return elsewhere(path, TN_FILE_REMOVE, elsewhere_arg);
}
