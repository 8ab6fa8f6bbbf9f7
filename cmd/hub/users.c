#include "users.h"

#ifdef TNI_HAVE_CRYPT
#include <crypt.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "nkey.h"
#include "tenon.h"
#include "topics/topics.h"

#define PATTERNS_MAX 64
#define CERT "cert:"
#define NKEY "nkey:"

/* Patterns, in one block of text. */
struct rights {
	char *text; /* NULL: no list was given */
	unsigned count;
	struct span *patterns;
};

enum right { PUBLISH, SUBSCRIBE, DENY_PUBLISH, DENY_SUBSCRIBE, RIGHTS };

struct user {
	struct user *next;
	char *name, *hash; /* in `line`; "cert:" stands for what a certificate says, "nkey:" for a key */
	struct rights rights[RIGHTS];
	uint64_t connections, subscriptions, rate, payload; /* limits; 0: none */
	_Atomic(uint64_t) open, subscribed, busy_until_ns;
	char *line;
};

static struct user *_Atomic users;
static struct user *old; /* clients may still refer to these */
static char why_not[256];
static atomic_bool signs;

/* "{name}" in a pattern is the user's own. To be freed. */
static char *with_name(const char *text, const char *name)
{
	static const char place[] = "{name}";
	size_t cap = strlen(text) + 1, len = 0;
	char *out;

	for (const char *at = text; (at = strstr(at, place)); at++)
		cap += strlen(name);
	out = malloc(cap);
	while (out && *text)
		if (strncmp(text, place, sizeof(place) - 1) == 0) {
			len += (size_t)sprintf(out + len, "%s", name);
			text += sizeof(place) - 1;
		} else {
			out[len++] = *text++;
		}
	if (out)
		out[len] = '\0';
	return out;
}

static const char *read_rights(struct rights *rights, const char *list, const char *name)
{
	char *rest, *pattern;

	if (rights->text)
		return "has the same word twice";
	rights->text = rest = with_name(list, name);
	rights->patterns = calloc(PATTERNS_MAX, sizeof(*rights->patterns));
	if (!rest || !rights->patterns)
		return "finds no memory";
	while ((pattern = strsep(&rest, ","))) {
		size_t len = strlen(pattern);

		if (!len && !rest && !rights->count)
			break; /* nothing at all */
		if (rights->count == PATTERNS_MAX)
			return "has too many patterns";
		if (!topic_is_pattern(pattern, len))
			return "has what is no pattern";
		rights->patterns[rights->count++] = (struct span){pattern, len};
	}
	if (rights->count)
		rights->patterns = reallocarray(rights->patterns, rights->count, sizeof(*rights->patterns));
	return rights->patterns ? NULL : "finds no memory";
}

static const char *read_limit(const char *value, bool size, uint64_t *to)
{
	char *end;

	if (*to)
		return "has the same word twice";
	if (size)
		return tn_parse_size(value, to) < 0 || !*to ? "has a limit that is no size (64KiB, 1MiB)" : NULL;
	*to = strtoul(value, &end, 10);
	return *end || *value < '0' || *value > '9' || !*to || *to > 1000000000
		       ? "has a limit that is no number from 1 up"
		       : NULL;
}

static const char *read_word(struct user *user, const char *word)
{
	const struct {
		const char *name;
		int right;
		uint64_t *limit;
		bool size;
	} words[] = {
		{"publish", PUBLISH, NULL, false},
		{"subscribe", SUBSCRIBE, NULL, false},
		{"deny-publish", DENY_PUBLISH, NULL, false},
		{"deny-subscribe", DENY_SUBSCRIBE, NULL, false},
		{"connections", 0, &user->connections, false},
		{"subscriptions", 0, &user->subscriptions, false},
		{"rate", 0, &user->rate, true},
		{"payload", 0, &user->payload, true},
	};
	const char *value = strchr(word, '=');

	for (size_t i = 0; value && i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(word, words[i].name, (size_t)(value - word)) == 0 && !words[i].name[value - word])
			return words[i].limit ? read_limit(value + 1, words[i].size, words[i].limit)
					      : read_rights(&user->rights[words[i].right], value + 1, user->name);
	return "has a word that is none of publish=, subscribe=, deny-publish=, deny-subscribe=, connections=, "
	       "subscriptions=, rate= and payload=";
}

