/* Whether io_uring works on this machine. */
#include "io/uring_state.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#define MATURE_MAJOR 6
#define MATURE_MINOR 6

static bool put_byte(int fd, char byte)
{
	ssize_t n;

	do
		n = write(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Two bytes and an end of file through a multishot receive: what kernels and sandboxes get wrong shows here. */
static int self_test_run(struct uring_state *st, int reader, int writer)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	int got = 0, ended = 0, rc = tni_uring_enable(st);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&st->ring);

	if (rc < 0)
		return rc;
	io_uring_prep_recv_multishot(sqe, reader, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	if (!put_byte(writer, 'a'))
		return -EIO;
	for (int i = 0; i < 8 && !ended; i++) {
		struct io_uring_cqe *cqe;

		do
			rc = io_uring_submit_and_wait_timeout(&st->ring, &cqe, 1, &second, NULL);
		while (rc == -EINTR);
		if (rc < 0)
			return rc;
		if (cqe->res < 0)
			return cqe->res;
		if (cqe->flags & IORING_CQE_F_BUFFER) {
			struct tni_blk *blk = tni_uring_buf_take(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT, cqe->res);

			if (cqe->res != 1 || blk->data[0] != 'a' + got)
				return -EIO;
			got++;
			tni_blk_unref(blk);
		}
		ended = cqe->res == 0;
		io_uring_cqe_seen(&st->ring, cqe);
		if (got == 1 && !ended && !put_byte(writer, 'b'))
			return -EIO;
		if (got == 2 && !ended)
			shutdown(writer, SHUT_WR);
	}
	return got == 2 && ended ? 0 : -EIO;
}

static int self_test(void)
{
	struct tni_mem mem = {0};
	struct uring_state *st;
	int pair[2], rc = tni_uring_new(&mem, &tni_uring_full, &st);

	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		rc = -errno;
	} else {
		rc = self_test_run(st, pair[0], pair[1]);
		close(pair[0]);
		close(pair[1]);
	}
	tni_uring_free(st);
	return rc;
}

/* Of what may be there another time. The kernel's refusal for good can be -ENOMEM as well:
 * then each loop asks again. */
static bool is_shortage(int rc)
{
	return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS;
}

/* The answer is the same for every loop of the process. */
int tni_uring_works(void)
{
	static _Atomic(int) verdict = 1;
	int rc = atomic_load(&verdict);

	if (rc > 0) {
		rc = self_test();
		if (!is_shortage(rc))
			atomic_store(&verdict, rc);
	}
	return rc;
}

bool tni_uring_is_mature(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major > MATURE_MAJOR || (major == MATURE_MAJOR && minor >= MATURE_MINOR));
}
