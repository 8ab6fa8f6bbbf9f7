#include "net/cidr.h"

#include "base/err.h"
#include "net/special.h"

#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ITEM_MAX 64

/* An item: whoever comes through a Unix socket. */
#define UNIX_WORD "unix"

/* Another one: every address but those of net/special.h. */
#define PUBLIC_WORD "public"

/* The family's byte and the address; 0 for what is no IP address. Otherwise the address's bits. */
static unsigned key_of(const struct tn_addr *addr, unsigned char key[17])
{
	const struct sockaddr_in6 *in6 = (const void *)tn_addr_sockaddr(addr);
	const struct sockaddr_in *in = (const void *)in6;

	memset(key, 0, 17);
	if (tni_addr_family(addr) == AF_INET) {
		key[0] = 4;
		memcpy(key + 1, &in->sin_addr, 4);
		return 32;
	}
	if (tni_addr_family(addr) != AF_INET6)
		return 0;
	if (tni_addr_is_mapped(addr)) {
		key[0] = 4;
		memcpy(key + 1, in6->sin6_addr.s6_addr + 12, 4);
		return 32;
	}
	key[0] = 6;
	memcpy(key + 1, &in6->sin6_addr, 16);
	return 128;
}

/* The digits behind the '/'. -1: they are no number, or more than `max`. */
static int read_prefix(const char *text, unsigned max)
{
	unsigned n = 0;

	if (!*text || strlen(text) > 3 || strspn(text, "0123456789") != strlen(text) || (*text == '0' && text[1]))
		return -1;
	for (; *text; text++)
		n = n * 10 + (unsigned)(*text - '0');
	return n <= max ? (int)n : -1;
}

/* The last address of a network. False: bits behind the prefix are set in the first. */
static bool set_last(struct tni_cidr *cidr, unsigned prefix, unsigned bits)
{
	bool clean = true;

	memcpy(cidr->last, cidr->first, sizeof(cidr->last));
	for (unsigned bit = prefix; bit < bits; bit++) {
		unsigned char mask = (unsigned char)(0x80 >> bit % 8);

		clean = clean && !(cidr->first[1 + bit / 8] & mask);
		cidr->last[1 + bit / 8] |= mask;
	}
	return clean;
}

int tni_cidr_parse(struct tni_cidr *cidr, const char *text, size_t len)
{
	char item[ITEM_MAX], *slash;
	struct tn_addr addr;
	unsigned bits;
	int prefix;

	if (len >= sizeof(item) || memchr(text, '\0', len) || memchr(text, '%', len))
		return tni_err(TN_EURL, "'%.*s' is no address or network", (int)(len < ITEM_MAX ? len : ITEM_MAX),
			       text);
	snprintf(item, sizeof(item), "%.*s", (int)len, text);
	slash = strchr(item, '/');
	if (slash)
		*slash++ = '\0';
	if (tni_addr_literal(&addr, item, 0) < 0)
		return tni_err(TN_EURL,
			       "'%.*s' is no address or network; they look like 192.0.2.1, 10.0.0.0/8, fd00::/8",
			       (int)len, text);
	bits = key_of(&addr, cidr->first);
	prefix = slash ? read_prefix(slash, bits) : (int)bits;
	if (prefix < 0)
		return tni_err(TN_EURL, "'%.*s': the number behind the / goes from 0 to %u", (int)len, text, bits);
	if (!set_last(cidr, (unsigned)prefix, bits))
		return tni_err(TN_EURL,
			       "'%.*s' has bits set behind its first %d: is one address meant, or the network?",
			       (int)len, text, prefix);
	return 0;
}

/* ---- users and groups ---- */

#define USER_WORD "user:"
#define GROUP_WORD "group:"
#define OWNER_BUF 16384 /* of an entry: a group has all its members there */

/* A number needs no entry. False: it is none. */
static bool is_id(const char *name, uint32_t *id)
{
	size_t len = strspn(name, "0123456789");
	unsigned long number = len > 0 && len <= 10 && !name[len] ? strtoul(name, NULL, 10) : UINT32_MAX;

	*id = (uint32_t)number;
	return number < UINT32_MAX;
}

static bool ask_system(bool group, const char *name, uint32_t *id)
{
	struct passwd user, *found = NULL;
	struct group own, *there = NULL;
	char *buf = malloc(OWNER_BUF);

	if (buf && group && getgrnam_r(name, &own, buf, OWNER_BUF, &there) == 0 && there)
		*id = there->gr_gid;
	else if (buf && !group && getpwnam_r(name, &user, buf, OWNER_BUF, &found) == 0 && found)
		*id = found->pw_uid;
	free(buf);
	return there || found;
}

/*
 * What was found once is known for good: in a sandbox, where a list is read again, the system's own cannot be read.
 */
static bool find_owner(bool group, const char *name, uint32_t *id)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct known {
		struct known *next;
		bool group;
		uint32_t id;
		char name[];
	} * first;
	struct known *known;
	bool found = ask_system(group, name, id);

	pthread_mutex_lock(&lock);
	for (known = first; known; known = known->next)
		if (known->group == group && !strcmp(known->name, name))
			break;
	if (known && found)
		known->id = *id;
	else if (known)
		*id = known->id;
	else if (found && (known = malloc(sizeof(*known) + strlen(name) + 1))) {
		known->next = first;
		known->group = group;
		known->id = *id;
		memcpy(known->name, name, strlen(name) + 1);
		first = known;
	}
	pthread_mutex_unlock(&lock);
	return found || known;
}

