/* A doubly linked list of nodes that live inside their owners. */
#ifndef TNI_BASE_LIST_H
#define TNI_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define tni_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct tni_list {
	struct tni_list *next, *prev;
};

static inline void tni_list_init(struct tni_list *head)
{
	head->next = head->prev = head;
}

static inline bool tni_list_empty(const struct tni_list *head)
{
	return head->next == head;
}

static inline void tni_list_add_tail(struct tni_list *head, struct tni_list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Leaves the node linked to itself, so that deleting it twice is harmless. */
static inline void tni_list_del(struct tni_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	tni_list_init(node);
}

static inline struct tni_list *tni_list_pop(struct tni_list *head)
{
	struct tni_list *node = head->next;

	if (node == head)
		return NULL;
	tni_list_del(node);
	return node;
}

/* Moves all nodes of a list to the end of another. */
static inline void tni_list_move(struct tni_list *from, struct tni_list *to)
{
	if (tni_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	tni_list_init(from);
}

#endif
