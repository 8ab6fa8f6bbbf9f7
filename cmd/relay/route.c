#include "route.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "targets.h"

static struct {
	struct rule {
		enum rule_kind kind;
		char *pattern;
		struct targets *targets;
	} list[RULES_MAX];
	int count;
} rules;

static const char *const protocols[] = {[FIRST_TLS] = "tls", [FIRST_SSH] = "ssh", [FIRST_HTTP] = "http"};

static bool is_protocol(const char *name, enum first_protocol *protocol)
{
	for (enum first_protocol p = FIRST_TLS; p <= FIRST_HTTP; p++)
		if (strcmp(protocols[p], name) == 0) {
			*protocol = p;
			return true;
		}
	return false;
}

static struct rule *rule_of(enum rule_kind kind, const char *pattern)
{
	for (int i = 0; i < rules.count; i++)
		if (rules.list[i].kind == kind && strcmp(rules.list[i].pattern, pattern) == 0)
			return &rules.list[i];
	return NULL;
}

static struct rule *rule_new(enum rule_kind kind, const char *pattern)
{
	struct rule *rule = &rules.list[rules.count];

	if (rules.count == RULES_MAX)
		return NULL;
	*rule = (struct rule){kind, strdup(pattern), targets_new()};
	if (!rule->pattern || !rule->targets) {
		free(rule->pattern);
		targets_free(rule->targets);
		return NULL;
	}
	rule->targets->number = ++rules.count;
	return rule;
}

const char *route_add(enum rule_kind kind, const char *pattern, const char *url, const char *given)
{
	enum first_protocol protocol;
	struct rule *rule;

	if (!*pattern)
		return "names nothing";
	if (kind == RULE_SNI && strchr(pattern + (strncmp(pattern, "*.", 2) == 0), '*'))
		return "has a wildcard in another place than its beginning (*.example.org)";
	if (kind == RULE_PROTOCOL && !is_protocol(pattern, &protocol))
		return "is none of tls, ssh, http";
	rule = rule_of(kind, pattern);
	if (!rule)
		rule = rule_new(kind, pattern);
	return rule && targets_add(rule->targets, url, given) ? NULL : "is one too many";
}

bool route_any(void)
{
	return rules.count > 0;
}

struct targets *route_group(int index)
{
	return index < rules.count ? rules.list[index].targets : NULL;
}

/* How well a rule fits; 0: not at all. */
static size_t fits(const struct rule *rule, const struct first *first)
{
	enum first_protocol protocol;
	size_t well;

	switch (rule->kind) {
	case RULE_SNI:
		well = first_fits(rule->pattern, first->server_name);
		return well ? well + 2 : 0; /* more than any of the others */
	case RULE_ALPN:
		return first_offers(first, rule->pattern) ? 2 : 0;
	default:
		return is_protocol(rule->pattern, &protocol) && protocol == first->protocol;
	}
}

struct targets *route_find(const struct first *first)
{
	const struct rule *best = NULL;
	size_t most = 0;

	for (int i = 0; i < rules.count; i++) {
		size_t well = fits(&rules.list[i], first);

		if (well > most) {
			most = well;
			best = &rules.list[i];
		}
	}
	return best ? best->targets : NULL;
}

void route_free(void)
{
	for (int i = 0; i < rules.count; i++) {
		free(rules.list[i].pattern);
		targets_free(rules.list[i].targets);
	}
	rules.count = 0;
}
