#include "users.h"

#ifdef TNI_HAVE_CRYPT
#include <crypt.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "topics/topics.h"

#define PATTERNS_MAX 64
#define CERT "cert:"

/* Patterns, in one block of text. `all`: no list was given. */
struct rights {
	bool all;
	unsigned count;
	struct span patterns[PATTERNS_MAX];
};

struct user {
	struct user *next;
	char *name, *hash; /* in `line`; "cert:" stands for what a certificate says */
	struct rights publish, subscribe;
	char *texts[2]; /* of the patterns */
	char *line;
};

static struct user *_Atomic users;
static struct user *old; /* clients may still refer to these */
static char why_not[256];

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

static const char *read_rights(struct rights *rights, char **kept, const char *list, const char *name)
{
	char *text = with_name(list, name), *rest = text, *pattern;

	if (!text)
		return "out of memory";
	free(*kept);
	*kept = text;
	*rights = (struct rights){0};
	while ((pattern = strsep(&rest, ","))) {
		size_t len = strlen(pattern);

		if (!len && !rest && !rights->count)
			return NULL; /* nothing is allowed */
		if (rights->count == PATTERNS_MAX)
			return "has too many patterns";
		if (!topic_is_pattern(pattern, len))
			return "has what is no pattern";
		rights->patterns[rights->count++] = (struct span){pattern, len};
	}
	return NULL;
}

static const char *read_words(struct user *user)
{
	char *rest = user->line, *word;
	const char *why = NULL;

	user->publish.all = user->subscribe.all = true;
	while (!why && (word = strsep(&rest, " \t\r\n"))) {
		if (!*word)
			continue;
		if (!user->name)
			user->name = word;
		else if (!user->hash)
			user->hash = word;
		else if (strncmp(word, "publish=", 8) == 0)
			why = read_rights(&user->publish, &user->texts[0], word + 8, user->name);
		else if (strncmp(word, "subscribe=", 10) == 0)
			why = read_rights(&user->subscribe, &user->texts[1], word + 10, user->name);
		else
			why = "has a word that is neither publish= nor subscribe=";
	}
	if (!why && (!user->hash || strchr(user->name, ':')))
		why = user->hash ? "has a colon in its name"
				 : "is no NAME HASH [publish=PATTERN,...] [subscribe=PATTERN,...]";
#ifndef TNI_HAVE_CRYPT
	if (!why && user->hash[0] == '$')
		return "has a hash of a password, which this build cannot check";
#endif
	if (!why && strncmp(user->hash, CERT, strlen(CERT)) != 0 && user->hash[0] != '$')
		why = "has no hash of a password ($y$..., by mkpasswd), and no cert:IDENTITY";
	return why;
}

static void list_free(struct user *user)
{
	while (user) {
		struct user *next = user->next;

		free(user->texts[0]);
		free(user->texts[1]);
		free(user->line);
		free(user);
		user = next;
	}
}

static const struct user *find(const struct user *user, const char *name, size_t len)
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
	return NULL;
}

void users_free(void)
{
	list_free(users);
	list_free(old);
	users = old = NULL;
}

bool users_any(void)
{
	return users;
}

#ifdef TNI_HAVE_CRYPT
static bool is_password(const struct user *user, struct span password)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	char *text = data ? strndup(password.data, password.len) : NULL;
	const char *hash = text ? crypt_r(text, user->hash, data) : NULL;
	unsigned char differs = !hash || strlen(hash) != strlen(user->hash);

	for (size_t i = 0; !differs && user->hash[i]; i++)
		differs = (unsigned char)(differs | (hash[i] ^ user->hash[i]));
	if (text)
		explicit_bzero(text, strlen(text));
	if (data)
		explicit_bzero(data, sizeof(*data));
	free(text);
	free(data);
	return !differs;
}
#else
static bool is_password(const struct user *user, struct span password)
{
	(void)user;
	(void)password;
	return false;
}
#endif

const struct user *users_login(const struct login *login)
{
	struct span name = login->user, password = login->password;
	const char *colon = login->token.data ? memchr(login->token.data, ':', login->token.len) : NULL;
	const struct user *user;

	if (!name.data && colon) {
		name = (struct span){login->token.data, (size_t)(colon - login->token.data)};
		password = (struct span){colon + 1, login->token.len - name.len - 1};
	}
	if (!name.data || !password.data || memchr(password.data, '\0', password.len))
		return NULL;
	user = find(users, name.data, name.len);
	return user && user->hash[0] == '$' && is_password(user, password) ? user : NULL;
}

/* A subject has spaces behind its commas; in the file a space ends a word, so spaces count nowhere. */
static bool is_same(const char *word, const char *identity)
{
	for (; *identity; identity++)
		if (*identity != ' ' && *word++ != *identity)
			return false;
	return !*word;
}

const struct user *users_by_cert(const char *identity)
{
	const struct user *user = *identity ? users : NULL;

	while (user && (strncmp(user->hash, CERT, strlen(CERT)) != 0 || !is_same(user->hash + strlen(CERT), identity)))
		user = user->next;
	return user;
}

const struct user *users_again(const struct user *user)
{
	return find(users, user->name, strlen(user->name));
}

const char *user_name(const struct user *user)
{
	return user->name;
}

static bool allows(const struct rights *rights, struct span topic)
{
	for (unsigned i = 0; i < rights->count; i++)
		if (topic_covers(rights->patterns[i].data, rights->patterns[i].len, topic.data, topic.len))
			return true;
	return rights->all;
}

/* A topic with wildcards in it would reach those who have subscribed with wildcards alone: it is judged as a pattern.
 */
bool user_may_publish(const struct user *user, struct span topic)
{
	return user->publish.all || (topic_is_pattern(topic.data, topic.len) && allows(&user->publish, topic));
}

bool user_may_subscribe(const struct user *user, struct span pattern)
{
	return allows(&user->subscribe, pattern);
}
