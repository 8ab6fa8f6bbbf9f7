/*
 * Landlock allows files, but users name paths. What is at a path changes: a link leads elsewhere, a folder is renamed,
 * a certificate is replaced. So the server itself may open no file at all. A process of its own opens the files that
 * were named, by their paths, and passes the descriptors over a socket (unix(7) SCM_RIGHTS). It takes a path and a use,
 * compares them with its list, and knows nothing else of the server.
 */
#include "broker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct question {
	int32_t use;
	char path[PATH_MAX]; /* as long as it is */
};

#define QUESTION_HEAD offsetof(struct question, path)

/* ---- the process ---- */

static struct list {
	const struct broker_file *files;
	struct mark {
		dev_t device;
		ino_t inode;
		int network; /* of a process: kept, as nobody may look at that process from inside; 0: none */
	} * marks;           /* what was there at first: of those that may be removed, and of networks */
	size_t count;
} list;

/* `path` is a file right in the folder. */
static bool is_in(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	const char *name = path + len + 1;

	if (strncmp(path, folder, len) != 0 || path[len] != '/')
		return false;
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The index of the entry that allows this use, or -1. */
static int entry_for(const char *path, enum tn_file_use use)
{
	bool reads = use == TN_FILE_READ || use == TN_FILE_LOOK;

	for (size_t i = 0; i < list.count; i++) {
		const struct broker_file *file = &list.files[i];

		if (file->use != use && !(reads && file->use == TN_FILE_READ))
			continue;
		if (strcmp(file->path, path) == 0 || (reads && is_in(path, file->path)))
			return (int)i;
	}
	return -1;
}

static int remove_ours(const char *path, const struct mark *mark)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (!mark->inode || st.st_dev != mark->device || st.st_ino != mark->inode)
		return -ENOENT;
	return unlink(path) < 0 ? -errno : 0;
}

static int flags_of(enum tn_file_use use)
{
	return use == TN_FILE_APPEND ? O_WRONLY | O_APPEND | O_CREAT : O_RDONLY;
}

/* A named pipe must not block the broker. */
static int do_it(const char *path, enum tn_file_use use)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK, entry = entry_for(path, use), fd;

	if (entry < 0)
		return -EACCES;
	if (use == TN_FILE_REMOVE)
		return remove_ours(path, &list.marks[entry]);
	if (use == TN_FILE_LOOK)
		flags = O_PATH | O_CLOEXEC;
	else
		flags |= flags_of(use);
	fd = open(path, flags, 0600);
	if (fd >= 0)
		return fd;
	return errno == EACCES && list.marks[entry].network > 0 ? list.marks[entry].network : -errno;
}

static bool is_kept(int fd)
{
	for (size_t i = 0; i < list.count; i++)
		if (fd > 0 && list.marks[i].network == fd)
			return true;
	return false;
}

/* The network of another process: Landlock keeps the broker from that process, whoever it is run by. */
static void keep_networks(void)
{
	for (size_t i = 0; i < list.count; i++) {
		const char *path = list.files[i].path, *end = strstr(path, "/ns/net");
		int fd;

		if (list.files[i].use != TN_FILE_READ || strncmp(path, "/proc/", 6) != 0 || !end || end[7])
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		list.marks[i].network = fcntl(fd, F_DUPFD_CLOEXEC, 1); /* all lower ones are free here */
		close(fd);
	}
}

/* A number: 0 or -errno; and with it the descriptor, if there is one. */
static bool answer(int sock, enum tn_file_use use, int result)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	int32_t code = result < 0 ? result : 0;
	struct iovec iov = {&code, sizeof(code)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	bool passes = result >= 0 && use != TN_FILE_REMOVE, sent;

	if (passes) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &result, sizeof(result));
	}
	sent = sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0;
	if (passes && !is_kept(result))
		close(result);
	return sent;
}

static _Noreturn void serve(int sock)
{
	static struct question question;
	ssize_t n;

	while ((n = recv(sock, &question, sizeof(question), 0)) > 0 || (n < 0 && errno == EINTR)) {
		bool whole = n > (ssize_t)QUESTION_HEAD && question.path[n - 1 - (ssize_t)QUESTION_HEAD] == '\0';
		enum tn_file_use use = (enum tn_file_use)question.use;

		if (n > 0 && !answer(sock, use, whole ? do_it(question.path, use) : -EINVAL))
			break;
	}
	_exit(0);
}

/*
 * Of all that is open, the broker keeps only its end of the socket. A copy of a connection would keep it open after the
 * server has closed it. A plain file may be named by its descriptor (/dev/stdin), and keeping it has no effect.
 */
static void close_others(int sock)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir) {
		close_range(0, (unsigned)sock - 1, 0);
		close_range((unsigned)sock + 1, ~0U, 0);
		return;
	}
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);
		struct stat st;

		if (*entry->d_name != '.' && fd != sock && fd != dirfd(dir) &&
		    (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
			close(fd);
	}
	closedir(dir);
}

