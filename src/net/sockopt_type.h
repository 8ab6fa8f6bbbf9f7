/* The types of the values of socket options: how each is read, set, read back and written. */
#ifndef TNI_NET_SOCKOPT_TYPE_H
#define TNI_NET_SOCKOPT_TYPE_H

#include "net/sockopt.h"

#include <netinet/in.h>
#include <sys/time.h>

/* <linux/in6.h> has these, but does not go together with <netinet/in.h> everywhere. */
#define PREFER_SRC_TMP 0x0001
#define PREFER_SRC_PUBLIC 0x0002
#define PREFER_SRC_PUBTMP_DEFAULT 0x0100

/* Of struct tni_sockopt. */
enum tni_opt_flag {
	TNI_OPT_ADJUSTED = 1,   /* the kernel may put another value in force without a word: read it back */
	TNI_OPT_DOUBLED = 2,    /* the kernel keeps twice the value */
	TNI_OPT_MAPPED = 4,     /* an IPv6 socket also speaks IPv4 (mapped addresses): set the option of IPv4 too */
	TNI_OPT_WRITE_ONLY = 8, /* getsockopt(2) does not know it */
	TNI_OPT_BIND = 16,      /* changes what bind(2) does: without effect on a socket that is not bound */
};

/* What setsockopt(2) takes and getsockopt(2) gives. */
struct tni_opt_raw {
	union {
		int32_t i32;
		int64_t i64;
		struct timeval tv;
		struct linger linger;
		struct in_addr in;
		struct ip_mreqn mreqn;
		struct ipv6_mreq mreq6;
		struct group_source_req source;
		char text[64];
	};
	socklen_t len;
};

struct tni_opt_word {
	const char *name; /* NULL ends a list */
	int64_t value;
};

struct tni_opt_type {
	/* -EINVAL: not what expects() says; TN_EURL: so, and the detail is there already. */
	int (*parse)(const struct tni_sockopt *opt, const char *text, struct tni_optval *val);
	/* Goes on after "KEY takes". */
	void (*expects)(const struct tni_sockopt *opt, char *out, size_t cap);
	void (*encode)(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
		       struct tni_opt_raw *raw);
	void (*decode)(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
		       struct tni_optval *val);
	void (*format)(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap);
	/* Compares what has been set with what the system allows: as tni_sockopt_set(). NULL: need not. */
	int (*compare)(const struct tni_sockopt *opt, const struct tni_optval *val);
#ifdef TNI_HAVE_SOCKOPTS
	/* Sets it in its own way: as tni_sockopt_set(). NULL: by encode(). */
	int (*set)(int fd, int family, const struct tni_sockopt *opt, const struct tni_optval *val);
#endif
	bool is_list;  /* several values, each of which is set for itself */
	bool looks_up; /* its values name what only the system knows */
};

/* Appends to a text; what does not fit is cut off. */
void tni_opt_say(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* sockopt_numbers.c */
extern const struct tni_opt_type tni_opt_switch, tni_opt_integer, tni_opt_preference, tni_opt_size, tni_opt_duration,
	tni_opt_timeval, tni_opt_linger;
bool tni_opt_parse_word(const struct tni_sockopt *opt, const char *text, struct tni_optval *val);
bool tni_opt_format_word(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap);
int tni_opt_parse_digits(const char *text, uint64_t *number);
void tni_opt_encode_number(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			   struct tni_opt_raw *raw);
void tni_opt_decode_number(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			   struct tni_optval *val);

/* sockopt_ports.c */
extern const struct tni_opt_type tni_opt_ports;

/* sockopt_names.c */
extern const struct tni_opt_type tni_opt_algorithm, tni_opt_device, tni_opt_unicast, tni_opt_multicast, tni_opt_source,
	tni_opt_group;

#endif
