/* Capture files: what is written is read again; every variant of pcap; and each damage is found at its byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/packet/capfile.h"
#include "capture/packet/packet.h"
#include "tenon.h"

#define FILE_MAX (4U << 20)

/* A file in memory, read in pieces of `step` bytes. */
struct memory {
	unsigned char *data;
	size_t len, at, step;
	bool damaged;   /* what packets hold is not to be checked */
	size_t fail_at; /* writing fails behind so many bytes; 0: never */
};

static int write_memory(void *arg, const void *data, size_t len)
{
	struct memory *m = arg;

	if (m->fail_at && m->len + len > m->fail_at)
		return -ENOSPC;
	assert_true(m->len + len <= FILE_MAX);
	memcpy(m->data + m->len, data, len);
	m->len += len;
	return 0;
}

static long read_memory(void *arg, void *buf, size_t len)
{
	struct memory *m = arg;
	size_t part = m->len - m->at;

	if (m->step && part > m->step)
		part = m->step;
	if (part > len)
		part = len;
	memcpy(buf, m->data + m->at, part);
	m->at += part;
	return (long)part;
}

static void memory_new(struct memory *m)
{
	*m = (struct memory){.data = malloc(FILE_MAX)};
	assert_non_null(m->data);
}

static void put16(struct memory *m, uint16_t v, bool swap)
{
	v = swap ? __builtin_bswap16(v) : v;
	write_memory(m, &v, 2);
}

static void put32(struct memory *m, uint32_t v, bool swap)
{
	v = swap ? __builtin_bswap32(v) : v;
	write_memory(m, &v, 4);
}

static void put64(struct memory *m, uint64_t v, bool swap)
{
	v = swap ? __builtin_bswap64(v) : v;
	write_memory(m, &v, 8);
}

/* How a file ends that is read to its end: the records are counted. */
static int read_all(struct memory *m, unsigned *packets, uint64_t *at)
{
	struct capfile *file;
	struct capfile_record r;
	int rc;

	m->at = 0;
	*packets = 0;
	*at = 0;
	assert_int_equal(capfile_new(&file, read_memory, m), 0);
	while ((rc = capfile_next(file, &r)) > 0) {
		if (r.kind != CAPFILE_PACKET)
			continue;
		++*packets;
		for (uint32_t i = 0; i < r.caplen && !m->damaged; i++)
			assert_int_equal(r.data[i], (unsigned char)(i + r.caplen));
	}
	if (rc < 0) {
		assert_true(capfile_why(file, at)[0]);
		assert_int_equal(capfile_next(file, &r), rc); /* and stays so */
	}
	capfile_free(file);
	return rc;
}

/* ---- pcap ---- */

static void pcap_head(struct memory *m, uint32_t magic, unsigned minor, bool swap)
{
	put32(m, magic, swap);
	put16(m, 2, swap);
	put16(m, (uint16_t)minor, swap);
	put32(m, 0, swap);
	put32(m, 0, swap);
	put32(m, 65535, swap);
	put32(m, LINK_ETHERNET, swap);
}

static void pcap_packet(struct memory *m, uint32_t s, uint32_t fraction, uint32_t caplen, uint32_t len, unsigned more,
			bool swap)
{
	put32(m, s, swap);
	put32(m, fraction, swap);
	put32(m, caplen, swap);
	put32(m, len, swap);
	for (unsigned i = 0; i < more; i += 4)
		put32(m, 0, swap);
	for (uint32_t i = 0; i < caplen; i++)
		write_memory(m, &(unsigned char){(unsigned char)(i + caplen)}, 1);
}

