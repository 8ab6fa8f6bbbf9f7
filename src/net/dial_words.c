/* Why a dial has failed: which error says most, and the words for it. */
#include "net/dial_state.h"

#include "base/err.h"
#include "base/units.h"
#include "net/addr.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 1024
#define NAMED_MAX 6 /* attempts that a message lists */

struct words {
	char s[TEXT_MAX];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *words, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(words->s + words->len, sizeof(words->s) - words->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		words->len += (size_t)n;
	if (words->len >= sizeof(words->s))
		words->len = sizeof(words->s) - 1;
}

static const char *addr_text(const struct tni_dial *d, const struct tn_addr *addr, char *out, size_t cap)
{
	struct tn_addr bare = *addr;

	if (d->portless)
		tni_addr_set_port(&bare, 0);
	return tn_addr_text(&bare, out, cap);
}

static bool lacks_interface(const struct tni_dial_attempt *a)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a->addr.bytes;

	return a->err == -EINVAL && tni_addr_family(&a->addr) == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) &&
	       !in6->sin6_scope_id;
}

static const char *why_of(const struct tni_dial_attempt *a)
{
	if (lacks_interface(a))
		return "a link-local address needs its interface, as in [fe80::1%eth0]";
	return a->why ? a->why : tn_strerror(a->err);
}

/* What is wrong with a socket of one family is most often wrong with the other's, too. */
static bool is_told(const char *said, const char *why)
{
	return said && why && !strcmp(said, why);
}

static void add_failed(const struct tni_dial *d, struct words *words, const char *separator)
{
	const char *said = NULL;
	char addr[128];
	int n = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		if (!a->err)
			continue;
		if (n < NAMED_MAX)
			add(words, "%sconnect to %s: %s", separator, addr_text(d, &a->addr, addr, sizeof(addr)),
			    is_told(said, a->why) ? "the same" : why_of(a));
		said = a->why;
		separator = "; ";
		n++;
	}
	if (n > NAMED_MAX)
		add(words, "; and %d more", n - NAMED_MAX);
}

static void add_flying(const struct tni_dial *d, struct words *words)
{
	const char *separator = " while connecting to ";
	char addr[128];
	int n = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		if (a->err)
			continue;
		if (n < NAMED_MAX)
			add(words, "%s%s%s", separator, addr_text(d, &a->addr, addr, sizeof(addr)),
			    a->retry_ns ? " (its queue of connections is full)" : "");
		separator = ", ";
		n++;
	}
	if (n > NAMED_MAX)
		add(words, " and %d more", n - NAMED_MAX);
	if (!n)
		add(words, " while looking up %s", d->host);
}

/* What the user could check, for the failure at the end of the message. NULL: nothing beyond its text. */
static const char *hint_of(const struct tni_dial *d)
{
	const struct tni_dial_attempt *last = tni_container_of(d->attempts.prev, struct tni_dial_attempt, node);
	bool local = tni_addr_family(&last->addr) == AF_UNIX;

	if (last->why && last->err == d->result)
		return NULL;
	switch (d->result) {
	case -ECONNREFUSED:
		return local ? "nobody listens on it any more" : "nothing listens there; is the server running?";
	case -ENOENT:
		return "there is no such socket; is its server running?";
	case -EACCES:
		return local ? "it takes permission to write to the socket and to search its directories"
			     : "a rule of this machine forbids it";
	case -EPERM:
		return "a rule of this machine's packet filter forbids it";
	case -EPROTOTYPE:
		return "its server uses another type of socket: stream, datagram or seqpacket";
	case -ETIMEDOUT:
		if (tni_dial_is_greeted(d))
			return "who listens there has said nothing, as a server of this kind does first";
		return "no answer: is the host up, does a firewall drop what is sent?";
	case -EHOSTUNREACH:
		return "no host answers at this address, or a firewall refuses";
	case -ENETUNREACH:
		return "this machine has no route there; `ip route` lists those it has";
	case -EMFILE:
		return "too many descriptors are open here; `ulimit -n` raises the limit";
	default:
		return NULL;
	}
}

static void add_hint(const struct tni_dial *d, struct words *words)
{
	const char *hint = tni_list_empty(&d->attempts) ? NULL : hint_of(d);

	if (hint)
		add(words, " (%s)", hint);
}

static bool is_waiting(const struct tni_dial *d)
{
	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		if (!a->err && !a->retry_ns)
			return true;
	}
	return false;
}

int tni_dial_explain(const struct tni_dial *d)
{
	struct words words = {.len = 0};
	char after[32];

	if (d->out_of_memory)
		return tni_err(d->result, "%s: out of memory", d->name);
	if (d->timed_out) {
		add(&words, "timed out after %s", tni_format_duration(d->timeout_ns, after, sizeof(after)));
		add_flying(d, &words);
		if (is_waiting(d))
			add_hint(d, &words);
		add_failed(d, &words, "; ");
	} else if (tni_list_empty(&d->attempts)) {
		add(&words, "%s", d->lookup_why ? d->lookup_why : tn_strerror(d->result));
	} else {
		add_failed(d, &words, "");
		add_hint(d, &words);
	}
	return tni_err(d->result, "%s: %s", d->name, words.s);
}

/* How much an error says of the endpoint. */
static int weight(int err)
{
	switch (err) {
	case 0:
		return -1;
	case -ENETUNREACH:
	case -ENETDOWN:
	case -EADDRNOTAVAIL:
	case -EAFNOSUPPORT:
	case -EINVAL:
	case TN_ENAME:
		return 0;
	case -EHOSTUNREACH:
	case -EHOSTDOWN:
		return 1;
	case -ETIMEDOUT:
		return 2;
	default:
		return 3;
	}
}

static int heavier(int a, int b)
{
	return weight(b) >= weight(a) ? b : a;
}

int tni_dial_verdict(const struct tni_dial *d)
{
	int err = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next)
		err = heavier(err, tni_container_of(node, struct tni_dial_attempt, node)->err);
	if (err)
		return err;
	return d->lookup_err;
}
