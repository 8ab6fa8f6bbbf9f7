/*
 * Datagrams put together again. The input is a list of fragments: whose, where, how long, in which of two versions of
 * the bytes. What comes out is a datagram of which every byte stands where one said that it does; memory stays below
 * its maximum.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/packet/fragments.h"
#include "capture/packet/packet.h"

#define MEMORY 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
	if (!holds)
		abort();
}

static uint8_t byte_at(uint32_t at, unsigned id, unsigned version)
{
	return (uint8_t)((at ^ at >> 8) * 31 + id * 7 + version);
}

static uint32_t write_ip4(unsigned char *out, const uint8_t *from)
{
	uint32_t at = (uint32_t)(from[1] << 8 | from[2]) & 0x1fff, len = from[3];

	memset(out, 0, 20);
	out[0] = 0x45;
	out[3] = (unsigned char)(20 + len);
	out[2] = (unsigned char)((20 + len) >> 8);
	out[5] = from[0] & 7;
	out[6] = (unsigned char)((from[0] & 8 ? 0x20 : 0) | at >> 8);
	out[7] = (unsigned char)at;
	out[9] = 253;
	for (uint32_t i = 0; i < len; i++)
		out[20 + i] = byte_at(at * 8 + i, from[0] & 7, from[0] >> 4 & 1);
	return 20 + len;
}

static void check_whole(const struct packet *p, unsigned id)
{
	check(p->ip == 4 && !p->fragment && p->proto == 253 && !p->bad && !p->cut);
	check(p->payload_len > 0 && p->payload_cap == p->payload_len);
	for (uint32_t i = 0; i < p->payload_len; i++)
		check(p->payload[i] == byte_at(i, id, 0) || p->payload[i] == byte_at(i, id, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fragments *fragments;
	unsigned char bytes[20 + 255];
	struct packet packet, whole;
	uint64_t ns = 0;

	check(fragments_new(&fragments, MEMORY) == 0);
	for (; size >= 4; data += 4, size -= 4) {
		uint32_t len = write_ip4(bytes, data);

		packet_decode_ip(&packet, bytes, data[0] & 0x40 && len > 21 ? len - 1 : len, len);
		ns += data[0] & 0x80 ? 10000000000U : 1;
		if (fragments_take(fragments, &packet, ns, &whole) > 0)
			check_whole(&whole, data[0] & 7);
		check(fragments_memory(fragments) <= MEMORY);
	}
	(void)fragments_over(fragments);
	fragments_free(fragments);
	return 0;
}
