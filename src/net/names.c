#include "net/names.h"

#include "base/err.h"
#include "net/addr.h"
#include "net/idn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLANKS " \t"
#define FILE_MAX (256 * 1024)
#define NDOTS_MAX 15
#define TIMEOUT_MAX 30
#define ATTEMPTS_MAX 5
#define RETURN_ON(status) (1U << (status))
#define RETURN_ALWAYS 15U
#define RETURN_DEFAULT RETURN_ON(TNI_NAMES_SUCCESS)

/* ---- nsswitch.conf ---- */

static void add_entry(struct tni_names *names, enum tni_names_service service)
{
	if (names->nentries == TNI_NAMES_ENTRIES_MAX) { /* longer than any in use: left to getaddrinfo(3) */
		names->entries[0].service = TNI_NAMES_FOREIGN;
		return;
	}
	names->entries[names->nentries++] = (struct tni_names_entry){service, RETURN_DEFAULT};
}

/* glibc's own, where the file or the line is missing */
static void default_entries(struct tni_names *names)
{
	add_entry(names, TNI_NAMES_FILES);
	add_entry(names, TNI_NAMES_DNS);
}

/* One word of [STATUS=ACTION ...]. What is not understood makes the entry foreign. */
static void add_action(struct tni_names_entry *entry, const char *word, size_t len)
{
	static const char *const statuses[] = {"success", "notfound", "unavail", "tryagain"};
	bool negated = len && *word == '!';
	const char *equals = memchr(word, '=', len);
	size_t n = equals ? (size_t)(equals - word) - negated : 0,
	       rest = equals ? len - (size_t)(equals - word) - 1 : 0;
	unsigned bits = 0;

	for (unsigned i = 0; i < 4 && equals; i++)
		if (strlen(statuses[i]) == n && !strncasecmp(word + negated, statuses[i], n))
			bits = negated ? RETURN_ALWAYS & ~RETURN_ON(i) : RETURN_ON(i);
	if (bits && rest == 6 && !strncasecmp(equals + 1, "return", 6))
		entry->returns |= bits;
	else if (bits && rest == 8 && !strncasecmp(equals + 1, "continue", 8) && !(bits & RETURN_DEFAULT))
		entry->returns &= ~bits;
	else
		entry->service = TNI_NAMES_FOREIGN;
}

static const char *add_actions(struct tni_names *names, const char *at, const char *end)
{
	const char *close = memchr(at, ']', (size_t)(end - at));
	struct tni_names_entry *entry = names->nentries ? &names->entries[names->nentries - 1] : NULL;

	if (!entry || !close) {
		add_entry(names, TNI_NAMES_FOREIGN);
		return end;
	}
	for (at++; at < close;) {
		size_t len;

		at += strspn(at, BLANKS);
		len = strcspn(at, " \t]");
		if (len)
			add_action(entry, at, len);
		at += len;
	}
	return close + 1;
}

static bool is_word(const char *at, size_t len, const char *word)
{
	return strlen(word) == len && !strncmp(at, word, len);
}

static void parse_services(struct tni_names *names, const char *at, const char *end)
{
	names->nentries = 0;
	while (at < end) {
		size_t len;

		at += strspn(at, BLANKS);
		if (at < end && *at == '[') {
			at = add_actions(names, at, end);
			continue;
		}
		len = strcspn(at, " \t[\n#");
		if (len)
			add_entry(names, is_word(at, len, "files") ? TNI_NAMES_FILES
					 : is_word(at, len, "dns") ? TNI_NAMES_DNS
								   : TNI_NAMES_FOREIGN);
		at += len;
		if (at < end && !strchr(" \t[", *at))
			break;
	}
}

static void parse_nsswitch(struct tni_names *names, const char *text)
{
	bool said = false;

	for (const char *line = text; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *at = line + strspn(line, BLANKS);

		if (strncmp(at, "hosts", 5) != 0 || at[5 + strspn(at + 5, BLANKS)] != ':')
			continue;
		said = true;
		parse_services(names, at + 6 + strspn(at + 5, BLANKS), at + strcspn(at, "#\n"));
	}
	if (!said)
		default_entries(names);
}

/* ---- resolv.conf ---- */

static void clear_search(struct tni_names *names)
{
	for (int i = 0; i < names->nsearch; i++)
		free(names->search[i]);
	free(names->search);
	names->search = NULL;
	names->nsearch = 0;
}

static int add_search(struct tni_names *names, const char *domain, size_t len)
{
	char **search = realloc(names->search, (size_t)(names->nsearch + 1) * sizeof(*search));

	if (!search)
		return -ENOMEM;
	names->search = search;
	search[names->nsearch] = strndup(domain, len);
	return search[names->nsearch] ? names->nsearch++, 0 : -ENOMEM;
}

