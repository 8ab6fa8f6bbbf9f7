#include "net/foreign.h"

#include "io/loop.h"
#include "net/addr.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Belongs to the thread and to the loop; whoever lets go last frees it. */
struct tni_foreign {
	atomic_int refs;
	atomic_bool finished;
	int family, port;
	struct tn_loop *loop; /* the loop's side from here on */
	struct tni_fd fd;     /* an eventfd(2) that the thread writes to */
	tni_foreign_done *done;
	void *arg;
	int rc; /* the thread's result */
	struct addrinfo *found;
	char host[];
};

static void let_go(struct tni_foreign *f)
{
	if (atomic_fetch_sub(&f->refs, 1) > 1)
		return;
	if (f->found)
		freeaddrinfo(f->found);
	close(f->fd.fd);
	free(f);
}

static void *look_up(void *arg)
{
	struct tni_foreign *f = arg;
	struct addrinfo hints = {.ai_family = f->family, .ai_socktype = SOCK_STREAM};
	uint64_t one = 1;

	f->rc = getaddrinfo(f->host, NULL, &hints, &f->found);
	atomic_store(&f->finished, true);
	while (write(f->fd.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	let_go(f);
	return NULL;
}

/* Signals are for the program's own threads. */
static int start_thread(struct tni_foreign *f)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, look_up, f);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

static int count(const struct addrinfo *ai)
{
	int n = 0;

	for (; ai; ai = ai->ai_next)
		n++;
	return n;
}

static void report(struct tni_foreign *f)
{
	struct tn_addr *addrs = calloc((size_t)count(f->found) + 1, sizeof(*addrs));
	int n = 0;

	for (struct addrinfo *ai = f->found; addrs && ai; ai = ai->ai_next) {
		tni_addr_from(&addrs[n], ai->ai_addr, ai->ai_addrlen);
		tni_addr_set_port(&addrs[n++], f->port);
	}
	f->done(f->arg, !addrs ? EAI_MEMORY : f->rc ? f->rc : n ? 0 : EAI_NONAME, addrs, n);
	free(addrs);
}

static void finished(struct tni_op *op, int res)
{
	struct tni_foreign *f = tni_container_of(op, struct tni_foreign, fd.rd);

	(void)res;
	if (!atomic_load(&f->finished))
		return;
	tni_cancel(f->loop, &f->fd, &f->fd.rd);
	tni_fd_release(f->loop, &f->fd);
	report(f);
	let_go(f);
}

int tni_foreign_start(struct tn_loop *loop, const char *host, int family, int port, tni_foreign_done *done, void *arg,
		      struct tni_foreign **out)
{
	static const struct tni_fd_done when_done = {.rd = finished};
	size_t size = strlen(host) + 1;
	struct tni_foreign *f = calloc(1, sizeof(*f) + size);
	int fd = f ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1, rc;

	if (fd < 0) {
		rc = f ? -errno : -ENOMEM;
		free(f);
		return rc;
	}
	memcpy(f->host, host, size);
	atomic_init(&f->refs, 1);
	f->loop = loop;
	f->family = family;
	f->port = port;
	f->done = done;
	f->arg = arg;
	tni_fd_init(&f->fd, fd, TNI_FD_POLLED);
	f->fd.done = &when_done;
	rc = tni_submit(loop, &f->fd, &f->fd.rd, TNI_OP_POLL_IN);
	if (rc == 0) {
		atomic_fetch_add(&f->refs, 1);
		rc = start_thread(f);
		if (rc < 0) {
			atomic_fetch_sub(&f->refs, 1);
			tni_cancel(loop, &f->fd, &f->fd.rd);
		}
	}
	if (rc < 0) {
		tni_fd_release(loop, &f->fd);
		let_go(f);
		return rc;
	}
	*out = f;
	return 0;
}

void tni_foreign_cancel(struct tni_foreign *f)
{
	if (!f)
		return;
	tni_cancel(f->loop, &f->fd, &f->fd.rd);
	tni_fd_release(f->loop, &f->fd);
	let_go(f);
}
