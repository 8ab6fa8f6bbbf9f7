/*
 * Nodes stand in slabs and are named by their number, as a million subscriptions with wildcards may make two million of
 * them: 32 bytes each. Which node is a token's child of which, one hash table for the whole tree says.
 */
#include "topics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLAB 1024
#define ROOT 1   /* the number of the root; 0 is no node */
#define GROUPS 2 /* and of the node that names of groups are below */
#define EDGES_MIN 64
#define MALLOC_EXTRA 12 /* what malloc takes for one block, on average */

/* Up to 7 bytes of a token stand in its node, longer ones in a block of their own. */
struct name {
	union {
		struct {
			uint8_t len; /* LONG: it is in a block */
			char bytes[7];
		};
		uint64_t word;
	};
};

#define LONG 255

/* Behind its pointer, in 48 bits, stands a block of a longer token: its length first. */
struct node {
	uint32_t parent;
	uint32_t kids; /* children of all three kinds */
	uint32_t star, rest;
	uintptr_t subs; /* 0: none; odd: one subscription without a group; otherwise a struct bag */
	struct name name;
};

_Static_assert(sizeof(struct node) == 32, "a node has 32 bytes");

struct list {
	struct topic_sub **subs;
	uint32_t count, cap;
	uint32_t group;
};

/* All subscriptions to one pattern. Lists are sorted by their group; those without a group come first. */
struct bag {
	struct list *lists;
	uint32_t count;
};

struct topics {
	struct node **slabs;
	uint32_t nslabs, used; /* nodes that have been handed out once */
	uint32_t free_node;    /* the first of those that are free again, chained by their parent */
	uint32_t *edges;       /* nodes by parent and token, open addressing */
	uint32_t edges_cap, nedges;
	size_t count, extra; /* subscriptions; bytes in blocks of bags and long tokens */
	uint64_t seed, version;
};

struct topic_token {
	const char *bytes;
	uint32_t len;
	uint64_t hash;
};

/* ---- words ---- */

static bool is_wild(const char *token, size_t len, char what)
{
	return len == 1 && token[0] == what;
}

/* The end of the token that begins at `at`. */
static size_t token_end(const char *text, size_t len, size_t at)
{
	const char *dot = memchr(text + at, '.', len - at);

	return dot ? (size_t)(dot - text) : len;
}

static bool has_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))
			return true;
	return false;
}

static bool is_valid(const char *text, size_t len, bool wild)
{
	bool ended = false;

	if (!len || len > TOPIC_MAX || has_blank(text, len))
		return false;
	for (size_t at = 0; at <= len;) {
		size_t end = token_end(text, len, at);

		if (end == at || ended)
			return false;
		ended = is_wild(text + at, end - at, '>');
		if (!wild && (ended || is_wild(text + at, end - at, '*')))
			return false;
		at = end + 1;
	}
	return true;
}

bool topic_is_pattern(const char *text, size_t len)
{
	return is_valid(text, len, true);
}

bool topic_is_literal(const char *text, size_t len)
{
	return is_valid(text, len, false);
}

bool topic_is_name(const char *text, size_t len)
{
	return len && len <= TOPIC_MAX && !has_blank(text, len);
}

bool topic_covers(const char *outer, size_t outer_len, const char *inner, size_t len)
{
	size_t a = 0, b = 0;

	while (a <= outer_len && b <= len) {
		size_t a_end = token_end(outer, outer_len, a), b_end = token_end(inner, len, b);
		bool many = is_wild(inner + b, b_end - b, '>');

		if (is_wild(outer + a, a_end - a, '>'))
			return true;
		if (many || (!is_wild(outer + a, a_end - a, '*') &&
			     (a_end - a != b_end - b || memcmp(outer + a, inner + b, a_end - a) != 0)))
			return false;
		a = a_end + 1;
		b = b_end + 1;
	}
	return a > outer_len && b > len;
}

bool topic_fits(const char *pattern, size_t pattern_len, const char *topic, size_t len)
{
	return topic_covers(pattern, pattern_len, topic, len);
}