static bool begins(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* What proves that it is the user. */
static const char *check_proof(const char *hash)
{
	if (begins(hash, CERT))
		return NULL;
	if (begins(hash, NKEY)) {
		const char *key = hash + strlen(NKEY);

		if (!nkey_is_user((struct span){key, strlen(key)}))
			return "has an nkey that is no public key of a user (U and 55 letters and digits)";
#ifndef TNI_HAVE_TLS
		return "has an nkey, which this build cannot check";
#endif
		return NULL;
	}
	if (hash[0] != '$')
		return "has no hash of a password ($y$..., by mkpasswd), no cert:IDENTITY, and no nkey:KEY";
#ifndef TNI_HAVE_CRYPT
	return "has a hash of a password, which this build cannot check";
#endif
	return NULL;
}

static const char *read_words(struct user *user)
{
	char *rest = user->line, *word;
	const char *why = NULL;

	while (!why && (word = strsep(&rest, " \t\r\n"))) {
		if (!*word)
			continue;
		if (!user->name)
			user->name = word;
		else if (!user->hash)
			user->hash = word;
		else
			why = read_word(user, word);
	}
	if (!why && (!user->hash || strchr(user->name, ':')))
		why = user->hash ? "has a colon in its name" : "is no NAME HASH [publish=PATTERN,...] [...]";
	return why ? why : check_proof(user->hash);
}

static void list_free(struct user *user)
{
	while (user) {
		struct user *next = user->next;

		for (int i = 0; i < RIGHTS; i++) {
			free(user->rights[i].text);
			free(user->rights[i].patterns);
		}
		free(user->line);
		free(user);
		user = next;
	}
}

static struct user *find(struct user *user, const char *name, size_t len)
{
	while (user && (strlen(user->name) != len || memcmp(user->name, name, len) != 0))
		user = user->next;
	return user;
}

/* One line. NULL: fine. */
static const char *add(struct user **list, char *line)
{
	struct user *user =
		line[strspn(line, " \t\r\n")] && line[strspn(line, " \t")] != '#' ? calloc(1, sizeof(*user)) : NULL;
	const char *why;

	if (!user)
		return NULL;
	user->line = strdup(line);
	why = user->line ? read_words(user) : "finds no memory";
	if (!why && find(*list, user->name, strlen(user->name)))
		why = "is there twice";
	user->next = why ? NULL : *list;
	if (why)
		list_free(user);
	else
		*list = user;
	return why;
}

const char *users_read(int fd)
{
	FILE *file = fdopen(fd, "r");
	struct user *list = NULL, **end = &old;
	const char *why = NULL;
	char *line = NULL;
	size_t cap = 0;
	unsigned number = 0;

	if (!file) {
		close(fd);
		return "out of memory";
	}
	while (!why && getline(&line, &cap, file) >= 0) {
		number++;
		why = add(&list, line);
	}
	free(line);
	fclose(file);
	if (!why && !list) {
		why = "nobody is in it";
		number = 1;
	}
	if (why) {
		snprintf(why_not, sizeof(why_not), "line %u %s", number, why);
		list_free(list);
		return why_not;
	}
	while (*end)
		end = &(*end)->next;
	*end = users;
	users = list;
	while (list && !begins(list->hash, NKEY))
		list = list->next;
	signs = list;
	return NULL;
}

void users_forget(void)
{
	list_free(old);
	old = NULL;
}

void users_free(void)
{
	users_forget();
	list_free(users);
	users = NULL;
}

bool users_any(void)
{
	return users;
}

bool users_sign(void)
{
	return signs;
}

#ifdef TNI_HAVE_CRYPT
bool user_has_password(const char *hash, const char *password)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	const char *made = data ? crypt_r(password, hash, data) : NULL;
	unsigned char differs = !made || strlen(made) != strlen(hash);

	for (size_t i = 0; !differs && hash[i]; i++)
		differs = (unsigned char)(differs | (made[i] ^ hash[i]));
	if (data)
		explicit_bzero(data, sizeof(*data));
	free(data);
	return !differs;
}
#else
bool user_has_password(const char *hash, const char *password)
{
	(void)hash, (void)password;
	return false;
}
#endif

struct user *users_named(const struct login *login, struct span *password)
{
	struct span name = login->user;
	const char *colon = login->token.data ? memchr(login->token.data, ':', login->token.len) : NULL;
	struct user *user;

