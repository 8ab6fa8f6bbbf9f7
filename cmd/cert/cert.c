/* tenon cert: a development authority, and what certificates say. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cert.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/privileges.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "tenon.h"
#include "tenon_cert.h"

#define HOSTS_DEFAULT "localhost,127.0.0.1,::1"
#define DAYS_DEFAULT 365
#define CHAIN_MAX 16 /* how many certificates of a server are shown */

static struct {
	const char *dir;
	struct text hosts; /* separated by commas */
	unsigned days;
} wanted;

/* May be given more than once. */
static const char *set_host(const char *value, void *to)
{
	struct text *hosts = to;

	if (!*value)
		return "is empty";
	text_add(hosts, "%s%s", hosts->len ? "," : "", value);
	return hosts->failed ? "takes more memory than there is" : NULL;
}

static int usage(const char *subcommand, const char *what)
{
	complain("cert%s%s: %s", subcommand ? " " : "", subcommand ? subcommand : "", what);
	complain_hint("%s cert --help", settings.program);
	return STATUS_USAGE;
}

/* ---- new ---- */

/* The text cut at its commas, in place. Returns how many hosts there are; -1 without memory. */
static long cut_hosts(char *text, const char ***hosts)
{
	size_t count = 1;

	for (const char *c = text; *c; c++)
		count += *c == ',';
	*hosts = calloc(count, sizeof(**hosts));
	for (size_t i = 0; *hosts && i < count; i++)
		(*hosts)[i] = strsep(&text, ",");
	return *hosts ? (long)count : -1;
}

static void tell_made(const char *what, const char *name, bool kept)
{
	struct text line = {0};

	if (settings.json) {
		char cert[4200], key[4200];

		snprintf(cert, sizeof(cert), "%s/%s.pem", wanted.dir, name);
		snprintf(key, sizeof(key), "%s/%s.key", wanted.dir, name);
		json_begin(&line, NULL);
		json_text(&line, "what", what);
		json_text(&line, "cert", cert);
		json_text(&line, "key", key);
		json_bool(&line, "kept", kept);
		json_line(&line);
		return;
	}
	text_add(&line, "%s %s: %s/%s.pem, %s/%s.key", kept ? "kept" : "made", what, wanted.dir, name, wanted.dir,
		 name);
	out_line(&line);
}

/* A path as a value in a URL. */
static void add_escaped(struct text *text, const char *path)
{
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			     strchr("-._~/", c);

		text_add(text, plain ? "%c" : "%%%02X", c);
	}
}

/* For a shell. */
static void add_quoted(struct text *text, const char *path)
{
	text_bytes(text, "'", 1);
	for (; *path; path++)
		if (*path == '\'')
			text_add(text, "'\\''");
		else
			text_bytes(text, path, 1);
	text_bytes(text, "'", 1);
}

static void add_key(struct text *text, const char *key, const char *file)
{
	text_add(text, "%s=", key);
	add_escaped(text, wanted.dir);
	text_add(text, "/%s", file);
}

/* The host in the lines to type: as in a URL, and one that can exist: www.example.com for *.example.com. */
static void add_host(struct text *text, const char *host)
{
	if (host[0] != '[' && strchr(host, ':'))
		text_add(text, "[%s]", host);
	else
		text_add(text, "%s%s", host[0] == '*' ? "www" : "", host + (host[0] == '*'));
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "[::1]") == 0;
}

static void hint(struct text *text)
{
	if (!text->failed)
		complain_hint("%.*s", (int)text->len, text->data);
	text_free(text);
}

/* What to type next. */
static void tell_next(const char *host)
{
	struct text line = {0};

	text_add(&line, "%s serve 'tls://", settings.program);
	/* A server that has another name than this machine is meant to be reached from elsewhere */
	if (is_loopback(host))
		add_host(&line, host);
	text_add(&line, is_loopback(host) ? ":10000?" : "*:10000?");
	add_key(&line, "cert", "server.pem");
	add_key(&line, "&key", "server.key");
	text_add(&line, "'");
	hint(&line);
	text_add(&line, "%s send 'tls://", settings.program);
	add_host(&line, host);
	text_add(&line, ":10000?");
	add_key(&line, "ca", "ca.pem");
	text_add(&line, "' 'Hello, world!'");
	hint(&line);
	text_add(&line, "curl --cacert ");
	add_quoted(&line, wanted.dir);
	text_add(&line, "/ca.pem https://");
	add_host(&line, host);
	text_add(&line, "/  (for a web server that uses server.pem and server.key)");
	hint(&line);
	add_key(&line, "&ca", "ca.pem");
	text_add(&line, "&verify=require behind the server's URL and ");
	add_key(&line, "&cert", "client.pem");
	add_key(&line, "&key", "client.key");
	text_add(&line, " behind the client's: both show certificates");
	hint(&line);
}

