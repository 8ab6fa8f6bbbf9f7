/* Sockets in words, for people and as JSON. */
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>

#include "inspect.h"
#include "people.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define INDENT "    "
#define LABEL 10 /* of a row, the space behind it included */

/* ---- kinds ---- */

struct name {
	int family, type, protocol; /* -1: any */
	const char *name;
};

static const struct name kinds[] = {
	{AF_INET, SOCK_STREAM, IPPROTO_TCP, "tcp"},
	{AF_INET, SOCK_STREAM, IPPROTO_MPTCP, "mptcp"},
	{AF_INET, -1, IPPROTO_SCTP, "sctp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDP, "udp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, "udplite"},
	{AF_INET, SOCK_DGRAM, IPPROTO_ICMP, "icmp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6, "icmp"},
	{AF_UNIX, SOCK_STREAM, -1, "unix"},
	{AF_UNIX, SOCK_DGRAM, -1, "unix-dgram"},
	{AF_UNIX, SOCK_SEQPACKET, -1, "unix-seqpacket"},
	{AF_VSOCK, SOCK_STREAM, -1, "vsock"},
	{AF_VSOCK, SOCK_DGRAM, -1, "vsock-dgram"},
	{AF_VSOCK, SOCK_SEQPACKET, -1, "vsock-seqpacket"},
	{AF_PACKET, SOCK_RAW, -1, "packet"},
	{AF_PACKET, SOCK_DGRAM, -1, "packet-dgram"},
	{AF_NETLINK, -1, NETLINK_ROUTE, "netlink route"},
	{AF_NETLINK, -1, NETLINK_SOCK_DIAG, "netlink sock_diag"},
	{AF_NETLINK, -1, NETLINK_KOBJECT_UEVENT, "netlink uevent"},
	{AF_NETLINK, -1, NETLINK_GENERIC, "netlink generic"},
	{AF_NETLINK, -1, NETLINK_AUDIT, "netlink audit"},
	{AF_NETLINK, -1, NETLINK_XFRM, "netlink xfrm"},
	{AF_NETLINK, -1, NETLINK_NETFILTER, "netlink netfilter"},
	{AF_NETLINK, -1, NETLINK_CONNECTOR, "netlink connector"},
	{AF_NETLINK, -1, NETLINK_SELINUX, "netlink selinux"},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *sock_kind(const struct sock *sock, char *out, size_t cap)
{
	int family = sock->family == AF_INET6 ? AF_INET : sock->family;

	for (size_t i = 0; i < NKINDS; i++)
		if (kinds[i].family == family && (kinds[i].type < 0 || kinds[i].type == sock->type) &&
		    (kinds[i].protocol < 0 || kinds[i].protocol == sock->protocol)) {
			snprintf(out, cap, "%s", kinds[i].name);
			return out;
		}
	if (family == AF_INET && sock->type == SOCK_RAW)
		snprintf(out, cap, "raw %d", sock->protocol);
	else if (family == AF_NETLINK)
		snprintf(out, cap, "netlink %d", sock->protocol);
	else
		snprintf(out, cap, "family %d", sock->family);
	return out;
}

/* ---- addresses ---- */

static const char *packet_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)&addr->sa;
	unsigned protocol = ntohs(ll->sll_protocol);
	char name[IF_NAMESIZE];

	if (!ll->sll_ifindex)
		snprintf(name, sizeof(name), "any");
	else if (!if_indextoname((unsigned)ll->sll_ifindex, name))
		snprintf(name, sizeof(name), "%d", ll->sll_ifindex);
	if (protocol == 0)
		snprintf(out, cap, "%s, no protocol", name);
	else if (protocol == 3)
		snprintf(out, cap, "%s, every protocol", name);
	else
		snprintf(out, cap, "%s, protocol 0x%04x", name, protocol);
	return out;
}

static const char *netlink_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)&addr->sa;

	if (nl->nl_groups)
		snprintf(out, cap, "port %u, groups 0x%x", nl->nl_pid, nl->nl_groups);
	else
		snprintf(out, cap, nl->nl_pid ? "port %u" : "kernel", nl->nl_pid);
	return out;
}

static void vsock_number(uint32_t number, bool is_cid, char *out, size_t cap)
{
	if (number == ~0U)
		snprintf(out, cap, "*");
	else if (is_cid && number == VMADDR_CID_HOST)
		snprintf(out, cap, "host");
	else if (is_cid && number == 1)
		snprintf(out, cap, "local");
	else
		snprintf(out, cap, "%u", number);
}