/* Reading needs no more than reading; changing a folder that belongs to others needs more. */
static uint32_t capabilities(void)
{
	uint32_t needed = 0;

	for (size_t i = 0; i < list.count; i++) {
		if (list.files[i].use == TN_FILE_READ)
			needed |= 1U << CAP_DAC_READ_SEARCH;
		else
			needed |= 1U << CAP_DAC_OVERRIDE;
		if (list.files[i].use == TN_FILE_REMOVE)
			needed |= 1U << CAP_FOWNER;
	}
	return needed;
}

static int note_marks(const struct broker_file *files, size_t nfiles)
{
	list = (struct list){.files = files, .count = nfiles, .marks = calloc(nfiles, sizeof(*list.marks))};
	for (size_t i = 0; list.marks && i < nfiles; i++) {
		struct stat st;

		if (files[i].use == TN_FILE_REMOVE && lstat(files[i].path, &st) == 0)
			list.marks[i] = (struct mark){st.st_dev, st.st_ino, 0};
	}
	return list.marks ? 0 : -ENOMEM;
}

static _Noreturn void run(int sock, int (*confine)(uint32_t capabilities))
{
	int err;

	close_others(sock);
	keep_networks();
	prctl(PR_SET_NAME, "tenon-files", 0, 0, 0);
	err = confine(capabilities());
	if (answer(sock, TN_FILE_REMOVE, err) && err == 0)
		serve(sock);
	_exit(1);
}

/* ---- its user ---- */

static struct {
	pthread_mutex_t lock;
	int sock;
} broker = {.lock = PTHREAD_MUTEX_INITIALIZER, .sock = -1};

/* The descriptor, 0 or -errno. */
static int hear(void)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	int32_t code = 0;
	int fd = 0;
	struct iovec iov = {&code, sizeof(code)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;
	ssize_t n;

	do
		n = recvmsg(broker.sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(code))
		return n < 0 ? -errno : -EPIPE;
	head = CMSG_FIRSTHDR(&msg);
	if (head && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return code < 0 ? code : fd;
}

static int ask(const char *path, enum tn_file_use use, void *arg)
{
	int32_t kind = use;
	struct iovec iov[] = {{&kind, sizeof(kind)}, {(void *)(uintptr_t)path, strlen(path) + 1}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;
	int rc;

	(void)arg;
	if (iov[1].iov_len > PATH_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&broker.lock);
	do
		n = sendmsg(broker.sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	rc = n < 0 ? -errno : hear();
	pthread_mutex_unlock(&broker.lock);
	/* A dup(2) of a descriptor that does not exist has failed */
	return rc == 0 && use != TN_FILE_REMOVE ? -EMFILE : rc;
}

int broker_open(const char *path, enum tn_file_use use)
{
	int fd;

	if (broker.sock >= 0)
		return ask(path, use, NULL);
	if (use != TN_FILE_APPEND) {
		fd = open(path, O_CLOEXEC | O_NOCTTY | flags_of(use), 0600);
		return fd < 0 ? -errno : fd;
	}
	fd = open(path, O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags_of(use), 0600);
	if (fd >= 0) /* writers wait for who reads slowly, or poll */
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

const char *broker_why(int err)
{
	return err == -ENXIO ? "nobody reads this named pipe (start its reader first)" : tn_strerror(err);
}

void broker_stop(void)
{
	if (broker.sock < 0)
		return;
	tn_set_files(NULL, NULL);
	shutdown(broker.sock, SHUT_WR);
	(void)hear(); /* its end */
	close(broker.sock);
	broker.sock = -1;
}

/* It is not a child of this process, which waits for the children that run the user's commands. */
static _Noreturn void fork_again(int sock, int (*confine)(uint32_t capabilities))
{
	pid_t pid = fork();

	if (pid == 0)
		run(sock, confine);
	if (pid < 0)
		answer(sock, TN_FILE_REMOVE, -errno);
	_exit(0);
}

/* No signal of a terminal or a service manager ends it before its server, which may still need it. */
static int start(int sockets[2], int (*confine)(uint32_t capabilities))
{
	sigset_t all, before;
	pid_t pid;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	err = -errno;
	if (pid == 0)
		fork_again(sockets[1], confine);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(sockets[1]);
	if (pid < 0) {
		close(sockets[0]);
		return err;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	broker.sock = sockets[0];
	err = hear();
	if (err < 0)
		broker_stop();
	else
		tn_set_files(ask, NULL);
	return err;
}

int broker_start(const struct broker_file *files, size_t nfiles, int (*confine)(uint32_t capabilities))
{
	int sockets[2];
	int err = note_marks(files, nfiles);

	if (err == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		err = -errno;
	if (err == 0)
		err = start(sockets, confine);
	free(list.marks);
	list.marks = NULL;
	return err;
}