static void test_pcap_variants(void **state)
{
	static const struct {
		uint32_t magic;
		unsigned more; /* in a packet's header */
		bool ns;
	} kinds[] = {{0xa1b2c3d4, 0, false}, {0xa1b23c4d, 0, true}, {0xa1b2cd34, 8, false}};

	(void)state;
	for (size_t k = 0; k < 3; k++)
		for (int swap = 0; swap < 2; swap++)
			for (size_t step = 0; step < 8; step += 7) {
				struct memory m;
				struct capfile *file;
				struct capfile_record r;

				memory_new(&m);
				m.step = step;
				pcap_head(&m, kinds[k].magic, 4, swap);
				pcap_packet(&m, 1000000000, 123456, 60, 100, kinds[k].more, swap);
				pcap_packet(&m, 4294967295, 7, 0, 0, kinds[k].more, swap);
				assert_int_equal(capfile_new(&file, read_memory, &m), 0);
				assert_int_equal(capfile_next(file, &r), 1);
				assert_int_equal(r.kind, CAPFILE_INTERFACE);
				assert_int_equal(r.iface->link, LINK_ETHERNET);
				assert_int_equal(r.iface->snaplen, 65535);
				assert_int_equal(r.iface->nanoseconds, kinds[k].ns);
				assert_int_equal(capfile_next(file, &r), 1);
				assert_int_equal(r.kind, CAPFILE_PACKET);
				assert_int_equal(r.position, 24);
				assert_int_equal(r.ns, 1000000000000000000 + 123456 * (kinds[k].ns ? 1 : 1000));
				assert_int_equal(r.caplen, 60);
				assert_int_equal(r.len, 100);
				assert_int_equal(r.data[0], 60);
				assert_int_equal(capfile_next(file, &r), 1);
				assert_int_equal(r.caplen, 0);
				assert_int_equal(capfile_next(file, &r), 0);
				capfile_free(file);
				free(m.data);
			}
}

/* Old files have the two lengths the other way round. */
static void test_pcap_old(void **state)
{
	static const unsigned minors[] = {1, 2, 3, 543};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct memory m;
		struct capfile *file;
		struct capfile_record r;

		memory_new(&m);
		pcap_head(&m, 0xa1b2c3d4, minors[i], false);
		pcap_packet(&m, 1, 0, 100, 60, 0, false); /* 60 captured of 100 */
		assert_int_equal(capfile_new(&file, read_memory, &m), 0);
		capfile_next(file, &r);
		assert_int_equal(capfile_next(file, &r), 1);
		assert_int_equal(r.caplen, 60);
		assert_int_equal(r.len, 100);
		capfile_free(file);
		free(m.data);
	}
}

/* Wherever a file is cut, all packets before it are there, and the position is that of its end. */
static void test_pcap_cut(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;
	size_t len;

	(void)state;
	memory_new(&m);
	pcap_head(&m, 0xa1b2c3d4, 4, false);
	for (int i = 0; i < 3; i++)
		pcap_packet(&m, 1, 0, 20, 20, 0, false);
	len = m.len;
	for (m.len = 0; m.len <= len; m.len++) {
		int rc = read_all(&m, &packets, &at);

		assert_int_equal(rc, m.len >= 24 && (m.len - 24) % 36 == 0 ? 0 : TN_ETRUNC);
		assert_int_equal(packets, m.len < 24 ? 0 : (m.len - 24) / 36);
		if (rc < 0)
			assert_int_equal(at, m.len);
	}
	free(m.data);
}

static void test_pcap_damaged(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	pcap_head(&m, 0xa1b2c3d4, 4, true);
	pcap_packet(&m, 1, 0, 20, 20, 0, true);
	put32(&m, 1, true);
	put32(&m, 1, true);
	put32(&m, 0xfffffff0, true);
	put32(&m, 60, true);
	m.len += 1000;
	assert_int_equal(read_all(&m, &packets, &at), TN_ETOOBIG);
	assert_int_equal(packets, 1);
	assert_int_equal(at, 24 + 36 + 8);
	m.len = 0;
	write_memory(&m, "\x1f\x8b\x08\x00....", 8);
	assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
	m.len = 0;
	pcap_head(&m, 0xa1b2c3d4, 5, false);
	assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
	assert_int_equal(at, 4);
	free(m.data);
}

