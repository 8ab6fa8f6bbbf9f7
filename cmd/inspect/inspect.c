/* tenon inspect: the sockets of a running process, or all that belong to an endpoint, as the kernel has them. */
#include "inspect.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <linux/netlink.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/screen.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "columns.h"
#include "delta.h"
#include "destroy.h"
#include "diag.h"
#include "netns.h"
#include "process.h"
#include "read.h"
#include "rings.h"
#include "show.h"
#include "select.h"
#include "sock.h"
#include "summary.h"
#include "table.h"
#include "tenon.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct {
	const char *url, *netns;
	uint64_t watch_ns;
	bool all, summary, kill, delta;
	struct selection only;
	struct columns columns;
	struct sorting sorting;
} wanted;

static struct {
	int pid, fd; /* 0: all; -1: all of its */
	bool placed, foreign;
	struct tn_place place;
	int status;
	unsigned rounds;
	bool on_screen;          /* each look is drawn over the one before */
	struct netns_list netns; /* --netns */
	struct socks before;     /* --delta: the look before */
	struct tn_loop *loop;
	struct tn_timer *timer;
} state = {.fd = -1};

/* One look at the system. */
struct look {
	struct socks all;       /* the kernel's tables, by inode */
	struct holders holders; /* of all processes, to find the other ends */
	struct socks found;     /* what is shown */
	unsigned left;          /* no process has them any more: not shown */
	bool lacking;           /* a descriptor could not be read */
};

/* ---- the far end ---- */

static bool is_same_addr(const struct sock_addr *a, const struct sock_addr *b)
{
	return a->len && a->len == b->len && !memcmp(&a->sa, &b->sa, a->len);
}

/* Finds the process at the other end of a connection within this machine. */
static uint64_t far_inode(const struct look *look, const struct sock *sock)
{
	if (sock->peer_inode || !sock->peer.len || (sock->family != AF_INET && sock->family != AF_INET6))
		return sock->peer_inode;
	for (size_t i = 0; i < look->all.count; i++) {
		const struct sock *other = &look->all.list[i];

		if (other->protocol == sock->protocol && is_same_addr(&other->local, &sock->peer) &&
		    is_same_addr(&other->peer, &sock->local))
			return other->inode;
	}
	return 0;
}

static void find_far(const struct look *look, struct sock *sock)
{
	const struct sock *other;
	const struct holder *holder;
	uint64_t inode = far_inode(look, sock);
	size_t count;

	holder = holders_of(&look->holders, inode, &count);
	if (holder)
		sock->far = *holder;
	other = diag_find(&look->all, inode);
	if (sock->family == AF_UNIX && !sock->peer.len && other)
		sock->peer = other->local;
}

/* ---- which ones ---- */

static bool is_ip(int family)
{
	return family == AF_INET || family == AF_INET6;
}

static bool is_any_addr(const struct sock_addr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->sa;

	if (addr->sa.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&addr->sa)->sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

static int port_of(const struct sock_addr *addr)
{
	return ntohs(((const struct sockaddr_in *)&addr->sa)->sin_port); /* at the same place in both */
}

/* An IPv6 socket for both versions has an IPv4 address as ::ffff:1.2.3.4. */
static bool is_this_ip(const struct sock_addr *addr, const struct sockaddr *wanted_addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->sa;
	const struct sockaddr_in *want = (const struct sockaddr_in *)(const void *)wanted_addr;

	if (addr->sa.ss_family == AF_INET && want->sin_family == AF_INET)
		return ((const struct sockaddr_in *)&addr->sa)->sin_addr.s_addr == want->sin_addr.s_addr;
	if (addr->sa.ss_family == AF_INET6 && want->sin_family == AF_INET6)
		return !memcmp(&in6->sin6_addr, &((const struct sockaddr_in6 *)(const void *)wanted_addr)->sin6_addr,
			       16);
	return addr->sa.ss_family == AF_INET6 && want->sin_family == AF_INET && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) &&
	       !memcmp(&in6->sin6_addr.s6_addr[12], &want->sin_addr, 4);
}

