#include "endpoint/access.h"

#include "base/err.h"
#include "base/log.h"
#include "endpoint/parse.h"
#include "endpoint/via.h"
#include "net/special.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool tni_access_is_file(const char *item)
{
	return *item == '/' || *item == '.';
}

/* ---- a file: an item a line, blank lines, and comments behind # ---- */

static int add_line(struct tni_cidrs *set, const char *line, size_t len)
{
	const char *comment = memchr(line, '#', len);

	len = comment ? (size_t)(comment - line) : len;
	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	while (len && strchr(" \t", *line)) {
		line++;
		len--;
	}
	return len ? tni_cidrs_add(set, line, len) : 0;
}

static int add_file(struct tni_access *access, struct tni_cidrs *set, const char *path)
{
	const char *at, *end, *lf;
	struct tni_text text;
	char why[300];
	int rc = tni_files_text(&access->files, path, "", TNI_FILE_WHOLE, &text);

	at = (const char *)text.data;
	end = rc == 0 ? at + text.len : at;
	for (int line = 1; rc == 0 && at < end; at = lf + 1, line++) {
		lf = memchr(at, '\n', (size_t)(end - at));
		if (!lf)
			lf = end;
		rc = add_line(set, at, (size_t)(lf - at));
		if (rc == TN_EURL) {
			snprintf(why, sizeof(why), "%s", tn_errmsg());
			tni_err(TN_EURL, "%s:%d: %s", path, line, why);
		}
	}
	return rc;
}

/* ---- a key ---- */

static int add_items(struct tni_access *access, struct tni_cidrs *set, const char *text)
{
	char *copy = text ? strdup(text) : NULL, *rest = copy, *item;
	int rc = text && !copy ? tni_err(-ENOMEM, "out of memory") : 0;

	while (rc == 0 && rest && (item = strsep(&rest, ",")))
		rc = tni_access_is_file(item) ? add_file(access, set, item) : tni_cidrs_add(set, item, strlen(item));
	tni_cidrs_sort(set);
	free(copy);
	return rc;
}

static int fail_list(const struct tni_endpoint *ep, int rc, const char *key)
{
	struct tni_url url;
	char why[400];
	long at = -1;

	snprintf(why, sizeof(why), "%s", tn_errmsg());
	if (tni_parse_split(ep->url, &url) == 0) {
		for (size_t i = 0; i < url.nparams; i++)
			if (!strcmp(url.params[i].key, key))
				at = url.params[i].value_at;
		tni_url_free(&url);
	}
	tni_err(0, "%.300s: key '%s': %s", ep->url, key, why);
	tni_err_at(at);
	return rc == -ENOMEM ? rc : TN_EURL;
}

void tni_access_spec_free(struct tni_access_spec *spec)
{
	if (!spec)
		return;
	free(spec->allow);
	free(spec->deny);
	free(spec->trust);
	free(spec->allow_to);
	free(spec->deny_to);
	free(spec->ports);
	free(spec->users);
	if (spec->tlvs)
		free(spec->tlvs->text);
	free(spec->tlvs);
	tni_via_free(spec->via);
	free(spec->auth);
#ifdef TNI_HAVE_RECONNECT
	free(spec->heartbeat);
#endif
	free(spec);
}

#ifdef TNI_HAVE_PROXY

static int read_users(struct tni_access *access, const char *path)
{
	struct tni_text text;
	int rc = tni_files_text(&access->files, path, "users and their passwords", TNI_FILE_WHOLE, &text);

	if (rc == 0 && text.mode & S_IROTH)
		tni_log(true, "%s: everybody on this computer can read these passwords (chmod o-r)", path);
	return rc == 0 ? tni_users_read(&access->users, path, (const char *)text.data, text.len) : rc;
}

/* Of a served proxy. */
static int read_reach(const struct tni_endpoint *ep, const struct tni_access_spec *spec, struct tni_access *access)
{
	int rc = spec->users ? read_users(access, spec->users) : 0;

	if (rc < 0)
		return fail_list(ep, rc, "users");
	rc = spec->ports ? tni_ports_read(&access->ports, spec->ports) : 0;
	return rc < 0 ? fail_list(ep, rc, "ports") : 0;
}

