/* A dial in progress: what the files of dialling share. */
#ifndef TNI_NET_DIAL_STATE_H
#define TNI_NET_DIAL_STATE_H

#include "io/loop.h"
#include "net/dial.h"
#include "net/race.h"

/* One address that is or was tried. It stays listed after it has failed, for the message. */
struct tni_dial_attempt {
	struct tni_list node;
	struct tni_dial *dial;
	struct tni_fd fd;
	struct tn_addr addr;
	uint64_t retry_ns;    /* a Unix listener's queue is full, or the port was taken: when to try again; or 0 */
	int err;              /* 0: under way, or given up with the dial */
	char *why;            /* the words of prepare(); NULL: those of the code */
	struct tn_addr *many; /* several may answer: it is not connected, and this becomes its address */
	uint64_t resend_ns;   /* the first datagrams have been sent: when they are sent again; otherwise 0 */
	uint64_t interval_ns; /* and how long after that once more */
	unsigned ports;       /* of our own that had a connection there already */
	int port;             /* the last of them, or 0 */
	bool shares;          /* a port with others */
};

struct tni_dial {
	struct tni_owned owned;
	struct tn_loop *loop;
	struct tni_race race;
	struct tni_list attempts;
	struct tni_lookup *lookup;
	int lookup_err;
	char *lookup_why;
	struct tni_timer timer; /* the next thing that time brings: deadline, attempt or retry */
	struct tni_task task;   /* reports the result */
	void (*done)(void *arg, int fd_or_err);
	int (*prepare)(int fd, int family, int after, void *arg);
	int (*open)(int family, void *arg);
	bool (*permits)(const struct tn_addr *addr, void *arg);
	void *arg;
	struct tn_addr *many;
	int (*greeted)(int fd, void *arg);
	const struct tn_buf *first; /* the owner's; NULL: to be connected is enough */
	bool portless;
#ifdef TNI_HAVE_SOCKOPTS
	bool unconnected;
	const char *netns;
	unsigned ports;
#endif
	int type, protocol;
	uint64_t timeout_ns, deadline_ns;
	uint64_t asked_ns;   /* when the look-up of the name began; 0: there is none */
	uint32_t *lookup_us; /* the owner's, told in the end; or NULL */
	uint64_t looked_up_ns;
	char *host, *name;
	bool finished, timed_out, out_of_memory, met_late;
	int result;
};

/* The server speaks first. Those of a build without any never do. */
static inline bool tni_dial_is_greeted(const struct tni_dial *d)
{
#ifdef TNI_HAVE_SHM
	return d->greeted;
#else
	(void)d;
	return false;
#endif
}

/* Where sockets are opened; NULL: here. */
static inline const char *tni_dial_netns(const struct tni_dial *d)
{
#ifdef TNI_HAVE_SOCKOPTS
	return d->netns;
#else
	(void)d;
	return NULL;
#endif
}

/* Nobody in particular is to answer. */
static inline bool tni_dial_is_unconnected(const struct tni_dial *d)
{
#ifdef TNI_HAVE_SOCKOPTS
	return d->unconnected;
#else
	(void)d;
	return false;
#endif
}

/* ---- dial.c ---- */

/* Does what is to be done now and sets the timer for what comes next. Nobody is called back from here. */
void tni_dial_advance(struct tni_dial *d);

/* It is over: a descriptor, or a negative code. The owner is told from a task. */
void tni_dial_finish(struct tni_dial *d, int result);
void tni_dial_no_memory(struct tni_dial *d);

/* ---- dial_attempt.c ---- */

/* Tries an address. Fails like any other attempt, or for want of memory. */
void tni_dial_attempt_start(struct tni_dial *d, const struct tn_addr *addr);
void tni_dial_attempt_win(struct tni_dial_attempt *a);
void tni_dial_attempt_close(struct tni_dial_attempt *a);

/* The only address there is needs no answer: its new owner knows how to wait. NULL: there are others. */
struct tni_dial_attempt *tni_dial_only_attempt(const struct tni_dial *d);

/* Try and ask again what is due. Return when the next is. */
uint64_t tni_dial_retry_busy(struct tni_dial *d, uint64_t now);
uint64_t tni_dial_resend(const struct tni_dial *d, uint64_t now);

/* ---- dial_words.c ---- */

/* The code of a dial that has failed, and its detail. */
int tni_dial_verdict(const struct tni_dial *d);
int tni_dial_explain(const struct tni_dial *d);

#endif