static const char *vsock_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)&addr->sa;
	char cid[16], port[16];

	vsock_number(vm->svm_cid, true, cid, sizeof(cid));
	vsock_number(vm->svm_port, false, port, sizeof(port));
	snprintf(out, cap, "%s:%s", cid, port);
	return out;
}

/* Where there are no ports, what the kernel keeps in their place is the protocol's number, or an identifier. */
static bool has_ports(const struct sock *sock)
{
	return sock->type != SOCK_RAW && sock->protocol != IPPROTO_ICMP && sock->protocol != IPPROTO_ICMPV6;
}

static const char *ip_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap)
{
	struct sock_addr shown = *addr;
	struct tn_addr tn = {.len = addr->len};

	if (!has_ports(sock))
		((struct sockaddr_in *)&shown.sa)->sin_port = 0; /* at the same place in both */
	memcpy(tn.bytes, &shown.sa, addr->len < sizeof(tn.bytes) ? addr->len : sizeof(tn.bytes));
	return tn_addr_text(&tn, out, cap);
}

/* Sockets of Unix may have a name of any bytes. */
static const char *unix_text(const struct sock_addr *addr, char *out, size_t cap)
{
	struct tn_addr tn = {.len = addr->len};

	memcpy(tn.bytes, &addr->sa, addr->len < sizeof(tn.bytes) ? addr->len : sizeof(tn.bytes));
	if (tn.len <= sizeof(sa_family_t))
		out[0] = '\0';
	else
		tn_addr_text(&tn, out, cap);
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return out;
}

const char *sock_addr_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap)
{
	out[0] = '\0';
	if (!addr->len)
		return out;
	switch (addr->sa.ss_family) {
	case AF_INET:
	case AF_INET6:
		return ip_text(sock, addr, out, cap);
	case AF_UNIX:
		return unix_text(addr, out, cap);
	case AF_PACKET:
		return packet_text(addr, out, cap);
	case AF_NETLINK:
		return netlink_text(addr, out, cap);
	case AF_VSOCK:
		return vsock_text(addr, out, cap);
	default:
		return out;
	}
}

/* ---- parts ---- */

void sock_clean(char *said, size_t cap)
{
	struct text text = {0};

	text_clean(&text, said);
	text_bytes(&text, "", 1);
	snprintf(said, cap, "%s", text.failed ? "?" : text.data);
	text_free(&text);
}

static void holder_text(const struct holder *holder, char *out, size_t cap)
{
	if (holder->pid)
		snprintf(out, cap, "%s (%d) fd %d", holder->command, holder->pid, holder->fd);
	else
		snprintf(out, cap, "-");
	sock_clean(out, cap);
}

static void ends_text(const struct sock *sock, struct text *text)
{
	char local[384], peer[384];

	sock_addr_text(sock, &sock->local, local, sizeof(local));
	sock_addr_text(sock, &sock->peer, peer, sizeof(peer));
	sock_clean(local, sizeof(local));
	sock_clean(peer, sizeof(peer));
	if (*local)
		text_add(text, " %s", local);
	if (*peer && sock->family != AF_NETLINK)
		text_add(text, " -> %s", peer);
}

/* ---- all that is known ---- */

static void row(struct text *text, const char *label)
{
	text_add(text, "\n" INDENT "%-*s", LABEL, label);
}

static void who_words(const struct sock *sock, struct text *text)
{
	char kind[32], holder[64];

	text_add(text, "%s", out_paint(STDOUT_FILENO, PAINT_BOLD));
	if (sock->holder.pid) {
		holder_text(&sock->holder, holder, sizeof(holder));
		text_add(text, "%s", holder);
	} else {
		text_add(text, sock->inode ? "a process unknown to us" : "no process");
	}
	text_add(text, "%s: %s %s", out_paint(STDOUT_FILENO, PAINT_NONE), sock_kind(sock, kind, sizeof(kind)),
		 sock->state);
	ends_text(sock, text);
	if (sock->shared)
		text_add(text, "  (and %u more descriptors of the same socket)", sock->shared);
}