#else

static int read_reach(const struct tni_endpoint *ep, const struct tni_access_spec *spec, struct tni_access *access)
{
	(void)ep, (void)spec, (void)access;
	return 0;
}

#endif

static int read_lists(const struct tni_endpoint *ep, const struct tni_access_spec *spec, struct tni_access *access)
{
	const struct {
		const char *key, *text;
		struct tni_cidrs *set;
	} lists[] = {{"allow", spec->allow, &access->allow},
		     {"deny", spec->deny, &access->deny},
		     {"trust", spec->trust, &access->trust},
		     {"allow-to",
		      spec->allow_to     ? spec->allow_to
		      : ep->scheme->gate ? "public"
					 : NULL,
		      &access->allow_to},
		     {"deny-to", spec->deny_to, &access->deny_to}};
	int rc = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && rc == 0; i++) {
		rc = add_items(access, lists[i].set, lists[i].text);
		if (rc == 0 && lists[i].set->nowners && i > 1)
			rc = tni_err(TN_EURL, "users and groups stand in allow and deny only");
		if (rc < 0)
			rc = fail_list(ep, rc, lists[i].key);
	}
	return rc < 0 ? rc : read_reach(ep, spec, access);
}

int tni_access_new(const struct tni_endpoint *ep, struct tni_access **out)
{
	static const struct tni_access_spec none;
	const struct tni_access_spec *spec = ep->access ? ep->access : &none;
	struct tni_access *access = calloc(1, sizeof(*access));
	int rc;

	if (!access)
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	access->refs = 1;
	access->only_allowed = spec->allow;
	rc = read_lists(ep, spec, access);
	/* Who may connect to a Unix socket is what its file says. */
	if (!spec->trust && ep->scheme->place == TNI_AT_PATH)
		access->trust.has_unix = true;
	tni_files_forget(&access->files);
	if (rc == 0)
		*out = access;
	else
		tni_access_unref(access);
	return rc;
}

struct tni_access *tni_access_ref(struct tni_access *access)
{
	atomic_fetch_add(&access->refs, 1);
	return access;
}

void tni_access_unref(struct tni_access *access)
{
	if (!access || atomic_fetch_sub(&access->refs, 1) > 1)
		return;
	tni_cidrs_free(&access->allow);
	tni_cidrs_free(&access->deny);
	tni_cidrs_free(&access->trust);
#ifdef TNI_HAVE_PROXY
	tni_cidrs_free(&access->allow_to);
	tni_cidrs_free(&access->deny_to);
	tni_users_free(&access->users);
#endif
	tni_files_free(&access->files);
	free(access);
}

/* A client of IP, of whom a proxy has told through a Unix socket, is not the proxy. */
static bool has(const struct tni_cidrs *set, const struct tn_addr *client, int fd)
{
	bool is_unix = !client->len || tni_addr_family(client) == AF_UNIX;

	return tni_cidrs_have(set, client) || (fd >= 0 && is_unix && tni_cidrs_have_owner(set, fd));
}

bool tni_access_lets_in(const struct tni_access *access, const struct tn_addr *client, int fd)
{
	return !has(&access->deny, client, fd) && (!access->only_allowed || has(&access->allow, client, fd));
}

bool tni_access_trusts(const struct tni_access *access, const struct tn_addr *sender)
{
	return tni_cidrs_have(&access->trust, sender);
}

#ifdef TNI_HAVE_PROXY

bool tni_access_reaches(const struct tni_access *access, const struct tn_addr *target)
{
	const struct tni_cidrs *allow = &access->allow_to;
	struct tn_addr inner;

	/* For 0.0.0.0 and :: the kernel takes an address of this host: no list could tell which one. */
	if (tni_addr_is_any(target) || tni_cidrs_have(&access->deny_to, target) ||
	    (tni_addr_inner(target, &inner) && tni_cidrs_have(&access->deny_to, &inner)))
		return false;
	return (!allow->count && !allow->has_public) || tni_cidrs_have(allow, target);
}

#endif
