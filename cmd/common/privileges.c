#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static bool is_number(const char *text, uint32_t *number)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	*number = (uint32_t)value;
	return !*end && !errno && value < UINT32_MAX; /* (uid_t)-1 means "leave it" to system calls */
}

static bool find_user(const char *name, struct privileges_user *user)
{
	const struct passwd *found = getpwnam(name);
	uint32_t uid;

	*user = (struct privileges_user){.name = name};
	if (!found && !is_number(name, &uid))
		return false;
	if (!found)
		found = getpwuid(uid);
	user->uid = found ? found->pw_uid : uid;
	user->gid = found ? found->pw_gid : uid;
	user->known = found;
	if (found)
		snprintf(user->login, sizeof(user->login), "%s", found->pw_name);
	return true;
}

static bool find_group(const char *name, gid_t *gid)
{
	const struct group *found = getgrnam(name);
	uint32_t number;

	if (!found && !is_number(name, &number))
		return false;
	*gid = found ? found->gr_gid : number;
	return true;
}

bool privileges_find(const char *name, struct privileges_user *user)
{
	const char *colon = strchr(name, ':');
	char *first;
	bool found;

	if (!colon)
		return find_user(name, user);
	first = strndup(name, (size_t)(colon - name));
	found = first && find_user(first, user) && find_group(colon + 1, &user->gid);
	free(first);
	user->name = name;
	user->known = false; /* the group that is named, and no other groups */
	return found;
}

const char *privileges_set(const char *value, void *to)
{
	return privileges_find(value, to) ? NULL : "is no user (or user:group) of this system";
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
	/* A user namespace may have no other user. Without capabilities its root has no privileges */
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

static int take_groups(const struct privileges_user *user)
{
	return user->known ? initgroups(user->login, user->gid) : setgroups(1, &user->gid);
}

int privileges_leave(const struct privileges_user *user, uint32_t kept)
{
	bool root = geteuid() == 0;
	int err = 0;

	drop_bounds();
	if (root && kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		err = -errno;
	if (err == 0 && user && take_groups(user) < 0 && user->uid != geteuid())
		err = -errno;
	if (err == 0 && user)
		err = user->uid == geteuid() && user->gid == getegid() ? 0 : set_user(user->uid, user->gid);
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

/* A limit of 0 holds for files alone. With 1 the kernel does not start a handler of core files
 * (core_pattern) either. */
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
