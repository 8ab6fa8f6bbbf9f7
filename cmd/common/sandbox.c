/*
 * The sandbox of servers. It is entered when every socket is bound and only the first thread runs. Its parts are
 * independent: the user (setresuid(2), capabilities(7)), files (landlock(7)), system calls (seccomp(2), a list of those
 * that are allowed, by libseccomp). The library itself restricts what the ring could do in place of a system call
 * (IORING_REGISTER_RESTRICTIONS). A call that is not allowed fails with EPERM and does not end the process: a call that
 * was forgotten here costs a feature, not the service.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef TNI_HAVE_SECCOMP
#include <linux/io_uring.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#endif

#include "complain.h"
#include "status.h"

#define FILES_MAX (sizeof(((struct sandbox *)NULL)->files) / sizeof(struct broker_file))

static char *copies[FILES_MAX];
static size_t ncopies;

void sandbox_allow(struct sandbox *box, const char *path, enum tn_file_use use)
{
	box->crowded |= box->nfiles == FILES_MAX;
	if (!box->crowded)
		box->files[box->nfiles++] = (struct broker_file){path, use};
}

static bool is_name(const char *url)
{
	const char *host = strstr(url, "://");

	/* What is written in digits, colons and dots is an address; whatever else is looked up. */
	if (!host || tn_url_kind(url) & TN_URL_LOCAL)
		return false;
	host += 3;
	return *host != '[' && strspn(host, "0123456789.") != strcspn(host, ":/?");
}

/* A path must stay for as long as the process that opens it does. */
static void allow_copy(struct sandbox *box, const char *path, enum tn_file_use use)
{
	char *copy = ncopies < FILES_MAX ? strdup(path) : NULL;

	box->crowded |= !copy;
	if (!copy)
		return;
	copies[ncopies++] = copy;
	sandbox_allow(box, copy, use);
}

void sandbox_allow_url(struct sandbox *box, const char *url)
{
	int kind = tn_url_kind(url);
	char path[PATH_MAX];
	enum tn_file_use use;

	box->dials = true;
	box->children |= kind > 0 && kind & TN_URL_FILE; /* it opens files of any name, again and again */
	box->answers |= (kind & (TN_URL_LOCAL | TN_URL_INHERITED)) != 0;
	box->reads |= kind & TN_URL_SECURE && tn_url_has_key(url, "ca") <= 0;
	box->names |= is_name(url);
	box->networks |= tn_url_has_key(url, "netns") > 0;
	for (int n = 0; tn_url_file(url, n, path, sizeof(path), &use) == 0; n++)
		allow_copy(box, path, use);
}

/* ---- files ---- */

/* Debian 12's header knows the first two versions of Landlock; the numbers of the others are the kernel's ABI. */
#define FS_TRUNCATE (1ULL << 14)
#define FS_ALL_1 ((1ULL << 13) - 1)
#define FS_REFER (1ULL << 13)
#define FS_IOCTL_DEV (1ULL << 15)
#define FS_WRITING ((1ULL << 1) | (1ULL << 5) | (1ULL << 8)) /* write a file, remove one, make one */
#define FS_READING ((1ULL << 0) | (1ULL << 2) | (1ULL << 3)) /* run, read a file, list a folder */
#define NET_BIND (1ULL << 0)                                 /* TCP */
#define NET_ALL (NET_BIND | (1ULL << 1))                     /* and connect */
#define SCOPE_ABSTRACT (1ULL << 0)                           /* Unix sockets without a file: of this process only */
#define SCOPE_SIGNALS (1ULL << 1)

struct ruleset {
	uint64_t fs, net, scoped;
};