/* All files or none: a signal waits, since half of a pair would stop the next run. */
static int make_files(const char *const *hosts, size_t count)
{
	sigset_t ends, before;
	int kept;

	sigemptyset(&ends);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, &before);
	kept = tn_cert_new(wanted.dir, hosts, count, wanted.days ? wanted.days : DAYS_DEFAULT);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return kept;
}

static int make(const char *const *hosts, size_t count)
{
	int kept = make_files(hosts, count);

	if (kept < 0) {
		complain("cert new: %s", tn_errmsg());
		return kept == -EINVAL ? STATUS_USAGE : STATUS_FAILED;
	}
	tell_made("authority", "ca", kept & TN_CERT_KEPT_AUTHORITY);
	tell_made("server", "server", false);
	tell_made("client", "client", kept & TN_CERT_KEPT_CLIENT);
	if (!settings.json && !settings.quiet)
		tell_next(hosts[0]);
	return STATUS_DONE;
}

static int run_new(char **operands, int count)
{
	const char **hosts = NULL;
	size_t len;
	long nhosts;
	int status;

	(void)operands;
	if (count > 0)
		return usage("new", "takes no arguments: --out DIR says where, --host NAME for whom");
	if (!wanted.dir || !*wanted.dir)
		return usage("new", "where to? --out DIR is missing");
	len = strlen(wanted.dir);
	if (len > 4000)
		return usage("new", "--out: too long a path");
	if (!wanted.hosts.len)
		text_add(&wanted.hosts, "%s", HOSTS_DEFAULT);
	text_bytes(&wanted.hosts, "", 1);
	nhosts = wanted.hosts.failed ? -1 : cut_hosts(wanted.hosts.data, &hosts);
	status = nhosts < 0 ? STATUS_FAILED : make(hosts, (size_t)nhosts);
	free(hosts);
	return status;
}

/* ---- show ---- */

static void json_when(struct text *text, const char *key, int64_t when)
{
	char date[40];
	time_t seconds = (time_t)when;
	struct tm tm;
	bool fine =
		when != INT64_MIN && gmtime_r(&seconds, &tm) && strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);

	json_text(text, key, fine ? date : NULL);
}

static void show_json(const struct tn_cert *cert, const char *from, unsigned number, const char *problem)
{
	struct text line = {0};

	json_begin(&line, NULL);
	json_text(&line, "from", from);
	json_number(&line, "number", number);
	json_text(&line, "subject", tn_cert_subject(cert));
	json_text(&line, "issuer", tn_cert_issuer(cert));
	json_list(&line, "names");
	for (size_t i = 0; i < tn_cert_nnames(cert); i++)
		json_text(&line, NULL, tn_cert_name(cert, i));
	json_list_end(&line);
	json_when(&line, "not_before", tn_cert_begins(cert));
	json_when(&line, "not_after", tn_cert_ends(cert));
	json_signed(&line, "days_left", tn_cert_days_left(cert));
	json_bool(&line, "authority", tn_cert_is_authority(cert));
	json_text(&line, "usage", tn_cert_usage(cert));
	json_text(&line, "signs_for", *tn_cert_limits(cert) ? tn_cert_limits(cert) : NULL);
	json_text(&line, "key", tn_cert_key(cert));
	json_text(&line, "signature", tn_cert_signature(cert));
	json_text(&line, "serial", tn_cert_serial(cert));
	json_text(&line, "fingerprint", tn_cert_fingerprint(cert));
	json_text(&line, "pin", tn_cert_pin(cert));
	json_bool(&line, "valid", !problem);
	json_text(&line, "problem", problem);
	json_line(&line);
}

static void show_words(const struct tn_cert *cert, unsigned number)
{
	struct text words = {0};

	text_add(&words, "%s%s", number > 1 ? "\n" : "", tn_cert_words(cert));
	out_text(&words);
}

/* Shows one of a chain. `known`: what is known to be wrong with it, or NULL. Returns whether it may be used. */
static bool show_one(const struct tn_cert *cert, const char *from, unsigned number, const char *host, const char *known)
{
	char found[1024];
	const char *problem = known;

	if (!known && tn_cert_check(cert, host) < 0) {
		snprintf(found, sizeof(found), "%s", tn_errmsg());
		problem = found;
	}
	if (settings.json)
		show_json(cert, from, number, problem);
	else
		show_words(cert, number);
	if (known)
		complain("%s", known);
	else if (problem)
		complain("%s, certificate %u: %s", from, number, problem);
	return !problem;
}

