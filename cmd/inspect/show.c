/* Sockets in words, for people and as JSON. */
#include "show.h"

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

#include "common/human.h"
#include "common/json.h"
#include "common/paint.h"
#include "common/text.h"
#include "container.h"
#include "process.h"
#include "rings.h"
#include "sock.h"
#include "tcp.h"
#include "tenon.h"
#include "timer.h"
#include "words.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define INDENT "    "
#define LABEL 10 /* of a row, with the space after it */

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

	text_add(text, "%s", paint_code(STDOUT_FILENO, PAINT_BOLD));
	if (sock->holder.pid) {
		holder_text(&sock->holder, holder, sizeof(holder));
		text_add(text, "%s", holder);
	} else {
		text_add(text, sock->inode ? "a process unknown to us" : "no process");
	}
	text_add(text, "%s: %s %s", paint_code(STDOUT_FILENO, PAINT_NONE), sock_kind(sock, kind, sizeof(kind)),
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
		text_add(text, "%s unread, %s not %s yet", human_bytes((double)sock->unread, in, sizeof(in)),
			 human_bytes((double)sock->unsent, out, sizeof(out)),
			 sock->tcp_info_len ? "acknowledged" : "taken by the peer");
		separator = "; ";
	}
	if (sock->memory_in >= 0)
		text_add(text, "%s%s of kernel memory in, %s out", separator,
			 human_bytes((double)sock->memory_in, in, sizeof(in)),
			 human_bytes((double)sock->memory_out, out, sizeof(out)));
	if (sock->limit_in >= 0)
		text_add(text, " (of %s and %s)", human_bytes((double)sock->limit_in, in, sizeof(in)),
			 human_bytes((double)sock->limit_out, out, sizeof(out)));
	if (sock->drops > 0)
		text_add(text, "; %" PRId64 " dropped for lack of room", sock->drops);
}

static void rings_words(const struct sock *sock, struct text *text)
{
	int64_t bytes = rings_of(sock);
	char words[32];

	if (bytes < 0)
		return;
	row(text, "rings");
	text_add(text, "%s of shared memory, which its bytes go through",
		 human_bytes((double)bytes, words, sizeof(words)));
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

static void timer_row(const struct sock *sock, struct text *text)
{
	if (!sock->timer)
		return;
	row(text, "timer");
	timer_words(sock, text);
}

/* Where the process is, if that is not where we are. */
static void place_words(const struct sock *sock, struct text *text)
{
	char container[CONTAINER_MAX];

	if (sock->holder.pid && container_of_process(sock->holder.pid, container)) {
		row(text, "container");
		text_clean(text, container);
	}
	if (*sock->netns) {
		row(text, "netns");
		text_clean(text, sock->netns);
	}
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
	const char *bold = which == DIFFERS ? paint_code(STDOUT_FILENO, PAINT_BOLD) : "";
	const char *plain = which == DIFFERS ? paint_code(STDOUT_FILENO, PAINT_NONE) : "";
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

/* Adds a text whose rows are broken at blanks if they are too wide. */
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
	rings_words(sock, &text);
	timer_row(sock, &text);
	place_words(sock, &text);
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
	number_json(line, "memory_in_limit", sock->limit_in);
	number_json(line, "memory_out_limit", sock->limit_out);
	number_json(line, "drops", sock->drops);
	timer_json(sock, line);
}

static void change_json(const struct sock *sock, struct text *line)
{
	struct tcp_figures figures;

	if (!sock->change)
		return;
	json_text(line, "change", sock->change == '+' ? "opened" : sock->change == '-' ? "closed" : "changed");
	if (sock->change != '~' || !tcp_figures_of(sock, &figures))
		return;
	json_object(line, "since_last");
	json_signed(line, "sent", figures.sent - (int64_t)sock->before_sent);
	json_signed(line, "received", figures.received - (int64_t)sock->before_received);
	json_signed(line, "resent", figures.resent - (int64_t)sock->before_resent);
	json_object_end(line);
}

static void place_json(const struct sock *sock, struct text *line)
{
	char container[CONTAINER_MAX];

	if (*sock->netns)
		json_text(line, "netns", sock->netns);
	if (sock->holder.pid && container_of_process(sock->holder.pid, container))
		json_text(line, "container", container);
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
	change_json(sock, &line);
	holder_json(&line, &sock->holder);
	number_json(&line, "shared", sock->shared ? (int64_t)sock->shared : -1);
	json_number(&line, "inode", sock->inode);
	json_text(&line, "kind", sock_kind(sock, kind, sizeof(kind)));
	json_text(&line, "family", family_name(sock->family));
	json_text(&line, "state", sock->state);
	json_text(&line, "local", sock_addr_text(sock, &sock->local, local, sizeof(local)));
	if (sock->family != AF_NETLINK)
		json_text(&line, "peer", sock_addr_text(sock, &sock->peer, peer, sizeof(peer)));
	place_json(sock, &line);
	number_json(&line, "uid", sock->uid);
	queues_json(sock, &line);
	number_json(&line, "shared_memory", rings_of(sock));
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
