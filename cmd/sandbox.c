/*
 * The sandbox of tenon serve: entered when every socket is bound and no thread but the first runs.
 *
 * Each wall stands by itself: the user (setresuid(2), capabilities(7)), the files (landlock(7)), the system calls
 * (seccomp(2), by an allow-list of libseccomp's). What the ring could do in place of a system call the library itself has
 * forbidden (IORING_REGISTER_RESTRICTIONS). A call that is not allowed fails with EPERM instead of ending the process: what
 * nobody has foreseen costs a feature, not the service.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

#include "command.h"
#include "options.h"
#include "output.h"
#include "privileges.h"

bool sandbox_allow(struct sandbox *box, const char *path, enum tn_file_use use)
{
	if (box->nfiles == sizeof(box->files) / sizeof(box->files[0]))
		return false;
	box->files[box->nfiles++] = (struct sandbox_file){path, use};
	return true;
}

/* ---- files ---- */

/* Debian 12's header knows the first two versions of Landlock; the numbers of the others are the kernel's ABI. */
#define FS_TRUNCATE (1ULL << 14)
#define FS_ALL_1 ((1ULL << 13) - 1)
#define FS_REFER (1ULL << 13)
#define FS_IOCTL_DEV (1ULL << 15)
#define NET_ALL ((1ULL << 0) | (1ULL << 1)) /* bind and connect, TCP */
#define SCOPE_ABSTRACT (1ULL << 0)          /* Unix sockets without a file: of this process only */
#define SCOPE_SIGNALS (1ULL << 1)

struct ruleset {
	uint64_t fs, net, scoped;
};

static int landlock_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Everything that this kernel can forbid. */
static int ruleset_new(int version, bool answers)
{
	struct ruleset all = {.fs = FS_ALL_1, .net = NET_ALL, .scoped = SCOPE_SIGNALS | (answers ? 0 : SCOPE_ABSTRACT)};
	size_t size = version >= 6 ? sizeof(all) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

	if (version >= 2)
		all.fs |= FS_REFER;
	if (version >= 3)
		all.fs |= FS_TRUNCATE;
	if (version >= 5)
		all.fs |= FS_IOCTL_DEV;
	return (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
}

static uint64_t access_of(enum tn_file_use use, bool directory)
{
	switch (use) {
	case TN_FILE_READ:
		return LANDLOCK_ACCESS_FS_READ_FILE | (directory ? LANDLOCK_ACCESS_FS_READ_DIR : 0);
	case TN_FILE_APPEND:
		return LANDLOCK_ACCESS_FS_WRITE_FILE | (directory ? LANDLOCK_ACCESS_FS_MAKE_REG : 0);
	case TN_FILE_REMOVE:
		break;
	}
	return LANDLOCK_ACCESS_FS_REMOVE_FILE;
}

/* A file that is replaced is another file: what is allowed is the directory it stands in. */
static int allow_directory(int rules, const char *file, enum tn_file_use use)
{
	const char *slash = strrchr(file, '/');
	size_t len = slash ? (size_t)(slash - file) : 0;
	struct landlock_path_beneath_attr rule = {.allowed_access = access_of(use, true)};
	char directory[PATH_MAX];
	int err;

	if (len >= sizeof(directory))
		return -ENAMETOOLONG;
	if (!slash)
		strcpy(directory, ".");
	else
		snprintf(directory, sizeof(directory), "%.*s", len ? (int)len : 1, file);
	rule.parent_fd = open(directory, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return -errno;
	err = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
	close(rule.parent_fd);
	return err;
}

/* Certificates are often links into another directory, where the file they lead to is exchanged. */
static int allow_file(int rules, const struct sandbox_file *file)
{
	char *real = realpath(file->path, NULL);
	int err = allow_directory(rules, file->path, file->use);

	if (err == 0 && real && file->use != TN_FILE_REMOVE)
		err = allow_directory(rules, real, file->use);
	free(real);
	return err;
}

static int close_files(const struct sandbox *box, int version)
{
	int rules = ruleset_new(version, box->answers), err = rules < 0 ? -errno : 0;

	for (size_t i = 0; i < box->nfiles && err == 0; i++)
		err = allow_file(rules, &box->files[i]);
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
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(futex),
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
	SCMP_SYS(write),
	SCMP_SYS(writev),
};

/* Beside those, where files are read again or removed; which ones is Landlock's to say. */
static const int file_calls[] = {
	SCMP_SYS(access),   SCMP_SYS(faccessat),  SCMP_SYS(faccessat2), SCMP_SYS(getdents64),
	SCMP_SYS(lstat),    SCMP_SYS(open),       SCMP_SYS(openat),     SCMP_SYS(pread64),
	SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(unlink),     SCMP_SYS(unlinkat),
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

static int close_calls(const struct sandbox *box)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = filter ? 0 : -ENOMEM;

	if (err == 0)
		err = allow_all(filter, calls, sizeof(calls) / sizeof(calls[0]));
	if (err == 0 && box->nfiles)
		err = allow_all(filter, file_calls, sizeof(file_calls) / sizeof(file_calls[0]));
	if (err == 0 && box->below)
		err = allow_probing(filter);
	if (err == 0)
		err = allow_some(filter);
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

const char *sandbox_version(void)
{
	return "sandbox: Landlock; libseccomp is not in this build";
}

#endif

/* ---- all of it ---- */

static void lacks(const char *what, int err)
{
	if (settings.verbose)
		complain("sandbox: %s: %s; the server runs without", what, tn_strerror(err));
}

static void close_all(const struct sandbox *box)
{
#ifdef TNI_WATCHED
	(void)lacks, (void)landlock_version, (void)close_files, (void)close_calls, (void)box;
	return; /* sanitizers read files, write reports and trace the process from outside */
#else
	int version = landlock_version();
	int err = version < 0 ? -errno : close_files(box, version);

	if (err < 0)
		lacks("files cannot be put out of reach (Landlock)", err);
	err = close_calls(box);
	if (err < 0)
		lacks("system calls cannot be forbidden (seccomp)", err);
#endif
}

/* Files of others are read and removed still, also out of a directory such as /tmp, where only their owner may. */
static uint32_t capabilities_for(const struct sandbox *box)
{
	uint32_t kept = box->nfiles > 0 || box->answers ? 1U << CAP_DAC_OVERRIDE : 0;

	for (size_t i = 0; i < box->nfiles; i++)
		if (box->files[i].use == TN_FILE_REMOVE)
			kept |= 1U << CAP_FOWNER;
	return kept;
}

int sandbox_enter(const struct sandbox *box)
{
	int err;

	tzset(); /* reads a file */
	err = box->children ? privileges_leave_to_children(box->user)
			    : privileges_leave(box->user, capabilities_for(box));
	if (err < 0) {
		complain("privileges cannot be given up: %s", tn_strerror(err));
		if (err == -EPERM && box->user)
			complain_hint("start as root, or without --user");
		return STATUS_FAILED;
	}
	if (!box->children)
		close_all(box);
	return STATUS_DONE;
}
