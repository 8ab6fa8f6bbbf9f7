#include "owner.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "inspect/diag.h"
#include "inspect/process.h"
#include "inspect/sock.h"

#define PLACES (1U << 16)         /* of the table; a power of two */
#define FULL (PLACES / 4 * 3)     /* from then on it begins afresh */
#define PAUSE_NS (50 * NS_PER_MS) /* between two looks, at least */
#define SHARE 10                  /* looking takes a tenth of the time, at most */
#define UNKNOWN_NS (1 * NS_PER_S) /* so long nobody asks again for whom nobody knew */

/* A socket: IPv4 addresses stand as ::ffff:1.2.3.4, and "any" as ::. */
struct key {
	unsigned char local[16], remote[16];
	uint16_t lport, rport, proto;
};

struct row {
	struct key key;
	bool used;
	struct owner owner; /* pid 0: nobody knew, at `asked_ns` */
	uint64_t asked_ns;
};

struct owners {
	int fd;
	pid_t looker;
	uint64_t next_ns; /* no look is taken before */
	struct row *rows;
	unsigned count;
};

/* ---- the process that looks ---- */

static bool take_addr(const struct sock_addr *addr, unsigned char ip[16], uint16_t *port)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	memset(ip, 0, 16);
	*port = 0;
	if (!addr->len)
		return true;
	if (addr->sa.ss_family == AF_INET) {
		memcpy(&in, &addr->sa, sizeof(in));
		*port = ntohs(in.sin_port);
		if (in.sin_addr.s_addr != INADDR_ANY) {
			memset(ip + 10, 0xff, 2);
			memcpy(ip + 12, &in.sin_addr, 4);
		}
		return true;
	}
	if (addr->sa.ss_family != AF_INET6)
		return false;
	memcpy(&in6, &addr->sa, sizeof(in6));
	*port = ntohs(in6.sin6_port);
	memcpy(ip, &in6.sin6_addr, 16);
	return true;
}

static bool send_all(int fd, const void *data, size_t len)
{
	const char *from = data;

	while (len > 0) {
		ssize_t done = send(fd, from, len, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		from += done;
		len -= (size_t)done;
	}
	return true;
}

static bool receive_all(int fd, void *data, size_t len)
{
	char *to = data;

	while (len > 0) {
		ssize_t done = recv(fd, to, len, 0);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		to += done;
		len -= (size_t)done;
	}
	return true;
}

/* A row for each socket of IP that a process holds, and one without a holder at the end. */
static bool answer(int fd)
{
	struct socks socks = {0};
	struct holders holders = {0};
	bool fine = diag_all(&socks) == 0 && holders_find(&holders, 0) == 0;
	struct row row;

	for (size_t i = 0; i < socks.count && fine; i++) {
		const struct sock *sock = &socks.list[i];
		size_t count;
		const struct holder *holder = holders_of(&holders, sock->inode, &count);

		memset(&row, 0, sizeof(row));
		if (!holder || !take_addr(&sock->local, row.key.local, &row.key.lport) ||
		    !take_addr(&sock->peer, row.key.remote, &row.key.rport))
			continue;
		row.key.proto = sock->protocol == IPPROTO_UDP ? IPPROTO_UDP : IPPROTO_TCP;
		row.owner.pid = holder->pid;
		memcpy(row.owner.command, holder->command, sizeof(row.owner.command));
		if (row.key.lport)
			fine = send_all(fd, &row, sizeof(row));
	}
	memset(&row, 0, sizeof(row));
	fine = send_all(fd, &row, sizeof(row)) && fine;
	holders_free(&holders);
	socks_free(&socks);
	return fine;
}

/* It ends when the other end of its socket does, and not before: signals of a terminal reach it too. */
static _Noreturn void look_for(int fd)
{
	char question;

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	while (receive_all(fd, &question, 1))
		if (!answer(fd))
			break;
	_exit(0);
}

int owners_new(struct owners **out)
{
	struct owners *o = calloc(1, sizeof(*o));
	int pair[2];

	*out = NULL;
	if (o)
		o->rows = calloc(PLACES, sizeof(*o->rows));
	if (!o || !o->rows || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		int err = o && o->rows ? -errno : -ENOMEM;

		if (o)
			free(o->rows);
		free(o);
		return err;
	}
	o->fd = pair[0];
	o->looker = fork();
	if (o->looker == 0) {
		close(pair[0]);
		look_for(pair[1]);
	}
	close(pair[1]);
	*out = o;
	if (o->looker > 0)
		return 0;
	owners_free(o);
	*out = NULL;
	return -EAGAIN;
}

void owners_free(struct owners *o)
{
	if (!o)
		return;
	close(o->fd);
	while (o->looker > 0 && waitpid(o->looker, NULL, 0) < 0 && errno == EINTR)
		;
	free(o->rows);
	free(o);
}

/* ---- the table ---- */

static unsigned place_of(const struct key *key)
{
	const unsigned char *p = (const unsigned char *)key;
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ p[i]) * 16777619U;
	return hash & (PLACES - 1);
}