/* Whether one end of a socket is at the place. A socket that listens on every address listens there too. */
static bool is_there(const struct sock_addr *addr)
{
	const struct tn_place *place = &state.place;

	if (!addr->len || (place->port > 0 && port_of(addr) != place->port))
		return false;
	if (is_any_addr(addr) || place->naddrs == 0)
		return true;
	for (int i = 0; i < place->naddrs; i++)
		if (is_this_ip(addr, tn_addr_sockaddr(&place->addrs[i])))
			return true;
	return false;
}

/* The path, or the name with its zero byte; what bind(2) leaves behind a path does not count. */
static size_t unix_name(const struct sockaddr *sa, size_t len, const char **name)
{
	size_t at = offsetof(struct sockaddr_un, sun_path);

	*name = ((const struct sockaddr_un *)(const void *)sa)->sun_path;
	if (len <= at)
		return 0;
	return (*name)[0] ? strnlen(*name, len - at) : len - at;
}

static bool is_that_name(const struct sock_addr *addr)
{
	const char *a, *b;
	const struct tn_addr *want = &state.place.addrs[0];
	size_t len = unix_name((const struct sockaddr *)&addr->sa, addr->len, &a);

	return len && len == unix_name(tn_addr_sockaddr(want), want->len, &b) && !memcmp(a, b, len);
}

static bool is_that_interface(const struct sock *sock)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)&sock->local.sa;
	const struct sockaddr_ll *want =
		(const struct sockaddr_ll *)(const void *)tn_addr_sockaddr(&state.place.addrs[0]);

	return !ll->sll_ifindex || !state.place.naddrs || ll->sll_ifindex == want->sll_ifindex;
}