static void queue_words(const struct sock *sock, struct text *text)
{
	char in[32], out[32];
	const char *separator = "";

	if (sock->unread < 0 && sock->memory_in < 0)
		return;
	row(text, "queues");
	if (sock->listening && sock->unread >= 0) {
		text_add(text, "%" PRId64 " connections wait to be accepted, of %" PRId64 " that may", sock->unread,
			 sock->unsent);
		return;
	}
	if (sock->unread >= 0) {
		text_add(text, "%s unread, %s not %s yet", people_bytes((double)sock->unread, in, sizeof(in)),
			 people_bytes((double)sock->unsent, out, sizeof(out)),
			 sock->tcp_info_len ? "acknowledged" : "taken by the peer");
		separator = "; ";
	}
	if (sock->memory_in >= 0)
		text_add(text, "%s%s of kernel memory in, %s out", separator,
			 people_bytes((double)sock->memory_in, in, sizeof(in)),
			 people_bytes((double)sock->memory_out, out, sizeof(out)));
	if (sock->drops > 0)
		text_add(text, "; %" PRId64 " dropped for want of room", sock->drops);
}

static void user_text(int64_t uid, char *out, size_t cap)
{
	const struct passwd *user = getpwuid((uid_t)uid);

	if (user)
		snprintf(out, cap, "%s (%" PRId64 ")", user->pw_name, uid);
	else
		snprintf(out, cap, "%" PRId64, uid);
}

static void peer_words(const struct sock *sock, struct text *text)
{
	char holder[64], user[64];

	if (!sock->far.pid && sock->cred_pid < 0)
		return;
	row(text, sock->listening ? "opened by" : "peer");
	if (sock->far.pid) {
		holder_text(&sock->far, holder, sizeof(holder));
		text_add(text, "%s%s", holder, sock->cred_pid >= 0 ? "; " : "");
	}
	if (sock->cred_pid < 0)
		return;
	user_text(sock->cred_uid, user, sizeof(user));
	text_add(text, "%sprocess %" PRId64 ", user %s, group %" PRId64, sock->listening ? "" : "opened by ",
		 sock->cred_pid, user, sock->cred_gid);
}

static void mptcp_words(const struct sock *sock, struct text *text)
{
	if (!sock->subflows_known || sock->listening || !sock->peer.len)
		return;
	row(text, "subflows");
	if (sock->fallback)
		text_add(text, "plain TCP: the peer does not speak MPTCP");
	else
		text_add(text, "%u; what follows is of the first", sock->subflows);
}

/* ---- options ---- */

enum which { DIFFERS, ADAPTED, USUAL, UNKNOWN };

static enum which which_of(const struct sock_option *o)
{
	if (o->differs)
		return o->by_kernel ? ADAPTED : DIFFERS;
	return o->fresh[0] ? USUAL : UNKNOWN;
}

static void option_words(const struct sock *sock, enum which which, const char *label, unsigned width,
			 struct text *text)
{
	const char *bold = which == DIFFERS ? out_paint(STDOUT_FILENO, PAINT_BOLD) : "";
	const char *plain = which == DIFFERS ? out_paint(STDOUT_FILENO, PAINT_NONE) : "";
	size_t column = 0;
	char one[192];

	for (size_t i = 0; i < sock->noptions; i++) {
		const struct sock_option *o = &sock->options[i];
		size_t len;

		if (which_of(o) != which)
			continue;
		len = (size_t)snprintf(one, sizeof(one), o->differs ? "%s=%s (%s)" : "%s=%s", o->key, o->value,
				       o->fresh);
		if (column == 0 || column + len > width) {
			row(text, column == 0 ? label : "");
			column = sizeof(INDENT) - 1 + LABEL;
		}
		text_add(text, "%s%s%s%s", column > sizeof(INDENT) - 1 + LABEL ? "  " : "", bold, one, plain);
		column += len + 2;
	}
}

/* How many columns a byte takes: colours and all but the first byte of a character take none. */
static unsigned columns_of(const char *text, size_t len, size_t *at)
{
	if (text[*at] == '\033') {
		while (*at + 1 < len && text[*at] != 'm')
			++*at;
		return 0;
	}
	return ((unsigned char)text[*at] & 0xc0) != 0x80;
}

/* Adds a text whose rows are broken at blanks where they are too wide. */
static void add_wrapped(const struct text *from, unsigned width, struct text *to)
{
	size_t begin = 0, blank = 0;
	unsigned column = 0, after = 0; /* columns since the row began; since the last blank */

	for (size_t i = 0; i < from->len; i++) {
		unsigned wide = from->data[i] == '\n' ? 0 : columns_of(from->data, from->len, &i);

		if (from->data[i] == '\n') {
			column = after = 0;
			blank = 0;
			continue;
		}
		column += wide;
		after += wide;
		if (from->data[i] == ' ') {
			if (column > sizeof(INDENT) + LABEL)
				blank = i;
			after = 0;
		}
		if (column > width && blank > begin) {
			text_bytes(to, from->data + begin, blank - begin);
			text_add(to, "\n" INDENT "%*s", LABEL, "");
			begin = blank + 1;
			column = (unsigned)strlen(INDENT) + LABEL + after;
			blank = 0;
		}
	}
	text_bytes(to, from->data + begin, from->len - begin);
	to->failed |= from->failed;
}

