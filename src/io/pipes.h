/* Pipes through which bytes go from one descriptor to another without coming into this process: splice(2). */
#ifndef TNI_IO_PIPES_H
#define TNI_IO_PIPES_H

#include <stdint.h>

struct tn_loop;

struct tni_pipe {
	int rd, wr;
	uint32_t len; /* bytes in it */
	struct tni_pipe *next;
};

/* A pipe that is empty. NULL: the loop has as many as it may, or there are no descriptors or no memory for one. */
struct tni_pipe *tni_pipe_get(struct tn_loop *loop);

/* Gives it back, with what is in it. */
void tni_pipe_put(struct tn_loop *loop, struct tni_pipe *pipe);

/* Closes those that nobody uses. */
void tni_pipes_free(struct tn_loop *loop);

#endif