/* ICMP has a number for each version of IP, and raw sockets in the place of ping sockets. */
static bool is_that_kind(const struct sock *sock)
{
	const struct tn_place *place = &state.place;
	bool icmp = place->protocol == IPPROTO_ICMP || place->protocol == IPPROTO_ICMPV6;

	if (is_ip(sock->family) && place->type == SOCK_DGRAM && icmp)
		return sock->protocol == (sock->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	/* A peer with plain TCP gets a plain TCP socket from an MPTCP listener */
	if (is_ip(sock->family) && place->protocol == IPPROTO_MPTCP && sock->protocol == IPPROTO_TCP)
		return place->type == sock->type;
	return place->type == sock->type && (!place->protocol || place->protocol == sock->protocol);
}

static bool is_wanted(const struct sock *sock)
{
	const struct tn_place *place = &state.place;

	if (!state.placed)
		return true;
	if (!is_that_kind(sock))
		return false;
	if (place->family == AF_UNIX)
		return sock->family == AF_UNIX && (is_that_name(&sock->local) || is_that_name(&sock->peer));
	if (place->family == AF_PACKET)
		return sock->family == AF_PACKET && is_that_interface(sock);
	if (!is_ip(sock->family) || (place->family != AF_UNSPEC && place->family != sock->family))
		return false;
	return is_there(&sock->local) || is_there(&sock->peer);
}

/* ---- looking ---- */

static bool options_wanted(void)
{
	return !wanted.summary && !wanted.kill && !wanted.delta && !(wanted.columns.count && !settings.json) &&
	       (state.pid || state.placed || wanted.all);
}

/* More than the table: of one socket there is room for all that matters. */
static bool details_wanted(void)
{
	return !wanted.summary && !wanted.kill && !wanted.columns.count && (state.fd >= 0 || wanted.all);
}

/* Adds what the tables have of a socket, or an empty one. */
static struct sock *found_add(struct look *look, uint64_t inode)
{
	const struct sock *known = diag_find(&look->all, inode);
	struct sock *sock = socks_add(&look->found);

	if (sock && known)
		*sock = *known;
	if (sock)
		sock->inode = inode;
	return sock;
}

/* Asks the descriptor, if we may. */
static void ask(struct look *look, struct sock *sock, bool options)
{
	int fd = descriptor_take(sock->holder.pid, sock->holder.fd);

	if (fd < 0) {
		sock->err = fd;
		look->lacking |= options && fd != -ESRCH && fd != -EBADF; /* they have just been closed */
		return;
	}
	sock_read(sock, fd, options);
	close(fd);
}

static int look_at_process(struct look *look)
{
	struct holders own = {0};
	int rc = holders_find(&own, state.pid);

	for (size_t i = 0; i < own.count && rc == 0; i++) {
		struct sock *sock;
		size_t count;

		if (state.fd >= 0 && own.list[i].fd != state.fd)
			continue;
		sock = found_add(look, own.list[i].inode);
		if (!sock) {
			rc = -ENOMEM;
			break;
		}
		sock->holder = own.list[i];
		(void)holders_of(&look->holders, sock->inode, &count);
		sock->shared = count ? (unsigned)count - 1 : 0;
		if (options_wanted() || state.foreign || !diag_find(&look->all, sock->inode))
			ask(look, sock, options_wanted());
		find_far(look, sock);
		if (!is_wanted(sock)) {
			free(sock->options);
			look->found.count--;
		}
	}
	holders_free(&own);
	return rc;
}

/* Sockets that are in no table: ping sockets. Only their descriptors tell what they are. */
static int look_at_unlisted(struct look *look)
{
	for (size_t i = 0; i < look->holders.count; i++) {
		const struct holder *h = &look->holders.list[i];
		struct sock *sock;

		if ((i && h[-1].inode == h->inode) || diag_find(&look->all, h->inode))
			continue;
		sock = found_add(look, h->inode);
		if (!sock)
			return -ENOMEM;
		sock->holder = *h;
		ask(look, sock, false);
		if (!sock->opened || !is_wanted(sock))
			look->found.count--;
		else if (options_wanted())
			ask(look, sock, true);
	}
	return 0;
}

/*
 * Connections that are closing, and the kernel's own netlink sockets, belong to no process. Who counts, or asks for a
 * state, wants the first of these.
 */
static bool is_left_out(const struct sock *sock)
{
	if (settings.verbose)
		return false;
	if (sock->inode)
		return sock->family == AF_NETLINK && !((const struct sockaddr_nl *)&sock->local.sa)->nl_pid;
	return !wanted.summary && !wanted.only.state;
}

static int look_at_all(struct look *look)
{
	for (size_t i = 0; i < look->all.count; i++) {
		struct sock *sock = &look->all.list[i];
		const struct holder *holder;
		size_t count;

		if (sock->family == AF_UNIX) /* the far end's name says whether it is wanted */
			find_far(look, sock);
		if (!is_wanted(sock))
			continue;
		holder = holders_of(&look->holders, sock->inode, &count);
		if (!holder && is_left_out(sock)) {
			look->left++;
			continue;
		}
		sock = socks_add(&look->found);
		if (!sock)
			return -ENOMEM;
		*sock = look->all.list[i];
		if (holder) {
			sock->holder = *holder;
			sock->shared = (unsigned)count - 1;
		}
		if (!sock->inode)
			continue;
		if (options_wanted() || columns_have(&wanted.columns, COLUMN_FAR))
			find_far(look, sock);
		if (!options_wanted())
			continue;
		if (holder)
			ask(look, sock, true);
		else
			look->lacking = true;
	}
	return look_at_unlisted(look);
}

static int by_holder(const void *a, const void *b)
{
	const struct sock *x = a, *y = b;

	if (x->holder.pid != y->holder.pid)
		return x->holder.pid < y->holder.pid ? -1 : 1;
	return x->holder.fd != y->holder.fd ? (x->holder.fd < y->holder.fd ? -1 : 1) : 0;
}

static int look_here(struct look *look)
{
	int rc = state.foreign ? 0 : diag_all(&look->all);

	if (rc == 0 && state.pid && process_is_zombie(state.pid))
		rc = -ESRCH; /* it has ended while it was watched */
	if (rc < 0)
		return rc;
	rc = holders_find(&look->holders, 0);
	if (rc == 0)
		rc = state.pid ? look_at_process(look) : look_at_all(look);
	return rc;
}

static void look_end(struct look *look)
{
	socks_free(&look->found);
	free(look->all.list); /* their options are those of `found` */
	holders_free(&look->holders);
	sock_read_end();
	rings_forget();
}

/* Adds what one namespace has to what was found elsewhere. */
static int look_into(struct look *look, const struct netns *netns)
{
	struct look here = {0};
	int rc = netns_enter(netns);

	if (rc < 0) {
		complain("inspect: --netns: %s: %s (to enter it: CAP_SYS_ADMIN)", netns->name, tn_strerror(rc));
		return 0;
	}
	rc = look_here(&here);
	for (size_t i = 0; i < here.found.count && rc == 0; i++) {
		struct sock *sock = socks_add(&look->found);

		if (!sock) {
			rc = -ENOMEM;
			break;
		}
		*sock = here.found.list[i];
		snprintf(sock->netns, sizeof(sock->netns), "%s", netns->name);
		here.found.list[i].options = NULL; /* it has them now */
	}
	look->left += here.left;
	look->lacking |= here.lacking;
	look_end(&here);
	return rc;
}

static int look_around(struct look *look)
{
	int rc = wanted.netns ? 0 : look_here(look);

	for (size_t i = 0; i < state.netns.count && rc == 0; i++)
		rc = look_into(look, &state.netns.list[i]);
	if (look->found.count)
		qsort(look->found.list, look->found.count, sizeof(*look->found.list), by_holder);
	return rc;
}

/* ---- output ---- */

static void complain_privilege(const char *what)
{
	complain("inspect: %s: that needs the same user and a kernel that allows it (sysctl kernel.yama.ptrace_scope), "
		 "or the capability CAP_SYS_PTRACE",
		 what);
	complain_hint("sudo %s inspect ..., or once: sudo setcap cap_sys_ptrace+ep \"$(command -v tenon)\"",
		      settings.program);
}

static int complain_process(int err)
{
	char name[32] = "?", text[128];

	if ((err == -ENOENT || err == -ESRCH) && process_name(state.pid, name, sizeof(name)) < 0) {
		complain("inspect: there is no process %d", state.pid);
		return STATUS_FAILED;
	}
	(void)process_name(state.pid, name, sizeof(name));
	if (process_is_zombie(state.pid)) {
		complain("inspect: process %d (%s) has ended: its sockets are closed, and only its parent has yet to "
			 "notice (it is a zombie)",
			 state.pid, name);
		return STATUS_FAILED;
	}
	snprintf(text, sizeof(text), "the descriptors of process %d (%s) cannot be seen (%s)", state.pid, name,
		 tn_strerror(err));
	if (err == -EACCES || err == -EPERM)
		complain_privilege(text);
	else
		complain("inspect: %s", text);
	return STATUS_FAILED;
}

static const char *lacking_reason(const struct look *look)
{
	for (size_t i = 0; i < look->found.count; i++)
		if (look->found.list[i].err)
			return tn_strerror(look->found.list[i].err);
	return "the process that holds it cannot be seen";
}

/* With a descriptor's number: what it is instead of a socket. */
static int complain_nothing(const struct look *look)
{
	char path[64], link[256];
	ssize_t len;

	if (state.fd < 0 && !state.placed)
		return STATUS_DONE; /* a process may well have no socket: show() says so */
	if (state.fd >= 0) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", state.pid, state.fd);
		len = readlink(path, link, sizeof(link) - 1);
		link[len > 0 ? len : 0] = '\0';
		if (len <= 0)
			complain("inspect: process %d has no descriptor %d", state.pid, state.fd);
		else if (strncmp(link, "socket:", 7) != 0)
			complain("inspect: descriptor %d of process %d is no socket but %s", state.fd, state.pid, link);
		else
			complain("inspect: descriptor %d of process %d is not at %s", state.fd, state.pid, wanted.url);
	} else {
		complain("inspect: no process has a socket at %s%s", wanted.url,
			 look->left ? " (but some are dying: -v shows them)" : "");
	}
	return STATUS_FAILED;
}