/* ---- pcapng ---- */

static void section(struct memory *m, bool swap)
{
	put32(m, 0x0a0d0d0a, swap);
	put32(m, 28, swap);
	put32(m, 0x1a2b3c4d, swap);
	put16(m, 1, swap);
	put16(m, 0, swap);
	put64(m, UINT64_MAX, swap);
	put32(m, 28, swap);
}

/* resolution -1: none told */
static void interface(struct memory *m, uint16_t link, int resolution, int64_t offset, bool swap)
{
	uint32_t len = 20 + (resolution >= 0 ? 8 : 0) + (offset ? 12 : 0);

	put32(m, 1, swap);
	put32(m, len, swap);
	put16(m, link, swap);
	put16(m, 0, swap);
	put32(m, 0, swap);
	if (resolution >= 0) {
		put16(m, 9, swap);
		put16(m, 1, swap);
		write_memory(m, (unsigned char[]){(unsigned char)resolution, 0, 0, 0}, 4);
	}
	if (offset) {
		put16(m, 14, swap);
		put16(m, 8, swap);
		put64(m, (uint64_t)offset, swap);
	}
	put32(m, len, swap);
}

static void packet(struct memory *m, uint32_t iface, uint64_t ticks, uint32_t caplen, bool swap)
{
	uint32_t padded = (caplen + 3) & ~3U;

	put32(m, 6, swap);
	put32(m, 32 + padded, swap);
	put32(m, iface, swap);
	put32(m, (uint32_t)(ticks >> 32), swap);
	put32(m, (uint32_t)ticks, swap);
	put32(m, caplen, swap);
	put32(m, caplen + 5, swap);
	for (uint32_t i = 0; i < padded; i++)
		write_memory(m, &(unsigned char){(unsigned char)(i + caplen)}, 1);
	put32(m, 32 + padded, swap);
}

