#include "netns.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "common/complain.h"
#include "common/status.h"
#include "tenon.h"

#define NAMES "/run/netns" /* ip-netns(8) */

static struct netns *find_inode(const struct netns_list *list, ino_t inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->list[i].inode == inode)
			return &list->list[i];
	return NULL;
}

/* Each once; its name is the first that it was found by. */
static int add(struct netns_list *list, const char *path, const char *name)
{
	struct netns netns = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)}, *grown;
	size_t cap = list->cap ? list->cap * 2 : 16;
	struct statfs fs;
	struct stat st;
	int err = 0;

	if (netns.fd < 0)
		return -errno;
	if (fstat(netns.fd, &st) < 0 || fstatfs(netns.fd, &fs) < 0)
		err = -errno;
	else if (fs.f_type != NSFS_MAGIC)
		err = -EINVAL;
	else if (find_inode(list, st.st_ino))
		err = -EEXIST;
	if (err == 0 && list->count == list->cap) {
		grown = realloc(list->list, cap * sizeof(*grown));
		err = grown ? 0 : -ENOMEM;
		if (grown) {
			list->list = grown;
			list->cap = cap;
		}
	}
	if (err < 0) {
		close(netns.fd);
		return err == -EEXIST ? 0 : err;
	}
	netns.inode = st.st_ino;
	if (name)
		snprintf(netns.name, sizeof(netns.name), "%.63s", name);
	else
		snprintf(netns.name, sizeof(netns.name), "net:[%llu]", (unsigned long long)st.st_ino);
	list->list[list->count++] = netns;
	return 0;
}

/* `hidden`: one more for each that we may not look at. */
static int add_folder(struct netns_list *list, const char *folder, const char *behind, unsigned *hidden)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[PATH_MAX];
	int err = 0;

	while (dir && err != -ENOMEM && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || (*behind && !isdigit((unsigned char)entry->d_name[0])))
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", folder, entry->d_name, behind);
		err = add(list, path, *behind ? NULL : entry->d_name);
		*hidden += err == -EACCES || err == -EPERM;
	}
	if (dir)
		closedir(dir);
	return err == -ENOMEM ? err : 0;
}

static const char *near_name(const char *wanted, char *near, size_t cap)
{
	struct dirent **entries = NULL;
	const char *names[256], *found;
	int count = scandir(NAMES, &entries, NULL, alphasort), used = 0;

	for (int i = 0; i < count && used < 256; i++)
		if (entries[i]->d_name[0] != '.')
			names[used++] = entries[i]->d_name;
	found = used ? tn_nearest(wanted, names, (size_t)used) : NULL;
	if (found)
		snprintf(near, cap, " (did you mean %s?)", found);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return near;
}

static int cannot(const char *wanted, int err)
{
	char near[96] = "";

	if (err == -ENOENT && !strchr(wanted, '/') && !isdigit((unsigned char)*wanted))
		complain("inspect: --netns: there is no network namespace '%.64s'%s; ip netns lists them", wanted,
			 near_name(wanted, near, sizeof(near)));
	else if (err == -EINVAL)
		complain("inspect: --netns: %s is no network namespace", wanted);
	else if (err == -ENOENT && isdigit((unsigned char)*wanted))
		complain("inspect: --netns: there is no process %s", wanted);
	else
		complain("inspect: --netns: %s: %s", wanted, tn_strerror(err));
	return STATUS_FAILED;
}

static int find_all(struct netns_list *list)
{
	unsigned names = 0, processes = 0;
	int err = add_folder(list, NAMES, "", &names);

	if (err == 0)
		err = add_folder(list, "/proc", "/ns/net", &processes);
	if (err < 0)
		return complain_library(err, NULL);
	if (names || processes)
		complain_warning(
			"inspect: --netns all: not all: without the rights of root, %u names and the networks of "
			"%u processes may not be looked at",
			names, processes);
	return STATUS_DONE;
}

int netns_find(struct netns_list *list, const char *wanted)
{
	char path[PATH_MAX];
	int err;

	if (strcmp(wanted, "all") == 0)
		return find_all(list);
	if (strchr(wanted, '/'))
		snprintf(path, sizeof(path), "%s", wanted);
	else if (wanted[strspn(wanted, "0123456789")] == '\0')
		snprintf(path, sizeof(path), "/proc/%s/ns/net", wanted);
	else
		snprintf(path, sizeof(path), NAMES "/%s", wanted);
	err = add(list, path, strchr(wanted, '/') || path[1] == 'p' ? NULL : wanted);
	return err < 0 ? cannot(wanted, err) : STATUS_DONE;
}

void netns_free(struct netns_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		close(list->list[i].fd);
	free(list->list);
	*list = (struct netns_list){0};
}

int netns_enter(const struct netns *netns)
{
	return setns(netns->fd, CLONE_NEWNET) < 0 ? -errno : 0;
}
