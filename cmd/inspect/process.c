/* Which process holds which socket: /proc, and duplicates of other processes' descriptors. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int add(struct holders *holders, const struct holder *holder)
{
	struct holder *grown;
	size_t cap = holders->cap ? holders->cap * 2 : 256;

	if (holders->count == holders->cap) {
		grown = realloc(holders->list, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		holders->list = grown;
		holders->cap = cap;
	}
	holders->list[holders->count++] = *holder;
	return 0;
}

/* A number, which is all that there is; otherwise -1. */
static long number_of(const char *name)
{
	char *end;
	long number = strtol(name, &end, 10);

	return *name >= '0' && *name <= '9' && !*end ? number : -1;
}

int process_name(int pid, char *out, size_t cap)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	if (!fgets(out, (int)cap, file))
		snprintf(out, cap, "?");
	out[strcspn(out, "\n")] = '\0';
	for (char *c = out; *c; c++) /* a process can give itself any name */
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	fclose(file);
	return 0;
}

bool process_is_zombie(int pid)
{
	char path[64], line[512], *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	state = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL; /* the name may hold brackets, too */
	fclose(file);
	return state && (state[1] && (state[2] == 'Z' || state[2] == 'X'));
}

/* The descriptors of one process. */
static int find_of(struct holders *holders, int pid)
{
	struct holder holder = {.pid = pid};
	char path[64], link[64];
	struct dirent *entry;
	int rc = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	(void)process_name(pid, holder.command, sizeof(holder.command));
	while (rc == 0 && (entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		unsigned long long inode;

		/* Root without capabilities may list the directory, and no more */
		if (len < 0 && (errno == EACCES || errno == EPERM))
			rc = -EACCES;
		if (len <= 0)
			continue;
		link[len] = '\0';
		holder.fd = (int)number_of(entry->d_name);
		if (sscanf(link, "socket:[%llu]", &inode) == 1) {
			holder.inode = inode;
			rc = add(holders, &holder);
		}
	}
	closedir(dir);
	return rc;
}

/* Whether a process is in our network namespace: 1, 0, or -errno where we are not told. */
static int is_in_our_network(int pid)
{
	char path[64];
	struct stat ours, theirs;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if (stat("/proc/self/ns/net", &ours) < 0 || stat(path, &theirs) < 0)
		return -errno;
	return ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static int find_all(struct holders *holders)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return -errno;
	while (rc != -ENOMEM && (entry = readdir(dir))) {
		int pid = (int)number_of(entry->d_name);

		if (pid > 0 && pid != getpid() && is_in_our_network(pid) > 0)
			rc = find_of(holders, pid);
	}
	closedir(dir);
	return rc == -ENOMEM ? rc : 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->pid != y->pid ? (x->pid < y->pid ? -1 : 1) : x->fd - y->fd;
}

int holders_find(struct holders *holders, int pid)
{
	int rc = pid ? find_of(holders, pid) : find_all(holders);

	if (holders->count)
		qsort(holders->list, holders->count, sizeof(*holders->list), by_inode);
	return rc;
}

void holders_free(struct holders *holders)
{
	free(holders->list);
	*holders = (struct holders){0};
}

const struct holder *holders_of(const struct holders *holders, uint64_t inode, size_t *count)
{
	size_t low = 0, high = holders->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (holders->list[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	*count = 0;
	while (inode && low + *count < holders->count && holders->list[low + *count].inode == inode)
		++*count;
	return *count ? &holders->list[low] : NULL;
}

int namespace_enter(int pid)
{
	char path[64];
	int fd, rc = is_in_our_network(pid);

	if (rc != 0)
		return rc > 0 ? 0 : rc;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int descriptor_take(int pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), taken, err;

	if (pidfd < 0)
		return -errno;
	taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	err = errno;
	close(pidfd);
	return taken < 0 ? -err : taken;
}