static int show_chain(const struct tn_cert *cert, const char *from, const char *host)
{
	bool fine = true;

	for (unsigned number = 1; cert && !out_lost(); number++) {
		fine &= show_one(cert, from, number, number == 1 ? host : NULL, NULL); /* the first is the server's */
		cert = tn_cert_next(cert);
	}
	return fine ? STATUS_DONE : STATUS_FAILED;
}

static int show_file(const char *file, const char *host)
{
	struct tn_cert *cert;
	int err = tn_cert_read(file, &cert), status;

	if (err < 0)
		return complain_library(err, NULL);
	status = show_chain(cert, file, host);
	tn_cert_free(cert);
	return status;
}

/* ---- show what a server shows ---- */

/* A connection to look at a server: what it showed, or why there is nothing. */
struct look {
	struct tn_loop *loop;
	struct tn_conn *conn; /* NULL: over */
	struct text der[CHAIN_MAX];
	int count;
	bool open;
	int err; /* of a look that never opened */
	char words[1024];
};

static void look_around(struct tn_conn *conn, struct look *look)
{
	unsigned char *der;
	size_t len;

	while (look->count < CHAIN_MAX && tn_conn_peer_cert(conn, look->count, &der, &len) == 0) {
		text_bytes(&look->der[look->count], der, len);
		look->count += !look->der[look->count].failed;
		free(der);
	}
}

static void look_open(struct tn_conn *conn, void *arg)
{
	struct look *look = arg;

	look->open = true;
	look_around(conn, look);
	tn_close(conn);
}

static void look_close(struct tn_conn *conn, int err, void *arg)
{
	struct look *look = arg;

	look->conn = NULL;
	tn_loop_stop(look->loop);
	if (look->open)
		return; /* how it ends does not matter any more */
	look->err = err;
	snprintf(look->words, sizeof(look->words), "%s", tn_errmsg());
	/* A server that wants a client's certificate first has shown its own already */
	look_around(conn, look);
}

static void on_reader_gone(void *arg)
{
	struct look *look = arg;

	if (look->conn)
		tn_abort(look->conn, -EPIPE);
}

/* Blocks until the connection is over. */
static int look_at(struct tn_loop *loop, const char *url, struct look *look)
{
	static const struct tn_handler handler = {.on_open = look_open, .on_close = look_close};
	int err = out_watch(loop, on_reader_gone, look);

	look->loop = loop;
	if (err >= 0)
		err = tn_dial(loop, url, &handler, look, &look->conn);
	if (err >= 0)
		err = tn_loop_run(loop);
	out_unwatch();
	return err;
}

static void add_to_url(struct text *url, const char *key, const char *value)
{
	text_bytes(url, "", 1);
	if (url->failed || tn_url_has_key(url->data, key) > 0) {
		url->len--;
		return;
	}
	url->len--;
	text_add(url, "%c%s=", strchr(url->data, '?') ? '&' : '?', key);
	add_escaped(url, value);
}

/* Shows what a look has seen; `problem` is what a client that verifies would have said, or NULL. */
static int show_look(struct look *look, const char *url, const char *host, const char *problem)
{
	int status = problem ? STATUS_FAILED : STATUS_DONE;

	for (int i = 0; i < look->count && !out_lost(); i++) {
		struct tn_cert *cert;
		int err = tn_cert_parse(look->der[i].data, look->der[i].len, url, &cert);

		if (err < 0)
			return complain_library(err, NULL);
		if (!show_one(cert, url, (unsigned)i + 1, i == 0 ? host : NULL, i == 0 ? problem : NULL))
			status = STATUS_FAILED;
		tn_cert_free(cert);
	}
	return status;
}

static int look_twice(struct tn_loop *loop, const char *url, const char *unverified, const char *host)
{
	struct look look = {0}, verified = {0};
	/* That nobody is verified at first need not be reported: nothing is sent to them */
	int err, status;

	tn_set_log(NULL, NULL);
	err = look_at(loop, unverified, &look);
	if (look.count == 0 && out_lost() == -EPIPE)
		return STATUS_DONE;
	if (err == 0 && look.count == 0 && look.err < 0) {
		size_t len = strlen(unverified);

		/* The URL as it was typed, not as it was dialled */
		complain("%s%s", strncmp(look.words, unverified, len) == 0 ? url : "",
			 look.words + (strncmp(look.words, unverified, len) == 0 ? len : 0));
		return status_of(look.err);
	}
	if (err == 0 && look.count == 0) {
		complain("%s: the server has shown no certificate", url);
		return STATUS_FAILED;
	}
	if (err == 0)
		err = look_at(loop, url, &verified);
	status = err < 0                ? complain_library(err, url)
		 : out_lost() == -EPIPE ? STATUS_DONE
					: show_look(&look, url, host, verified.open ? NULL : verified.words);
	for (int i = 0; i < CHAIN_MAX; i++) {
		text_free(&look.der[i]);
		text_free(&verified.der[i]);
	}
	return status;
}

