/* Filters in libpcap's language: read, applied to what comes from files, made from an endpoint's URL. */
#include "filter.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/complain.h"
#include "common/status.h"
#include "common/text.h"
#include "packet/capfile.h"
#include "packet/packet.h"
#include "tenon.h"

#ifdef TNI_HAVE_PCAP
#include "libpcap.h"

#define SNAPLEN 262144
#define LINKS_MAX 16 /* of one capture; more than anyone has seen */

struct filter {
	const char *text;
	unsigned nlinks;
	struct {
		unsigned link;
		struct bpf_program program;
		bool fits; /* whether the filter makes sense on this link; where it does not, nothing matches */
	} links[LINKS_MAX];
};

/* libpcap counts links otherwise than files do, where systems have not agreed. */
static int link_of_libpcap(unsigned link)
{
	return link == LINK_RAW || link == LINK_RAW_BSD || link == LINK_RAW_OPENBSD ? DLT_RAW : (int)link;
}

/* Returns 0, or -1 with libpcap's words in `why`, if there is one. */
static int compile(const char *text, unsigned link, struct bpf_program *program, char *why, size_t cap)
{
	pcap_t *dead = libpcap.open_dead(link_of_libpcap(link), SNAPLEN);
	int rc;

	if (!dead)
		return -1;
	rc = libpcap.compile(dead, program, text, 1, PCAP_NETMASK_UNKNOWN);
	if (rc < 0 && why)
		snprintf(why, cap, "%s", libpcap.geterr(dead));
	libpcap.close(dead);
	return rc;
}

/* ---- where a bad filter is wrong: libpcap does not say ---- */

static bool compiles(const char *text)
{
	struct bpf_program program;

	if (compile(text, LINK_ETHERNET, &program, NULL, 0) < 0)
		return false;
	libpcap.freecode(&program);
	return true;
}

/* Whether anything can follow these first `len` bytes that makes a filter of them. */
static bool can_go_on(const char *text, size_t len)
{
	static const char *const ends[] = {"",     " ip",    " 1",     " 1.2.3.4", " 1.2.3.0/24", " host 1.2.3.4",
					   " = 1", " 1 = 1", " ] = 1", " 0] = 1",  " 1-2",        " 01:02:03:04:05:06"};
	size_t size = len + 64, open = 0;
	char *whole = malloc(2 * size);
	bool can = false;

	for (size_t i = 0; i < len; i++)
		open += text[i] == '(' ? 1 : text[i] == ')' && open ? (size_t)-1 : 0;
	for (size_t i = 0; whole && i < sizeof(ends) / sizeof(ends[0]) && !can; i++) {
		char *p = stpcpy(mempcpy(whole, text, len), ends[i]);

		p = memset(p, ')', open < size ? open : size);
		p[open < size ? open : size] = 0;
		can = compiles(whole);
	}
	free(whole);
	return can;
}

static bool is_word(char c)
{
	return c && strchr(" \t\r\n()[]!&|<>=+-*/:", c) == NULL;
}

/* The first word that cannot stand where it does; the length of the text: an end too early. */
static size_t syntax_error_at(const char *text)
{
	size_t at = 0, end;

	for (;;) {
		at += strspn(text + at, " \t\r\n");
		if (!text[at])
			return at;
		for (end = at + 1; is_word(text[at]) && is_word(text[end]); end++)
			;
		/* Two signs may be one word of the language: && || != <= >= << >> */
		if (!can_go_on(text, end) && !(text[end] && !is_word(text[at]) && can_go_on(text, end + 1)))
			return at;
		at = end;
	}
}

/* A message that quotes a word of the filter is about that word. */
static const char *quoted_in(const char *text, const char *why)
{
	const char *from = strchr(why, '\''), *to = from ? strchr(from + 1, '\'') : NULL;
	char word[128];

	if (!to || to - from - 1 >= (long)sizeof(word) || to == from + 1)
		return NULL;
	*(char *)mempcpy(word, from + 1, (size_t)(to - from - 1)) = 0;
	return strstr(text, word);
}

static void refuse(const char *text, const char *why)
{
	const char *word = quoted_in(text, why);
	size_t at = word ? (size_t)(word - text) : strstr(why, "syntax error") ? syntax_error_at(text) : 0;

	if (text[at])
		complain("filter: %s (byte %zu: '%s')", why, at, text + at);
	else
		complain("filter: %s (byte %zu: the end of '%s')", why, at, text);
	complain_hint("man 7 pcap-filter");
}

int filter_new(struct filter **out, const char *text)
{
	struct filter *filter = NULL;
	struct bpf_program program;
	char why[PCAP_ERRBUF_SIZE];

	if (libpcap_load() < 0) {
		complain("filter: %s", libpcap_missing());
		return STATUS_FAILED;
	}
	filter = calloc(1, sizeof(*filter));
	if (!filter) {
		complain("%s", tn_strerror(-12));
		return STATUS_FAILED;
	}
	filter->text = text;
	*out = filter;
	/* Some filters make sense on some links only; one that makes none on any of these is wrong */
	if (compile(text, LINK_ETHERNET, &program, why, sizeof(why)) == 0 ||
	    compile(text, LINK_SLL2, &program, NULL, 0) == 0 || compile(text, LINK_RAW, &program, NULL, 0) == 0) {
		libpcap.freecode(&program);
		return 0;
	}
	refuse(text, why);
	filter_free(filter);
	*out = NULL;
	return STATUS_USAGE;
}

