/*
 * The table of every socket option. One row drives reading it from a URL, setting it, reading it back, `tenon options`,
 * the manual page and the documents. A key is the kernel's own constant in lower case without its prefix; where IPv4
 * and IPv6 have a constant each, the key of the IPv4 one works on both.
 *
 * Options are set in the order of the table, not of the URL: some change what others have set (IP_TOS, the priority).
 */
#ifndef TNI_NET_SOCKOPT_H
#define TNI_NET_SOCKOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Bits: which sockets an option applies to. */
enum tni_sock_kind {
	TNI_SK_TCP = 1,
	TNI_SK_MPTCP = 2,
	TNI_SK_UDP = 4,
	TNI_SK_UNIX_STREAM = 8,
	TNI_SK_UNIX_DGRAM = 16,
	TNI_SK_UNIX_SEQPACKET = 32,
	TNI_SK_RAW = 64,     /* of IP */
	TNI_SK_PACKET = 128, /* of any other family: what the kernel has for every socket */
	TNI_SK_PING = 256,
};

enum tni_sock_role {
	TNI_ROLE_SERVE = 1,
	TNI_ROLE_DIAL = 2,
};

enum tni_opt_stage {
	TNI_STAGE_SOCKET, /* right after socket(2): before bind(2) and connect(2) */
	TNI_STAGE_LISTEN, /* on the listening socket, after bind(2) and before listen(2) */
	TNI_STAGE_CONN,   /* right after socket(2), and again on each connected or accepted socket: it is lost there */
};

/* How the kernel calls an option on one family. */
struct tni_sockopt_place {
	const char *constant;
	int16_t level, name;
	uint16_t kinds; /* enum tni_sock_kind; 0: not on this family */
};

struct tni_opt_type;
struct tni_opt_word;

/* One row. */
struct tni_sockopt {
	const char *key, *meaning;
	const char *constant, *level; /* both where there are two: "IP_TTL, IPV6_UNICAST_HOPS" */
	const char *type_text;
	const struct tni_opt_type *type;
	const struct tni_opt_word *words;   /* values that have a name, or NULL */
	struct tni_sockopt_place place[2];  /* IPv4 and Unix; IPv6 */
	int64_t min, max;                   /* in the kernel's unit; min > max: only words */
	uint64_t unit_ns;                   /* durations: the kernel's unit */
	const char *permission;             /* what EPERM asks for, or NULL */
	const char *when_less, *when_more;  /* why the kernel can put less or more in force than was asked, or NULL */
	uint8_t roles, stage, flags, width; /* enum tni_sock_role; tni_opt_stage; private; bytes of the value */
	uint8_t lost_on;                    /* kinds on which an accepted or connected socket has lost it */
	uint8_t since_major, since_minor;   /* the Linux that brought it, where it is newer than 5.10 */
};

/* A parsed value. */
struct tni_optval {
	int64_t number;
	int family;             /* of `addr`; 0: none */
	unsigned char addr[16]; /* a multicast group, or the address of an interface */
	char text[16];          /* a name: of an interface, of an algorithm */
#ifdef TNI_HAVE_SOCKOPTS
	unsigned char bytes[64]; /* of one that the table does not know: what the kernel is handed */
	uint8_t len;
#endif
};

/* Room for any value as text. */
#define TNI_OPTVAL_TEXT_MAX 64

/* What kind of socket a descriptor is, and its family. Returns an enum tni_sock_kind, or -errno. */
int tni_sockopt_kind(int fd, int *family);

/* NULL: no such key. */
const struct tni_sockopt *tni_sockopt_find(const char *key);

/* NULL past the end. */
const struct tni_sockopt *tni_sockopt_at(size_t index);

/* No row: its values say themselves which option of the kernel's they are for, LEVEL:NAME:VALUE. A list. */
extern const struct tni_sockopt tni_sockopt_any;

/*
 * Reads a value. Returns 0, or TN_EURL with a detail that says what is allowed. Nothing is opened, but what a value
 * names (an interface, an algorithm of congestion control) is looked up: it must exist.
 */
int tni_sockopt_parse(const struct tni_sockopt *opt, const char *text, struct tni_optval *val);

/*
 * Whether an option can have an effect on one of these kinds in one of these roles. AF_UNSPEC: on any family. A key
 * that has one on IPv4 only is to be passed over on the IPv6 sockets of the same URL.
 */
bool tni_sockopt_applies(const struct tni_sockopt *opt, unsigned kinds, unsigned roles, int family);

/* Why an option that only changes what bind(2) does would have no effect on a dialled socket, which is bound to an
 * address, a port, both or neither; NULL: it has one. */
const char *tni_sockopt_no_effect(const struct tni_sockopt *opt, bool has_addr, bool has_port);

/* The range from which the system takes a port of its choice. 0, or -ENOENT: it cannot be read. */
int tni_sockopt_ephemeral(int *low, int *high);

/* When an option is to be set on a socket of one kind. */
enum tni_opt_stage tni_sockopt_stage(const struct tni_sockopt *opt, enum tni_sock_kind kind);

/* Where it applies, as text: "tcp, mptcp", "udp (IPv4)", "tcp; serving". Returns `out`. */
const char *tni_sockopt_applies_text(const struct tni_sockopt *opt, char *out, size_t cap);

/* Whether it takes several values, separated by commas, each of which is set for itself: multicast groups. */
bool tni_sockopt_is_list(const struct tni_sockopt *opt);

/* Whether its values name what only the system knows, now: an interface, an algorithm. */
bool tni_sockopt_looks_up(const struct tni_sockopt *opt);

/* What its values are, as text: "on|off", "integer 1..255", "size 1..1073741823". */
const char *tni_sockopt_type_text(const struct tni_sockopt *opt);

/*
 * Sets an option. Returns 0; 1 when the kernel took it but another value is in force now (the detail gives both and
 * says why: worth a warning); or -errno, with a detail that names the option and the remedy.
 */
int tni_sockopt_set(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val);

/*
 * Writes the value in force as it would stand in a URL. Returns 0; -EOPNOTSUPP when the option is not known on this
 * socket or cannot be read back; otherwise -errno.
 */
int tni_sockopt_get(int fd, int family, const struct tni_sockopt *opt, char *text, size_t cap);

#endif
