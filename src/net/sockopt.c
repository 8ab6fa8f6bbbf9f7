#include "net/sockopt_type.h"

#include "base/err.h"
#include "tenon.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define SAID_MAX 512

/* Those that have no IP version. */
#define UNIX (TNI_SK_UNIX_STREAM | TNI_SK_UNIX_DGRAM | TNI_SK_UNIX_SEQPACKET)
#define OTHER_KINDS (UNIX | TNI_SK_PACKET)

/* ---- where it applies -------------------------------------------------------------------------------------------- */

static int socket_number(int fd, int name)
{
	int number = 0;
	socklen_t len = sizeof(number);

	return getsockopt(fd, SOL_SOCKET, name, &number, &len) < 0 ? -errno : number;
}

int tni_sockopt_kind(int fd, int *family)
{
	int type = socket_number(fd, SO_TYPE), protocol = socket_number(fd, SO_PROTOCOL);

	*family = socket_number(fd, SO_DOMAIN);
	if (*family < 0)
		return *family;
	if (*family == AF_UNIX)
		return type == SOCK_STREAM  ? TNI_SK_UNIX_STREAM
		       : type == SOCK_DGRAM ? TNI_SK_UNIX_DGRAM
					    : TNI_SK_UNIX_SEQPACKET;
	if (*family != AF_INET && *family != AF_INET6)
		return TNI_SK_PACKET;
	if (type == SOCK_STREAM)
		return protocol == IPPROTO_TCP ? TNI_SK_TCP : protocol == IPPROTO_MPTCP ? TNI_SK_MPTCP : TNI_SK_PACKET;
	if (type != SOCK_DGRAM)
		return TNI_SK_RAW;
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ? TNI_SK_UDP : TNI_SK_PING;
}

static unsigned kinds_on(const struct tni_sockopt *opt, int family)
{
	if (family == AF_INET)
		return opt->place[0].kinds & ~(unsigned)OTHER_KINDS;
	if (family == AF_UNIX)
		return opt->place[0].kinds & UNIX;
	if (family != AF_UNSPEC && family != AF_INET6)
		return opt->place[0].kinds & TNI_SK_PACKET;
	return family == AF_INET6 ? opt->place[1].kinds : opt->place[0].kinds | opt->place[1].kinds;
}

bool tni_sockopt_applies(const struct tni_sockopt *opt, unsigned kinds, unsigned roles, int family)
{
	return (kinds_on(opt, family) & kinds) && (opt->roles & roles);
}

enum tni_opt_stage tni_sockopt_stage(const struct tni_sockopt *opt, enum tni_sock_kind kind)
{
	return opt->lost_on & kind ? TNI_STAGE_CONN : (enum tni_opt_stage)opt->stage;
}

const char *tni_sockopt_applies_text(const struct tni_sockopt *opt, char *out, size_t cap)
{
	static const struct {
		unsigned kind;
		const char *scheme;
	} kinds[] = {
		{TNI_SK_TCP, "tcp"},
		{TNI_SK_MPTCP, "mptcp"},
		{TNI_SK_UDP, "udp"},
		{TNI_SK_UNIX_STREAM, "unix"},
		{TNI_SK_UNIX_DGRAM, "unix-dgram"},
		{TNI_SK_UNIX_SEQPACKET, "unix-seqpacket"},
		{TNI_SK_RAW, "raw"},
		{TNI_SK_PING, "icmp"},
		{TNI_SK_PACKET, "packet"},
	};

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool on4 = kinds[i].kind & opt->place[0].kinds, on6 = kinds[i].kind & opt->place[1].kinds;

		if (on4 || on6)
			tni_opt_say(out, cap, "%s%s%s", *out ? ", " : "", kinds[i].scheme,
				    on4 && (on6 || kinds[i].kind & OTHER_KINDS) ? ""
				    : on4                                       ? " (IPv4)"
										: " (IPv6)");
	}
	if (opt->roles == TNI_ROLE_SERVE)
		tni_opt_say(out, cap, "; serving");
	if (opt->roles == TNI_ROLE_DIAL)
		tni_opt_say(out, cap, "; dialling");
	return out;
}

bool tni_sockopt_is_list(const struct tni_sockopt *opt)
{
	return opt->type->is_list;
}

bool tni_sockopt_looks_up(const struct tni_sockopt *opt)
{
	return opt->type->looks_up;
}

const char *tni_sockopt_type_text(const struct tni_sockopt *opt)
{
	return opt->type_text;
}

/* ---- parsing, setting, reading back ------------------------------------------------------------------------------ */

int tni_sockopt_parse(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char expected[SAID_MAX] = "";
	int rc;

	memset(val, 0, sizeof(*val));
	rc = opt->type->parse(opt, text, val);
	if (rc != -EINVAL)
		return rc;
	opt->type->expects(opt, expected, sizeof(expected));
	return tni_err(TN_EURL, "%s takes %s, not \"%.64s\"", opt->key, expected, text);
}

static int set_failed(const struct tni_sockopt *opt, const struct tni_sockopt_place *place, int err)
{
	char remedy[SAID_MAX] = "";
	struct utsname kernel;

	if ((err == EPERM || err == EACCES) && opt->permission)
		tni_opt_say(remedy, sizeof(remedy), " (it needs %s)", opt->permission);
	if ((err == ENOPROTOOPT || err == EOPNOTSUPP) && uname(&kernel) == 0) {
		tni_opt_say(remedy, sizeof(remedy), " (this kernel, %s, does not have it for this kind of socket",
			    kernel.release);
		if (opt->since_major)
			tni_opt_say(remedy, sizeof(remedy), "; Linux has since %d.%d", opt->since_major,
				    opt->since_minor);
		tni_opt_say(remedy, sizeof(remedy), ")");
	}
	return tni_err(-err, "setsockopt %s (key %s): %s%s", place->constant, opt->key, tn_strerror(-err), remedy);
}

