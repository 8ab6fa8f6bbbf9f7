#include "history.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "tenon.h"
#include "tenon_value.h"
#include "topics/topics.h"

#define RULES_MAX 64
#define BYTES (64 << 20)
#define BUCKETS 4096

struct entry {
	struct entry *next;          /* of its topic, newer */
	struct entry *older, *newer; /* of its rule */
	struct log *log;
	struct kept *kept;
	uint64_t at_ns;
	size_t weight;
};

/* What is kept of one topic. */
struct log {
	struct log *next;
	struct rule *rule;
	struct entry *first, *last;
	unsigned count;
	uint64_t lost; /* the newest offset that has gone */
	size_t len;
	char topic[];
};

static struct rule {
	char *pattern;
	size_t len, bytes, bytes_max;
	unsigned history;
	uint64_t age_ns;    /* 0: for ever */
	bool last;          /* the newest stays, however old */
	const char *format; /* of payloads; NULL: any */
	uint64_t lost;      /* the newest offset that has gone of topics of which nothing is left */
	struct entry *oldest, *newest;
} rules[RULES_MAX];

static int nrules;
static struct log *logs[BUCKETS];
static uint64_t offset;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- rules ---- */

static const char *read_key(struct rule *rule, char *key)
{
	char *value = strchr(key, '=');
	uint64_t number = 0;

	if (!value)
		return "has a key without a value";
	*value++ = '\0';
	if (strcmp(key, "history") == 0) {
		char *end;

		rule->history = (unsigned)strtoul(value, &end, 10);
		return *end || !rule->history || rule->history > 1000000000 ? "history= is no number from 1 up" : NULL;
	}
	if (strcmp(key, "age") == 0)
		return tn_parse_duration(value, &rule->age_ns) < 0 ? "age= is no duration (10s, 1h)" : NULL;
	if (strcmp(key, "bytes") == 0) {
		if (tn_parse_size(value, &number) < 0 || !number)
			return "bytes= is no size (1MiB)";
		rule->bytes_max = number;
		return NULL;
	}
	if (strcmp(key, "last") == 0) {
		rule->last = strcmp(value, "on") == 0;
		return rule->last || strcmp(value, "off") == 0 ? NULL : "last= is neither on nor off";
	}
	if (strcmp(key, "format") == 0) {
		rule->format = value;
		return tn_format_kind(value) < 0 ? "format= is none that this build has" : NULL;
	}
	return "has a key that is none of history, age, last, bytes, format";
}

const char *history_rule(const char *text)
{
	struct rule *rule = &rules[nrules];
	char *copy = strdup(text), *keys = copy, *key;
	const char *why = NULL;

	if (!copy || nrules == RULES_MAX) {
		free(copy);
		return copy ? "is one too many" : "finds no memory";
	}
	*rule = (struct rule){.pattern = strsep(&keys, "?"), .bytes_max = BYTES};
	rule->len = strlen(rule->pattern);
	if (!topic_is_pattern(rule->pattern, rule->len))
		why = "is no PATTERN?history=N&age=DUR&last=on&bytes=SIZE";
	while (!why && keys && (key = strsep(&keys, "&")))
		why = read_key(rule, key);
	if (!why && !rule->history && !rule->last && !rule->format)
		why = "says nothing: history=N, last=on, or format=NAME";
	if (why)
		free(copy);
	else
		nrules++;
	return why;
}

bool history_any(void)
{
	return nrules;
}

/* ---- what is kept ---- */

static struct log **bucket(const char *topic, size_t len)
{
	return &logs[topic_hash(topic, len) % BUCKETS];
}

static void log_free(struct log *log)
{
	struct log **at = bucket(log->topic, log->len);

	while (*at != log)
		at = &(*at)->next;
	*at = log->next;
	if (log->rule->lost < log->lost)
		log->rule->lost = log->lost;
	log->rule->bytes -= sizeof(*log) + log->len;
	free(log);
}

/* The oldest of its topic goes. */
static void drop(struct log *log)
{
	struct entry *entry = log->first;
	struct rule *rule = log->rule;

	log->first = entry->next;
	log->count--;
	log->lost = entry->kept->message.offset;
	*(entry->older ? &entry->older->newer : &rule->oldest) = entry->newer;
	*(entry->newer ? &entry->newer->older : &rule->newest) = entry->older;
	rule->bytes -= entry->weight;
	kept_free(entry->kept);
	free(entry);
	if (!log->first)
		log_free(log);
}

static struct log *log_of(struct rule *rule, struct span topic)
{
	struct log **at = bucket(topic.data, topic.len), *log = *at;

	while (log && (log->len != topic.len || memcmp(log->topic, topic.data, topic.len) != 0))
		log = log->next;
	if (log)
		return log;
	log = calloc(1, sizeof(*log) + topic.len);
	if (!log)
		return NULL;
	log->rule = rule;
	log->len = topic.len;
	memcpy(log->topic, topic.data, topic.len);
	rule->bytes += sizeof(*log) + topic.len;
	log->next = *at;
	*at = log;
	return log;
}