static void test_pcapng_clocks(void **state)
{
	static const struct {
		int resolution;
		int64_t offset;
		uint64_t ticks, ns;
	} clocks[] = {
		{-1, 0, 1000000000123456, 1000000000123456000},
		{6, 0, 1000000000123456, 1000000000123456000},
		{9, 0, 1000000000123456789, 1000000000123456789},
		{0, 0, 1000000000, 1000000000000000000},
		{3, 5, 1000, 6000000000},
		{12, 0, 1500, 1},
		{0x80 | 10, 0, 1536, 1500000000},
		{0x80 | 32, -1, (3ULL << 32) + (1ULL << 31), 2500000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
		for (int swap = 0; swap < 2; swap++) {
			struct memory m;
			struct capfile *file;
			struct capfile_record r;

			memory_new(&m);
			section(&m, swap);
			interface(&m, LINK_RAW, clocks[i].resolution, clocks[i].offset, swap);
			packet(&m, 0, clocks[i].ticks, 3, swap);
			assert_int_equal(capfile_new(&file, read_memory, &m), 0);
			assert_int_equal(capfile_next(file, &r), 1);
			assert_int_equal(r.kind, CAPFILE_INTERFACE);
			assert_int_equal(capfile_next(file, &r), 1);
			assert_int_equal(r.ns, clocks[i].ns);
			assert_int_equal(r.caplen, 3);
			assert_int_equal(r.len, 8);
			assert_int_equal(capfile_next(file, &r), 0);
			capfile_free(file);
			free(m.data);
		}
}

/* Sections of both orders behind one another: numbers of interfaces begin anew in each. */
static void test_pcapng_sections(void **state)
{
	struct memory m;
	struct capfile *file;
	struct capfile_record r;
	unsigned packets = 0;

	(void)state;
	memory_new(&m);
	for (int swap = 0; swap < 2; swap++) {
		section(&m, swap);
		put32(&m, 0x0bad, swap); /* a block that nobody knows */
		put32(&m, 16, swap);
		put32(&m, 7, swap);
		put32(&m, 16, swap);
		interface(&m, LINK_RAW, -1, 0, swap);
		interface(&m, LINK_ETHERNET, -1, 0, swap);
		packet(&m, 1, 1, 10, swap);
		packet(&m, 0, 1, 11, swap);
	}
	assert_int_equal(capfile_new(&file, read_memory, &m), 0);
	while (capfile_next(file, &r) > 0)
		if (r.kind == CAPFILE_PACKET) {
			assert_int_equal(r.iface_id, packets / 2 * 2 + (packets % 2 ? 0 : 1));
			assert_int_equal(r.iface->link, packets % 2 ? LINK_RAW : LINK_ETHERNET);
			packets++;
		}
	assert_int_equal(packets, 4);
	capfile_free(file);
	free(m.data);
}

static void test_pcapng_cut(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;
	size_t len;

	(void)state;
	memory_new(&m);
	section(&m, false);
	interface(&m, LINK_RAW, 9, 0, false);
	for (int i = 0; i < 3; i++)
		packet(&m, 0, 1, 8, false);
	len = m.len;
	for (m.len = 4; m.len <= len; m.len++) {
		int rc = read_all(&m, &packets, &at);

		assert_int_equal(packets, m.len < 56 ? 0 : (m.len - 56) / 40);
		assert_int_equal(rc, m.len == 28 || (m.len >= 56 && (m.len - 56) % 40 == 0) ? 0 : TN_ETRUNC);
		if (rc < 0)
			assert_int_equal(at, m.len);
	}
	free(m.data);
}

/* Each word of a good file changed to each of these: never more than what stood before it, and never a crash. */
static void test_pcapng_damaged_words(void **state)
{
	static const uint32_t words[] = {0, 1, 3, 8, 12, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	m.damaged = true;
	section(&m, false);
	interface(&m, LINK_RAW, 9, 1, false);
	for (int i = 0; i < 3; i++)
		packet(&m, 0, 1, 8, false);
	for (size_t word = 0; word < m.len; word += 4)
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			uint32_t before;
			int rc;

			memcpy(&before, m.data + word, 4);
			memcpy(m.data + word, &words[i], 4);
			rc = read_all(&m, &packets, &at);
			memcpy(m.data + word, &before, 4);
			assert_true(packets <= 3);
			assert_true(rc <= 0 && at <= m.len && (rc == 0 || at + 48 >= word));
		}
	free(m.data);
}

/* A block of no length would be read for ever. */
static void test_pcapng_cyclic(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	section(&m, false);
	interface(&m, LINK_RAW, -1, 0, false);
	packet(&m, 0, 1, 8, false);
	for (int i = 0; i < 8; i++)
		put32(&m, 0, false);
	assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
	assert_int_equal(packets, 1);
	assert_int_equal(at, 28 + 20 + 40 + 4);
	free(m.data);
}

static void block_of(struct memory *m, uint32_t type, const uint32_t *words, uint32_t nwords)
{
	put32(m, type, false);
	put32(m, 12 + 4 * nwords, false);
	for (uint32_t i = 0; i < nwords; i++)
		put32(m, words[i], false);
	put32(m, 12 + 4 * nwords, false);
}

/* Blocks one word shorter than what they must hold. */
static void test_pcapng_short_blocks(void **state)
{
	static const struct {
		uint32_t type, nwords;
	} blocks[] = {{1, 1}, {2, 4}, {3, 0}, {5, 2}, {6, 4}, {10, 1}};
	static const uint32_t zeros[4];
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		m.len = 0;
		section(&m, false);
		interface(&m, LINK_RAW, -1, 0, false);
		block_of(&m, blocks[i].type, zeros, blocks[i].nwords);
		assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
		assert_int_equal(at, 28 + 20 + 4);
	}
	m.len = 0;
	block_of(&m, 0x0a0d0d0a, (uint32_t[]){0x1a2b3c4d, 1, 0}, 3);
	assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
	assert_int_equal(at, 4);
	free(m.data);
}

/* A packet that says of itself one byte more than its block has room for; and one that fills it. */
static void test_pcapng_long_packets(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	m.damaged = true;
	for (uint32_t caplen = 5; caplen <= 64; caplen++) {
		m.len = 0;
		section(&m, false);
		interface(&m, LINK_RAW, -1, 0, false);
		block_of(&m, 6, (uint32_t[]){0, 0, 0, caplen, caplen, 0x04030201, 0x08070605}, 7);
		assert_int_equal(read_all(&m, &packets, &at), caplen <= 8 ? 0 : TN_EFORMAT);
		assert_int_equal(packets, caplen <= 8);
		if (caplen > 8)
			assert_int_equal(at, 28 + 20 + 20); /* the word that says so */
	}
	free(m.data);
}

/* What is no capture at all; what is one that was compressed is told so. */
static void test_other_files(void **state)
{
	static const struct {
		const char *bytes, *words;
	} files[] = {{"\x1f\x8b\x08\x00", "compressed"},
		     {"\x1f\x8c\x08\x00", "neither pcap nor pcapng"},
		     {"\x1e\x8b\x08\x00", "neither pcap nor pcapng"},
		     {"text", "neither pcap nor pcapng"}};
	struct capfile *file;
	struct capfile_record r;
	struct memory m;
	uint64_t at;

	(void)state;
	memory_new(&m);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		m.len = m.at = 0;
		write_memory(&m, files[i].bytes, 4);
		assert_int_equal(capfile_new(&file, read_memory, &m), 0);
		assert_int_equal(capfile_next(file, &r), TN_EFORMAT);
		assert_non_null(strstr(capfile_why(file, &at), files[i].words));
		capfile_free(file);
	}
	free(m.data);
}