/* Connects with verification switched off, to see also what is wrong; then as a client that verifies. */
static int show_url(const char *url, const char *host)
{
	struct text verified = {0}, unverified = {0};
	struct tn_loop *loop;
	int err, status;

	if (tn_url_check(url, TN_DIAL) < 0)
		return complain_library(TN_EURL, url);
	text_add(&verified, "%s", url);
	if (host)
		add_to_url(&verified, "sni", host);
	text_bytes(&verified, "", 1);
	text_add(&unverified, "%s", verified.failed ? "" : verified.data);
	add_to_url(&unverified, "verify", "off");
	text_bytes(&unverified, "", 1);
	if (verified.failed || unverified.failed || tn_url_check(unverified.data, TN_DIAL) < 0)
		status = usage("show", "only tls:// and dtls:// URLs show certificates");
	else if ((err = options_loop_new(&loop, "epoll")) < 0)
		status = status_of(err);
	else {
		status = look_twice(loop, verified.data, unverified.data, host);
		tn_loop_free(loop);
	}
	text_free(&verified);
	text_free(&unverified);
	return status;
}

static bool is_url(const char *text)
{
	return strstr(text, "://") || tn_url_kind(text) >= 0;
}

static int run_show(char **operands, int count)
{
	const char *host = NULL;

	if (count != 1)
		return usage("show", count ? "one file or URL, please" : "which file or URL?");
	if (wanted.dir || wanted.days)
		return usage("show", "--out and --days are for `cert new`");
	if (wanted.hosts.len) {
		text_bytes(&wanted.hosts, "", 1);
		host = wanted.hosts.failed ? NULL : wanted.hosts.data;
	}
	if (host && strchr(host, ','))
		return usage("show", "--host: one host, please");
	return is_url(operands[0]) ? show_url(operands[0], host) : show_file(operands[0], host);
}

/* ---- the command ---- */

static int run(char **operands, int count)
{
	static const char *const names[] = {"new", "show"};
	const char *near;
	int status;

	if (count == 0)
		return usage(NULL, "new or show?");
	privileges_hold_keys();
	if (strcmp(operands[0], "new") == 0) {
		status = run_new(operands + 1, count - 1);
	} else if (strcmp(operands[0], "show") == 0) {
		status = run_show(operands + 1, count - 1);
	} else {
		near = tn_nearest(operands[0], names, 2);
		complain("cert: no '%.64s' here%s%s%s", operands[0], near ? " (did you mean " : "", near ? near : "",
			 near ? "?)" : "; there are new and show");
		complain_hint("%s cert --help", settings.program);
		status = STATUS_USAGE;
	}
	text_free(&wanted.hosts);
	return status;
}

static const struct option_spec own_options[] = {
	{"out", 0, OPTION_VALUE, option_set_text, &wanted.dir, "DIR", "directory for the files; made if it is missing"},
	{"host", 0, OPTION_VALUES, set_host, &wanted.hosts, "NAME",
	 "new: names, *.names, addresses (default localhost,127.0.0.1,::1); show: the host that the certificate "
	 "must be for"},
	{"days", 0, OPTION_VALUE, option_set_number, &wanted.days, "N",
	 "how long the certificates of server and client are valid (default 365)"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "one JSON object a line"},
	{0},
};

const struct command cert_command = {
	.name = "cert",
	.meaning = "make certificates for development, or show what certificates say",
	.help = "Examples:\n"
		"  tenon cert new --out certs                        for localhost, 127.0.0.1 and ::1\n"
		"  tenon cert new --out certs --host api.test,*.api.test,192.168.1.5 --days 90\n"
		"  tenon cert show certs/server.pem --host localhost exit status 1: expired, or for another host\n"
		"  tenon cert show tls://example.com:443             what a server shows, and whether it is accepted\n"
		"  tenon cert show /etc/ssl/certs/ca-certificates.crt --json | jq -r .subject\n"
		"\n"
		"Usage:\n"
		"  tenon cert new --out DIR [--host NAME[,NAME...]] [--days N]\n"
		"  tenon cert show FILE|URL [--host NAME]\n"
		"\n"
		"new makes an authority (ca.pem, ca.key) and two certificates that it signs: a server's (server.pem,\n"
		"server.key) and a client's (client.pem, client.key). Nothing is overwritten: an authority that is in\n"
		"DIR already signs again. It can sign for the hosts it was made for and for this machine only.\n",
	.options = own_options,
	.run = run,
};