bool filter_matches(struct filter *filter, unsigned link, const struct capfile_record *record)
{
	struct pcap_pkthdr head = {.caplen = record->caplen, .len = record->len};
	const unsigned char *data = record->data;
	unsigned i = 0;

	/* Their four bytes say IPv6 by the number of the system that wrote them: what is behind says it too */
	if ((link == LINK_NULL || link == LINK_LOOP) && head.caplen >= 4) {
		link = LINK_RAW;
		data += 4;
		head.caplen -= 4;
	}
	while (i < filter->nlinks && filter->links[i].link != link)
		i++;
	if (i == LINKS_MAX)
		return false;
	if (i == filter->nlinks) {
		filter->nlinks++;
		filter->links[i].link = link;
		filter->links[i].fits = compile(filter->text, link, &filter->links[i].program, NULL, 0) == 0;
	}
	return filter->links[i].fits && libpcap.offline_filter(&filter->links[i].program, &head, data) > 0;
}

void filter_free(struct filter *filter)
{
	if (!filter)
		return;
	for (unsigned i = 0; i < filter->nlinks; i++)
		if (filter->links[i].fits)
			libpcap.freecode(&filter->links[i].program);
	free(filter);
}

#else

struct filter {
	int unused;
};

int filter_new(struct filter **filter, const char *text)
{
	(void)text;
	*filter = NULL;
	complain("filters (and --endpoint) need libpcap, which this build is without");
	return STATUS_USAGE;
}

bool filter_matches(struct filter *filter, unsigned link, const struct capfile_record *record)
{
	(void)filter, (void)link, (void)record;
	return true;
}

void filter_free(struct filter *filter)
{
	(void)filter;
}

#endif

/* ---- what an endpoint's packets look like ---- */

/* libpcap looks for ports right behind IPv6's own header:
 * those of a first fragment stand behind its extension header. */
static void add_udp_port(struct text *text, int port)
{
	text_add(text,
		 "(udp port %d or (ip6[6] = 44 and ip6[40] = 17 and ip6[42:2] & 0xfff8 = 0 and (ip6[48:2] = %d or "
		 "ip6[50:2] = %d)))",
		 port, port, port);
}

static bool add_protocol(struct text *text, const struct tn_place *place)
{
	bool icmp = place->protocol == 1 || place->protocol == 58;

	if (place->family == AF_PACKET)
		return false;
	if (place->type == SOCK_STREAM)
		text_add(text, "%s", "tcp");
	else if (place->type == SOCK_DGRAM && !icmp && place->port > 0)
		add_udp_port(text, place->port);
	else if (place->type == SOCK_DGRAM && !icmp)
		text_add(text, "%s", "udp");
	else if (icmp && place->family == AF_UNSPEC)
		text_add(text, "%s", "(icmp or icmp6)");
	else if (place->type == SOCK_RAW || icmp)
		text_add(text, "%s proto %d", place->family == AF_INET6 ? "ip6" : "ip", place->protocol);
	else
		return false;
	if (place->port > 0 && place->type == SOCK_STREAM)
		text_add(text, " port %d", place->port);
	if (place->family == AF_INET || place->family == AF_INET6)
		text_add(text, " and %s", place->family == AF_INET ? "ip" : "ip6");
	return true;
}

static void add_hosts(struct text *text, const struct tn_place *place)
{
	char name[INET6_ADDRSTRLEN];

	for (int i = 0; i < place->naddrs; i++) {
		const struct sockaddr *sa = tn_addr_sockaddr(&place->addrs[i]);
		const void *addr = sa->sa_family == AF_INET6
					   ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
					   : (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;

		inet_ntop(sa->sa_family, addr, name, sizeof(name));
		text_add(text, "%s%s host %s", i ? " or" : " and (", sa->sa_family == AF_INET6 ? " ip6" : " ip", name);
	}
	if (place->naddrs)
		text_add(text, "%s", ")");
}

int filter_of_url(const char *url, char **out)
{
	struct text text = {0};
	struct tn_place place;
	int err = tn_url_place(url, &place);

	if (err < 0)
		return complain_library(err, url);
	if (place.family == AF_UNIX) {
		complain("%s: Unix sockets pass no network interface: nothing of them can be captured", url);
		return STATUS_USAGE;
	}
	if (!add_protocol(&text, &place)) {
		complain("%s: there is no filter for this kind of socket", url);
		return STATUS_USAGE;
	}
	add_hosts(&text, &place);
	text_bytes(&text, "", 1);
	if (text.failed)
		return STATUS_FAILED;
	*out = text.data;
	return 0;
}
