#include "capfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX_ 65532U /* an option's longest value, padded */

enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_IFACE = 1, BLOCK_COUNTS = 5, BLOCK_PACKET = 6, BLOCK_SECRETS = 10 };

struct capwriter {
	capfile_write_fn *write;
	void *arg;
	bool plain, begun;
	char *program, *comment;
	size_t comment_len;
	uint32_t nifaces, section_first;
	uint16_t link;             /* plain: of all packets */
	unsigned char *kept, *own; /* own: is freed with it */
	size_t len;
};

int capwriter_flush(struct capwriter *w)
{
	int err = w->len ? w->write(w->arg, w->kept, w->len) : 0;

	w->len = 0;
	return err;
}

static int put(struct capwriter *w, const void *data, size_t len)
{
	int err = len > CAPWRITER_KEPT - w->len ? capwriter_flush(w) : 0;

	if (err < 0)
		return err;
	if (len > CAPWRITER_KEPT)
		return w->write(w->arg, data, len);
	if (len)
		memcpy(w->kept + w->len, data, len);
	w->len += len;
	return 0;
}

static int put32(struct capwriter *w, uint32_t value)
{
	return put(w, &value, sizeof(value));
}

static int put_padded(struct capwriter *w, const void *data, size_t len)
{
	int err = put(w, data, len);

	return err < 0 ? err : put(w, "\0\0", -len & 3U);
}

/* ---- blocks are put together here before their lengths are known ---- */

struct build {
	unsigned char *data;
	size_t len, cap;
	bool failed;
};

static void add(struct build *b, const void *data, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3, cap = b->cap;
	unsigned char *grown;

	while (cap - b->len < padded)
		cap = cap ? cap * 2 : 512;
	if (cap != b->cap) {
		grown = realloc(b->data, cap);
		b->failed |= !grown;
		if (!grown)
			return;
		b->data = grown;
		b->cap = cap;
	}
	if (!padded)
		return;
	memset(b->data + b->len + padded - 4, 0, 4);
	memcpy(b->data + b->len, data, len);
	b->len += padded;
}

static void add32(struct build *b, uint32_t value)
{
	add(b, &value, sizeof(value));
}

static void add_option(struct build *b, unsigned code, const void *value, size_t len)
{
	uint16_t head[2] = {(uint16_t)code, (uint16_t)(len < TEXT_MAX_ ? len : TEXT_MAX_)};

	add(b, head, sizeof(head));
	add(b, value, head[1]);
}

static void add_text(struct build *b, unsigned code, const char *text)
{
	if (text)
		add_option(b, code, text, strlen(text));
}

static void add_count(struct build *b, unsigned code, uint64_t count)
{
	if (count != CAPFILE_UNCOUNTED)
		add_option(b, code, &count, sizeof(count));
}

/* Closes the options, writes the block, frees what it was built in. */
static int put_block(struct capwriter *w, uint32_t type, struct build *b)
{
	uint32_t total;
	int err;

	add32(b, 0);
	total = (uint32_t)b->len + 12;
	err = b->failed ? -ENOMEM : put32(w, type);
	if (err == 0)
		err = put32(w, total);
	if (err == 0)
		err = put(w, b->data, b->len);
	if (err == 0)
		err = put32(w, total);
	free(b->data);
	return err;
}

static int put_section(struct capwriter *w)
{
	static const struct {
		uint32_t order;
		uint16_t major, minor;
		int64_t length; /* -1: read it and see */
	} head = {0x1a2b3c4d, 1, 0, -1};
	struct build b = {0};

	add(&b, &head, sizeof(head));
	if (w->comment)
		add_option(&b, 1, w->comment, w->comment_len);
	add_text(&b, 3, "Linux");
	add_text(&b, 4, w->program);
	free(w->comment);
	w->comment = NULL;
	w->begun = true;
	w->section_first = w->nifaces;
	return put_block(w, BLOCK_SECTION, &b);
}

static int put_pcap_head(struct capwriter *w, const struct capfile_iface *iface)
{
	uint32_t head[] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, iface->snaplen ? iface->snaplen : 262144, iface->link};
	uint16_t version[] = {2, 4};

	memcpy(&head[1], version, sizeof(version));
	w->begun = true;
	w->link = iface->link;
	return put(w, head, sizeof(head));
}

static int begin(struct capwriter *w)
{
	return w->begun || w->plain ? 0 : put_section(w);
}

/* ---- what callers ask for ---- */