/* Its row, or the free one where it belongs. */
static struct row *find(const struct owners *o, const struct key *key)
{
	unsigned at = place_of(key);

	while (o->rows[at].used && memcmp(&o->rows[at].key, key, sizeof(*key)) != 0)
		at = (at + 1) & (PLACES - 1);
	return &o->rows[at];
}

static void put(struct owners *o, const struct row *row)
{
	struct row *place;

	if (o->count >= FULL) {
		memset(o->rows, 0, PLACES * sizeof(*o->rows));
		o->count = 0;
	}
	place = find(o, &row->key);
	o->count += !place->used;
	*place = *row;
	place->used = true;
}

/* Takes the tables as they are now. What is in ours from earlier stays: connections that have just ended. */
static void look(struct owners *o, const struct key *asked)
{
	uint64_t begun = clock_ns();
	struct row row;

	if (begun < o->next_ns || !send_all(o->fd, "?", 1))
		return;
	while (receive_all(o->fd, &row, sizeof(row)) && row.owner.pid)
		put(o, &row);
	if (!find(o, asked)->owner.pid) /* free, or unknown for longer than was believed */
		put(o, &(struct row){.key = *asked, .asked_ns = clock_ns()});
	o->next_ns = clock_ns() + (clock_ns() - begun) * SHARE;
	if (o->next_ns < begun + PAUSE_NS)
		o->next_ns = begun + PAUSE_NS;
}

/* Its connection, or else the socket that listens there, at this address or at every one. */
static bool find_known(const struct owners *o, struct key key, struct owner *owner)
{
	for (int i = 0; i < 3; i++) {
		const struct row *row = find(o, &key);

		if (row->used && row->owner.pid) {
			*owner = row->owner;
			return true;
		}
		memset(i == 0 ? key.remote : key.local, 0, 16);
		key.rport = 0;
	}
	return false;
}

static bool find_owner(struct owners *o, const struct key *key, struct owner *owner)
{
	const struct row *row = find(o, key);

	if (!row->used || (!row->owner.pid && clock_ns() - row->asked_ns > UNKNOWN_NS))
		look(o, key);
	return find_known(o, *key, owner);
}

static void take_ip(const struct packet *packet, const unsigned char *from, unsigned char to[16])
{
	if (packet->ip == 6) {
		memcpy(to, from, 16);
		return;
	}
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, from, 4);
}

bool owners_of(struct owners *o, const struct packet *packet, struct owner *sender, struct owner *receiver)
{
	struct key key;
	bool known;

	*sender = *receiver = (struct owner){0};
	if (!packet->ports || !packet->ip || (packet->proto != IPPROTO_TCP && packet->proto != IPPROTO_UDP))
		return false;
	memset(&key, 0, sizeof(key));
	key.proto = packet->proto;
	take_ip(packet, packet->src, key.local);
	take_ip(packet, packet->dst, key.remote);
	key.lport = packet->sport;
	key.rport = packet->dport;
	/* A connection begins: what had these ports before may have been another process */
	if (packet->kind == PACKET_TCP && (packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		look(o, &key);
	known = find_owner(o, &key, sender);
	take_ip(packet, packet->dst, key.local);
	take_ip(packet, packet->src, key.remote);
	key.lport = packet->dport;
	key.rport = packet->sport;
	return find_owner(o, &key, receiver) || known;
}

bool owner_is(const struct owner *owner, const char *wanted)
{
	char *end;
	long pid = strtol(wanted, &end, 10);

	if (!owner->pid)
		return false;
	if (isdigit((unsigned char)*wanted) && !*end)
		return pid == owner->pid;
	return strcmp(wanted, "any") == 0 || strcmp(wanted, owner->command) == 0;
}