static int landlock_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Everything that this kernel can forbid. */
static int ruleset_new(int version, const struct sandbox *box)
{
	struct ruleset all = {.fs = box->reads || box->names ? FS_ALL_1 & ~FS_READING : FS_ALL_1,
			      .net = box->listens ? 0
				     : box->dials ? NET_BIND
						  : NET_ALL,
			      .scoped = SCOPE_SIGNALS | (box->answers ? 0 : SCOPE_ABSTRACT)};
	size_t size = version >= 6 ? sizeof(all) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

	if (version >= 2)
		all.fs |= FS_REFER;
	if (version >= 3)
		all.fs |= FS_TRUNCATE;
	if (version >= 5)
		all.fs |= FS_IOCTL_DEV;
	return (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
}

/* A folder that cannot be opened takes no files either: whoever wants to write there is told. */
static int leave_folder(int rules, int version, const char *folder)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = FS_WRITING | (version >= 3 ? FS_TRUNCATE : 0),
						  .parent_fd = open(folder, O_PATH | O_CLOEXEC)};
	int err = 0;

	if (rule.parent_fd < 0)
		return 0;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		err = -errno;
	close(rule.parent_fd);
	return err;
}

static int close_files(const struct sandbox *box, int version)
{
	int rules = ruleset_new(version, box), err = rules < 0 ? -errno : 0;

	if (err == 0 && box->writes)
		err = leave_folder(rules, version, box->writes);
	if (err == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		err = -errno;
	if (rules >= 0)
		close(rules);
	return err;
}

/* ---- system calls ---- */

#ifdef TNI_HAVE_SECCOMP

/* What a loop, its sockets, TLS, memory, threads and the end of a process call. */
static const int calls[] = {
	SCMP_SYS(accept4),
	SCMP_SYS(brk),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(close),
	SCMP_SYS(epoll_create1), /* to ask whether a descriptor can be polled */
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(fallocate), /* of a memory file, as fstatfs, ftruncate and memfd_create */
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(ftruncate), /* of a recording too, when the disk is full */
	SCMP_SYS(futex),
	SCMP_SYS(getdents64),
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getpeername),
	SCMP_SYS(getpid),
	SCMP_SYS(getrandom),
	SCMP_SYS(getrusage),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(gettid),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getuid),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(ioctl),
	SCMP_SYS(lseek),
	SCMP_SYS(madvise),
	SCMP_SYS(membarrier),
	SCMP_SYS(memfd_create),
	SCMP_SYS(mremap),
	SCMP_SYS(munmap),
	SCMP_SYS(nanosleep),
	SCMP_SYS(newfstatat),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(stat),
	SCMP_SYS(statx),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
	SCMP_SYS(waitid),
	SCMP_SYS(write),
	SCMP_SYS(writev),
};

/* What the broker calls. */
static const int broker_calls[] = {
	SCMP_SYS(brk),          SCMP_SYS(close),           SCMP_SYS(exit_group), SCMP_SYS(fstat),
	SCMP_SYS(lstat),        SCMP_SYS(munmap),          SCMP_SYS(madvise),    SCMP_SYS(newfstatat),
	SCMP_SYS(open),         SCMP_SYS(openat),          SCMP_SYS(recvfrom),   SCMP_SYS(recvmsg),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(sendmsg),    SCMP_SYS(sigaltstack),
	SCMP_SYS(unlink),       SCMP_SYS(unlinkat),        SCMP_SYS(write),
};

static int allow_all(scmp_filter_ctx filter, const int *list, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && err == 0; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, list[i], 0);
	return err;
}

/* Threads, not processes; memory, not code; of the ring's registrations those that restrict_ring() leaves. */
static int allow_some(scmp_filter_ctx filter)
{
	static const unsigned ring[] = {IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_PBUF_RING};
	pid_t self = getpid();
	int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				   SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

	if (err == 0) /* its flags are in memory, where no filter sees them; without it clone(2) is called */
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				       SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				       SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (err == 0) /* abort(3) */
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       SCMP_A0_64(SCMP_CMP_EQ, (scmp_datum_t)self, 0));
	if (err == 0) /* its own limits are read (of a memory file's length), not set */
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0_64(SCMP_CMP_EQ, 0, 0),
				       SCMP_A2_64(SCMP_CMP_EQ, 0, 0));
	for (size_t i = 0; i < sizeof(ring) / sizeof(ring[0]) && err == 0; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_register), 1,
				       SCMP_A1_32(SCMP_CMP_EQ, ring[i], 0));
	return err;
}