/* ---- hashes ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_token(uint64_t seed, const char *token, size_t len)
{
	uint64_t hash = seed ^ len, word;

	for (; len > 8; token += 8, len -= 8) {
		memcpy(&word, token, 8);
		hash = mix(hash ^ word, UINT64_C(0x9e3779b97f4a7c15));
	}
	word = 0;
	memcpy(&word, token, len);
	return mix(hash ^ word, UINT64_C(0xd6e8feb86659fd93) ^ seed);
}

static uint64_t process_secret;

void topic_set_secret(uint64_t secret)
{
	process_secret = secret;
}

uint64_t topic_hash(const char *text, size_t len)
{
	return hash_token(process_secret, text, len);
}

static uint32_t edge_at(const struct topics *topics, uint32_t parent, uint64_t hash)
{
	return (uint32_t)(mix(hash ^ parent, UINT64_C(0xa0761d6478bd642f)) >> 16) & (topics->edges_cap - 1);
}

/* ---- nodes ---- */

static struct node *node_of(const struct topics *topics, uint32_t number)
{
	return &topics->slabs[number / SLAB][number % SLAB];
}

/* Where a longer token is. Addresses of Linux have 48 bits, the byte that says LONG is the lowest. */
static char *long_block(const struct name *name)
{
	return (char *)(uintptr_t)(name->word >> 8);
}

static const char *name_bytes(const struct name *name, size_t *len)
{
	uint32_t long_len;

	if (name->len != LONG) {
		*len = name->len;
		return name->bytes;
	}
	memcpy(&long_len, long_block(name), sizeof(long_len));
	*len = long_len;
	return long_block(name) + sizeof(long_len);
}

static bool name_set(struct topics *topics, struct name *name, const char *token, size_t len)
{
	uint32_t long_len = (uint32_t)len;
	char *block;

	name->word = 0;
	if (len <= sizeof(name->bytes)) {
		name->len = (uint8_t)len;
		memcpy(name->bytes, token, len);
		return true;
	}
	block = malloc(sizeof(long_len) + len);
	if (!block)
		return false;
	memcpy(block, &long_len, sizeof(long_len));
	memcpy(block + sizeof(long_len), token, len);
	name->word = (uint64_t)(uintptr_t)block << 8;
	name->len = LONG;
	topics->extra += sizeof(long_len) + len + MALLOC_EXTRA;
	return true; /* cppcheck-suppress memleak; the block is in `word` */
}

static void name_clear(struct topics *topics, struct name *name)
{
	size_t len;

	if (name->len != LONG)
		return;
	name_bytes(name, &len);
	topics->extra -= sizeof(uint32_t) + len + MALLOC_EXTRA;
	free(long_block(name));
}

static bool slab_add(struct topics *topics)
{
	struct node **slabs = topics->slabs;

	if (!(topics->nslabs & (topics->nslabs - 1))) { /* it doubles */
		slabs = realloc(slabs, (topics->nslabs ? (size_t)topics->nslabs * 2 : 1) * sizeof(*slabs));
		if (!slabs)
			return false;
		topics->slabs = slabs;
	}
	slabs[topics->nslabs] = malloc(SLAB * sizeof(struct node));
	if (!slabs[topics->nslabs])
		return false;
	topics->nslabs++;
	return true;
}

/* 0: no memory. */
static uint32_t node_new(struct topics *topics, uint32_t parent, const char *token, size_t len)
{
	uint32_t number = topics->free_node;
	struct node *node;

	if (!number) {
		if (topics->used == UINT32_MAX - SLAB)
			return 0;
		if (topics->used == topics->nslabs * SLAB && !slab_add(topics))
			return 0;
		number = topics->used;
	}
	node = node_of(topics, number);
	if (number == topics->free_node) {
		uint32_t next = node->parent;

		memset(node, 0, sizeof(*node));
		if (!name_set(topics, &node->name, token, len)) {
			node->parent = next;
			return 0;
		}
		topics->free_node = next;
	} else {
		memset(node, 0, sizeof(*node));
		if (!name_set(topics, &node->name, token, len))
			return 0;
		topics->used++;
	}
	node->parent = parent;
	return number;
}

static void node_free(struct topics *topics, uint32_t number)
{
	struct node *node = node_of(topics, number);

	name_clear(topics, &node->name);
	node->parent = topics->free_node;
	node->name.word = 0;
	topics->free_node = number;
}

/* ---- edges ---- */

static uint32_t find_edge(const struct topics *topics, uint32_t parent, const char *token, size_t len, uint64_t hash)
{
	uint32_t at = edge_at(topics, parent, hash), number;

	for (; (number = topics->edges[at]); at = (at + 1) & (topics->edges_cap - 1)) {
		const struct node *node = node_of(topics, number);
		size_t its_len;
		const char *its = name_bytes(&node->name, &its_len);

		if (node->parent == parent && its_len == len && memcmp(its, token, len) == 0)
			return number;
	}
	return 0;
}