/* The words of a line become the list, the first `max` of them. */
static int set_search(struct tni_names *names, const char *at, int max)
{
	int rc = 0;

	clear_search(names);
	for (at += strspn(at, BLANKS); rc == 0 && *at && *at != '\n' && max--; at += strspn(at, BLANKS)) {
		size_t len = strcspn(at, " \t\n");

		rc = add_search(names, at, len);
		at += len;
	}
	return rc;
}

/* A number behind "word:", at most `max`; -1: it is another word. */
static int number_of(const char *at, const char *word, int max)
{
	size_t len = strlen(word);
	long n;

	if (strncmp(at, word, len) != 0)
		return -1;
	n = strtol(at + len, NULL, 10);
	return n < 0 ? 0 : n > max ? max : (int)n;
}

static void set_option(struct tni_names *names, const char *at, size_t len)
{
	int n;

	if ((n = number_of(at, "ndots:", NDOTS_MAX)) >= 0)
		names->ndots = n;
	else if ((n = number_of(at, "timeout:", TIMEOUT_MAX)) >= 0)
		names->timeout_ms = n * 1000;
	else if ((n = number_of(at, "attempts:", ATTEMPTS_MAX)) >= 0)
		names->attempts = n;
	else if ((n = number_of(at, "retrans:", TIMEOUT_MAX * 1000)) >= 0) /* c-ares' own, in milliseconds */
		names->timeout_ms = n;
	else if ((n = number_of(at, "retry:", ATTEMPTS_MAX)) >= 0)
		names->attempts = n;
	else if (is_word(at, len, "rotate"))
		names->rotate = true;
	else if (is_word(at, len, "use-vc"))
		names->use_tcp = true;
	else if (is_word(at, len, "edns0"))
		names->edns = true;
	else if (is_word(at, len, "single-request") || is_word(at, len, "single-request-reopen"))
		names->one_by_one = true;
	else if (is_word(at, len, "no-aaaa"))
		names->no_ipv6 = true;
	else if (is_word(at, len, "no-tld-query") || is_word(at, len, "no_tld_query"))
		names->no_bare = true;
}

static void set_options(struct tni_names *names, const char *at)
{
	for (at += strspn(at, BLANKS); *at && *at != '\n'; at += strspn(at, BLANKS)) {
		size_t len = strcspn(at, " \t\n");

		set_option(names, at, len);
		at += len;
	}
}

/* What stands behind a keyword at the start of a line, or NULL. */
static const char *behind(const char *line, const char *keyword)
{
	size_t len = strlen(keyword);

	return !strncmp(line, keyword, len) && (line[len] == ' ' || line[len] == '\t') ? line + len : NULL;
}

/* Without a list, the domain of this machine is searched. */
static int search_own_domain(struct tni_names *names)
{
	char name[256] = "";
	const char *dot;

	if (gethostname(name, sizeof(name) - 1) < 0)
		return 0;
	dot = strchr(name, '.');
	return dot ? add_search(names, dot + 1, strlen(dot + 1)) : 0;
}

static int parse_resolv(struct tni_names *names, const char *text)
{
	const char *value, *local = getenv("LOCALDOMAIN"), *more = getenv("RES_OPTIONS");
	int rc = 0;

	names->ndots = 1;
	for (const char *line = text; rc == 0 && line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if ((value = behind(line, "domain")) && value[strspn(value, BLANKS)] != '\n')
			rc = set_search(names, value, 1);
		else if ((value = behind(line, "search")) && value[strspn(value, BLANKS)] != '\n')
			rc = set_search(names, value, -1);
		else if ((value = behind(line, "options")))
			set_options(names, value);
	}
	if (rc == 0 && local) {
		rc = set_search(names, local, -1);
		if (rc == 0 && !names->nsearch)
			rc = add_search(names, "", 0);
	} else if (rc == 0 && !names->nsearch) {
		rc = search_own_domain(names);
	}
	if (more)
		set_options(names, more);
	return rc;
}

/* ---- both ---- */

int tni_names_parse(struct tni_names *names, const char *nsswitch, const char *resolv)
{
	int rc;

	*names = (struct tni_names){.ndots = 1};
	parse_nsswitch(names, nsswitch);
	rc = parse_resolv(names, resolv);
	if (rc < 0)
		tni_names_free(names);
	return rc;
}

/* A whole file as a string, or NULL. */
static char *read_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = file ? malloc(FILE_MAX + 1) : NULL;

	if (text)
		text[fread(text, 1, FILE_MAX, file)] = '\0';
	if (file)
		fclose(file);
	return text;
}

int tni_names_read(struct tni_names *names)
{
	char *nsswitch = read_file("/etc/nsswitch.conf"), *resolv = read_file("/etc/resolv.conf");
	int rc = tni_names_parse(names, nsswitch, resolv);

	free(nsswitch);
	free(resolv);
	return rc;
}

void tni_names_free(struct tni_names *names)
{
	clear_search(names);
}

/* ---- the walk ---- */

