/* Messages that are made once and sent to many. */
#include "base/shared.h"

#include "base/err.h"
#include "layer.h"
#include "tenon.h"

#include <errno.h>
#include <string.h>

static int made(struct tn_shared *shared, enum tn_msg_kind kind, struct tn_shared **out)
{
	if (!shared)
		return tni_err(-ENOMEM, "shared message: out of memory");
	shared->kind = kind;
	*out = shared;
	return 0;
}

static int check_len(size_t len)
{
	return len > UINT32_MAX / 2 ? tni_err(-EMSGSIZE, "shared message: longer than 2 GiB") : 0;
}

int tn_shared_new(const void *data, size_t len, enum tn_msg_kind kind, struct tn_shared **out)
{
	struct tn_shared *shared;
	int rc = check_len(len);

	if (rc < 0)
		return rc;
	shared = tni_shared_new(len);
	if (shared && len)
		memcpy(shared->blk.data, data, len);
	return made(shared, kind, out);
}

/* What a frame has put elsewhere (cobs), and datagrams, do not lie in a block. */
static bool is_in_block(const struct tn_msg *msg, const struct tni_view *view)
{
	const unsigned char *data = msg->data;

	return view && view->raw && data >= view->raw && data + msg->len <= view->raw + view->taken;
}

int tn_shared_from(const struct tn_msg *msg, struct tn_shared **out)
{
	const struct tni_view *view = msg->block;

	if (!is_in_block(msg, view))
		return tn_shared_new(msg->data, msg->len, msg->kind, out);
	return made(tni_shared_of_block(view->blk, (unsigned char *)(uintptr_t)msg->data, msg->len), msg->kind, out);
}

struct tn_shared *tn_shared_ref(struct tn_shared *shared)
{
	tni_blk_ref(&shared->blk);
	return shared;
}

void tn_shared_unref(struct tn_shared *shared)
{
	if (shared)
		tni_blk_unref(&shared->blk);
}

const void *tn_shared_data(const struct tn_shared *shared, size_t *len)
{
	if (len)
		*len = shared->blk.used;
	return shared->blk.data;
}
