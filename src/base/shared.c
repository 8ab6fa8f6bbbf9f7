#include "base/shared.h"

#include "base/list.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Received bytes are shared where they lie if there are so many of them, and little else is in their block. */
#define SHARE_MIN (16 * 1024)

struct tni_form {
	struct tni_form *next;
	struct tni_blk *blk;
	char name[];
};

static void put(struct tni_blk_home *home, struct tni_blk *blk)
{
	struct tn_shared *shared = tni_container_of(blk, struct tn_shared, blk);
	struct tni_form *form = atomic_load_explicit(&shared->forms, memory_order_acquire), *next;

	(void)home;
	for (; form; form = next) {
		next = form->next;
		tni_blk_unref(form->blk);
		free(form);
	}
	if (shared->from)
		tni_blk_unref(shared->from);
	free(shared);
}

static struct tni_blk_home home = {.put = put};

/* `room`: for bytes behind it. */
static struct tn_shared *make_shared(unsigned char *data, size_t len, size_t room)
{
	struct tn_shared *shared = malloc(sizeof(*shared) + room);

	if (!shared)
		return NULL;
	*shared = (struct tn_shared){.blk = {.home = &home,
					     .data = data ? data : (unsigned char *)(shared + 1),
					     .cap = (uint32_t)len,
					     .used = (uint32_t)len,
					     .refs = 1,
					     .shared = true}};
	return shared;
}

struct tn_shared *tni_shared_new(size_t len)
{
	return make_shared(NULL, len, len);
}

/* Whether it pays to keep a block for these bytes, and can be done. From then on it is shared. */
static bool share_block(struct tni_blk *blk, size_t len)
{
	return len >= SHARE_MIN && len >= blk->cap / 2 && tni_blk_share(blk);
}

struct tn_shared *tni_shared_of_block(struct tni_blk *blk, unsigned char *data, size_t len)
{
	struct tn_shared *shared;

	if (share_block(blk, len)) {
		shared = make_shared(data, len, 0);
		if (shared)
			shared->from = tni_blk_ref(blk);
		return shared;
	}
	shared = tni_shared_new(len);
	if (shared && len)
		memcpy(shared->blk.data, data, len);
	return shared;
}

struct tn_shared *tni_shared_of_slice(const struct tni_slice *slice)
{
	struct tni_blk *blk = slice->blk;

	return blk->home == &home && slice->data == blk->data && slice->len == blk->used
		       ? tni_container_of(blk, struct tn_shared, blk)
		       : NULL;
}

bool tni_shared_is_utf8(struct tn_shared *shared)
{
	int known = atomic_load_explicit(&shared->utf8, memory_order_relaxed);

	if (!known) {
		known = tni_utf8_check(shared->blk.data, shared->blk.used) == shared->blk.used ? 1 : -1;
		atomic_store_explicit(&shared->utf8, known, memory_order_relaxed);
	}
	return known > 0;
}

/* ---- forms ---- */

static struct tni_form *find(struct tni_form *form, const struct tni_form *end, const char *name)
{
	while (form != end && strcmp(form->name, name) != 0)
		form = form->next;
	return form != end ? form : NULL;
}

/* All of a queue as one shared block. */
static struct tni_blk *one_block(struct tn_buf *buf)
{
	struct tni_slice *s = buf->head;
	struct tni_blk *blk;

	if (s && !s->next && s->data == s->blk->data && s->len == s->blk->used && share_block(s->blk, s->len))
		return tni_blk_ref(s->blk);
	blk = tni_blk_new(buf->len);
	if (!blk)
		return NULL;
	for (; s; s = s->next) {
		memcpy(blk->data + blk->used, s->data, s->len);
		blk->used += s->len;
	}
	(void)tni_blk_share(blk);
	return blk;
}

static int new_form(const struct tn_shared *shared, const char *name, struct tni_mem *mem, tni_form_make *make,
		    void *arg, struct tni_form **form)
{
	size_t size = strlen(name) + 1;
	struct tn_buf out;
	int rc;

	*form = malloc(sizeof(**form) + size);
	if (!*form)
		return -ENOMEM;
	memcpy((*form)->name, name, size);
	tni_buf_init(&out, mem, SIZE_MAX);
	rc = make(shared, &out, arg);
	(*form)->blk = rc == 0 ? one_block(&out) : NULL;
	tni_buf_clear(&out);
	if ((*form)->blk)
		return 0;
	free(*form);
	return rc < 0 ? rc : -ENOMEM;
}

/* Two threads may make the same form at the same time: the first stays. */
static struct tni_form *add_form(struct tn_shared *shared, struct tni_form *form, struct tni_form *known)
{
	struct tni_form *twin;

	form->next = known;
	while (!atomic_compare_exchange_weak_explicit(&shared->forms, &form->next, form, memory_order_acq_rel,
						      memory_order_acquire)) {
		twin = find(form->next, known, form->name);
		if (twin) {
			tni_blk_unref(form->blk);
			free(form);
			return twin;
		}
	}
	return form;
}

int tni_shared_form(struct tn_shared *shared, const char *name, struct tni_mem *mem, tni_form_make *make, void *arg,
		    struct tni_blk **blk)
{
	struct tni_form *known = atomic_load_explicit(&shared->forms, memory_order_acquire);
	struct tni_form *form = find(known, NULL, name);
	int rc;

	if (!form) {
		rc = new_form(shared, name, mem, make, arg, &form);
		if (rc < 0)
			return rc;
		form = add_form(shared, form, known);
	}
	*blk = form->blk;
	return 0;
}
