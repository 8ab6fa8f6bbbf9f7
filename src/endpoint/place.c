#include "endpoint/parse.h"

#include "base/err.h"
#include "net/idn.h"
#include "net/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int find_port(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	const char *protocol = ep->scheme->type == SOCK_DGRAM ? "udp" : "tcp";
	char why[256];

	ep->port = tni_names_service(url->service, protocol);
	if (ep->port == -ENOMEM)
		return tni_parse_no_memory();
	if (ep->port >= 0)
		return 0;
	if (access("/etc/services", R_OK) < 0)
		snprintf(why, sizeof(why),
			 "the port of '%.64s' is unknown: there is no /etc/services here (Debian: package netbase); "
			 "write the number",
			 url->service);
	else
		snprintf(why, sizeof(why), "there is no service '%.64s' for %s in /etc/services; write the number",
			 url->service, protocol);
	return tni_parse_fail(p, url->port_at, why);
}

/* Letters beyond ASCII become what stands in DNS, in hosts(5) and in certificates. */
static int keep_host(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	char ascii[TNI_IDN_MAX];
	const char *host = url->host;
	int rc = 0;

	if (!tni_idn_is_ascii(host)) {
		rc = tni_idn_to_ascii(host, ascii, sizeof(ascii));
		host = ascii;
	}
	if (rc == 0)
		rc = tni_addr_check_host(host);
	if (rc < 0)
		return rc == TN_EURL ? tni_parse_fail_told(p, url->host_at) : rc;
	ep->host = strdup(host);
	return ep->host ? 0 : tni_parse_no_memory();
}

static int parse_host(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	struct tn_addr addr;
	int rc;

	if (!url->host)
		return tni_parse_fail(p, url->path_at,
				      ep->scheme->place == TNI_AT_ADDR ? "after the scheme comes // and a host"
								       : "after the scheme comes // and host:port");
	if (ep->scheme->web != TNI_WEB_SOCKET && url->path[0] && strcmp(url->path, "/") != 0)
		return tni_parse_fail(p, url->path_at, "this scheme has no path");
	if (ep->scheme->place == TNI_AT_ADDR && url->port_at >= 0)
		return tni_parse_fail(p, url->port_at, "there are no ports here");
	if (ep->scheme->place == TNI_AT_HOST && !ep->scheme->port && url->port_at < 0)
		return tni_parse_fail(p, url->path_at,
				      ep->role == TN_SERVE ? "the port is missing (:0 takes any free one)"
							   : "the port is missing");
	ep->port = url->port_at < 0 && ep->scheme->port ? ep->scheme->port : url->port;
	if (url->service && (rc = find_port(p)) < 0)
		return rc;
	if (ep->port == 0 && ep->role == TN_DIAL)
		return tni_parse_fail(p, url->port_at, "port 0 can be served but not dialled");
	if (!strcmp(url->host, "*") && ep->role == TN_DIAL)
		return tni_parse_fail(p, url->host_at, "'*' can be served but not dialled");
	rc = keep_host(p);
	if (rc < 0)
		return rc;
	if (tni_addr_literal(&addr, ep->host, 0) == 0 && ep->scheme->family != AF_UNSPEC &&
	    tni_addr_family(&addr) != ep->scheme->family)
		return tni_parse_fail(p, url->host_at, "this address is of the other IP version");
	if (ep->scheme->secure && tni_addr_literal(&addr, url->host, 0) == 0 && tni_addr_is_multicast(&addr))
		return tni_parse_fail(p, url->host_at, "a multicast group is many hosts: what is secured has one peer");
	return 0;
}

/* unix:///path and unix://localhost/path, as gRPC, Docker and RFC 8089 write it. */
static int check_local(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	char why[900];

	if (url->port_at < 0 && (!*url->host || tni_addr_is_localhost(url->host, false)) && url->path_len)
		return 0;
	snprintf(why, sizeof(why), "a path has no host: write %s:/%.200s%.200s, or %s:%.200s%.200s if it is relative",
		 ep->scheme->name, url->host, url->path, ep->scheme->name, url->host, url->path);
	return tni_parse_fail(p, url->host_at, why);
}

/* unix:fd:3 and file:fd:3 would be relative paths. */
static int check_no_fd(const struct tni_parse *p)
{
#ifdef TNI_HAVE_HINTS
	const struct tni_url *url = p->url;
	char why[256];

	if (!strncmp(url->path, "fd:", 3)) {
		snprintf(why, sizeof(why), "a descriptor is '%.64s' alone; a file of that name is ./%.64s", url->path,
			 url->path);
		return tni_parse_fail(p, url->path_at, why);
	}
#else
	(void)p;
#endif
	return 0;
}