static void show_json(const struct look *look)
{
	struct text line = {0};

	if (wanted.watch_ns) {
		json_begin(&line, "look");
		json_time(&line, "time");
		json_line(&line);
	}
	if (wanted.summary)
		summary_show_json(&look->found);
	for (size_t i = 0; i < look->found.count && !out_lost() && !wanted.summary; i++)
		sock_show_json(&look->found.list[i]);
}

static void add_time(struct text *text)
{
	time_t now = time(NULL);
	struct tm tm;
	char when[16];

	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%H:%M:%S", &tm);
	text_add(text, "%s%s, Ctrl-C ends%s\n", paint_code(STDOUT_FILENO, PAINT_DIM), when,
		 paint_code(STDOUT_FILENO, PAINT_NONE));
}

static void add_no_sockets(struct text *text)
{
	char name[32] = "?";

	(void)process_name(state.pid, name, sizeof(name));
	text_add(text, "process %d (", state.pid);
	text_clean(text, name);
	text_add(text, ") has no sockets\n");
}

static void show(const struct look *look)
{
	struct text text = {0};
	unsigned width = screen_columns();
	static bool headed;

	if (state.on_screen)
		add_time(&text);
	else if (state.rounds && !wanted.delta)
		text_add(&text, "\n");
	for (size_t i = 0; i < look->found.count && details_wanted(); i++)
		sock_show(&look->found.list[i], width, wanted.all, &text);
	if (!look->found.count && state.pid && state.fd < 0 && !state.placed && !wanted.delta)
		add_no_sockets(&text);
	else if (wanted.summary)
		summary_show(&look->found, &text);
	else if (wanted.columns.count)
		columns_show(&look->found, &wanted.columns, screen_is_terminal() ? width : 0, !wanted.delta || !headed,
			     &text);
	else if (!details_wanted())
		table_show(&look->found, width, &text);
	headed |= look->found.count > 0;
	if (state.on_screen && !text.failed)
		screen_draw(&text);
	else
		out_text(&text);
	text_free(&text);
}

