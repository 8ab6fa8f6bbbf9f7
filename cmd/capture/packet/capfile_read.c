#include "capfile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "tenon.h"

#ifndef WINDOW
#define WINDOW (256U * 1024) /* fits into the processor's cache beside all else */
#endif
#define BLOCK_MAX (16U << 20) /* no real block is longer */
#define PACKET_MAX 262144U    /* what libpcap, too, takes for the longest packet of an ordinary link */
#define IFACES_MAX 65536U
#define NS_PER_S 1000000000ULL

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_IFACE = 1,
	BLOCK_PACKET_OLD = 2,
	BLOCK_SIMPLE = 3,
	BLOCK_COUNTS = 5,
	BLOCK_PACKET = 6,
	BLOCK_SECRETS = 10
};

#define SECRETS_TLS 0x544c534bU

struct capfile {
	capfile_read_fn *read;
	void *arg;
	unsigned char *window;
	size_t cap, start, end; /* what waits is window[start..end) */
	uint64_t base;          /* position of window[0] in the file */
	size_t taken;           /* the record handed out last, dropped when the next is asked for */
	int err;                /* damage behind the record that is being handed out */
	uint64_t err_at;
	char why[200];

	int (*next)(struct capfile *file, struct capfile_record *record);
	bool swapped;
	struct capfile_iface **ifaces;
	uint32_t nifaces, ifaces_cap, section_first; /* numbers of a section's interfaces begin there */

	/* pcap */
	unsigned record_head;
	bool lengths_swapped, lengths_maybe_swapped;
};

/* ---- bytes ---- */

static uint64_t position(const struct capfile *file)
{
	return file->base + file->start;
}

