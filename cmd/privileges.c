#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tenon.h"

#define NOBODY 65534

static long number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value = text ? strtol(text, &end, 10) : -1;

	return text && *text && !*end && value > 0 ? value : -1;
}

bool privileges_find(const char *name, struct privileges_user *user)
{
	const struct passwd *found = getpwnam(name);

	if (found)
		*user = (struct privileges_user){name, found->pw_uid, found->pw_gid};
	return found != NULL;
}

static int set_user(uid_t uid, gid_t gid)
{
	return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

static int become(uid_t uid, gid_t gid)
{
	return setgroups(0, NULL) < 0 ? -errno : set_user(uid, gid);
}

static int drop_root(void)
{
	const struct passwd *nobody;
	long uid = number_of("SUDO_UID"), gid = number_of("SUDO_GID");
	int err;

	if (uid > 0 && gid > 0)
		return become((uid_t)uid, (gid_t)gid);
	nobody = getpwnam("nobody");
	err = become(nobody ? nobody->pw_uid : NOBODY, nobody ? nobody->pw_gid : NOBODY);
	/* In a user namespace there may be nobody else to become: without capabilities its root is nobody special */
	return err == -EINVAL || err == -EPERM ? 0 : err;
}

/* All but those whose bits are set in `kept`. Root in a container may not have them in the first place. */
static int drop_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &head, left) < 0)
		return -errno;
	left[0].permitted &= kept;
	left[0].effective = left[0].permitted;
	left[0].inheritable = 0;
	left[1] = (struct __user_cap_data_struct){0};
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, left) < 0 ? -errno : 0;
}

static void drop_bounds(void)
{
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); /* needs privilege; without it there is nothing to drop */
}

static int no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int privileges_keep(uint32_t kept)
{
	int err;

	drop_bounds();
	err = drop_capabilities(kept);
	return err == 0 ? no_new_privileges() : err;
}

int privileges_leave(const struct privileges_user *user, uint32_t kept)
{
	bool root = geteuid() == 0;
	int err = 0;

	drop_bounds();
	if (root && kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		err = -errno;
	if (err == 0 && user && initgroups(user->name, user->gid) < 0 && user->uid != geteuid())
		err = -errno;
	if (err == 0 && user)
		err = user->uid == geteuid() ? 0 : set_user(user->uid, user->gid);
	else if (err == 0 && root)
		err = drop_root();
	if (err == 0)
		err = drop_capabilities(root ? kept : 0);
	return err == 0 ? no_new_privileges() : err;
}

int privileges_leave_to_children(const struct privileges_user *user)
{
	return user && user->uid != 0 ? privileges_leave(user, 0) : no_new_privileges();
}

int privileges_drop(void)
{
	int err = privileges_leave(NULL, 0);

#ifdef TNI_WATCHED
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* the leak checker looks at the process from outside */
#endif
	return err;
}

/* A limit of 0 holds for files alone. With 1 the kernel does not start a handler of core files (core_pattern) either. */
void privileges_hold_keys(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max < 1 ? limit.rlim_max : 1;
	setrlimit(RLIMIT_CORE, &limit);
}

void privileges_hold_keys_of(const struct tn_conn *conn)
{
	char value[16];

	if (tn_conn_option(conn, "tls-min", value, sizeof(value)) == 0)
		privileges_hold_keys();
}