/* ---- closing ---- */

static int complain_kill(int err)
{
	complain("inspect: --kill: sockets may not be closed (%s): that takes the capability CAP_NET_ADMIN",
		 tn_strerror(err));
	complain_hint("sudo %s inspect ...", settings.program);
	return STATUS_FAILED;
}

static int tell_others(const struct destroyed *others)
{
	if (others->gone && !settings.quiet)
		complain("inspect: %zu more had ended meanwhile, by itself or by the reset of its other end",
			 others->gone);
	if (others->hidden)
		complain("inspect: %zu could not be closed: others that share their addresses (reuseport) stand before "
			 "them, and were not selected",
			 others->hidden);
	if (others->unable)
		complain("inspect: %zu cannot be closed from outside: the kernel does that for tcp, udp and raw alone "
			 "(--kind tcp), and only if it was built with CONFIG_INET_DIAG_DESTROY",
			 others->unable);
	if (others->failed)
		complain("inspect: %zu could not be closed: %s", others->failed, tn_strerror(others->err));
	return others->hidden || others->unable || others->failed ? STATUS_FAILED : STATUS_DONE;
}

/* Shows what has been closed. */
static int kill_found(struct look *look)
{
	struct destroyed others;
	int err = destroy_all(&look->found, &others);

	if (err == -EPERM)
		return complain_kill(err);
	if (err < 0)
		return complain_library(err, NULL);
	if (look->found.count)
		(settings.json ? show_json : show)(look);
	if (!settings.quiet)
		complain("inspect: %zu socket%s closed", look->found.count, look->found.count == 1 ? "" : "s");
	return tell_others(&others);
}

/* ---- one look ---- */