static int allow_probing(scmp_filter_ctx filter)
{
	int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				   SCMP_A1_32(SCMP_CMP_MASKED_EQ, 0xf, SOCK_DGRAM));

	return err == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bind), 0) : err;
}

static int allow_dialling(scmp_filter_ctx filter)
{
	static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
	int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(connect), 0);

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && err == 0; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				       SCMP_A0_32(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	if (err == 0) /* key bind */
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bind), 0);
	if (err == 0) /* splice(2) of a path */
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pipe2), 0);
	return err == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(splice), 0) : err;
}

/* To another network, and of all name spaces to no other kind. */
static int allow_networks(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setns), 1,
				SCMP_A1_32(SCMP_CMP_EQ, (scmp_datum_t)CLONE_NEWNET));
}

static const int read_calls[] = {
	SCMP_SYS(access),  SCMP_SYS(lstat),    SCMP_SYS(open),       SCMP_SYS(openat),
	SCMP_SYS(pread64), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
};

static const int write_calls[] = {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(unlink), SCMP_SYS(unlinkat)};

/* What a lookup by the C library needs too: its modules, and what they ask (netlink, D-Bus). */
static const int name_calls[] = {
	SCMP_SYS(eventfd2), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(prctl), SCMP_SYS(socket),
};

static int close_calls(const struct sandbox *box)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = filter ? 0 : -ENOMEM;

	if (err == 0)
		err = allow_all(filter, calls, sizeof(calls) / sizeof(calls[0]));
	if (err == 0 && box->below)
		err = allow_probing(filter);
	if (err == 0 && box->dials)
		err = allow_dialling(filter);
	if (err == 0 && box->networks)
		err = allow_networks(filter);
	if (err == 0 && box->listens)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(listen), 0);
	if (err == 0 && (box->reads || box->names))
		err = allow_all(filter, read_calls, sizeof(read_calls) / sizeof(read_calls[0]));
	if (err == 0 && box->writes)
		err = allow_all(filter, write_calls, sizeof(write_calls) / sizeof(write_calls[0]));
	if (err == 0 && box->names)
		err = allow_all(filter, name_calls, sizeof(name_calls) / sizeof(name_calls[0]));
	if (err == 0)
		err = allow_some(filter);
	if (err == 0)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