bool tni_names_is_valid(const char *host)
{
	size_t label = 0;

	if (*host == '-' || strlen(host) > 254)
		return false;
	for (; *host; host++) {
		bool letter = (*host >= 'a' && *host <= 'z') || (*host >= 'A' && *host <= 'Z') ||
			      (*host >= '0' && *host <= '9') || *host == '-' || *host == '_';

		if (!letter && (*host != '.' || !label))
			return false;
		label = letter ? label + 1 : 0;
		if (label > 63)
			return false;
	}
	return true;
}

static int dots_in(const char *host)
{
	int dots = 0;

	for (; *host; host++)
		dots += *host == '.';
	return dots;
}

static bool ends_in_dot(const char *host)
{
	size_t len = strlen(host);

	return len && host[len - 1] == '.';
}

/* The name as it stands comes first where it has dots enough, otherwise last (resolv.conf(5), ndots). */
bool tni_names_next(const struct tni_names *names, struct tni_names_walk *walk, char out[TNI_NAMES_LEN_MAX])
{
	int dots = dots_in(walk->host);
	bool whole = ends_in_dot(walk->host);

	if (!walk->begun && (dots >= names->ndots || whole)) {
		walk->begun = walk->bare = true;
		return snprintf(out, TNI_NAMES_LEN_MAX, "%s", walk->host) < TNI_NAMES_LEN_MAX;
	}
	walk->begun = true;
	while (!whole && !walk->given_up && walk->next < names->nsearch) {
		const char *domain = names->search[walk->next++];

		domain += *domain == '.'; /* "." is the root: the name as it stands */
		if (!*domain)
			walk->bare = true;
		if (snprintf(out, TNI_NAMES_LEN_MAX, *domain ? "%s.%s" : "%s", walk->host, domain) < TNI_NAMES_LEN_MAX)
			return true;
	}
	if (whole || walk->bare || (names->no_bare && !dots && names->nsearch))
		return false;
	walk->bare = true;
	return snprintf(out, TNI_NAMES_LEN_MAX, "%s", walk->host) < TNI_NAMES_LEN_MAX;
}

/* ---- hosts ---- */

struct found {
	struct tn_addr *addrs;
	int n, cap;
};

static bool has_addr(const struct found *found, const struct tn_addr *addr)
{
	for (int i = 0; i < found->n; i++)
		if (tni_addr_equal(&found->addrs[i], addr))
			return true;
	return false;
}

static int add_addr(struct found *found, const struct tn_addr *addr)
{
	struct tn_addr *addrs;

	if (has_addr(found, addr))
		return 0;
	if (found->n == found->cap) {
		addrs = realloc(found->addrs, (size_t)(found->cap * 2 + 4) * sizeof(*addrs));
		if (!addrs)
			return -ENOMEM;
		found->addrs = addrs;
		found->cap = found->cap * 2 + 4;
	}
	found->addrs[found->n++] = *addr;
	return 0;
}

/* Names in letters beyond ASCII may stand in the file in any script. */
static bool is_name(const char *word, const char *host)
{
	char ascii[TNI_IDN_MAX];

	if (!strcasecmp(word, host))
		return true;
	return !tni_idn_is_ascii(word) && tni_idn_to_ascii(word, ascii, sizeof(ascii)) == 0 && !strcasecmp(ascii, host);
}

static bool line_names(char *words, const char *host)
{
	char *save, *word;

	for (word = strtok_r(words, " \t\r\n\f\v", &save); word; word = strtok_r(NULL, " \t\r\n\f\v", &save))
		if (is_name(word, host))
			return true;
	return false;
}

/* glibc reads ::1 and IPv4-mapped addresses as IPv4 ones where only those are wanted. */
static int add_line(struct found *found, char *line, const char *host, int family, int port)
{
	struct tn_addr addr;
	char *word, *save;

	line[strcspn(line, "#\n")] = '\0';
	if (!strcasestr(line, host) && tni_idn_is_ascii(line)) /* the file may have 100,000 lines */
		return 0;
	word = strtok_r(line, " \t\r\f\v", &save);
	if (!word || tni_addr_literal(&addr, word, port) < 0 || !line_names(save, host))
		return 0;
	if (family == AF_INET)
		tni_addr_unmap(&addr);
	if (family != AF_UNSPEC && tni_addr_family(&addr) != family)
		return 0;
	return add_addr(found, &addr);
}

int tni_names_in_hosts(const char *path, const char *host, int family, int port, struct tn_addr **addrs)
{
	struct found found = {0};
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (!file)
		return -errno;
	while (rc == 0 && getline(&line, &cap, file) >= 0)
		rc = add_line(&found, line, host, family, port);
	free(line);
	fclose(file);
	if (rc < 0) {
		free(found.addrs);
		return rc;
	}
	*addrs = found.addrs;
	return found.n;
}

/* ---- services ---- */

int tni_names_service(const char *name, const char *protocol)
{
	struct servent entry, *found = NULL;
	char room[4096];

	if (getservbyname_r(name, protocol, &entry, room, sizeof(room), &found) == ENOMEM)
		return -ENOMEM;
	return found ? ntohs((uint16_t)found->s_port) : -ENOENT;
}