static bool is_old(const struct rule *rule, const struct entry *entry, uint64_t now_ns)
{
	return rule->age_ns && now_ns > entry->at_ns && now_ns - entry->at_ns > rule->age_ns &&
	       !(rule->last && entry == entry->log->last);
}

static void keep(struct rule *rule, struct message *message, uint64_t now_ns)
{
	struct log *log = log_of(rule, message->topic);
	struct entry *entry = log ? calloc(1, sizeof(*entry)) : NULL;
	unsigned most = rule->history ? rule->history : 1;

	message->offset = offset + 1;
	if (!entry || !(entry->kept = message_keep(message))) {
		message->offset = 0;
		free(entry);
		if (log && !log->first)
			log_free(log);
		return;
	}
	offset++;
	entry->log = log;
	entry->at_ns = now_ns;
	entry->weight =
		sizeof(*entry) + sizeof(struct kept) + message->topic.len + message->reply.len + message->body.len;
	entry->older = rule->newest;
	*(rule->newest ? &rule->newest->newer : &rule->oldest) = entry;
	rule->newest = entry;
	*(log->first ? &log->last->next : &log->first) = entry;
	log->last = entry;
	log->count++;
	rule->bytes += entry->weight;
	while (log->count > most)
		drop(log);
	while (rule->oldest && (is_old(rule, rule->oldest, now_ns) || rule->bytes > rule->bytes_max))
		drop(rule->oldest->log);
}

/* The rule of a topic: the first that fits. NULL: there is none. */
static struct rule *rule_of(struct span topic)
{
	for (int i = 0; i < nrules; i++)
		if (topic_fits(rules[i].pattern, rules[i].len, topic.data, topic.len))
			return &rules[i];
	return NULL;
}

bool history_allows(const struct message *message)
{
	const struct rule *rule = rule_of(message->topic);
	struct tn_value *value = NULL;
	bool allowed = true;

	if (rule && rule->format) {
		struct span payload = message_payload(message);

		allowed = tn_decode(rule->format, payload.data, payload.len, 0, &value) == 0;
	}
	tn_value_free(value);
	return allowed;
}

void history_add(struct message *message, uint64_t now_ns)
{
	struct rule *rule = topic_is_literal(message->topic.data, message->topic.len) ? rule_of(message->topic) : NULL;

	if (!rule || (!rule->history && !rule->last))
		return;
	pthread_mutex_lock(&lock);
	keep(rule, message, now_ns);
	pthread_mutex_unlock(&lock);
}

/* ---- what is wanted ---- */

static int list_add(struct history_list *list, struct kept *kept)
{
	if (list->count == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		struct kept **grown = realloc(list->list, cap * sizeof(struct kept *));

		if (!grown)
			return -ENOMEM;
		list->list = grown;
		list->cap = cap;
	}
	kept->refs++;
	list->list[list->count++] = kept;
	return 0;
}

static int find_in(const struct log *log, const struct wanted *wanted, uint64_t now_ns, struct history_list *list)
{
	unsigned skip = !wanted->resumes && log->count > wanted->newest ? log->count - wanted->newest : 0;
	int err = 0;

	if (wanted->resumes && log->lost > wanted->since)
		list->gap = true;
	for (const struct entry *entry = log->first; entry && err == 0; entry = entry->next) {
		if (skip) {
			skip--;
			continue;
		}
		if (is_old(log->rule, entry, now_ns)) {
			list->gap |= wanted->resumes && entry->kept->message.offset > wanted->since;
			continue;
		}
		if (!wanted->resumes || entry->kept->message.offset > wanted->since)
			err = list_add(list, entry->kept);
	}
	return err;
}

static int by_offset(const void *a, const void *b)
{
	const struct kept *x = *(struct kept *const *)a, *y = *(struct kept *const *)b;

	return (x->message.offset > y->message.offset) - (x->message.offset < y->message.offset);
}

static bool is_fit(const struct span *patterns, int count, const struct log *log)
{
	while (count && !topic_fits(patterns->data, patterns->len, log->topic, log->len)) {
		patterns++;
		count--;
	}
	return count;
}

int history_find(const struct span *patterns, int count, const struct wanted *wanted, uint64_t now_ns,
		 struct history_list *list)
{
	int err = 0;

	list->gap = wanted->foreign;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < BUCKETS; i++)
		for (const struct log *log = logs[i]; log && err == 0; log = log->next)
			if (is_fit(patterns, count, log))
				err = find_in(log, wanted, now_ns, list);
	/* Of topics that are not there any more nobody knows which they were */
	for (int i = 0; i < nrules && wanted->resumes; i++)
		list->gap |= rules[i].lost > wanted->since || wanted->since > offset;
	pthread_mutex_unlock(&lock);
	if (list->count)
		qsort(list->list, list->count, sizeof(struct kept *), by_offset);
	return err;
}

void history_list_free(struct history_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		kept_free(list->list[i]);
	free(list->list);
}

void history_free(void)
{
	for (int i = 0; i < nrules; i++) {
		while (rules[i].oldest)
			drop(rules[i].oldest->log);
		free(rules[i].pattern);
	}
	nrules = 0;
}
