/*
 * What is known of a socket. It comes from two sides: the kernel's own tables (sock_diag(7)), which everybody may read,
 * and a duplicate of the descriptor (pidfd_getfd(2)). The duplicate shares all state with its process, so it is only
 * asked, never written to, and closed at once. (--kill needs no duplicate: destroy.h.)
 */
#ifndef TENON_INSPECT_SOCK_H
#define TENON_INSPECT_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>

#include "process.h"

/* A socket address of any family. */
struct sock_addr {
	socklen_t len; /* 0: none */
	struct sockaddr_storage sa;
};

/* One row of the table of options, on one socket. */
struct sock_option {
	char key[32];
	char value[64], fresh[64]; /* fresh: of a new socket of the kind; "" where none could be opened */
	bool differs;
	bool by_kernel; /* the kernel has changed it, not the program */
};

struct sock {
	uint64_t inode;       /* 0: no process has the socket any more */
	struct holder holder; /* pid 0: not known */
	unsigned shared;      /* further descriptors of the same socket */
	int err;              /* why the descriptor could not be duplicated, or its options not be read; 0: neither */
	bool opened;
	int64_t uid; /* -1: not known */
	int family, type, protocol;
	char state[24];
	bool listening;
	struct sock_addr local, peer;
	struct inet_diag_sockid id; /* the kernel's name of it; cookie 0: it is in no table of IP's */
	int64_t unread, unsent;     /* bytes, -1: not known; listening: connections that wait, and how many may */
	int64_t messages;           /* that wait to be read, where they are counted; -1 */
	int64_t memory_in, memory_out, drops; /* of the kernel's, records included; -1: not known */
	int64_t limit_in, limit_out;          /* of that memory; -1: not known */
	unsigned timer, timer_count; /* what TCP waits for (timer.c), and how often it was in vain; 0: nothing */
	uint32_t timer_ms;
	unsigned char tcp_info[256]; /* struct tcp_info, as long as this kernel's is */
	size_t tcp_info_len;
	char congestion[16];
	bool subflows_known, fallback; /* MPTCP */
	unsigned subflows;
	uint32_t groups;                      /* netlink: multicast groups that are heard, as bits */
	uint64_t peer_inode;                  /* Unix */
	int64_t cred_pid, cred_uid, cred_gid; /* Unix: of the peer; of the listening process. -1: not known */
	struct holder far; /* the process at the other end, if it is on this machine; pid 0: unknown */
	struct sock_option *options;
	size_t noptions;
	char netns[64]; /* "": ours */
	char change;    /* --delta: '+', '-' or '~'; 0: none */
	uint64_t before_sent, before_received, before_resent;
};

struct socks {
	struct sock *list;
	size_t count, cap;
};

/* An empty one at the end of the list; NULL without memory. */
struct sock *socks_add(struct socks *socks);
void socks_free(struct socks *socks);

#endif