static uint32_t edge_of(const struct topics *topics, uint32_t number)
{
	const struct node *node = node_of(topics, number);
	size_t len;
	const char *token = name_bytes(&node->name, &len);

	return edge_at(topics, node->parent, hash_token(topics->seed, token, len));
}

static void edge_put(struct topics *topics, uint32_t number)
{
	uint32_t at = edge_of(topics, number);

	while (topics->edges[at])
		at = (at + 1) & (topics->edges_cap - 1);
	topics->edges[at] = number;
}

static bool edges_grow(struct topics *topics)
{
	uint32_t *old = topics->edges, cap = topics->edges_cap;

	if (topics->nedges + 1 <= cap / 4 * 3)
		return true;
	topics->edges = calloc((size_t)cap * 2, sizeof(*old));
	if (!topics->edges) {
		topics->edges = old;
		return false;
	}
	topics->edges_cap = cap * 2;
	for (uint32_t i = 0; i < cap; i++)
		if (old[i])
			edge_put(topics, old[i]);
	free(old);
	return true;
}

/* What stands behind it moves up, so that the search ends at the first gap. */
static void edge_remove(struct topics *topics, uint32_t number)
{
	uint32_t mask = topics->edges_cap - 1, gap = edge_of(topics, number), at;

	while (topics->edges[gap] != number)
		gap = (gap + 1) & mask;
	for (at = (gap + 1) & mask; topics->edges[at]; at = (at + 1) & mask) {
		uint32_t home = edge_of(topics, topics->edges[at]);

		if (((at - home) & mask) < ((at - gap) & mask))
			continue;
		topics->edges[gap] = topics->edges[at];
		gap = at;
	}
	topics->edges[gap] = 0;
	topics->nedges--;
}

/* The child of a token of a pattern, which is made where there is none. 0: no memory. */
static uint32_t child(struct topics *topics, uint32_t parent, const char *token, size_t len)
{
	struct node *node = node_of(topics, parent);
	uint32_t *special = is_wild(token, len, '*') ? &node->star : is_wild(token, len, '>') ? &node->rest : NULL;
	uint32_t number =
		special ? *special : find_edge(topics, parent, token, len, hash_token(topics->seed, token, len));

	if (number)
		return number;
	if (!special && !edges_grow(topics))
		return 0;
	number = node_new(topics, parent, token, len);
	if (!number)
		return 0;
	if (special) {
		*special = number;
	} else {
		edge_put(topics, number);
		topics->nedges++;
	}
	node->kids++;
	return number;
}

/* Takes a node away that nobody needs, and those above it that nobody needs then. */
static void prune(struct topics *topics, uint32_t number)
{
	while (number > GROUPS) {
		struct node *node = node_of(topics, number), *above = node_of(topics, node->parent);
		uint32_t parent = node->parent;

		if (node->subs || node->kids)
			return;
		if (above->star == number)
			above->star = 0;
		else if (above->rest == number)
			above->rest = 0;
		else
			edge_remove(topics, number);
		above->kids--;
		node_free(topics, number);
		number = parent;
	}
}

/* ---- groups: nodes below one of their own, whose kids are the subscriptions ---- */

static uint32_t group_take(struct topics *topics, const char *name, size_t len)
{
	uint32_t group = child(topics, GROUPS, name, len);

	if (group)
		node_of(topics, group)->kids++;
	return group;
}

static void group_drop(struct topics *topics, uint32_t group)
{
	if (!group)
		return;
	node_of(topics, group)->kids--;
	prune(topics, group);
}

/* ---- who has subscribed ---- */

static bool is_single(const struct node *node)
{
	return node->subs & 1;
}

static struct topic_sub *single_of(const struct node *node)
{
	return (struct topic_sub *)(node->subs - 1);
}

static struct bag *bag_of(const struct node *node)
{
	return (struct bag *)node->subs;
}

static bool list_add(struct topics *topics, struct list *list, struct topic_sub *sub)
{
	if (list->count == list->cap) {
		uint32_t cap = list->cap ? list->cap * 2 : 2;
		struct topic_sub **subs = realloc(list->subs, cap * sizeof(struct topic_sub *));

		if (!subs)
			return false;
		topics->extra += (cap - list->cap) * sizeof(struct topic_sub *);
		list->subs = subs;
		list->cap = cap;
	}
	sub->at = list->count;
	list->subs[list->count++] = sub;
	return true;
}