static int get_number(int fd, int family, const struct tni_sockopt *opt, struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct tni_opt_raw raw = {.len = sizeof(raw.text)};

	memset(raw.text, 0, sizeof(raw.text));
	memset(val, 0, sizeof(*val));
	if (getsockopt(fd, place->level, place->name, raw.text, &raw.len) < 0)
		return -errno;
	opt->type->decode(opt, family, &raw, val);
	return 0;
}

static int compare_in_force(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *asked)
{
	char asked_text[TNI_OPTVAL_TEXT_MAX], text[TNI_OPTVAL_TEXT_MAX];
	struct tni_optval now;
	const char *why;

	if (get_number(fd, family, opt, &now) < 0 || now.number == asked->number)
		return 0;
	opt->type->format(opt, asked, asked_text, sizeof(asked_text));
	opt->type->format(opt, &now, text, sizeof(text));
	why = now.number < asked->number ? opt->when_less : opt->when_more;
	return tni_err(1, "%s: %s was asked for, %s is in force%s%s%s", opt->key, asked_text, text, why ? " (" : "",
		       why ? why : "", why ? ")" : "");
}

static int set_at(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct tni_opt_raw raw;

	memset(&raw, 0, sizeof(raw));
	opt->type->encode(opt, family, val, &raw);
	return setsockopt(fd, place->level, place->name, raw.text, raw.len) < 0 ? -errno : 0;
}

/* The family of a group says which of the two constants joins it; an IPv6 socket can join groups of both. */
static int join_group(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	int rc;

	if (val->family == AF_INET6 && family != AF_INET6)
		return tni_err(-EAFNOSUPPORT, "key %s: an IPv4 socket cannot join an IPv6 group", opt->key);
	rc = set_at(fd, val->family, opt, val);
	return rc < 0 ? set_failed(opt, &opt->place[val->family == AF_INET6], -rc) : 0;
}

const char *tni_sockopt_no_effect(const struct tni_sockopt *opt, bool has_addr, bool has_port)
{
	if (!(opt->flags & TNI_OPT_BIND))
		return NULL;
	if (!has_addr && !has_port)
		return "has no effect without key bind, the local end of what is dialled";
	if (!has_port || opt->place[0].level != IPPROTO_IP)
		return has_addr || opt->place[0].level != IPPROTO_IP ? NULL : "has no effect where bind has no address";
	if (opt->place[0].name == IP_BIND_ADDRESS_NO_PORT)
		return "has no effect where bind has a port";
	return has_addr ? NULL : "has no effect where bind has no address";
}

int tni_sockopt_set(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	int rc;

#ifdef TNI_HAVE_SOCKOPTS
	if (opt->type->set)
		return opt->type->set(fd, family, opt, val);
#endif
	if (tni_sockopt_is_list(opt))
		return join_group(fd, family, opt, val);
	if (!place->kinds)
		return tni_err(-EOPNOTSUPP, "key %s does not apply to %s", opt->key,
			       family == AF_INET6 ? "IPv6" : "IPv4");
	rc = set_at(fd, family, opt, val);
	if (rc < 0)
		return set_failed(opt, place, -rc);
	/* Raw sockets and those of MPTCP do not have the other one, and need not */
	if (family == AF_INET6 && (opt->flags & TNI_OPT_MAPPED))
		(void)set_at(fd, AF_INET, opt, val);
	if (opt->type->compare)
		return opt->type->compare(opt, val);
	return opt->flags & TNI_OPT_ADJUSTED ? compare_in_force(fd, family, opt, val) : 0;
}

int tni_sockopt_get(int fd, int family, const struct tni_sockopt *opt, char *text, size_t cap)
{
	const struct tni_sockopt_place *place = &opt->place[family == AF_INET6];
	struct tni_optval val;
	int rc;

	if (!place->kinds || (opt->flags & TNI_OPT_WRITE_ONLY))
		return tni_err(-EOPNOTSUPP, "key %s cannot be read back here", opt->key);
	rc = get_number(fd, family, opt, &val);
	if (rc == -ENOPROTOOPT)
		rc = -EOPNOTSUPP;
	if (rc < 0)
		return tni_err(rc, "getsockopt %s (key %s): %s", place->constant, opt->key, tn_strerror(rc));
	opt->type->format(opt, &val, text, cap);
	return 0;
}

int tn_socket_option(int fd, const char *key, char *value, size_t cap)
{
	const struct tni_sockopt *opt = tni_sockopt_find(key);
	int family, kind;

	if (!opt)
		return tni_err(-EINVAL, "the system has no socket option '%.64s'", key);
	kind = tni_sockopt_kind(fd, &family);
	if (kind < 0)
		return tni_err(kind, "descriptor %d: %s", fd, tn_strerror(kind));
	if (!tni_sockopt_applies(opt, (unsigned)kind, TNI_ROLE_SERVE | TNI_ROLE_DIAL, family))
		return tni_err(-EOPNOTSUPP, "key %s does not apply to this socket", key);
	return tni_sockopt_get(fd, family, opt, value, cap);
}
