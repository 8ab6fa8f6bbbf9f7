#include "net/bound.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int ask(int fd)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req body;
	} question = {.head = {.nlmsg_len = sizeof(question),
			       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		      .body = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_VFS}};

	return send(fd, &question, sizeof(question), 0) < 0 ? -errno : 0;
}

/* The kernel's own form of a device number: 12 bits and 20. */
static bool is_file(const struct unix_diag_vfs *vfs, const struct stat *file)
{
	return vfs->udiag_vfs_ino == (uint32_t)file->st_ino && vfs->udiag_vfs_dev >> 20 == major(file->st_dev) &&
	       (vfs->udiag_vfs_dev & 0xfffff) == minor(file->st_dev);
}

static bool is_bound_to(const struct nlmsghdr *head, const struct stat *file)
{
	const struct unix_diag_msg *msg = NLMSG_DATA(head);
	const struct rtattr *attr = (const struct rtattr *)(msg + 1);
	int left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
		if (attr->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(attr) >= sizeof(struct unix_diag_vfs) &&
		    is_file(RTA_DATA(attr), file))
			return true;
	return false;
}

/* 2: there is more to read. */
static int look_through(const char *data, size_t len, const struct stat *file)
{
	const struct nlmsghdr *head = (const struct nlmsghdr *)(const void *)data;

	for (; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len)) {
		if (head->nlmsg_type == NLMSG_DONE)
			return 0;
		if (head->nlmsg_type == NLMSG_ERROR)
			return -EOPNOTSUPP;
		if (head->nlmsg_type == SOCK_DIAG_BY_FAMILY && is_bound_to(head, file))
			return 1;
	}
	return 2;
}

int tni_unix_is_bound(const struct stat *file)
{
	_Alignas(struct nlmsghdr) char data[32768];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), rc;
	ssize_t n;

	if (fd < 0)
		return -errno;
	rc = ask(fd);
	if (rc == 0)
		rc = 2;
	while (rc == 2) {
		n = recv(fd, data, sizeof(data), 0);
		if (n > 0)
			rc = look_through(data, (size_t)n, file);
		else if (n == 0 || errno != EINTR)
			rc = n == 0 ? -EIO : -errno;
	}
	close(fd);
	return rc;
}