static int look_once(void)
{
	struct look look = {0};
	char text[160];
	int rc = look_around(&look), status = STATUS_DONE;
	bool none_wanted = false;

	if (rc == 0 && select_is_any(&wanted.only)) {
		none_wanted = look.found.count > 0;
		select_from(&look.found, &wanted.only);
		none_wanted &= !look.found.count;
	}
	if (rc == 0 && wanted.delta) {
		rc = delta_take(&state.before, &look.found);
		none_wanted = false;
	}
	columns_sort(&look.found, &wanted.sorting);
	if (rc == 0 && wanted.kill && look.found.count) {
		status = kill_found(&look);
		look_end(&look);
		return status;
	}
	if (rc == 0 && !none_wanted && !(wanted.delta && state.rounds == 0))
		(settings.json ? show_json : show)(&look);
	if (rc < 0)
		status = state.pid ? complain_process(rc) : STATUS_FAILED;
	if (rc < 0 && !state.pid)
		complain("inspect: %s", tn_strerror(rc));
	if (none_wanted && !settings.quiet)
		complain("inspect: no socket is as --state, --kind, --port, --peer and --process want it");
	if (none_wanted)
		status = STATUS_FAILED;
	else if (rc == 0 && !look.found.count && !wanted.delta)
		status = complain_nothing(&look);
	if (rc == 0 && look.lacking) {
		snprintf(text, sizeof(text), "options cannot be read (%s)", lacking_reason(&look));
		complain_privilege(text);
		status = STATUS_FAILED;
	}
	look_end(&look);
	state.rounds++;
	return status;
}

/* ---- again and again ---- */

static void on_signal(int nth, void *arg)
{
	(void)nth, (void)arg;
	tn_loop_stop(state.loop);
}

static void on_reader_gone(void *arg)
{
	(void)arg;
	tn_loop_stop(state.loop);
}

static void on_time(void *arg)
{
	(void)arg;
	state.timer = NULL;
	state.status = look_once();
	if (state.status == STATUS_DONE && !out_lost()) {
		if (tn_timer_start(state.loop, (wanted.watch_ns + 999999) / 1000000, on_time, NULL, &state.timer) == 0)
			return;
		complain("inspect: out of memory");
		state.status = STATUS_FAILED;
	}
	tn_loop_stop(state.loop);
}

static void on_resize(void *arg)
{
	tn_timer_stop(state.timer);
	on_time(arg);
}

static int look_repeatedly(void)
{
	int err = options_loop_new(&state.loop, "epoll");

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	err = signals_start(state.loop, on_signal, NULL);
	if (err == 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	state.on_screen = !settings.json && !wanted.delta && screen_is_terminal();
	if (err == 0 && state.on_screen)
		err = screen_watch(state.loop, on_resize, NULL);
	if (err == 0)
		err = tn_timer_start(state.loop, 0, on_time, NULL, &state.timer);
	if (err == 0)
		err = tn_loop_run(state.loop);
	screen_end();
	screen_unwatch();
	out_unwatch();
	signals_stop();
	tn_loop_free(state.loop);
	return err < 0 ? complain_library(err, NULL) : state.status;
}

/* ---- the command line ---- */

static int parse_operand(const char *text, const char *what, int least, int *number)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || value < least || value > INT32_MAX) {
		complain("inspect: '%.64s' is not the number of a %s", text, what);
		complain_hint("%s inspect --help", settings.program);
		return -1;
	}
	*number = (int)value;
	return 0;
}

/* All sockets of the machine are never meant. */
static int check_kill(int count)
{
	const char *wrong = NULL;

	if (!wanted.kill)
		return 0;
	if (!count && !wanted.url && !select_is_any(&wanted.only))
		wrong = "--kill: which sockets? a process, --endpoint, --peer, --port, --process, --state or --kind "
			"says it";
	else if (wanted.watch_ns)
		wrong = "--kill is done once: not with --watch";
	else if (wanted.summary)
		wrong = "--kill shows what it has closed: not with --summary";
	if (!wrong)
		return 0;
	complain("inspect: %s", wrong);
	complain_hint("%s inspect --help", settings.program);
	return STATUS_USAGE;
}