static int add_owner(struct tni_cidrs *set, bool group, const char *text, size_t len)
{
	struct tni_owner owner = {.group = group}, *grown;
	char name[ITEM_MAX];

	if (!len || len >= sizeof(name) || memchr(text, '\0', len))
		return tni_err(TN_EURL, "'%s%.*s' has no name", group ? GROUP_WORD : USER_WORD,
			       (int)(len < ITEM_MAX ? len : ITEM_MAX), text);
	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	if (!is_id(name, &owner.id) && !find_owner(group, name, &owner.id))
		return tni_err(TN_EURL, "there is no %s '%s' on this system", group ? "group" : "user", name);
	grown = realloc(set->owners, (set->nowners + 1) * sizeof(*grown));
	if (!grown)
		return tni_err(-ENOMEM, "out of memory");
	set->owners = grown;
	grown[set->nowners++] = owner;
	return 0;
}

static bool has_owner(const struct tni_cidrs *set, bool group, uint32_t id)
{
	for (size_t i = 0; i < set->nowners; i++)
		if (set->owners[i].group == group && set->owners[i].id == id)
			return true;
	return false;
}

/* Those besides the first. Since Linux 4.13; without it only the first counts. */
static bool has_further_group(const struct tni_cidrs *set, int fd)
{
	gid_t some[64], *all = some;
	socklen_t len = sizeof(some);
	int rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len);
	bool has = false;

	if (rc < 0 && errno == ERANGE && (all = malloc(len)))
		rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len);
	for (size_t i = 0; rc == 0 && i < len / sizeof(*all) && !has; i++)
		has = has_owner(set, true, all[i]);
	if (all != some)
		free(all);
	return has;
}

bool tni_cidrs_have_owner(const struct tni_cidrs *set, int fd)
{
	struct ucred who = {.uid = UINT32_MAX};
	socklen_t len = sizeof(who);

	if (!set->nowners || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid == UINT32_MAX)
		return false;
	return has_owner(set, false, who.uid) || has_owner(set, true, who.gid) || has_further_group(set, fd);
}

/* ---- the set ---- */

static bool begins(const char *text, size_t len, const char *word)
{
	return len >= strlen(word) && !memcmp(text, word, strlen(word));
}

int tni_cidrs_add(struct tni_cidrs *set, const char *text, size_t len)
{
	struct tni_cidr cidr, *list;
	int rc;

	if (len == strlen(UNIX_WORD) && !memcmp(text, UNIX_WORD, len)) {
		set->has_unix = true;
		return 0;
	}
	if (begins(text, len, USER_WORD))
		return add_owner(set, false, text + strlen(USER_WORD), len - strlen(USER_WORD));
	if (begins(text, len, GROUP_WORD))
		return add_owner(set, true, text + strlen(GROUP_WORD), len - strlen(GROUP_WORD));
#ifdef TNI_HAVE_PROXY
	if (len == strlen(PUBLIC_WORD) && !memcmp(text, PUBLIC_WORD, len)) {
		set->has_public = true;
		return 0;
	}
#endif
	rc = tni_cidr_parse(&cidr, text, len);
	if (rc < 0)
		return rc;
	if (set->count == set->cap) {
		size_t cap = set->cap ? 2 * set->cap : 4;

		list = realloc(set->list, cap * sizeof(*list));
		if (!list)
			return tni_err(-ENOMEM, "out of memory");
		set->list = list;
		set->cap = cap;
	}
	set->list[set->count++] = cidr;
	return 0;
}

static int by_first(const void *a, const void *b)
{
	return memcmp(((const struct tni_cidr *)a)->first, ((const struct tni_cidr *)b)->first,
		      sizeof(struct tni_cidr));
}

/* Networks are beside or inside one another, never across: those inside another one are left out. */
void tni_cidrs_sort(struct tni_cidrs *set)
{
	size_t kept = 0;

	if (!set->count)
		return;
	qsort(set->list, set->count, sizeof(*set->list), by_first);
	for (size_t i = 0; i < set->count; i++) {
		struct tni_cidr *last = kept ? &set->list[kept - 1] : NULL;

		if (last && memcmp(set->list[i].last, last->last, sizeof(last->last)) <= 0)
			continue;
		if (last && !memcmp(set->list[i].first, last->first, sizeof(last->first)))
			*last = set->list[i]; /* the same beginning, and longer */
		else
			set->list[kept++] = set->list[i];
	}
	set->count = kept;
}

bool tni_cidrs_have(const struct tni_cidrs *set, const struct tn_addr *addr)
{
	unsigned char key[17];
	size_t low = 0, high = set->count;

	if (!key_of(addr, key))
		return set->has_unix && (!addr->len || tni_addr_family(addr) == AF_UNIX);
#ifdef TNI_HAVE_PROXY
	if (set->has_public && !tni_addr_is_special(addr))
		return true;
#endif
	while (low < high) { /* the first that begins behind it */
		size_t mid = low + (high - low) / 2;

		if (memcmp(set->list[mid].first, key, sizeof(key)) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && memcmp(key, set->list[low - 1].last, sizeof(key)) <= 0;
}

void tni_cidrs_free(struct tni_cidrs *set)
{
	free(set->list);
	free(set->owners);
	*set = (struct tni_cidrs){0};
}
