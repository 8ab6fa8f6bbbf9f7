/* What a scripted name server says (RFC 1035): a table of rules, and the reply to a query that one of them makes. */
#ifndef TESTS_UNIT_DNS_REPLY_H
#define TESTS_UNIT_DNS_REPLY_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { A = 1, AAAA = 28 };
enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3 };

/* What to answer when a name that begins with this label is asked for; other names do not exist. */
struct dns_rule {
	const char *label;
	int type;
	const char *addrs; /* separated by blanks */
	int rcode;
	int delay_ms;   /* when to send it: the server's to keep */
	bool truncated; /* over UDP */
};

struct dns_reply {
	size_t len;
	unsigned char data[512];
};

static void dns_add(struct dns_reply *r, int type, const char *text)
{
	unsigned char *p = r->data + r->len;
	int len = type == A ? 4 : 16;
	const unsigned char head[12] = {0xc0, 12, 0, (unsigned char)type, 0, 1, 0, 0, 0, 60, 0, (unsigned char)len};

	memcpy(p, head, sizeof(head));
	assert_int_equal(inet_pton(type == A ? AF_INET : AF_INET6, text, p + sizeof(head)), 1);
	r->len += sizeof(head) + (size_t)len;
	r->data[7]++;
}

static const struct dns_rule *dns_find(const struct dns_rule *rules, size_t nrules, const unsigned char *query,
				       int type)
{
	for (size_t i = 0; i < nrules; i++)
		if (rules[i].type == type && strlen(rules[i].label) == query[12] &&
		    !memcmp(rules[i].label, query + 13, query[12]))
			return &rules[i];
	return NULL;
}

/* Returns the rule, or NULL where there is none. */
static const struct dns_rule *dns_answer(const struct dns_rule *rules, size_t nrules, const unsigned char *query,
					 size_t len, bool tcp, struct dns_reply *r)
{
	const struct dns_rule *rule;
	char addrs[256], *save, *addr;
	size_t end = 12;

	assert_true(len >= 12 && len < 300);
	while (end < len && query[end])
		end += query[end] + 1U;
	end += 5;
	assert_true(end <= len);
	rule = dns_find(rules, nrules, query, query[end - 3]);
	memcpy(r->data, query, end);
	r->len = end;
	r->data[2] = 0x81;
	r->data[3] = 0x80 | (unsigned char)(rule ? rule->rcode : NXDOMAIN);
	memset(r->data + 6, 0, 6);
	if (!rule)
		return NULL;
	if (rule->truncated && !tcp) {
		r->data[2] |= 2;
		return rule;
	}
	snprintf(addrs, sizeof(addrs), "%s", rule->addrs);
	for (addr = strtok_r(addrs, " ", &save); addr; addr = strtok_r(NULL, " ", &save))
		dns_add(r, rule->type, addr);
	return rule;
}

#endif
