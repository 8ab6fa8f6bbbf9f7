#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "complain.h"
#include "text.h"
#include "tenon.h"
#include "write.h"

#define BEHIND_MAX (4U << 20) /* bytes that may wait for a slow reader of the events */

static _Atomic(int) lost_err;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct text waiting;
	uint64_t dropped;
	bool running, stopping;
	void (*lost)(void *arg);
	void *lost_arg;
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static int out_note(int err)
{
	if (err == -ECONNRESET) /* a socket whose reader has gone, rather than a pipe */
		err = -EPIPE;
	if (err < 0 && !lost_err) {
		lost_err = err;
		if (err != -EPIPE)
			complain("standard output: %s", tn_strerror(err));
	}
	return err;
}

int out_bytes(const void *data, size_t len)
{
	return out_note(lost_err ? lost_err : fd_write(STDOUT_FILENO, data, len));
}

int out_text(struct text *text)
{
	int err = text->failed ? out_note(-ENOMEM) : out_bytes(text->data, text->len);

	text_free(text);
	return err;
}

int out_lost(void)
{
	return lost_err;
}

bool out_abandoned(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	if (!lost_err && poll(&out, 1, 0) > 0 && out.revents & (POLLERR | POLLHUP))
		out_note(-EPIPE);
	return lost_err == -EPIPE;
}

bool out_is_shut(void)
{
	return (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

static struct {
	int fd; /* of its own: the loop may have standard output as a connection too */
	struct tn_poll *poll;
	void (*fn)(void *arg);
	void *arg;
} reader = {.fd = -1};

static void on_reader(void *arg)
{
	(void)arg;
	if (!reader.fn || !out_abandoned())
		return;
	reader.fn(reader.arg);
	reader.fn = NULL;
}

int out_watch(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	int err;

	reader.fn = fn;
	reader.arg = arg;
	reader.fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	err = reader.fd < 0 ? -errno : tn_poll_start(loop, reader.fd, on_reader, NULL, &reader.poll);
	if (err < 0)
		reader.poll = NULL;
	return err == -ENOMEM ? err : 0; /* a file has no reader that could go */
}

void out_unwatch(void)
{
	tn_poll_stop(reader.poll);
	reader.poll = NULL;
	reader.fn = NULL;
	if (reader.fd >= 0)
		close(reader.fd);
	reader.fd = -1;
}

static void writer_add(const struct text *text)
{
	pthread_mutex_lock(&writer.lock);
	/* A line too many, or one without memory, is lost; it does not end the server. A longer one comes alone. */
	if (text->failed || (writer.waiting.len && writer.waiting.len + text->len > BEHIND_MAX)) {
		writer.dropped++;
	} else {
		text_bytes(&writer.waiting, text->data, text->len);
		writer.dropped += writer.waiting.failed;
	}
	writer.waiting.failed = false;
	pthread_cond_signal(&writer.more);
	pthread_mutex_unlock(&writer.lock);
}

void out_line(struct text *text)
{
	text_bytes(text, "\n", 1);
	if (writer.running)
		writer_add(text);
	else
		out_text(text);
	text_free(text);
}

static void writer_write(struct text *lines, uint64_t dropped)
{
	/* A full disk is no reason for a server to stop serving; a reader that has gone is. */
	if (out_bytes(lines->data, lines->len) == -EPIPE && writer.lost) {
		writer.lost(writer.lost_arg);
		writer.lost = NULL;
	}
	if (dropped)
		complain_warning("%llu events were dropped: nobody reads them fast enough, or memory is short",
				 (unsigned long long)dropped);
	lines->len = 0;
	lines->failed = false;
}

static void *writer_run(void *arg)
{
	struct text lines = {0}, swap;
	uint64_t dropped;
	bool over;

	do {
		pthread_mutex_lock(&writer.lock);
		while (!writer.waiting.len && !writer.stopping)
			pthread_cond_wait(&writer.more, &writer.lock);
		swap = writer.waiting;
		writer.waiting = lines;
		lines = swap;
		dropped = writer.dropped;
		writer.dropped = 0;
		over = writer.stopping;
		pthread_mutex_unlock(&writer.lock);
		writer_write(&lines, dropped);
	} while (!over);
	text_free(&lines);
	return arg;
}

int out_thread_start(void (*lost)(void *arg), void *arg)
{
	int err;

	writer.lost = lost;
	writer.lost_arg = arg;
	err = pthread_create(&writer.thread, NULL, writer_run, NULL);
	writer.running = err == 0;
	return -err;
}

void out_thread_stop(void)
{
	struct timespec until;

	if (!writer.running)
		return;
	pthread_mutex_lock(&writer.lock);
	writer.stopping = true;
	pthread_cond_signal(&writer.more);
	pthread_mutex_unlock(&writer.lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	if (pthread_timedjoin_np(writer.thread, NULL, &until) == 0)
		text_free(&writer.waiting);
	writer.running = false;
}
