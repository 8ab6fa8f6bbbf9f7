/*
 * The packet decoder: the first two bytes are the link type and how much of the packet was not captured; whatever the
 * rest is, all that is told of it lies in it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/packet/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const unsigned links[] = {LINK_ETHERNET, LINK_NULL, LINK_RAW,  LINK_LOOP, LINK_SLL,
				 LINK_SLL2,     LINK_IPV4, LINK_IPV6, 147};

static void check(int holds)
{
	if (!holds)
		abort();
}

static void inside(const struct packet *p, const unsigned char *part, size_t len)
{
	check(!part || (part >= p->data && part + len <= p->data + p->caplen));
}

static void look(const struct packet *p)
{
	struct tcp_option option;
	unsigned at = 0, n = 0;

	inside(p, p->mac_src, 6);
	inside(p, p->mac_dst, 6);
	inside(p, p->src, p->ip == 6 ? 16 : 4);
	inside(p, p->dst, p->ip == 6 ? 16 : 4);
	inside(p, p->arp_hard, 6);
	inside(p, p->payload, p->payload_cap);
	inside(p, p->options, p->options_len);
	check(p->payload_cap <= p->payload_len && p->payload_len <= p->len);
	while (packet_tcp_option(p, &at, &option) > 0) {
		inside(p, option.data, option.len);
		check(++n <= 20);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet p;
	uint32_t more;

	if (size < 2)
		return 0;
	more = data[1] * 7U;
	packet_decode(&p, links[data[0] % (sizeof(links) / sizeof(links[0]))], data + 2, (uint32_t)size - 2,
		      (uint32_t)size - 2 + more);
	look(&p);
	packet_decode_ip(&p, data + 2, (uint32_t)size - 2, (uint32_t)size - 2 + more);
	look(&p);
	return 0;
}
