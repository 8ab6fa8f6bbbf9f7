#include "endpoint/via.h"

#include "base/err.h"
#include "net/cidr.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WHY_MAX 512

void tni_via_free(struct tni_via_spec *via)
{
	if (!via)
		return;
	for (size_t i = 0; i < via->count; i++) {
		struct tni_via_hop *hop = &via->hops[i];

		tni_endpoint_unref(hop->ep);
		tni_login_wipe(hop->user);
		tni_login_wipe(hop->password);
		free(hop->label);
	}
	free(via->text);
	free(via->places);
	free(via);
}

/* ---- one proxy ---- */

/* Where an item stands, and what is said of it. */
struct item {
	const struct tni_parse *p;
	const struct tni_url_param *param;
	const char *text;
	long at;          /* in the key's value */
	const char *from; /* the variable of the environment that it comes from; NULL: the key itself */
};

/* `at`: a byte of the item. What stands in the environment may hold a password, and is not repeated. */
static int fail_item(const struct item *item, long at, const char *why)
{
	char words[WHY_MAX + 64];

	if (!item->from)
		return tni_parse_fail_key_at(item->p, item->param,
					     tni_parse_byte_of(item->p, item->param, item->at + at), why);
	snprintf(words, sizeof(words), "%s in the environment: byte %ld: %s", item->from, at, why);
	return tni_parse_fail_value(item->p, item->param, words);
}

/* The words of a failure without the URL and the position, which stand in front of them. */
static const char *bare_words(char *out, size_t cap)
{
	char mark[40];
	const char *words = tn_errmsg(), *found;

	snprintf(mark, sizeof(mark), "': byte %ld: ", tn_errpos());
	found = strstr(words, mark);
	snprintf(out, cap, "%s", found ? found + strlen(mark) : words);
	return out;
}

/* `shift`: bytes of the item before those that `rc` is about, from `from` on. */
static int fail_inner(const struct item *item, int rc, long from, long shift)
{
	char why[WHY_MAX];
	long at = tn_errpos();

	return rc == TN_EURL ? fail_item(item,
					 at >= from ? at + shift
					 : at > 0   ? at
						    : 0,
					 bare_words(why, sizeof(why)))
			     : rc;
}

/* The URL without user and password: the rest is understood as any other, and shown. */
static int split_user(const struct item *item, struct tni_via_hop *hop, char **bare, long *from, long *shift)
{
	struct tni_url url;
	int rc = tni_url_parse_with_user(&url, item->text);

	if (rc < 0)
		return fail_inner(item, rc, 0, 0);
	*from = url.user_at >= 0 ? url.user_at : 0;
	*shift = url.user_at >= 0 ? url.host_at - url.user_at : 0;
	if (url.password && !item->from)
		rc = fail_item(item, url.user_at,
			       "whoever lists processes sees a password that stands in a URL: put user:password into a "
			       "file, and add ?auth=FILE to the proxy's URL");
	if (rc == 0 && (asprintf(bare, "%.*s%s", (int)*from, item->text, item->text + *from + *shift) < 0 ||
			(url.user && !(hop->user = strdup(url.user))) ||
			(url.password && !(hop->password = strdup(url.password)))))
		rc = tni_parse_no_memory();
	tni_url_free(&url);
	return rc;
}

void tni_via_place(const struct tni_endpoint *ep, char out[TNI_URL_TEXT])
{
	struct tn_addr addr;
	bool brackets = strchr(ep->host, ':') != NULL;

	if (ep->scheme->place == TNI_AT_HOST) {
		snprintf(out, TNI_URL_TEXT, "%s://%s%s%s:%d", ep->scheme->name, brackets ? "[" : "",
			 tni_endpoint_host(ep), brackets ? "]" : "", ep->port);
		return;
	}
	tni_addr_unix(&addr, ep->host, ep->host_len);
	tni_endpoint_url_of(ep, &addr, out, TNI_URL_TEXT);
}

static int fail_scheme(const struct item *item)
{
	const struct tni_scheme *scheme;
	const char *names[32], *near = NULL;
	char word[32], why[WHY_MAX];
	size_t n = 0, len = strcspn(item->text, ":");

	if (tni_url_is_place(item->text))
		return fail_item(item, 0,
				 "what does this proxy speak? Write socks5h://, socks5://, socks4a://, http:// or "
				 "https:// in front");
	snprintf(word, sizeof(word), "%.*s", (int)len, item->text);
	while (n < sizeof(names) / sizeof(names[0]) && (scheme = tni_scheme_proxy_at(n)))
		names[n++] = scheme->name;
	if (len < sizeof(word))
		near = !strcasecmp(word, "socks") ? "socks5h" : tn_nearest(word, names, n);
	snprintf(why, sizeof(why), "'%s' is no proxy's scheme; %s%s%s", word, near ? "did you mean '" : "",
		 near ? near : "there are socks5h, socks5, socks4a, socks4, http, https, and each with +unix",
		 near ? "'?" : "");
	return fail_item(item, 0, why);
}