int capwriter_new(struct capwriter **out, capfile_write_fn *write, void *arg, bool plain, const char *program,
		  const char *comment, size_t comment_len)
{
	struct capwriter *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->write = write;
	w->arg = arg;
	w->plain = plain;
	w->kept = w->own = malloc(CAPWRITER_KEPT);
	w->program = program ? strdup(program) : NULL;
	if (!w->kept || (program && !w->program) || (comment && capwriter_comment(w, comment, comment_len) < 0)) {
		capwriter_free(w);
		return -ENOMEM;
	}
	*out = w;
	return 0;
}

void capwriter_free(struct capwriter *w)
{
	if (!w)
		return;
	free(w->program);
	free(w->comment);
	free(w->own);
	free(w);
}

void capwriter_keep_in(struct capwriter *w, void *buffer)
{
	free(w->own);
	w->own = NULL;
	w->kept = buffer;
}

int capwriter_interface(struct capwriter *w, const struct capfile_iface *iface)
{
	static const unsigned char resolution = 9;
	struct build b = {0};
	uint16_t link[2] = {iface->link, 0};
	char filter[512] = {0}; /* a zero byte in front says: libpcap's language */
	int err = begin(w);

	if (err < 0)
		return err;
	if (w->plain && w->begun)
		return iface->link == w->link ? (int)w->nifaces++ : -EINVAL;
	if (w->plain) {
		err = put_pcap_head(w, iface);
		return err < 0 ? err : (int)w->nifaces++;
	}
	add(&b, link, sizeof(link));
	add32(&b, iface->snaplen);
	add_text(&b, 2, iface->name);
	add_option(&b, 9, &resolution, 1);
	if (iface->filter) {
		strncpy(filter + 1, iface->filter, sizeof(filter) - 2);
		add_option(&b, 11, filter, 1 + strlen(filter + 1));
	}
	err = put_block(w, BLOCK_IFACE, &b);
	return err < 0 ? err : (int)w->nifaces++;
}

static int put_pcap_packet(struct capwriter *w, const struct capfile_record *r)
{
	uint32_t head[] = {(uint32_t)(r->ns / 1000000000), (uint32_t)(r->ns % 1000000000), r->caplen, r->len};
	int err = put(w, head, sizeof(head));

	if (err == 0)
		err = put(w, r->head, r->head_len);
	return err < 0 ? err : put(w, r->data, r->caplen - r->head_len);
}

int capwriter_packet(struct capwriter *w, const struct capfile_record *r)
{
	uint32_t padded = (r->caplen + 3) & ~3U;
	uint32_t comment_len = r->comment_len < TEXT_MAX_ ? r->comment_len : TEXT_MAX_;
	uint32_t options = r->comment ? 4 + ((comment_len + 3) & ~3U) + 4 : 0;
	uint32_t total = 32 + padded + options;
	uint32_t head[] = {
		BLOCK_PACKET, total, r->iface_id - w->section_first, (uint32_t)(r->ns >> 32), (uint32_t)r->ns,
		r->caplen,    r->len};
	uint16_t option[] = {1, (uint16_t)comment_len};
	int err;

	if (w->plain)
		return put_pcap_packet(w, r);
	err = put(w, head, sizeof(head));
	if (err == 0)
		err = put(w, r->head, r->head_len);
	if (err == 0)
		err = put(w, r->data, r->caplen - r->head_len);
	if (err == 0)
		err = put(w, "\0\0", padded - r->caplen);
	if (err == 0 && r->comment)
		err = put(w, option, sizeof(option));
	if (err == 0 && r->comment)
		err = put_padded(w, r->comment, comment_len);
	if (err == 0 && r->comment)
		err = put32(w, 0);
	return err < 0 ? err : put32(w, total);
}

int capwriter_counts(struct capwriter *w, const struct capfile_record *r)
{
	struct build b = {0};

	if (w->plain)
		return 0;
	add32(&b, r->iface_id - w->section_first);
	add32(&b, (uint32_t)(r->ns >> 32));
	add32(&b, (uint32_t)r->ns);
	add_count(&b, 4, r->received);
	add_count(&b, 5, r->dropped);
	add_count(&b, 7, r->os_dropped);
	return put_block(w, BLOCK_COUNTS, &b);
}

int capwriter_secrets(struct capwriter *w, const void *data, size_t len)
{
	uint32_t padded = ((uint32_t)len + 3) & ~3U;
	uint32_t head[] = {BLOCK_SECRETS, 20 + padded, 0x544c534b, (uint32_t)len};
	int err = begin(w);

	if (w->plain || len == 0)
		return 0;
	if (err == 0)
		err = put(w, head, sizeof(head));
	if (err == 0)
		err = put_padded(w, data, len);
	return err < 0 ? err : put32(w, 20 + padded);
}

int capwriter_comment(struct capwriter *w, const char *comment, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, comment, len);
	free(w->comment);
	w->comment = copy;
	w->comment_len = len;
	return w->begun && !w->plain ? put_section(w) : 0;
}