static int damaged(struct capfile *file, int err, uint64_t at, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int damaged(struct capfile *file, int err, uint64_t at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(file->why, sizeof(file->why), fmt, ap);
	va_end(ap);
	file->err_at = at;
	return file->err = err;
}

static int window_grow(struct capfile *file, size_t cap)
{
	unsigned char *grown = realloc(file->window, cap);

	if (!grown)
		return -ENOMEM;
	file->window = grown;
	file->cap = cap;
	return 0;
}

/* Makes sure that `len` bytes wait. Returns 1; 0: the file ends before that; or a negative code. */
static int need(struct capfile *file, size_t len)
{
	long got;

	if (file->end - file->start >= len)
		return 1;
	memmove(file->window, file->window + file->start, file->end - file->start);
	file->base += file->start;
	file->end -= file->start;
	file->start = 0;
	while (file->end < len) {
		/* Step by step: a block may claim any length */
		if (file->end == file->cap && window_grow(file, len < 2 * file->cap ? len : 2 * file->cap) < 0)
			return damaged(file, -ENOMEM, position(file), "out of memory");
		got = file->read(file->arg, file->window + file->end, file->cap - file->end);
		if (got < 0)
			return damaged(file, (int)got, file->base + file->end, "%s", tn_strerror((int)got));
		if (got == 0)
			return 0;
		file->end += (size_t)got;
	}
	return 1;
}

static int truncated(struct capfile *file, const char *what, size_t len)
{
	size_t there = file->end - file->start;

	return damaged(file, TN_ETRUNC, position(file) + there, "the file ends inside %s: %zu bytes of %zu are there",
		       what, there, len);
}

static uint32_t get32(const struct capfile *file, const unsigned char *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return file->swapped ? __builtin_bswap32(value) : value;
}

static uint16_t get16(const struct capfile *file, const unsigned char *p)
{
	uint16_t value;

	memcpy(&value, p, sizeof(value));
	return file->swapped ? __builtin_bswap16(value) : value;
}

/* pcapng's counts and offsets are 64 bits in the section's order, its times two halves, the upper one first */
static uint64_t get64(const struct capfile *file, const unsigned char *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return file->swapped ? __builtin_bswap64(value) : value;
}

static uint32_t longest(const struct capfile_iface *iface)
{
	switch (iface->link) {
	case LINK_NULL:
	case LINK_ETHERNET:
	case LINK_RAW:
	case LINK_LOOP:
	case LINK_SLL:
	case LINK_SLL2:
	case LINK_IPV4:
	case LINK_IPV6:
		return PACKET_MAX;
	default: /* USB and the like have whole transfers */
		return BLOCK_MAX;
	}
}

/* ---- interfaces ---- */

static void iface_free(struct capfile_iface *iface)
{
	if (!iface)
		return;
	free(iface->name);
	free(iface->filter);
	free(iface);
}

/* Takes the interface over, in any case. */
static int iface_add(struct capfile *file, struct capfile_iface *iface, uint64_t at)
{
	struct capfile_iface **grown;
	uint32_t cap = file->ifaces_cap;

	if (iface && file->nifaces == cap && cap < IFACES_MAX) {
		cap = cap ? cap * 2 : 4;
		grown = realloc(file->ifaces, cap * sizeof(struct capfile_iface *));
		if (grown) {
			file->ifaces = grown;
			file->ifaces_cap = cap;
		}
	}
	if (iface && file->nifaces < file->ifaces_cap) {
		file->ifaces[file->nifaces++] = iface;
		return 0;
	}
	iface_free(iface);
	if (file->nifaces == IFACES_MAX)
		return damaged(file, TN_ETOOBIG, at, "there are more than %u interfaces", IFACES_MAX);
	return damaged(file, -ENOMEM, at, "out of memory");
}

static struct capfile_iface *iface_new(unsigned link, uint32_t snaplen)
{
	struct capfile_iface *iface = calloc(1, sizeof(*iface));

	if (iface)
		*iface = (struct capfile_iface){
			.link = (uint16_t)link, .snaplen = snaplen, .per_second = 1000000, .unit = 1000};
	return iface;
}

static uint64_t time_of(const struct capfile_iface *iface, uint64_t ticks)
{
	uint64_t ns;

	if (iface->unit)
		ns = ticks * iface->unit;
	else
		ns = (uint64_t)((unsigned __int128)ticks * NS_PER_S / iface->per_second);
	return ns + (uint64_t)iface->offset_s * NS_PER_S;
}

/* ---- pcap ---- */

static int pcap_next(struct capfile *file, struct capfile_record *record)
{
	const unsigned char *head;
	uint32_t caplen, len;
	int rc = need(file, file->record_head);

	if (rc < 0 || file->end == file->start)
		return rc < 0 ? rc : 0;
	if (rc == 0)
		return truncated(file, "the header of a packet", file->record_head);
	head = file->window + file->start;
	caplen = get32(file, head + 8);
	len = get32(file, head + 12);
	if (file->lengths_swapped || (file->lengths_maybe_swapped && caplen > len)) {
		uint32_t swap = caplen;

		caplen = len;
		len = swap;
	}
	if (caplen > longest(file->ifaces[0]))
		return damaged(file, TN_ETOOBIG, position(file) + 8, "a packet of %u bytes: longer than any can be",
			       caplen);
	rc = need(file, file->record_head + (size_t)caplen);
	if (rc <= 0)
		return rc < 0 ? rc : truncated(file, "a packet", file->record_head + (size_t)caplen);
	head = file->window + file->start;
	*record = (struct capfile_record){.kind = CAPFILE_PACKET,
					  .position = position(file),
					  .iface = file->ifaces[0],
					  .data = head + file->record_head,
					  .caplen = caplen,
					  .len = len};
	record->ns = get32(file, head) * NS_PER_S + get32(file, head + 4) * file->ifaces[0]->unit;
	file->taken = file->record_head + (size_t)caplen;
	return 1;
}

static int pcap_open(struct capfile *file, struct capfile_record *record)
{
	const unsigned char *head;
	struct capfile_iface *iface;
	unsigned major, minor;
	uint32_t magic;
	int rc = need(file, 24);

	if (rc <= 0)
		return rc < 0 ? rc : truncated(file, "its header", 24);
	head = file->window + file->start;
	magic = get32(file, head);
	major = get16(file, head + 4);
	minor = get16(file, head + 6);
	if (major != 2 || (minor > 4 && minor != 543))
		return damaged(file, TN_EFORMAT, 4, "pcap of version %u.%u, which nobody knows", major, minor);
	file->record_head = magic == 0xa1b2cd34 ? 24 : 16;
	/* Before 2.3 the lengths stood the other way round; in 2.3 and DG/UX's 543 they may */
	file->lengths_swapped = minor < 3 || minor == 543;
	file->lengths_maybe_swapped = minor == 3;
	iface = iface_new(get32(file, head + 20) & 0xffff, get32(file, head + 16));
	if (iface && magic == 0xa1b23c4d) {
		iface->nanoseconds = true;
		iface->per_second = NS_PER_S;
		iface->unit = 1;
	}
	rc = iface_add(file, iface, 0);
	if (rc < 0)
		return rc;
	file->next = pcap_next;
	file->taken = 24;
	*record = (struct capfile_record){.kind = CAPFILE_INTERFACE, .iface = file->ifaces[0]};
	return 1;
}

/* ---- pcapng ---- */

struct block {
	uint64_t at; /* its position */
	uint32_t type;
	const unsigned char *body;
	uint32_t len; /* of the body */
};

struct ng_option {
	uint16_t code, len;
	const unsigned char *value;
};

/* The options of a block, from byte `at` of its body. */
struct ng_options {
	const struct block *block;
	uint32_t at;
};

/* 1; 0: there are no more; TN_EFORMAT. */
static int option_next(struct capfile *file, struct ng_options *options, struct ng_option *option)
{
	const struct block *block = options->block;
	uint32_t left = block->len - options->at, len;
	const unsigned char *p = block->body + options->at;

	if (left == 0)
		return 0;
	if (left >= 4) {
		*option = (struct ng_option){.code = get16(file, p), .len = get16(file, p + 2), .value = p + 4};
		len = 4 + ((option->len + 3U) & ~3U);
		if (option->code == 0)
			return 0;
		if (len <= left) {
			options->at += len;
			return 1;
		}
	}
	return damaged(file, TN_EFORMAT, block->at + 8 + options->at,
		       "an option is longer than the block that it is in");
}

/* Takes the block that comes next as a whole. 1, 0: there is none, or a negative code. */
static int block_next(struct capfile *file, struct block *block)
{
	int rc = need(file, 12);
	const unsigned char *head = file->window + file->start;
	uint32_t total, magic;

	if (rc < 0 || file->end == file->start)
		return rc < 0 ? rc : 0;
	if (rc == 0)
		return truncated(file, "the header of a block", 12);
	block->at = position(file);
	block->type = get32(file, head);
	if (block->type == BLOCK_SECTION) { /* the same in both orders: it is what tells them apart */
		memcpy(&magic, head + 8, sizeof(magic));
		if (magic != 0x1a2b3c4d && magic != 0x4d3c2b1a)
			return damaged(file, TN_EFORMAT, block->at + 8, "a section without a byte order");
		file->swapped = magic == 0x4d3c2b1a;
	}
	total = get32(file, head + 4);
	if (total < 12 || total % 4 != 0)
		return damaged(file, TN_EFORMAT, block->at + 4, "a block of %u bytes, which none can have", total);
	if (total > BLOCK_MAX)
		return damaged(file, TN_ETOOBIG, block->at + 4, "a block of %u bytes: longer than any can be", total);
	rc = need(file, total);
	if (rc <= 0)
		return rc < 0 ? rc : truncated(file, "a block", total);
	block->body = file->window + file->start + 8;
	block->len = total - 12;
	if (get32(file, block->body + block->len) != total)
		return damaged(file, TN_EFORMAT, block->at + total - 4,
			       "a block that says %u bytes at its beginning and %u at its end", total,
			       get32(file, block->body + block->len));
	file->taken = total;
	return 1;
}

static int too_short(struct capfile *file, const struct block *block)
{
	return damaged(file, TN_EFORMAT, block->at + 4, "a block that is too short for what it must hold");
}

static int ng_section(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	struct ng_options options = {.block = block, .at = 16};
	struct ng_option option = {0};
	int rc;

	if (block->len < 16)
		return too_short(file, block);
	if (get16(file, block->body + 4) != 1)
		return damaged(file, TN_EFORMAT, block->at + 12, "pcapng of version %u.%u, which nobody knows",
			       get16(file, block->body + 4), get16(file, block->body + 6));
	file->section_first = file->nifaces;
	while ((rc = option_next(file, &options, &option)) > 0) {
		if (option.code != 1)
			continue;
		record->kind = CAPFILE_COMMENT;
		record->comment = (const char *)option.value;
		record->comment_len = option.len;
		return 1;
	}
	return rc;
}

static char *copy_text(const struct ng_option *option, char *before)
{
	free(before);
	return strndup((const char *)option->value, option->len);
}

static int set_resolution(struct capfile *file, struct capfile_iface *iface, const struct ng_option *option,
			  uint64_t at)
{
	unsigned power = option->value[0] & 0x7f;
	uint64_t per_second = 1;

	if (option->value[0] & 0x80) {
		per_second = power < 64 ? 1ULL << power : 0;
	} else {
		for (unsigned i = 0; i < power && per_second; i++)
			per_second = power < 20 ? per_second * 10 : 0;
	}
	if (!per_second)
		return damaged(file, TN_EFORMAT, at, "a clock finer than any (if_tsresol %u)", option->value[0]);
	iface->per_second = per_second;
	iface->unit = NS_PER_S % per_second == 0 ? NS_PER_S / per_second : 0;
	iface->nanoseconds = per_second > 1000000;
	return 0;
}

static int iface_option(struct capfile *file, struct capfile_iface *iface, const struct ng_option *option, uint64_t at)
{
	if (option->code == 2)
		iface->name = copy_text(option, iface->name);
	else if (option->code == 9 && option->len >= 1)
		return set_resolution(file, iface, option, at);
	else if (option->code == 11 && option->len >= 2 && option->value[0] == 0) {
		struct ng_option text = {.len = (uint16_t)(option->len - 1), .value = option->value + 1};

		iface->filter = copy_text(&text, iface->filter);
	} else if (option->code == 14 && option->len >= 8)
		iface->offset_s = (int64_t)get64(file, option->value);
	return 0;
}

static int ng_iface(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	struct ng_options options = {.block = block, .at = 8};
	struct capfile_iface *iface;
	struct ng_option option = {0};
	int rc;

	if (block->len < 8)
		return too_short(file, block);
	iface = iface_new(get16(file, block->body), get32(file, block->body + 4));
	while (iface && (rc = option_next(file, &options, &option)) != 0) {
		if (rc > 0)
			rc = iface_option(file, iface, &option, block->at + 8 + (uint64_t)(option.value - block->body));
		if (rc < 0) {
			iface_free(iface);
			return rc;
		}
	}
	rc = iface_add(file, iface, block->at);
	if (rc < 0)
		return rc;
	record->kind = CAPFILE_INTERFACE;
	record->iface_id = file->nifaces - 1;
	record->iface = file->ifaces[record->iface_id];
	return 1;
}

/* The interface of this number in the section. `at`: where the number stands. */
static int find_iface(struct capfile *file, uint32_t id, uint64_t at, struct capfile_record *record)
{
	if (id >= file->nifaces - file->section_first)
		return damaged(file, TN_EFORMAT, at, "interface %u, of which the section has told nothing", id);
	record->iface_id = file->section_first + id;
	record->iface = file->ifaces[record->iface_id];
	return 0;
}

/* A packet's bytes from byte `at` of the block, then its options.
 * What is wrong with those is told behind the packet. */
static int take_packet(struct capfile *file, const struct block *block, uint32_t at, struct capfile_record *record)
{
	uint32_t padded = (record->caplen + 3) & ~3U;
	struct ng_options options = {.block = block, .at = at + padded};
	struct ng_option option = {0};

	if (record->caplen > longest(record->iface))
		return damaged(file, TN_ETOOBIG, block->at + at, "a packet of %u bytes: longer than any can be",
			       record->caplen);
	if (padded > block->len - at)
		return damaged(file, TN_EFORMAT, block->at + at, "a packet of %u bytes in a block that has room for %u",
			       record->caplen, block->len - at);
	record->kind = CAPFILE_PACKET;
	record->data = block->body + at;
	while (block->len > options.at && option_next(file, &options, &option) > 0)
		if (option.code == 1 && !record->comment) {
			record->comment = (const char *)option.value;
			record->comment_len = option.len;
		}
	return 1;
}

static int ng_packet(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	const unsigned char *b = block->body;
	uint64_t ticks;
	int rc;

	if (block->len < 20)
		return too_short(file, block);
	/* The old packet block has 16 bits of interface and 16 of drops where the new one has 32 bits of interface */
	rc = find_iface(file, block->type == BLOCK_PACKET ? get32(file, b) : get16(file, b), block->at + 8, record);
	if (rc < 0)
		return rc;
	ticks = (uint64_t)get32(file, b + 4) << 32 | get32(file, b + 8);
	record->ns = time_of(record->iface, ticks);
	record->caplen = get32(file, b + 12);
	record->len = get32(file, b + 16);
	return take_packet(file, block, 20, record);
}

static int ng_simple(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	int rc;

	if (block->len < 4)
		return too_short(file, block);
	rc = find_iface(file, 0, block->at, record);
	if (rc < 0)
		return rc;
	record->len = record->caplen = get32(file, block->body);
	if (record->iface->snaplen && record->caplen > record->iface->snaplen)
		record->caplen = record->iface->snaplen;
	if (record->caplen > block->len - 4)
		return damaged(file, TN_EFORMAT, block->at + 8, "a packet of %u bytes in a block that has room for %u",
			       record->caplen, block->len - 4);
	record->kind = CAPFILE_PACKET;
	record->data = block->body + 4;
	return 1;
}

static int ng_counts(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	struct ng_options options = {.block = block, .at = 12};
	struct ng_option option = {0};
	int rc;

	if (block->len < 12)
		return too_short(file, block);
	rc = find_iface(file, get32(file, block->body), block->at + 8, record);
	if (rc < 0)
		return rc;
	record->kind = CAPFILE_COUNTS;
	record->ns =
		time_of(record->iface, (uint64_t)get32(file, block->body + 4) << 32 | get32(file, block->body + 8));
	record->received = record->dropped = record->os_dropped = CAPFILE_UNCOUNTED;
	while ((rc = option_next(file, &options, &option)) > 0) {
		uint64_t *count = option.code == 4   ? &record->received
				  : option.code == 5 ? &record->dropped
				  : option.code == 7 ? &record->os_dropped
						     : NULL;

		if (count && option.len == 8)
			*count = get64(file, option.value);
	}
	return rc < 0 ? rc : 1;
}

static int ng_secrets(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	uint32_t len;

	if (block->len < 8)
		return too_short(file, block);
	len = get32(file, block->body + 4);
	if (len > block->len - 8)
		return damaged(file, TN_EFORMAT, block->at + 12, "%u bytes of secrets in a block that has room for %u",
			       len, block->len - 8);
	if (get32(file, block->body) != SECRETS_TLS)
		return 0;
	record->kind = CAPFILE_SECRETS;
	record->data = block->body + 8;
	record->caplen = record->len = len;
	return 1;
}

/* 1: a record; 0: a block that has none; or a negative code. */
static int ng_block(struct capfile *file, const struct block *block, struct capfile_record *record)
{
	switch (block->type) {
	case BLOCK_SECTION:
		return ng_section(file, block, record);
	case BLOCK_IFACE:
		return ng_iface(file, block, record);
	case BLOCK_PACKET:
	case BLOCK_PACKET_OLD:
		return ng_packet(file, block, record);
	case BLOCK_SIMPLE:
		return ng_simple(file, block, record);
	case BLOCK_COUNTS:
		return ng_counts(file, block, record);
	case BLOCK_SECRETS:
		return ng_secrets(file, block, record);
	default: /* names, journals, a vendor's own: whoever does not know a block skips it */
		return 0;
	}
}

static int ng_next(struct capfile *file, struct capfile_record *record)
{
	struct block block = {0};
	int rc;

	while ((rc = block_next(file, &block)) > 0) {
		*record = (struct capfile_record){.position = block.at};
		rc = ng_block(file, &block, record);
		if (rc != 0)
			return rc;
		file->start += file->taken;
		file->taken = 0;
	}
	return rc;
}

/* ---- any ---- */

static int unknown_kind(struct capfile *file, uint32_t magic)
{
	const unsigned char *b = file->window + file->start;

	if (b[0] == 0x1f && b[1] == 0x8b)
		return damaged(file, TN_EFORMAT, 0, "it is compressed: zcat FILE | tenon capture --read -");
	return damaged(file, TN_EFORMAT, 0, "it is neither pcap nor pcapng (it begins with %08x)", magic);
}

static int open_any(struct capfile *file, struct capfile_record *record)
{
	uint32_t magic;
	int rc = need(file, 4);

	if (rc <= 0)
		return rc < 0 ? rc : truncated(file, "its first word", 4);
	memcpy(&magic, file->window + file->start, sizeof(magic));
	if (magic == BLOCK_SECTION) {
		file->next = ng_next;
		return ng_next(file, record);
	}
	file->swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1 || magic == 0x34cdb2a1;
	if (file->swapped || magic == 0xa1b2c3d4 || magic == 0xa1b23c4d || magic == 0xa1b2cd34)
		return pcap_open(file, record);
	return unknown_kind(file, __builtin_bswap32(magic));
}

int capfile_new(struct capfile **out, capfile_read_fn *read, void *arg)
{
	struct capfile *file = calloc(1, sizeof(*file));

	if (!file || window_grow(file, WINDOW) < 0) {
		free(file);
		return -ENOMEM;
	}
	file->read = read;
	file->arg = arg;
	file->next = open_any;
	*out = file;
	return 0;
}

void capfile_free(struct capfile *file)
{
	if (!file)
		return;
	for (uint32_t i = 0; i < file->nifaces; i++)
		iface_free(file->ifaces[i]);
	free(file->ifaces);
	free(file->window);
	free(file);
}

int capfile_next(struct capfile *file, struct capfile_record *record)
{
	if (file->err < 0)
		return file->err;
	file->start += file->taken;
	file->taken = 0;
	return file->next(file, record);
}

const char *capfile_why(const struct capfile *file, uint64_t *position_out)
{
	*position_out = file->err_at;
	return file->why;
}
