/* Descriptors of a loop: their slots, and what is asked of an engine for them. */
#include "io/loop.h"
#include "io/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- slots ---- */

static int grow_slots(struct tn_loop *loop)
{
	uint32_t n = loop->cap_slots ? loop->cap_slots * 2 : 64;
	struct tni_slot *slots = n > 1U << 24 ? NULL : realloc(loop->slots, n * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	loop->slots = slots;
	loop->cap_slots = n;
	if (!loop->nslots)
		slots[loop->nslots++] = (struct tni_slot){0}; /* slot 0 is nobody's */
	return 0;
}

int tni_slot_take(struct tn_loop *loop, struct tni_fd *fd)
{
	uint32_t i = loop->free_slot;

	if (i) {
		loop->free_slot = loop->slots[i].next;
	} else {
		if (loop->nslots == loop->cap_slots && grow_slots(loop) < 0)
			return -ENOMEM;
		i = loop->nslots++;
		loop->slots[i] = (struct tni_slot){0};
	}
	loop->slots[i].fd = fd;
	loop->slots[i].next = TNI_SLOT_ALONE;
	fd->slot = i;
	return 0;
}

void tni_slot_drop(struct tn_loop *loop, struct tni_fd *fd)
{
	struct tni_slot *slot = &loop->slots[fd->slot];

	if (!fd->slot)
		return;
	slot->fd = NULL;
	slot->generation++;
	if (slot->next == TNI_SLOT_ALONE) { /* otherwise it is free when its turn has come: tni_slot_pop_pending() */
		slot->next = loop->free_slot;
		loop->free_slot = fd->slot;
	}
	fd->slot = 0;
}

void tni_slot_put_pending(struct tn_loop *loop, struct tni_fd *fd)
{
	struct tni_slot *slot = &loop->slots[fd->slot];

	if (slot->next != TNI_SLOT_ALONE)
		return;
	slot->next = 0;
	if (loop->pending)
		loop->slots[loop->last_pending].next = fd->slot;
	else
		loop->pending = fd->slot;
	loop->last_pending = fd->slot;
}

struct tni_fd *tni_slot_pop_pending(struct tn_loop *loop, uint32_t *list)
{
	struct tni_fd *fd = NULL;

	while (!fd && *list) {
		struct tni_slot *slot = &loop->slots[*list];
		uint32_t next = slot->next;

		fd = slot->fd;
		slot->next = fd ? TNI_SLOT_ALONE : loop->free_slot;
		if (!fd)
			loop->free_slot = *list;
		*list = next;
	}
	return fd;
}

uint64_t tni_slot_key(const struct tn_loop *loop, const struct tni_fd *fd)
{
	return (uint64_t)loop->slots[fd->slot].generation << 32 | fd->slot;
}

struct tni_fd *tni_slot_find(const struct tn_loop *loop, uint64_t key)
{
	uint32_t i = (uint32_t)key;

	if (i >= loop->nslots || loop->slots[i].generation != (uint32_t)(key >> 32))
		return NULL;
	return loop->slots[i].fd;
}

/* ---- descriptors ---- */

/* epoll_ctl(2) knows. Without a descriptor for it, stat(2) must do. */
bool tni_fd_can_poll(int sysfd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct stat st;
	bool can;

	if (epfd < 0)
		return fstat(sysfd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
	can = epoll_ctl(epfd, EPOLL_CTL_ADD, sysfd, &ev) == 0 || errno != EPERM;
	close(epfd);
	return can;
}

void tni_fd_init(struct tni_fd *fd, int sysfd, unsigned flags)
{
	*fd = (struct tni_fd){.fd = sysfd, .flags = (uint16_t)flags};
	if (flags & TNI_FD_FILE && !tni_fd_can_poll(sysfd)) {
		fd->flags |= TNI_FD_ALWAYS;
		fd->ready = TNI_RD | TNI_WR;
	}
}

int tni_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind)
{
	op->kind = (uint8_t)kind;
	return loop->engine->submit(loop, fd, op);
}

int tni_submit_now(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind)
{
	op->kind = (uint8_t)kind;
	op->res = tni_attempt(loop, fd, op);
	return op->res == -EAGAIN ? 0 : TNI_DONE;
}

void tni_recall(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->wr.state == TNI_ARMED && fd->wr.in_kernel && loop->engine->recall)
		loop->engine->recall(loop, fd);
}

int tni_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	if (op->state == TNI_IDLE)
		return TNI_DONE;
	if (op->state == TNI_CANCELLING)
		return 0;
	return loop->engine->cancel(loop, fd, op);
}

/* The numbers 0, 1 and 2 stay in use: whoever prints would write into a socket with number 1. */
static void close_number(int sysfd)
{
	int null = sysfd <= STDERR_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

	if (null < 0) {
		close(sysfd);
		return;
	}
	dup2(null, sysfd);
	close(null);
}

void tni_fd_release(struct tn_loop *loop, struct tni_fd *fd)
{
	if (!fd->slot)
		return;
	loop->engine->release(loop, fd);
	tni_slot_drop(loop, fd);
}

void tni_fd_close(struct tn_loop *loop, struct tni_fd *fd)
{
	int flags;

	if (fd->fd < 0)
		return;
	tni_fd_release(loop, fd);
	flags = fd->flags & TNI_FD_RESTORE ? fcntl(fd->fd, F_GETFL) : -1;
	if (flags >= 0)
		fcntl(fd->fd, F_SETFL, flags & ~O_NONBLOCK);
	close_number(fd->fd);
	fd->fd = -1;
}
