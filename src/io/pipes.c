#include "io/pipes.h"

#include "io/loop.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Two descriptors each. Beyond that, bytes are copied. */
#define PIPES_MAX 64

/* So many stay open for the next who wants one, while any is used. */
#define PIPES_KEPT 8

/* Measured on loopback: less makes more calls, more brings nothing. A user may have 64 MiB in all, see pipe(7). */
#define PIPE_SIZE (256 * 1024)

static struct tni_pipe *open_pipe(void)
{
	struct tni_pipe *pipe = malloc(sizeof(*pipe));
	int fds[2];

	if (!pipe || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(pipe);
		return NULL;
	}
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE); /* refused: it is a smaller one */
	*pipe = (struct tni_pipe){.rd = fds[0], .wr = fds[1]};
	return pipe;
}

static void close_pipe(struct tni_pipe *pipe)
{
	close(pipe->rd);
	close(pipe->wr);
	free(pipe);
}

struct tni_pipe *tni_pipe_get(struct tn_loop *loop)
{
	struct tni_pipe *pipe = loop->pipes;

	if (pipe) {
		loop->pipes = pipe->next;
		loop->pipes_kept--;
	} else if (loop->pipes_out < PIPES_MAX) {
		pipe = open_pipe();
	}
	loop->pipes_out += pipe != NULL;
	return pipe;
}

void tni_pipe_put(struct tn_loop *loop, struct tni_pipe *pipe)
{
	loop->pipes_out--;
	if (pipe->len || loop->pipes_kept == PIPES_KEPT) {
		close_pipe(pipe);
	} else {
		pipe->next = loop->pipes;
		loop->pipes = pipe;
		loop->pipes_kept++;
	}
	if (!loop->pipes_out) /* an idle loop keeps no descriptors */
		tni_pipes_free(loop);
}

void tni_pipes_free(struct tn_loop *loop)
{
	struct tni_pipe *pipe;

	while ((pipe = loop->pipes)) {
		loop->pipes = pipe->next;
		close_pipe(pipe);
	}
	loop->pipes_kept = 0;
}
