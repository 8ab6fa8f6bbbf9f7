#include "join_queue.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define PIECE 16384

/* The last piece, if it has room; otherwise a new one. */
static struct join_piece *room(struct join_queue *queue, size_t len)
{
	size_t cap = len > PIECE ? len : PIECE;
	struct join_piece *piece = queue->last;

	if (piece && piece->cap - piece->len >= len)
		return piece;
	/* The first of all may be as long as it is: or a short queue would let nothing through */
	if (queue->first && queue->bytes + sizeof(*piece) + cap > queue->limit)
		return NULL;
	piece = malloc(sizeof(*piece) + cap);
	if (!piece)
		return NULL;
	*piece = (struct join_piece){.cap = cap};
	if (queue->last)
		queue->last->next = piece;
	else
		queue->first = piece;
	queue->last = piece;
	queue->bytes += sizeof(*piece) + cap;
	return piece;
}

bool join_queue_put(struct join_queue *queue, const struct iovec *iov, int count)
{
	struct join_piece *piece;
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	piece = room(queue, len);
	if (!piece)
		return false;
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(piece->data + piece->len, iov[i].iov_base, iov[i].iov_len);
		piece->len += iov[i].iov_len;
	}
	piece->messages++;
	queue->messages++;
	return true;
}

void join_queue_drop(struct join_queue *queue)
{
	struct join_piece *piece = queue->first;

	queue->first = piece->next;
	if (!queue->first)
		queue->last = NULL;
	queue->bytes -= sizeof(*piece) + piece->cap;
	queue->messages -= piece->messages;
	free(piece);
}

void join_queue_free(struct join_queue *queue)
{
	while (queue->first)
		join_queue_drop(queue);
}
