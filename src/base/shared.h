/*
 * A message that is made once and sent to many connections, of any loop. Its bytes are a shared block, so queues hold
 * references to it. What a frame makes of it is made once as well, by the first connection that needs it: a form.
 */
#ifndef TNI_BASE_SHARED_H
#define TNI_BASE_SHARED_H

#include "base/buf.h"

/* So short a message is cheaper copied behind others that wait than linked: many of them leave as one piece. In an
 * empty queue it is linked all the same. */
#define TNI_SHARED_COPY_MAX 128

struct tni_form;

struct tn_shared {
	struct tni_blk blk;   /* its bytes, and its references: those of its users, and those of queues */
	struct tni_blk *from; /* the received block in which they lie; NULL: they stand behind this struct */
	int kind;             /* enum tn_msg_kind */
	_Atomic(int) utf8;    /* 0: not known yet; 1: it is UTF-8; -1: it is not */
	_Atomic(struct tni_form *) forms;
};

/* A message of `len` bytes, which the caller puts into blk.data before anybody else knows of it; one reference. NULL
 * without memory. */
struct tn_shared *tni_shared_new(size_t len);

/* The same from bytes that lie in a block: without a copy, where they are most of a block that can be shared. */
struct tn_shared *tni_shared_of_block(struct tni_blk *blk, unsigned char *data, size_t len);

/* The message that a piece of a queue is all of; NULL: it is none, or not all of one. */
struct tn_shared *tni_shared_of_slice(const struct tni_slice *slice);

/* Whether it is UTF-8. */
bool tni_shared_is_utf8(struct tn_shared *shared);

/* Makes a form of a message: appends it to `out`. 0 or < 0 with words. */
typedef int tni_form_make(const struct tn_shared *shared, struct tn_buf *out, void *arg);

/*
 * A form of a message: the one that has this name, or that make() makes now. The block belongs to the message, and is
 * all of the form; who queues it takes a reference. Any thread may ask. 0, or < 0: make() has failed, or there is no
 * memory.
 */
int tni_shared_form(struct tn_shared *shared, const char *name, struct tni_mem *mem, tni_form_make *make, void *arg,
		    struct tni_blk **form);

#endif
