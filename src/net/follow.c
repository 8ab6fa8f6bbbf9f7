/* A file that grows, as a stream: read by a thread, since nothing tells readiness of a regular file. */
#include "base/err.h"
#include "net/device.h"
#include "tenon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536
#define LOOK_MS 250 /* so often it is looked at where nobody tells: other file systems, links into other folders */

struct follower {
	int to;      /* the pipe */
	int file;    /* -1: there is none at present */
	int changes; /* inotify(7) on its folder; -1: there are none left */
	off_t at;
	char *path;
	unsigned char piece[PIECE];
};

static void free_follower(struct follower *f)
{
	if (f->to >= 0)
		close(f->to);
	if (f->file >= 0)
		close(f->file);
	if (f->changes >= 0)
		close(f->changes);
	free(f->path);
	free(f);
}

/* False: nobody reads it any more. */
static bool hand_over(const struct follower *f, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t rc = write(f->to, f->piece + done, len - done);

		if (rc < 0 && errno != EINTR)
			return false;
		done += rc > 0 ? (size_t)rc : 0;
	}
	return true;
}

/* All that is there. A file that has become shorter begins again. */
static bool read_all(struct follower *f)
{
	struct stat st;
	ssize_t got;

	if (f->file >= 0 && fstat(f->file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < f->at) {
		(void)lseek(f->file, 0, SEEK_SET);
		f->at = 0;
	}
	while (f->file >= 0 && (got = read(f->file, f->piece, PIECE)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return true; /* it is tried again */
		f->at += got;
		if (!hand_over(f, (size_t)got))
			return false;
	}
	return true;
}

/* Whether another file has the name now. */
static bool is_replaced(const struct follower *f)
{
	struct stat named, opened;

	if (stat(f->path, &named) < 0)
		return false; /* gone: what is open may still grow */
	return f->file < 0 || fstat(f->file, &opened) < 0 || named.st_ino != opened.st_ino ||
	       named.st_dev != opened.st_dev;
}

static void open_again(struct follower *f)
{
	int file = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (file < 0)
		return;
	if (f->file >= 0)
		close(f->file);
	f->file = file;
	f->at = 0;
}

/* False: the reader has gone. */
static bool wait_for_change(const struct follower *f)
{
	struct pollfd fds[] = {{.fd = f->to}, {.fd = f->changes, .events = POLLIN}};
	char events[4096];

	(void)poll(fds, 2, LOOK_MS);
	if (fds[1].revents & POLLIN)
		(void)!read(f->changes, events, sizeof(events));
	return !(fds[0].revents & (POLLERR | POLLHUP | POLLNVAL));
}

static void *follow(void *arg)
{
	struct follower *f = arg;

	do {
		if (!read_all(f))
			break;
		if (is_replaced(f)) {
			if (!read_all(f)) /* what came between the two looks */
				break;
			open_again(f);
			if (!read_all(f))
				break;
		}
	} while (wait_for_change(f));
	free_follower(f);
	return NULL;
}

static void watch_folder(struct follower *f)
{
	char folder[PATH_MAX], *slash;

	f->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->changes < 0 || strlen(f->path) >= sizeof(folder))
		return;
	memcpy(folder, f->path, strlen(f->path) + 1);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	(void)inotify_add_watch(f->changes, slash ? folder : ".", IN_MODIFY | IN_CREATE | IN_MOVED_TO);
}

/* Signals are the program's: none is this thread's, and that its reader has gone it hears from write(2). */
static int start(struct follower *f)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, follow, f);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

int tni_follow_open(const char *path)
{
	struct follower *f = calloc(1, sizeof(*f));
	int pair[2] = {-1, -1}, err = 0;
	struct stat st;

	if (!f)
		return tni_err(-ENOMEM, "%s: out of memory", path);
	f->to = f->changes = -1;
	f->path = strdup(path);
	f->file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (f->file < 0)
		err = -errno;
	else if (!f->path)
		err = -ENOMEM;
	else if (fstat(f->file, &st) == 0 && !S_ISREG(st.st_mode))
		err = tni_err(-EINVAL, "%s: only a regular file can be followed; open=read waits for the others", path);
	else if (pipe2(pair, O_CLOEXEC) < 0)
		err = -errno;
	if (err == 0) {
		f->to = pair[1];
		watch_folder(f);
		err = fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : start(f);
	}
	if (err == 0)
		return pair[0];
	if (err != -EINVAL)
		(void)tni_err(err, "%s: %s", path, tn_strerror(err));
	if (pair[0] >= 0)
		close(pair[0]);
	free_follower(f);
	return err;
}
