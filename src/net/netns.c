#include "net/netns.h"

#include "base/err.h"
#include "base/file.h"
#include "net/addr.h"
#include "tenon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *tni_netns_path(const char *value, char *out, size_t cap)
{
	size_t len = strlen(value);
	const char *form = strchr(value, '/')                   ? "%s"
			   : strspn(value, "0123456789") == len ? "/proc/%s/ns/net"
								: "/run/netns/%s";

	if (!len || !strcmp(value, ".") || !strcmp(value, "..") || len + 20 > cap)
		return NULL;
	snprintf(out, cap, form, value);
	return out;
}

/*
 * The calling thread's own network. In a sandbox no file can be opened any more: what the process began with is kept,
 * from the first time on that another network was asked for.
 */
static int open_home(void)
{
	static _Atomic(int) first; /* a descriptor and 1 */
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), none = 0, kept;

	if (fd < 0) {
		kept = atomic_load(&first) ? fcntl(atomic_load(&first) - 1, F_DUPFD_CLOEXEC, 0) : -1;
		return kept < 0 ? -errno : kept;
	}
	if (!atomic_load(&first)) {
		kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (kept >= 0 && !atomic_compare_exchange_strong(&first, &none, kept + 1))
			close(kept);
	}
	return fd;
}

static const char *remedy(int err)
{
	switch (err) {
	case -EPERM:
		return " (it needs CAP_SYS_ADMIN: be root, or let the service manager give it)";
	case -EACCES:
		return " (this file may not be read)";
	case -ENOENT:
		return " (`ip netns` lists those that have a name)";
	case -EINVAL:
		return " (it is no network name space)";
	default:
		return "";
	}
}

static int fail(const char *netns, int err)
{
	return tni_err(err, "netns=%s: %s%s", netns, tn_strerror(err), remedy(err));
}

/* To where it is already: whether that is allowed at all, from elsewhere too. */
static int try_home(int home)
{
	return setns(home, CLONE_NEWNET) < 0 ? -errno : 0;
}

int tni_netns_enter(const char *netns, int *home)
{
	char path[PATH_MAX];
	int there, rc;

	*home = -1;
	if (!netns)
		return 0;
	if (!tni_netns_path(netns, path, sizeof(path)))
		return fail(netns, -ENAMETOOLONG);
	there = tni_file_open(path, TN_FILE_READ);
	if (there < 0)
		return fail(netns, there);
	*home = open_home();
	rc = *home < 0 ? *home : try_home(*home);
	if (rc == 0 && setns(there, CLONE_NEWNET) < 0)
		rc = -errno;
	close(there);
	if (rc == 0)
		return 0;
	if (*home >= 0)
		close(*home);
	return fail(netns, rc);
}

void tni_netns_leave(int home)
{
	if (home < 0)
		return;
	if (setns(home, CLONE_NEWNET) < 0)
		abort(); /* it was tried before: all that this thread does from now on would be in a wrong network */
	close(home);
}

/* ---- addresses ---- */

#define KNOWN 16
#define KNOWN_NS UINT64_C(1000000000)

struct tni_netns_known {
	struct {
		struct tn_addr addr;
		uint64_t until_ns;
		bool ours;
	} list[KNOWN];
	unsigned next; /* takes the place of the oldest */
};

/* False: there was no answer. */
static bool ask(const char *netns, const struct tn_addr *addr, bool *ours)
{
	int home;

	*ours = false;
	if (tni_netns_enter(netns, &home) < 0)
		return false;
	*ours = tni_addr_is_ours(addr);
	tni_netns_leave(home);
	return true;
}

bool tni_netns_has(struct tni_netns_known **known, const char *netns, const struct tn_addr *addr, uint64_t now_ns)
{
	struct tni_netns_known *k = *known ? *known : calloc(1, sizeof(*k));
	unsigned at;
	bool ours;

	*known = k;
	for (at = 0; k && at < KNOWN; at++)
		if (k->list[at].until_ns > now_ns && tni_addr_equal(&k->list[at].addr, addr))
			return k->list[at].ours;
	if (!ask(netns, addr, &ours) || !k)
		return ours;
	at = k->next++ % KNOWN;
	k->list[at].addr = *addr;
	k->list[at].until_ns = now_ns + KNOWN_NS;
	k->list[at].ours = ours;
	return ours;
}
