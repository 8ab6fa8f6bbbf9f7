/* Network namespaces: --netns. */
#ifndef TENON_INSPECT_NETNS_H
#define TENON_INSPECT_NETNS_H

#include <stddef.h>
#include <sys/types.h>

struct netns {
	ino_t inode;
	int fd;
	char name[64]; /* that ip-netns(8) knows it by, or net:[INODE] */
};

struct netns_list {
	struct netns *list;
	size_t count, cap;
};

/*
 * A namespace by its name, its file or a process, or with `all` every one that a process or a name stands for. Returns
 * the exit status: 0, or another after printing an error.
 */
int netns_find(struct netns_list *list, const char *wanted);
void netns_free(struct netns_list *list);

/* Goes there. 0 or -errno. */
int netns_enter(const struct netns *netns);

#endif