static int close_calls_of_broker(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = filter ? 0 : -ENOMEM;

	if (err == 0)
		err = allow_all(filter, broker_calls, sizeof(broker_calls) / sizeof(broker_calls[0]));
	if (err == 0)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

const char *sandbox_version(void)
{
	static char text[64];
	const struct scmp_version *v = seccomp_version();

	snprintf(text, sizeof(text), "sandbox: Landlock, libseccomp %u.%u.%u", v->major, v->minor, v->micro);
	return text;
}

#else

static int close_calls(const struct sandbox *box)
{
	(void)box;
	return -EOPNOTSUPP;
}

static int close_calls_of_broker(void)
{
	return -EOPNOTSUPP;
}

const char *sandbox_version(void)
{
	return "sandbox: Landlock; libseccomp is not in this build";
}

#endif

/* ---- all of it ---- */

/* Needed so that a capability cannot be used elsewhere: from this version of Landlock on no file can be changed. */
#define FENCE_VERSION 3

static void lacks(const char *what, int err)
{
	complain_warning("sandbox: %s: %s; the server runs without", what, tn_strerror(err));
}

/* Returns whether no file can be reached or changed. */
static bool fence_files(const struct sandbox *box)
{
#ifdef TNI_WATCHED
	(void)landlock_version, (void)close_files, (void)box;
	return true; /* sanitizers read files, write reports and trace the process from outside */
#else
	int version = landlock_version(), err = version < 0 ? -errno : close_files(box, version);

	if (err < 0)
		lacks("files cannot be put out of reach (Landlock)", err);
	else if (version < FENCE_VERSION)
		complain_warning("sandbox: this kernel's Landlock (version %d) cannot keep files from being cut short",
				 version);
	return err == 0 && version >= FENCE_VERSION;
#endif
}

/* Returns whether nothing else can be called. */
static bool fence_calls(const struct sandbox *box)
{
#ifdef TNI_WATCHED
	(void)lacks, (void)close_calls, (void)box;
	return true;
#else
	int err = close_calls(box);

	if (err < 0)
		lacks("system calls cannot be forbidden (seccomp)", err);
	return err == 0;
#endif
}

/* In the broker. A failure of its system call filter is reported with the server's. */
static int confine_broker(uint32_t capabilities)
{
	int err = privileges_keep(capabilities);

#ifdef TNI_WATCHED
	(void)close_calls_of_broker;
#else
	if (err == 0)
		(void)close_calls_of_broker();
#endif
	return err;
}

static int start_broker(const struct sandbox *box)
{
	bool needed = box->nfiles && (!box->children || box->user); /* otherwise files stay open to this process */
	int err = needed ? broker_start(box->files, box->nfiles, confine_broker) : 0;

	if (err < 0)
		complain("sandbox: the process that opens files cannot be started: %s", tn_strerror(err));
	return err;
}

/*
 * Replies to Unix sockets of other users need a capability of root, and so do files in a folder of root, and another
 * network. It is kept only if both files and system calls are restricted.
 */
static int give_up_all(const struct sandbox *box)
{
	bool root = geteuid() == 0, answers = (box->answers || box->writes) && root, fenced;
	uint32_t kept = (answers ? 1U << CAP_DAC_OVERRIDE : 0) | (box->networks && root ? 1U << CAP_SYS_ADMIN : 0);
	int err = privileges_leave(box->user, kept);

	if (err < 0)
		return err;
	fenced = fence_files(box);
	if (!fenced)
		err = privileges_keep(0);
	if (err == 0 && !fence_calls(box) && fenced) {
		fenced = false;
		err = privileges_keep(0);
	}
	if (box->networks && root && !fenced)
		complain_warning("sandbox: so no connection is made in another network (key netns)");
	if (answers && !fenced)
		complain_warning("sandbox: so %s", box->answers ? "Unix sockets of other users get no replies"
								: "files are only made in a folder that is the user's");
	return err;
}

static int give_up_with_children(const struct sandbox *box)
{
	if (geteuid() == 0 && !box->user) {
		complain_warning("commands are run as root, for everybody who can reach the endpoint");
		complain_hint(
			"--user nobody, or another user with only the rights they need (--user root: no warning)");
	}
	return privileges_leave_to_children(box->user);
}

static int give_up(const struct sandbox *box)
{
	int err = box->children ? give_up_with_children(box) : give_up_all(box);

	if (err < 0) {
		complain("privileges cannot be given up: %s", tn_strerror(err));
		if (err == -EPERM && box->user)
			complain_hint("start as root, or without --user");
	}
	return err;
}

int sandbox_enter(const struct sandbox *box)
{
	if (box->crowded) {
		complain("too many files for the sandbox");
		complain_hint("--no-sandbox");
		return STATUS_FAILED;
	}
	tzset(); /* reads a file */
	if (start_broker(box) < 0)
		return STATUS_FAILED;
	return give_up(box) == 0 ? STATUS_DONE : STATUS_FAILED;
}

void sandbox_leave(void)
{
	broker_stop();
	while (ncopies)
		free(copies[--ncopies]);
}