static int check_options(int count)
{
	const char *wrong = NULL;

	if (wanted.delta && !wanted.watch_ns)
		wrong = "--delta: since when? --watch DUR says how long a look lasts";
	else if (wanted.delta && (wanted.summary || wanted.all))
		wrong = "--delta shows what has changed: not with --summary or --all";
	else if (wanted.netns && count)
		wrong = "--netns and a process: its own namespace is looked into";
	else if (wanted.netns && strcmp(wanted.netns, "all") == 0 && wanted.kill)
		wrong = "--kill: in one namespace at a time: --netns NAME";
	else if (wanted.columns.count && (wanted.summary || wanted.all))
		wrong = "--columns are of the table: not with --summary or --all";
	else if (wanted.sorting.wanted && wanted.summary)
		wrong = "--sort sorts sockets: not with --summary";
	else if (!wanted.delta && columns_have(&wanted.columns, COLUMN_CHANGE))
		wrong = "--columns change: needs --watch and --delta";
	if (!wrong)
		return 0;
	complain("inspect: %s", wrong);
	complain_hint("%s inspect --help", settings.program);
	return STATUS_USAGE;
}

/* The usual table has no place for what these tell. */
static void choose_columns(void)
{
	if (!wanted.columns.count && wanted.delta)
		(void)columns_set("change,pid,command,kind,state,unread,unsent,sent,received,local,peer",
				  &wanted.columns);
	else if (!wanted.columns.count && wanted.netns && !wanted.all && !wanted.summary && !wanted.kill &&
		 strcmp(wanted.netns, "all") == 0)
		(void)columns_set("netns,pid,fd,command,kind,state,unread,unsent,backlog,local,peer", &wanted.columns);
}

static int run(char **operands, int count)
{
	int err;

	if (count > 2) {
		complain("inspect: one process and one of its descriptors, please");
		return STATUS_USAGE;
	}
	if ((count > 0 && parse_operand(operands[0], "process", 1, &state.pid) < 0) ||
	    (count > 1 && parse_operand(operands[1], "descriptor", 0, &state.fd) < 0))
		return STATUS_USAGE;
	if (check_kill(count) != 0 || check_options(count) != 0)
		return STATUS_USAGE;
	if (wanted.netns) {
		err = netns_find(&state.netns, wanted.netns);
		if (err != STATUS_DONE)
			return err;
	}
	choose_columns();
	if (wanted.url) {
		err = tn_url_place(wanted.url, &state.place);
		if (err < 0)
			return complain_library(err, wanted.url);
		state.placed = true;
	}
	if (state.pid) {
		char name[32];

		err = process_name(state.pid, name, sizeof(name));
		if (err < 0 || process_is_zombie(state.pid))
			return complain_process(err);
		err = namespace_enter(state.pid);
		state.foreign = err < 0;
		if (err < 0 && wanted.kill) {
			complain("inspect: --kill: process %d is in another network namespace; to enter it takes the "
				 "capability CAP_SYS_ADMIN",
				 state.pid);
			return STATUS_FAILED;
		}
		if (err < 0 && err != -EACCES)
			complain("inspect: process %d is in another network namespace; its peers are not known here, "
				 "and defaults are those of this one (to enter it: CAP_SYS_ADMIN)",
				 state.pid);
	}
	err = wanted.watch_ns ? look_repeatedly() : look_once();
	netns_free(&state.netns);
	socks_free(&state.before);
	return err;
}