/* Where the list of a group is, or would be. */
static uint32_t list_at(const struct bag *bag, uint32_t group)
{
	uint32_t low = 0, high = bag->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (bag->lists[middle].group < group)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct list *list_new(struct topics *topics, struct bag *bag, uint32_t group)
{
	struct list *lists = realloc(bag->lists, (bag->count + 1) * sizeof(*lists));
	uint32_t at;

	if (!lists)
		return NULL;
	topics->extra += sizeof(*lists);
	bag->lists = lists;
	at = list_at(bag, group);
	memmove(lists + at + 1, lists + at, (bag->count - at) * sizeof(*lists));
	bag->count++;
	lists[at] = (struct list){.group = group};
	return &lists[at];
}

static struct list *list_of(const struct bag *bag, uint32_t group)
{
	uint32_t at = list_at(bag, group);

	return at < bag->count && bag->lists[at].group == group ? &bag->lists[at] : NULL;
}

static void list_free(struct topics *topics, struct bag *bag, struct list *list)
{
	topics->extra -= list->cap * sizeof(struct topic_sub *) + sizeof(*list);
	free(list->subs);
	bag->count--;
	memmove(list, list + 1, (size_t)(bag->lists + bag->count - list) * sizeof(*list));
}

static void bag_free(struct topics *topics, struct node *node)
{
	free(bag_of(node)->lists);
	free(bag_of(node));
	topics->extra -= sizeof(struct bag) + 2 * MALLOC_EXTRA;
	node->subs = 0;
}

static bool bag_make(struct topics *topics, struct node *node)
{
	struct topic_sub *single = is_single(node) ? single_of(node) : NULL;
	struct bag *bag;
	struct list *list;

	if (node->subs && !single)
		return true;
	bag = calloc(1, sizeof(*bag));
	if (!bag)
		return false;
	topics->extra += sizeof(*bag) + 2 * MALLOC_EXTRA;
	list = single ? list_new(topics, bag, 0) : NULL;
	if (single && (!list || !list_add(topics, list, single))) {
		if (list)
			list_free(topics, bag, list);
		free(bag->lists);
		free(bag);
		topics->extra -= sizeof(*bag) + 2 * MALLOC_EXTRA;
		return false;
	}
	node->subs = (uintptr_t)bag;
	return true;
}

static bool subscribe(struct topics *topics, struct node *node, struct topic_sub *sub)
{
	struct list *list;

	if (!node->subs && !sub->group) {
		node->subs = (uintptr_t)sub + 1;
		return true;
	}
	if (!bag_make(topics, node))
		return false;
	list = list_of(bag_of(node), sub->group);
	if (!list)
		list = list_new(topics, bag_of(node), sub->group);
	if (list && list_add(topics, list, sub))
		return true;
	if (list && !list->count)
		list_free(topics, bag_of(node), list);
	if (!bag_of(node)->count)
		bag_free(topics, node);
	return false;
}

static void unsubscribe(struct topics *topics, struct node *node, struct topic_sub *sub)
{
	struct list *list;

	if (is_single(node)) {
		node->subs = 0;
		return;
	}
	list = list_of(bag_of(node), sub->group);
	list->subs[sub->at] = list->subs[--list->count];
	list->subs[sub->at]->at = sub->at;
	if (!list->count)
		list_free(topics, bag_of(node), list);
	if (!bag_of(node)->count)
		bag_free(topics, node);
}

int topics_add(struct topics *topics, struct topic_sub *sub, const char *pattern, size_t len, const char *group,
	       size_t group_len)
{
	uint32_t number = ROOT, next;

	*sub = (struct topic_sub){0};
	if (group_len && !(sub->group = group_take(topics, group, group_len)))
		return -ENOMEM;
	for (size_t at = 0; at <= len; number = next) {
		size_t end = token_end(pattern, len, at);

		next = child(topics, number, pattern + at, end - at);
		if (!next)
			goto failed;
		at = end + 1;
	}
	if (!subscribe(topics, node_of(topics, number), sub))
		goto failed;
	sub->node = number;
	topics->count++;
	topics->version++;
	return 0;
failed:
	prune(topics, number);
	group_drop(topics, sub->group);
	return -ENOMEM;
}

void topics_remove(struct topics *topics, struct topic_sub *sub)
{
	unsubscribe(topics, node_of(topics, sub->node), sub);
	prune(topics, sub->node);
	group_drop(topics, sub->group);
	topics->count--;
	topics->version++;
	sub->node = 0;
}

size_t topics_pattern(const struct topics *topics, const struct topic_sub *sub, char *out)
{
	size_t at = TOPIC_MAX;

	for (uint32_t number = sub->node; number != ROOT;) {
		const struct node *node = node_of(topics, number);
		size_t len;
		const char *token = name_bytes(&node->name, &len);

		at -= len;
		memcpy(out + at, token, len);
		number = node->parent;
		if (number != ROOT)
			out[--at] = '.';
	}
	memmove(out, out + at, TOPIC_MAX - at);
	return TOPIC_MAX - at;
}

static uint32_t subs_of(const struct node *node)
{
	const struct bag *bag = node->subs && !is_single(node) ? bag_of(node) : NULL;
	uint32_t count = node->subs && !bag;

	for (uint32_t i = 0; bag && i < bag->count; i++)
		count += bag->lists[i].count;
	return count;
}

size_t topics_busiest(const struct topics *topics, uint32_t limit, struct topic_busy *out, size_t cap)
{
	size_t count = 0;

	for (uint32_t number = GROUPS + 1; number < topics->used && number - GROUPS <= limit; number++) {
		uint32_t subs = subs_of(node_of(topics, number));
		size_t at = count;

		while (at > 0 && out[at - 1].count < subs)
			at--;
		if (!subs || at == cap)
			continue;
		count += count < cap;
		memmove(&out[at + 1], &out[at], (count - at - 1) * sizeof(*out));
		out[at] = (struct topic_busy){.sub.node = number, .count = subs};
	}
	return count;
}

size_t topics_group_name(const struct topics *topics, const struct topic_sub *sub, char *out, size_t cap)
{
	const char *name;
	size_t len;

	if (!sub->group)
		return 0;
	name = name_bytes(&node_of(topics, sub->group)->name, &len);
	if (len > cap)
		return 0;
	memcpy(out, name, len);
	return len;
}

uint32_t topics_group(const struct topics *topics, const char *name, size_t len)
{
	const struct node *groups = node_of(topics, GROUPS);

	if (is_wild(name, len, '*'))
		return groups->star;
	if (is_wild(name, len, '>'))
		return groups->rest;
	return find_edge(topics, GROUPS, name, len, hash_token(topics->seed, name, len));
}

/* ---- the whole ---- */

struct topics *topics_new(uint64_t seed)
{
	struct topics *topics = calloc(1, sizeof(*topics));

	if (!topics)
		return NULL;
	topics->seed = seed;
	topics->used = ROOT;
	topics->edges_cap = EDGES_MIN;
	topics->edges = calloc(EDGES_MIN, sizeof(*topics->edges));
	if (topics->edges && slab_add(topics) && node_new(topics, 0, "", 0) == ROOT &&
	    node_new(topics, 0, "", 0) == GROUPS)
		return topics;
	topics_free(topics);
	return NULL;
}

void topics_free(struct topics *topics)
{
	if (!topics)
		return;
	for (uint32_t i = ROOT; topics->nslabs && i < topics->used; i++) {
		struct node *node = node_of(topics, i);

		name_clear(topics, &node->name);
		if (node->subs && !is_single(node)) {
			for (uint32_t n = 0; n < bag_of(node)->count; n++)
				free(bag_of(node)->lists[n].subs);
			bag_free(topics, node);
		}
	}
	for (uint32_t i = 0; i < topics->nslabs; i++)
		free(topics->slabs[i]);
	free(topics->slabs);
	free(topics->edges);
	free(topics);
}

uint64_t topics_version(const struct topics *topics)
{
	return topics->version;
}

size_t topics_count(const struct topics *topics)
{
	return topics->count;
}

size_t topics_memory(const struct topics *topics)
{
	return sizeof(*topics) + topics->nslabs * (SLAB * sizeof(struct node) + 2 * sizeof(void *)) +
	       topics->edges_cap * sizeof(*topics->edges) + topics->extra;
}

/* ---- who gets a topic ---- */

/* How many tokens there are; 0: the topic is not valid. Wildcards in it are tokens that only wildcards take. */
static size_t take_apart(const struct topics *topics, const char *topic, size_t len, struct topic_token *tokens)
{
	size_t count = 0;

	if (!len || len > TOPIC_MAX)
		return 0;
	for (size_t at = 0; at <= len; count++) {
		size_t end = at;

		while (end < len && topic[end] != '.')
			end++;
		if (end == at || count == TOPIC_TOKENS_MAX)
			return 0;
		tokens[count] = (struct topic_token){topic + at, (uint32_t)(end - at),
						     hash_token(topics->seed, topic + at, end - at)};
		at = end + 1;
	}
	return count;
}

static int span_add(struct topic_match *match, struct topic_sub *const *subs, uint32_t count, uint32_t group)
{
	if (match->count == match->cap) {
		size_t cap = match->cap ? match->cap * 2 : 16;
		struct topic_span *spans = realloc(match->spans, cap * sizeof(*spans));

		if (!spans)
			return -ENOMEM;
		match->spans = spans;
		match->cap = cap;
	}
	match->spans[match->count++] = (struct topic_span){subs, count, group};
	return 0;
}

/* Its place is known when all has been found: the list may move until then. */
static int single_add(struct topic_match *match, struct topic_sub *sub)
{
	if (match->nsingle == match->single_cap) {
		size_t cap = match->single_cap ? match->single_cap * 2 : 16;
		struct topic_sub **grown = realloc(match->single, cap * sizeof(struct topic_sub *));

		if (!grown)
			return -ENOMEM;
		match->single = grown;
		match->single_cap = cap;
	}
	match->single[match->nsingle++] = sub;
	return 0;
}

static int collect(const struct topics *topics, uint32_t number, struct topic_match *match)
{
	const struct node *node = node_of(topics, number);
	int err = 0;

	if (is_single(node))
		return single_add(match, single_of(node));
	if (!node->subs)
		return 0;
	for (uint32_t i = 0; i < bag_of(node)->count && err == 0; i++) {
		const struct list *list = &bag_of(node)->lists[i];

		err = span_add(match, list->subs, list->count, list->group);
	}
	return err;
}

/* Recursion goes as deep as a topic has tokens; it is needed where both a token and `*` go on. */
static int walk(const struct topics *topics, uint32_t number, const struct topic_token *token, size_t left,
		struct topic_match *match)
{
	for (; left; token++, left--) {
		const struct node *node = node_of(topics, number);
		uint32_t star = node->star;
		uint32_t next = node->kids ? find_edge(topics, number, token->bytes, token->len, token->hash) : 0;
		int err = node->rest ? collect(topics, node->rest, match) : 0;

		if (err == 0 && next && star)
			err = walk(topics, star, token + 1, left - 1, match);
		if (err < 0 || (!next && !star))
			return err;
		number = next ? next : star;
	}
	return collect(topics, number, match);
}

static int by_group(const void *a, const void *b)
{
	const struct topic_span *x = a, *y = b;

	return (x->group > y->group) - (x->group < y->group);
}

int topics_match(const struct topics *topics, const char *topic, size_t len, struct topic_match *match)
{
	size_t ntokens;
	int err;

	match->count = match->nsingle = 0;
	if (!match->tokens)
		match->tokens = malloc(TOPIC_TOKENS_MAX * sizeof(*match->tokens));
	if (!match->tokens)
		return -ENOMEM;
	ntokens = take_apart(topics, topic, len, match->tokens);
	if (!ntokens)
		return 0;
	err = walk(topics, ROOT, match->tokens, ntokens, match);
	if (err == 0 && match->nsingle)
		err = span_add(match, match->single, (uint32_t)match->nsingle, 0);
	for (size_t i = 1; err == 0 && i < match->count; i++)
		if (match->spans[i].group < match->spans[i - 1].group) {
			qsort(match->spans, match->count, sizeof(*match->spans), by_group);
			break;
		}
	return err;
}

void topic_match_free(struct topic_match *match)
{
	free(match->spans);
	free(match->tokens);
	free(match->single);
	*match = (struct topic_match){0};
}

struct topic_sub *topic_match_choose(const struct topic_match *match, size_t *span, uint64_t nth)
{
	size_t first = *span, end = first;
	uint64_t members = 0;

	for (; end < match->count && match->spans[end].group == match->spans[first].group; end++)
		members += match->spans[end].count;
	*span = end;
	nth %= members;
	for (; nth >= match->spans[first].count; first++)
		nth -= match->spans[first].count;
	return match->spans[first].subs[nth];
}