void sock_show(const struct sock *sock, unsigned width, bool all, struct text *out)
{
	struct text text = {0};

	who_words(sock, &text);
	option_words(sock, DIFFERS, "set", width, &text);
	queue_words(sock, &text);
	peer_words(sock, &text);
	mptcp_words(sock, &text);
	tcp_info_words(sock, INDENT, &text);
	if (all) {
		option_words(sock, ADAPTED, "adapted", width, &text);
		option_words(sock, USUAL, "default", width, &text);
	}
	option_words(sock, UNKNOWN, "options", width, &text);
	if (sock->err) {
		row(&text, "options");
		text_add(&text, "cannot be read: %s", tn_strerror(sock->err));
	}
	text_add(&text, "\n");
	add_wrapped(&text, width, out);
	text_free(&text);
}

/* ---- JSON ---- */

static void number_json(struct text *line, const char *key, int64_t value)
{
	if (value >= 0)
		json_signed(line, key, value);
}

static void holder_json(struct text *line, const struct holder *holder)
{
	if (!holder->pid)
		return;
	json_number(line, "pid", (uint64_t)holder->pid);
	json_number(line, "fd", (uint64_t)holder->fd);
	json_text(line, "command", holder->command);
}

static void queues_json(const struct sock *sock, struct text *line)
{
	number_json(line, sock->listening ? "waiting" : "unread", sock->unread);
	number_json(line, sock->listening ? "backlog" : "unsent", sock->unsent);
	number_json(line, "memory_in", sock->memory_in);
	number_json(line, "memory_out", sock->memory_out);
	number_json(line, "drops", sock->drops);
}

static void peer_json(const struct sock *sock, struct text *line)
{
	if (sock->far.pid) {
		json_object(line, "peer_process");
		holder_json(line, &sock->far);
		json_object_end(line);
	}
	if (sock->cred_pid >= 0) {
		json_object(line, "credentials");
		json_signed(line, "pid", sock->cred_pid);
		json_signed(line, "uid", sock->cred_uid);
		json_signed(line, "gid", sock->cred_gid);
		json_object_end(line);
	}
}

static void options_json(const struct sock *sock, struct text *line)
{
	if (!sock->options)
		return;
	json_object(line, "options");
	for (size_t i = 0; i < sock->noptions; i++) {
		const struct sock_option *o = &sock->options[i];

		json_object(line, o->key);
		json_text(line, "value", o->value);
		json_text(line, "default", o->fresh[0] ? o->fresh : NULL);
		json_bool(line, "differs", o->differs);
		if (o->differs)
			json_text(line, "by", o->by_kernel ? "kernel" : "program");
		json_object_end(line);
	}
	json_object_end(line);
}

static const char *family_name(int family)
{
	static const struct {
		int family;
		const char *name;
	} names[] = {{AF_INET, "inet"},     {AF_INET6, "inet6"},     {AF_UNIX, "unix"},
		     {AF_PACKET, "packet"}, {AF_NETLINK, "netlink"}, {AF_VSOCK, "vsock"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].family == family)
			return names[i].name;
	return NULL;
}

void sock_show_json(const struct sock *sock)
{
	struct text line = {0};
	char kind[32], local[192], peer[192];

	json_begin(&line, NULL);
	holder_json(&line, &sock->holder);
	number_json(&line, "shared", sock->shared ? (int64_t)sock->shared : -1);
	json_number(&line, "inode", sock->inode);
	json_text(&line, "kind", sock_kind(sock, kind, sizeof(kind)));
	json_text(&line, "family", family_name(sock->family));
	json_text(&line, "state", sock->state);
	json_text(&line, "local", sock_addr_text(sock, &sock->local, local, sizeof(local)));
	if (sock->family != AF_NETLINK)
		json_text(&line, "peer", sock_addr_text(sock, &sock->peer, peer, sizeof(peer)));
	number_json(&line, "uid", sock->uid);
	queues_json(sock, &line);
	peer_json(sock, &line);
	if (sock->subflows_known) {
		json_number(&line, "subflows", sock->subflows);
		json_bool(&line, "fallback", sock->fallback);
	}
	tcp_info_json(sock, &line);
	options_json(sock, &line);
	if (sock->err)
		json_text(&line, "unreadable", tn_strerror(sock->err));
	json_line(&line);
}