	*password = login->password;
	if (!name.data && colon) {
		name = (struct span){login->token.data, (size_t)(colon - login->token.data)};
		*password = (struct span){colon + 1, login->token.len - name.len - 1};
	}
	if (!name.data || !password->data || memchr(password->data, '\0', password->len)) {
		*password = (struct span){0};
		return NULL;
	}
	user = find(users, name.data, name.len);
	return user && user->hash[0] == '$' ? user : NULL;
}

const struct user *users_decoy(void)
{
	const struct user *user = users;

	while (user && user->hash[0] != '$')
		user = user->next;
	return user;
}

const char *user_hash(const struct user *user)
{
	return user->hash;
}

struct user *users_by_nkey(const struct login *login, struct span nonce)
{
	struct user *user = users;

	while (user && (!begins(user->hash, NKEY) || strlen(user->hash + strlen(NKEY)) != login->nkey.len ||
			memcmp(user->hash + strlen(NKEY), login->nkey.data, login->nkey.len) != 0))
		user = user->next;
	return user && nonce.len && nkey_has_signed(login->nkey, nonce, login->signature) ? user : NULL;
}

/* A subject has spaces behind its commas; in the file a space ends a word, so spaces count nowhere. */
static bool is_same(const char *word, const char *identity)
{
	for (; *identity; identity++)
		if (*identity != ' ' && *word++ != *identity)
			return false;
	return !*word;
}

struct user *users_by_cert(const char *identity)
{
	struct user *user = *identity ? users : NULL;

	while (user && (!begins(user->hash, CERT) || !is_same(user->hash + strlen(CERT), identity)))
		user = user->next;
	return user;
}

struct user *users_again(const struct user *user)
{
	return find(users, user->name, strlen(user->name));
}

const char *user_name(const struct user *user)
{
	return user->name;
}

/* ---- limits ---- */

bool user_enter(struct user *user, bool there)
{
	uint64_t open = user->open++;

	if (there || !user->connections || open < user->connections)
		return true;
	user->open--;
	return false;
}

void user_leave(struct user *user)
{
	user->open--;
}

bool user_may_add(struct user *user)
{
	if (user->subscribed++ < user->subscriptions || !user->subscriptions)
		return true;
	user->subscribed--;
	return false;
}

void user_add(struct user *user, unsigned count)
{
	user->subscribed += count;
}

void user_remove(struct user *user, unsigned count)
{
	user->subscribed -= count;
}

/* What a second carries may come at once. */
uint64_t user_spend(struct user *user, size_t bytes, uint64_t now_ns)
{
	uint64_t was = user->busy_until_ns, until;

	if (!user->rate)
		return 0;
	do
		until = (was > now_ns ? was : now_ns) + (uint64_t)((double)bytes * NS_PER_S / (double)user->rate);
	while (!atomic_compare_exchange_weak(&user->busy_until_ns, &was, until));
	return until > now_ns + NS_PER_S ? until - NS_PER_S : 0;
}

uint32_t user_payload(const struct user *user, uint32_t otherwise)
{
	return user->payload && user->payload < otherwise ? (uint32_t)user->payload : otherwise;
}

/* ---- rights ---- */

static bool covers(const struct rights *rights, struct span pattern)
{
	for (unsigned i = 0; i < rights->count; i++)
		if (topic_covers(rights->patterns[i].data, rights->patterns[i].len, pattern.data, pattern.len))
			return true;
	return false;
}

static bool allows(const struct user *user, enum right right, enum right denied, struct span pattern)
{
	return (!user->rights[right].text || covers(&user->rights[right], pattern)) &&
	       !covers(&user->rights[denied], pattern);
}

/* A topic with wildcards in it would reach those who have subscribed with wildcards alone: it is judged as a pattern.
 */
bool user_may_publish(const struct user *user, struct span topic)
{
	bool all = !user->rights[PUBLISH].text && !user->rights[DENY_PUBLISH].count;

	return all || (topic_is_pattern(topic.data, topic.len) && allows(user, PUBLISH, DENY_PUBLISH, topic));
}

bool user_may_subscribe(const struct user *user, struct span pattern)
{
	return allows(user, SUBSCRIBE, DENY_SUBSCRIBE, pattern);
}

bool user_may_get(const struct user *user, struct span topic)
{
	return !user->rights[DENY_SUBSCRIBE].count || !covers(&user->rights[DENY_SUBSCRIBE], topic);
}