static const struct tni_scheme *scheme_of(const char *text)
{
	char word[32];
	size_t len = strcspn(text, ":");

	for (size_t i = 0; i < len && i < sizeof(word) - 1; i++)
		word[i] = (char)tolower((unsigned char)text[i]);
	word[len < sizeof(word) ? len : 0] = '\0';
	return text[len] ? tni_scheme_proxy(word) : NULL;
}

static int add_hop(const struct item *item, struct tni_via_spec *via)
{
	struct tni_via_hop *hop = &via->hops[via->count];
	long from = 0, shift = 0;
	char *bare = NULL;
	int rc;

	if (!scheme_of(item->text))
		return fail_scheme(item);
	if (via->count == TNI_VIA_MAX)
		return fail_item(item, 0, "more than 8 proxies one behind the other");
	via->count++;
	rc = split_user(item, hop, &bare, &from, &shift);
	if (rc < 0) {
		free(bare);
		return rc;
	}
	rc = tni_endpoint_new_proxy(bare, &hop->ep);
	free(bare);
	if (rc < 0)
		return fail_inner(item, rc, from, shift);
	if (hop->password && tni_endpoint_auth(hop->ep))
		return fail_item(item, 0, "a password stands in the URL, and key auth names a file with one");
	item->p->ep->lasting &= hop->ep->lasting;
	return 0;
}

/* ---- the environment ---- */

/* What curl(1) and others look at; HTTP_PROXY is left out, as a CGI's client can set it. */
static const char *variable_for(const struct tni_endpoint *ep)
{
	const char *const plain[] = {"http_proxy"}, *const secure[] = {"https_proxy", "HTTPS_PROXY"};
	const char *const all[] = {"all_proxy", "ALL_PROXY"};
	const char *const *own = ep->scheme->secure ? secure : plain;
	size_t count = ep->scheme->secure ? 2 : ep->scheme->web ? 1 : 0;

	for (size_t i = 0; i < count + 2; i++) {
		const char *name = i < count ? own[i] : all[i - count], *value = secure_getenv(name);

		if (value && *value)
			return name;
	}
	return NULL;
}

static bool is_below(const char *host, const char *domain, size_t len)
{
	size_t host_len = strlen(host);

	if (len && *domain == '.')
		domain++, len--;
	return len && host_len >= len && !strncasecmp(host + host_len - len, domain, len) &&
	       (host_len == len || host[host_len - len - 1] == '.');
}

/* Whether an item of no_proxy is this host: *, a domain, an address or a network. */
static bool is_excepted(const char *host, const char *item, size_t len)
{
	struct tni_cidrs set = {0};
	struct tn_addr addr;
	bool found;

	if (len == 1 && *item == '*')
		return true;
	if (tni_addr_literal(&addr, host, 0) < 0)
		return is_below(host, item, len);
	found = tni_cidrs_add(&set, item, len) == 0;
	tni_cidrs_sort(&set);
	found = found && tni_cidrs_have(&set, &addr);
	tni_cidrs_free(&set);
	return found;
}

static bool goes_directly(const struct tni_endpoint *ep)
{
	const char *list = secure_getenv("no_proxy"), *host = tni_endpoint_host(ep);

	if (!list)
		list = secure_getenv("NO_PROXY");
	while (list && *list) {
		size_t len = strcspn(list, ", ");

		if (is_excepted(host, list, len))
			return true;
		list += len + strspn(list + len, ", ");
	}
	return false;
}

static int from_environment(const struct tni_parse *p, const struct tni_url_param *param, struct tni_via_spec *via)
{
	const char *name = goes_directly(p->ep) ? NULL : variable_for(p->ep);
	struct item item = {.p = p, .param = param, .from = name};
	char *with_scheme = NULL;
	int rc;

	p->ep->lasting = false; /* the environment may change */
	if (!name)
		return 0;
	item.text = secure_getenv(name);
	if (!strstr(item.text, "://") && !scheme_of(item.text)) {
		if (asprintf(&with_scheme, "http://%s", item.text) < 0)
			return tni_parse_no_memory();
		item.text = with_scheme;
	}
	rc = add_hop(&item, via);
	free(with_scheme);
	return rc;
}

/* ---- all of them ---- */

static int from_list(const struct tni_parse *p, const struct tni_url_param *param, struct tni_via_spec *via)
{
	char *text = strdup(param->value), *from = text, *comma;
	int rc = text ? 0 : tni_parse_no_memory();

	for (; rc == 0 && from; from = comma) {
		struct item item = {.p = p, .param = param, .text = from, .at = from - text};

		comma = strchr(from, ',');
		if (comma)
			*comma++ = '\0';
		rc = *from ? add_hop(&item, via) : fail_item(&item, 0, "a proxy is missing");
	}
	free(text);
	return rc;
}