static const struct option_spec own_options[] = {
	{"all", 0, OPTION_ALONE, option_set_flag, &wanted.all, NULL,
	 "all that is known, and every option: set (its default in brackets), changed by the kernel, at its "
	 "default"},
	{"endpoint", 0, OPTION_VALUE, option_set_text, &wanted.url, "URL",
	 "sockets that serve this endpoint or are connected to it"},
	{"state", 0, OPTION_VALUE, select_set_state, &wanted.only.state, "STATE",
	 "only sockets in this state: listen, established, time-wait, unconnected"},
	{"kind", 0, OPTION_VALUE, option_set_text, &wanted.only.kind, "KIND",
	 "only sockets of this kind, as they are shown: tcp, udp, unix, unix-dgram"},
	{"port", 0, OPTION_VALUE, select_set_port, &wanted.only.port, "N",
	 "only sockets with this port, at either end"},
	{"peer", 0, OPTION_VALUE, select_set_peer, &wanted.only.peer, "NET",
	 "only sockets whose other end has this address, or is in this network (192.0.2.0/24)"},
	{"process", 0, OPTION_VALUE, option_set_text, &wanted.only.process, "NAME",
	 "only sockets of processes of this name"},
	{"summary", 's', OPTION_ALONE, option_set_flag, &wanted.summary, NULL,
	 "how many sockets of each kind are in each state, instead of the sockets"},
	{"kill", 'K', OPTION_ALONE, option_set_flag, &wanted.kill, NULL,
	 "close the sockets that are selected (tcp, udp, raw), and show them; needs CAP_NET_ADMIN"},
	{"columns", 0, OPTION_VALUE, columns_set, &wanted.columns, "LIST",
	 "show these, in this order: pid,command,state,timer,memory,rtt,local,peer and others"},
	{"sort", 0, OPTION_VALUE, columns_set_sort, &wanted.sorting, "COLUMN",
	 "in the order of this column; -COLUMN: the largest first"},
	{"netns", 'N', OPTION_VALUE, option_set_text, &wanted.netns, "NAME",
	 "the sockets of this network namespace: a name, a file, a process; all: of every one"},
	{"delta", 0, OPTION_ALONE, option_set_flag, &wanted.delta, NULL,
	 "with --watch: what has come (+), gone (-) and changed (~) since the look before"},
	{"watch", 0, OPTION_VALUE, option_set_duration, &wanted.watch_ns, "DUR",
	 "look again each time this time has passed; on a terminal in the same place"},
	{"", 'n', OPTION_ALONE, option_set_nothing, NULL, NULL, NULL},
	{"", 'p', OPTION_ALONE, option_set_nothing, NULL, NULL, "always so: numbers, and the process of each socket"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "one JSON object a socket, with every option"},
	{0},
};

const struct command inspect_command = {
	.name = "inspect",
	.meaning = "show the sockets of a running process: state, peers, options in force",
	.help = "Examples:\n"
		"  tenon inspect $(pidof nginx)                       every socket of a process\n"
		"  tenon inspect 4711 5                               one of its descriptors\n"
		"  tenon inspect --endpoint tcp://localhost:10000     who serves it, who is connected\n"
		"  tenon inspect --endpoint tcp://localhost:10000 --json | jq .options.nodelay.value\n"
		"  tenon inspect                                      all sockets of this machine, one a line\n"
		"\n"
		"Usage:\n"
		"  tenon inspect [--all] [--json] [--watch DUR] [PID [FD]] [--endpoint URL]\n"
		"  tenon inspect [--summary | --kill] [PID [FD]] [--endpoint URL] [--state STATE] [--kind KIND]\n"
		"                [--port N] [--peer NET] [--process NAME]\n"
		"  tenon inspect [--columns LIST] [--sort COLUMN] [--netns NAME] [--watch DUR [--delta]]\n"
		"\n"
		"A line is a socket: its process, kind and state, bytes that wait to be read and to be acknowledged,\n"
		"connections in a listener's backlog, addresses, and the process at the other end. Below it are the\n"
		"options that have been set. For a single descriptor, also what TCP knows of the path.\n"
		"\n"
		"The process is not disturbed: its sockets are asked, never changed, but by --kill. Looking into a\n"
		"process needs the same user, or CAP_SYS_PTRACE.\n",
	.options = own_options,
	.run = run,
};
