/*
 * The parts of `tenon inspect`. What is known of a socket comes from two sides: the kernel's own tables (sock_diag(7)),
 * which everybody may read, and a duplicate of the descriptor (pidfd_getfd(2)), which shares all state with its process
 * and is therefore only ever asked, never written to, and closed at once.
 */
#ifndef TENON_INSPECT_H
#define TENON_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "output.h"
#include "tenon.h"

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
	bool by_kernel; /* what differs is the kernel's own doing, not the program's */
};

/* A process's descriptor of a socket. */
struct holder {
	uint64_t inode;
	int pid, fd;
	char command[16];
};

struct holders {
	struct holder *list; /* by inode, process and descriptor */
	size_t count, cap;
};

struct sock {
	uint64_t inode;       /* 0: no process has it any more */
	struct holder holder; /* pid 0: nobody is known to */
	unsigned shared;      /* further descriptors of the same socket */
	int err;              /* why the descriptor could not be duplicated, or its options not be read; 0: neither */
	bool opened;
	int64_t uid; /* -1: not known */
	int family, type, protocol;
	char state[24];
	bool listening;
	struct sock_addr local, peer;
	int64_t unread, unsent; /* bytes, -1: not known; listening: connections that wait, and how many may */
	int64_t messages;       /* that wait to be read, where they are counted; -1 */
	int64_t memory_in, memory_out, drops; /* of the kernel's, records included; -1: not known */
	unsigned char tcp_info[256];          /* struct tcp_info, as long as this kernel's is */
	size_t tcp_info_len;
	char congestion[16];
	bool subflows_known, fallback; /* MPTCP */
	unsigned subflows;
	uint32_t groups;                      /* netlink: multicast groups that are heard, as bits */
	uint64_t peer_inode;                  /* Unix */
	int64_t cred_pid, cred_uid, cred_gid; /* Unix: of the peer; of whoever listens. -1: not known */
	struct holder far;                    /* who holds the other end, when it is on this machine; pid 0: unknown */
	struct sock_option *options;
	size_t noptions;
};

struct socks {
	struct sock *list;
	size_t count, cap;
};

/* An empty one at the end of the list; NULL without memory. */
struct sock *socks_add(struct socks *socks);
void socks_free(struct socks *socks);

/* ---- the kernel's tables (inspect_diag.c) ---- */

/* Fills in every socket of this network namespace, sorted by inode. Returns 0 or -errno. */
int diag_all(struct socks *socks);

/* The one with this inode, or NULL. */
struct sock *diag_find(const struct socks *socks, uint64_t inode);

/* ---- processes (inspect_find.c) ---- */

/* Every descriptor of a socket that we may see: of one process, or with 0 of all in this network namespace. -errno:
 * that process's cannot be listed. */
int holders_find(struct holders *holders, int pid);
void holders_free(struct holders *holders);

/* The first holder of a socket and, in `count`, how many there are; NULL: none. */
const struct holder *holders_of(const struct holders *holders, uint64_t inode, size_t *count);

/* The name of a process, in `out`. -errno: there is none. */
int process_name(int pid, char *out, size_t cap);

/* Whether a process has ended and only waits for its parent to fetch its status: it has no descriptors any more. */
bool process_is_zombie(int pid);

/*
 * Goes to the network namespace of a process, for good. Returns 0, or -errno: it is another one, and we may not.
 */
int namespace_enter(int pid);

/* A duplicate of another process's descriptor, the caller's to close, or -errno. */
int descriptor_take(int pid, int fd);

/* ---- a descriptor (inspect_read.c) ---- */

/* Fills in what the descriptor tells; `options`: also the table of options. */
void sock_read(struct sock *sock, int fd, bool options);

/* Closes what it has kept for comparisons. */
void sock_read_end(void);

/* ---- words (inspect_words.c, inspect_tcp.c) ---- */

/* tcp, unix-dgram, netlink route, ... */
const char *sock_kind(const struct sock *sock, char *out, size_t cap);

const char *sock_addr_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap);

/* Names are what their owners like: for people without control characters, and UTF-8, as text_clean() says. */
void sock_clean(char *said, size_t cap);

const char *tcp_state_name(unsigned state);

/* The state in struct tcp_info. */
unsigned tcp_info_state(const struct sock *sock);

/* struct tcp_info in words: lines, each indented by `indent`; as members of a JSON object. */
void tcp_info_words(const struct sock *sock, const char *indent, struct text *text);
void tcp_info_json(const struct sock *sock, struct text *line);

/* All that is known of it, in rows of at most `width` columns; `all`: also the options that nobody has set. */
void sock_show(const struct sock *sock, unsigned width, bool all, struct text *text);
void sock_show_json(const struct sock *sock);

/* ---- a table (inspect_table.c) ---- */

/* One or two lines a socket, of at most `width` columns. */
void table_show(const struct socks *socks, unsigned width, struct text *text);

#endif