/* What is shown. */
static int name_all(struct tni_via_spec *via)
{
	size_t used = 0, cap = via->count * TNI_URL_TEXT + 1;

	via->places = calloc(1, cap);
	if (!via->places)
		return tni_parse_no_memory();
	for (size_t i = 0; i < via->count; i++) {
		struct tni_via_hop *hop = &via->hops[i];
		char place[TNI_URL_TEXT];
		int n;

		tni_via_place(hop->ep, place);
		used += (size_t)snprintf(via->places + used, cap - used, "%s%s", i ? "," : "", place);
		n = via->count > 1 ? asprintf(&hop->label, "proxy %zu of %zu, %s", i + 1, via->count, place)
				   : asprintf(&hop->label, "proxy %s", place);
		if (n < 0) {
			hop->label = NULL;
			return tni_parse_no_memory();
		}
	}
	return 0;
}

int tni_via_parse(const struct tni_parse *p, const struct tni_url_param *param, struct tni_via_spec **out)
{
	struct tni_via_spec *via = calloc(1, sizeof(*via));
	int rc;

	if (!via || !(via->text = strdup(param->value))) {
		free(via);
		return tni_parse_no_memory();
	}
	*out = via;
	rc = !strcmp(param->value, "env") ? from_environment(p, param, via) : from_list(p, param, via);
	return rc < 0 ? rc : name_all(via);
}

/* ---- with other keys ---- */

/* What the socket is told has to have a meaning for the one to the first proxy. */
static const char *check_socket(const struct tni_endpoint *ep, const struct tni_endpoint *first, char *why, size_t cap)
{
	int family = ep->bind ? tni_addr_family(&ep->bind->addr) : AF_UNSPEC;
	bool is_unix = first->scheme->place == TNI_AT_PATH;
	struct tn_addr addr;

	if (ep->bind && is_unix)
		return "the first proxy is at a Unix socket, and key bind is for IP";
	if (family != AF_UNSPEC && tni_addr_literal(&addr, first->host, 0) == 0 && tni_addr_family(&addr) != family)
		return "the first proxy's address is of another IP version than that of key bind";
	for (size_t i = 0; i < ep->noptions && is_unix; i++) {
		const struct tni_sockopt *opt = ep->options[i].opt;

		if (!tni_sockopt_applies(opt, first->scheme->kinds, TNI_ROLE_DIAL, AF_UNIX)) {
			snprintf(why, cap, "the first proxy is at a Unix socket, for which key '%s' has no meaning",
				 opt->key);
			return why;
		}
	}
	return NULL;
}

/* What a proxy is told of the next one, or of the target. */
static const char *check_target(const struct tni_endpoint *ep, size_t i, char *why, size_t cap)
{
	const struct tni_via_hop *hop = &tni_endpoint_via(ep)->hops[i];
	const struct tni_endpoint *target = tni_via_target(ep, i);
	enum tni_via_kind kind = tni_scheme_via(hop->ep->scheme);
	struct tn_addr addr;
	bool literal = tni_addr_literal(&addr, tni_endpoint_host(target), 0) == 0;

	why[0] = '\0';
	if (target->scheme->place == TNI_AT_PATH)
		snprintf(why, cap, "%s cannot connect to a Unix socket, which only the first proxy can be at",
			 hop->label);
	else if (kind != TNI_VIA_HTTP && kind <= TNI_VIA_SOCKS4A &&
		 ((literal && tni_addr_family(&addr) == AF_INET6) || target->scheme->family == AF_INET6))
		snprintf(why, cap, "%s cannot be asked for IPv6: SOCKS4 has none", hop->label);
	else if (!literal && target->scheme->family != AF_UNSPEC && !tni_via_wants_address(kind))
		snprintf(why, cap, "%s looks the name up, so the IP version is its choice: write tcp://, or socks5://",
			 hop->label);
	else if (strlen(tni_endpoint_host(target)) > TNI_SOCKS_TEXT_MAX)
		snprintf(why, cap, "%s cannot be asked for a name of more than 255 bytes", hop->label);
	return *why ? why : NULL;
}

int tni_via_check(const struct tni_parse *p, const struct tni_url_param *param)
{
	const struct tni_endpoint *ep = p->ep;
	const char *why = NULL;
	char words[WHY_MAX];

	for (size_t i = 0; i < tni_via_count(ep) && !why; i++)
		why = check_target(ep, i, words, sizeof(words));
	if (!why && tni_via_count(ep) && (ep->access->allow_to || ep->access->deny_to))
		why = "it is the proxy that connects: what it may reach cannot be told by allow-to and deny-to";
	if (!why && tni_via_count(ep))
		why = check_socket(ep, tni_endpoint_via(ep)->hops[0].ep, words, sizeof(words));
	return why ? tni_parse_fail_value(p, param, why) : 0;
}