static int parse_path(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	struct tn_addr addr;
	char why[128];
	int rc = url->host ? check_local(p) : check_no_fd(p);

	if (rc < 0)
		return rc;
	if (!url->path_len || (url->path_len == 1 && url->path[0] == '@'))
		return tni_parse_fail(p, url->path_at,
				      "the path is missing: /path, or @name for the abstract namespace");
	if (tni_addr_unix(&addr, url->path, url->path_len) < 0) {
		snprintf(why, sizeof(why), "the path has %zu bytes; the system allows 107", url->path_len);
		return tni_parse_fail(p, url->path_at, why);
	}
	if (url->path[0] != '@' && memchr(url->path, '\0', url->path_len))
		return tni_parse_fail(p, url->path_at, "a path cannot hold a zero byte");
	ep->host_len = url->path_len;
	ep->host = malloc(url->path_len + 1);
	if (!ep->host)
		return tni_parse_no_memory();
	memcpy(ep->host, url->path, url->path_len + 1);
	return 0;
}

static int parse_link(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	struct tn_addr addr;

	if (url->host || !url->path_len)
		return tni_parse_fail(p, url->path_at,
				      "an interface's name is missing: packet:eth0, or packet:* for every one");
	if (!strcmp(url->path, "*") && ep->role == TN_DIAL)
		return tni_parse_fail(p, url->path_at, "'*' can be served but not dialled");
	if (tni_raw_interface(&addr, url->path, 0) < 0)
		return tni_parse_fail_told(p, url->path_at);
	ep->host = strdup(url->path);
	return ep->host ? 0 : tni_parse_no_memory();
}

/* Descriptors that a service manager has opened for this process begin there: sd_listen_fds(3). */
#define LISTEN_FDS_START 3

/*
 * The descriptor that a service manager has opened under this name (LISTEN_FDNAMES). -ENOENT: there is none; -E2BIG:
 * there are several.
 */
static int find_named_fd(const char *name)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	int found = -ENOENT;

	if (!pid || !count || !names || strtol(pid, NULL, 10) != (long)getpid())
		return -ENOENT;
	for (long i = 0, n = strtol(count, NULL, 10); i < n; i++) {
		size_t len = strcspn(names, ":");

		if (strlen(name) == len && strncmp(names, name, len) == 0)
			found = found == -ENOENT ? LISTEN_FDS_START + (int)i : -E2BIG;
		names += len + (names[len] == ':');
	}
	return found;
}

static int parse_named_fd(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	int fd = find_named_fd(url->path);
	char why[160];

	if (fd >= 0) {
		p->ep->fd = fd;
		return 0;
	}
	if (fd == -E2BIG)
		snprintf(why, sizeof(why), "several inherited descriptors have the name '%.64s': use numbers",
			 url->path);
	else
		snprintf(why, sizeof(why),
			 "a descriptor is a number (fd:3), or a name in LISTEN_FDNAMES: '%.64s' is neither", url->path);
	return tni_parse_fail(p, url->path_at, why);
}

static int parse_fd(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	char *end;
	long fd;

	if (url->host || !url->path_len)
		return tni_parse_fail(p, url->path_at, "a descriptor's number is missing: fd:3");
	if (url->path[0] < '0' || url->path[0] > '9')
		return parse_named_fd(p);
	errno = 0;
	fd = strtol(url->path, &end, 10);
	if (errno || *end || fd < 0 || fd > 1 << 24)
		return tni_parse_fail(p, url->path_at, "a descriptor is a number: fd:3");
	p->ep->fd = (int)fd;
	return 0;
}

#ifdef TNI_HAVE_FILES

static int parse_device(const struct tni_parse *p)
{
	const struct tni_url *url = p->url;
	struct tni_endpoint *ep = p->ep;
	bool runs = ep->scheme->place == TNI_AT_EXEC;
	int rc = 0;

	if (url->host && runs)
		return tni_parse_fail(p, url->host_at, "the command stands right behind the colon: exec:/bin/date");
	if (!runs)
		rc = url->host ? check_local(p) : check_no_fd(p);
	if (rc < 0)
		return rc;
	if (ep->role == TN_SERVE)
		return tni_parse_fail(p, 0,
				      runs ? "a command is dialled, not served; to run it for each client: tenon serve "
					     "URL --handler exec:COMMAND"
					   : "files and terminals are opened, not served: they can be dialled");
	if (!url->path_len)
		return tni_parse_fail(p, url->path_at, runs ? "the command is missing" : "the path is missing");
	if (memchr(url->path, '\0', url->path_len))
		return tni_parse_fail(p, url->path_at,
				      runs ? "a command cannot hold a zero byte" : "a path cannot hold a zero byte");
	ep->host = strdup(url->path);
	ep->host_len = url->path_len;
	ep->device = calloc(1, sizeof(*ep->device));
	if (!ep->host || !ep->device)
		return tni_parse_no_memory();
	*ep->device = (struct tni_device_spec){.databits = 8, .stopbits = 1};
	return 0;
}

#endif

int tni_parse_place(const struct tni_parse *p)
{
	switch (p->ep->scheme->place) {
	case TNI_AT_HOST:
	case TNI_AT_ADDR:
		return parse_host(p);
	case TNI_AT_LINK:
		return parse_link(p);
	case TNI_AT_PATH:
		return parse_path(p);
#ifdef TNI_HAVE_FILES
	case TNI_AT_FILE:
	case TNI_AT_TTY:
	case TNI_AT_PTY:
	case TNI_AT_EXEC:
		return parse_device(p);
#endif
	default:
		return parse_fd(p);
	}
}