/* A simple packet tells only how long it was: what the interface did not keep of it is not there. */
static void test_pcapng_simple(void **state)
{
	struct memory m;
	struct capfile *file;
	struct capfile_record r;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	section(&m, false);
	block_of(&m, 1, (uint32_t[]){LINK_RAW, 8}, 2);
	block_of(&m, 3, (uint32_t[]){100, 0x04030201, 0x08070605}, 3);
	assert_int_equal(capfile_new(&file, read_memory, &m), 0);
	assert_int_equal(capfile_next(file, &r), 1);
	assert_int_equal(capfile_next(file, &r), 1);
	assert_int_equal(r.kind, CAPFILE_PACKET);
	assert_int_equal(r.caplen, 8);
	assert_int_equal(r.len, 100);
	assert_memory_equal(r.data, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(capfile_next(file, &r), 0);
	capfile_free(file);
	block_of(&m, 3, (uint32_t[]){100, 0x04030201}, 2); /* not even what was kept */
	m.damaged = true;
	assert_int_equal(read_all(&m, &packets, &at), TN_EFORMAT);
	assert_int_equal(packets, 1);
	assert_int_equal(at, 28 + 20 + 24 + 8);
	free(m.data);
}

/* The packet block of old has a count of drops beside the interface, and options like any. */
static void test_pcapng_old_packet(void **state)
{
	struct memory m;
	struct capfile *file;
	struct capfile_record r;

	(void)state;
	memory_new(&m);
	section(&m, false);
	interface(&m, LINK_ETHERNET, 9, 0, false);
	interface(&m, LINK_RAW, 9, 0, false);
	block_of(&m, 2, (uint32_t[]){77 << 16 | 1, 0, 1234, 4, 60, 0x04030201}, 6);
	assert_int_equal(capfile_new(&file, read_memory, &m), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(capfile_next(file, &r), 1);
	assert_int_equal(r.kind, CAPFILE_PACKET);
	assert_int_equal(r.iface->link, LINK_RAW);
	assert_int_equal(r.ns, 1234);
	assert_int_equal(r.caplen, 4);
	assert_int_equal(r.len, 60);
	assert_int_equal(capfile_next(file, &r), 0);
	capfile_free(file);
	free(m.data);
}

/* Memory is not a stranger's to take: no more interfaces than anybody has. */
static void test_pcapng_interfaces_without_end(void **state)
{
	struct memory m;
	unsigned packets;
	uint64_t at;

	(void)state;
	memory_new(&m);
	section(&m, false);
	while (m.len + 20 <= FILE_MAX)
		interface(&m, LINK_RAW, -1, 0, false);
	assert_int_equal(read_all(&m, &packets, &at), TN_ETOOBIG);
	free(m.data);
}

/* ---- writing ---- */

static void fill(unsigned char *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (unsigned char)(i + len);
}

static void write_some(struct memory *m, bool plain)
{
	char name[] = "lo", filter[] = "tcp port 80";
	struct capfile_iface iface = {.link = LINK_ETHERNET, .snaplen = 96, .name = name, .filter = filter};
	struct capfile_record r = {.ns = 1234567890123456789};
	static unsigned char kept[CAPWRITER_KEPT];
	struct capwriter *w;
	unsigned char data[4000];

	assert_int_equal(capwriter_new(&w, write_memory, m, plain, "test", "all of it", 9), 0);
	if (plain)
		capwriter_keep_in(w, kept);
	assert_int_equal(capwriter_interface(w, &iface), 0);
	assert_int_equal(capwriter_secrets(w, "CLIENT_RANDOM 00 11\n", 20), 0);
	for (uint32_t len = 0; len < 2000; len += 7) {
		fill(data, len);
		r.head = data; /* none of some */
		r.head_len = len / 3 % 100;
		r.data = data + r.head_len;
		r.caplen = len;
		r.len = len + 1;
		r.comment = len == 14 ? "fourteen" : NULL;
		r.comment_len = 8;
		assert_int_equal(capwriter_packet(w, &r), 0);
		r.ns += 1;
	}
	r.received = 300;
	r.dropped = 4;
	r.os_dropped = CAPFILE_UNCOUNTED;
	assert_int_equal(capwriter_counts(w, &r), 0);
	assert_int_equal(capwriter_flush(w), 0);
	capwriter_free(w);
}

static void test_written_and_read(void **state)
{
	(void)state;
	for (int plain = 0; plain < 2; plain++) {
		struct memory m;
		struct capfile *file;
		struct capfile_record r;
		unsigned packets = 0, seen = 0;
		int rc;

		memory_new(&m);
		write_some(&m, plain);
		m.step = 1000;
		assert_int_equal(capfile_new(&file, read_memory, &m), 0);
		while ((rc = capfile_next(file, &r)) > 0) {
			seen |= 1U << r.kind;
			if (r.kind == CAPFILE_COMMENT)
				assert_memory_equal(r.comment, "all of it", r.comment_len);
			if (r.kind == CAPFILE_SECRETS)
				assert_memory_equal(r.data, "CLIENT_RANDOM 00 11\n", r.caplen);
			if (r.kind == CAPFILE_INTERFACE && !plain) {
				assert_string_equal(r.iface->name, "lo");
				assert_string_equal(r.iface->filter, "tcp port 80");
			}
			if (r.kind == CAPFILE_COUNTS) {
				assert_int_equal(r.received, 300);
				assert_int_equal(r.dropped, 4);
				assert_int_equal(r.os_dropped, CAPFILE_UNCOUNTED);
			}
			if (r.kind != CAPFILE_PACKET)
				continue;
			assert_int_equal(r.caplen, packets * 7);
			assert_int_equal(r.len, packets * 7 + 1);
			assert_int_equal(r.ns, 1234567890123456789 + packets);
			assert_int_equal(r.comment != NULL, r.caplen == 14 && !plain);
			for (uint32_t i = 0; i < r.caplen; i++)
				assert_int_equal(r.data[i], (unsigned char)(i + r.caplen));
			packets++;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(packets, 286);
		assert_int_equal(seen, plain ? 1 << CAPFILE_PACKET | 1 << CAPFILE_INTERFACE
					     : 1 << CAPFILE_PACKET | 1 << CAPFILE_INTERFACE | 1 << CAPFILE_COUNTS |
						       1 << CAPFILE_SECRETS | 1 << CAPFILE_COMMENT);
		capfile_free(file);
		free(m.data);
	}
}

/* A block grows with the texts in it. */
static void test_long_texts_written_and_read(void **state)
{
	char comment[60001], name[3001], filter[501];
	struct capfile_iface iface = {.link = LINK_ETHERNET, .name = name, .filter = filter};
	struct capfile_record r;
	struct capwriter *w;
	struct capfile *file;
	struct memory m;
	unsigned seen = 0;
	int rc;

	(void)state;
	for (unsigned i = 0; i < sizeof(comment) - 1; i++)
		comment[i] = (char)('a' + i % 23);
	comment[sizeof(comment) - 1] = '\0';
	snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 1, comment + 1);
	snprintf(filter, sizeof(filter), "%.*s", (int)sizeof(filter) - 1, comment + 2);
	memory_new(&m);
	assert_int_equal(capwriter_new(&w, write_memory, &m, false, "test", comment, strlen(comment)), 0);
	assert_int_equal(capwriter_interface(w, &iface), 0);
	assert_int_equal(capwriter_flush(w), 0);
	capwriter_free(w);
	m.step = 1000;
	assert_int_equal(capfile_new(&file, read_memory, &m), 0);
	while ((rc = capfile_next(file, &r)) > 0) {
		seen |= 1U << r.kind;
		if (r.kind == CAPFILE_COMMENT) {
			assert_int_equal(r.comment_len, strlen(comment));
			assert_memory_equal(r.comment, comment, r.comment_len);
		} else {
			assert_int_equal(r.kind, CAPFILE_INTERFACE);
			assert_string_equal(r.iface->name, name);
			assert_string_equal(r.iface->filter, filter);
		}
	}
	assert_int_equal(rc, 0);
	assert_int_equal(seen, 1 << CAPFILE_COMMENT | 1 << CAPFILE_INTERFACE);
	capfile_free(file);
	free(m.data);
}

static void test_write_fails(void **state)
{
	struct capfile_iface iface = {.link = LINK_ETHERNET}, other = {.link = LINK_RAW};
	struct memory m;
	struct capwriter *w;

	(void)state;
	memory_new(&m);
	m.fail_at = 10;
	assert_int_equal(capwriter_new(&w, write_memory, &m, true, NULL, NULL, 0), 0);
	assert_int_equal(capwriter_interface(w, &iface), 0);
	assert_int_equal(capwriter_interface(w, &iface), 1);
	assert_int_equal(capwriter_interface(w, &other), -EINVAL); /* pcap has one kind of link */
	assert_int_equal(capwriter_flush(w), -ENOSPC);
	capwriter_free(w);
	free(m.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pcap_variants),
		cmocka_unit_test(test_pcap_old),
		cmocka_unit_test(test_pcap_cut),
		cmocka_unit_test(test_pcap_damaged),
		cmocka_unit_test(test_pcapng_clocks),
		cmocka_unit_test(test_pcapng_sections),
		cmocka_unit_test(test_pcapng_cut),
		cmocka_unit_test(test_pcapng_damaged_words),
		cmocka_unit_test(test_pcapng_short_blocks),
		cmocka_unit_test(test_pcapng_long_packets),
		cmocka_unit_test(test_other_files),
		cmocka_unit_test(test_pcapng_simple),
		cmocka_unit_test(test_pcapng_old_packet),
		cmocka_unit_test(test_pcapng_interfaces_without_end),
		cmocka_unit_test(test_pcapng_cyclic),
		cmocka_unit_test(test_written_and_read),
		cmocka_unit_test(test_long_texts_written_and_read),
		cmocka_unit_test(test_write_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
