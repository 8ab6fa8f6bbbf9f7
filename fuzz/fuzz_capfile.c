/*
 * Capture files: read to their end however they are cut into pieces (the first byte), always the same records; and what
 * was read of a file, written as pcapng, is read as the same again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/packet/capfile.h"
#include "capture/packet/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t len, at, step;
};

struct output {
	uint8_t *data;
	size_t len, cap;
};

static void check(int holds)
{
	if (!holds)
		abort();
}

static long read_input(void *arg, void *buf, size_t len)
{
	struct input *in = arg;
	size_t part = in->len - in->at;

	part = part < in->step ? part : in->step;
	part = part < len ? part : len;
	memcpy(buf, in->data + in->at, part);
	in->at += part;
	return (long)part;
}

static int write_output(void *arg, const void *data, size_t len)
{
	struct output *out = arg;

	if (out->cap - out->len < len) {
		out->cap = (out->len + len) * 2;
		out->data = realloc(out->data, out->cap);
		check(out->data != NULL);
	}
	memcpy(out->data + out->len, data, len);
	out->len += len;
	return 0;
}

static uint64_t mix(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 0x100000001b3;
	return sum;
}

/* What stays the same when a file is read in other pieces, or written again. */
static uint64_t sum_of(uint64_t sum, const struct capfile_record *r)
{
	if (r->kind != CAPFILE_PACKET)
		return sum;
	sum = mix(sum, &r->ns, sizeof(r->ns));
	sum = mix(sum, &r->len, sizeof(r->len));
	sum = mix(sum, &r->iface->link, sizeof(r->iface->link));
	if (r->comment)
		sum = mix(sum, r->comment, r->comment_len);
	return mix(sum, r->data, r->caplen);
}

static void copy(struct capwriter *w, struct capfile_record *r)
{
	int err = r->kind == CAPFILE_INTERFACE ? capwriter_interface(w, r->iface)
		  : r->kind == CAPFILE_PACKET  ? capwriter_packet(w, r)
		  : r->kind == CAPFILE_COUNTS  ? capwriter_counts(w, r)
		  : r->kind == CAPFILE_SECRETS ? capwriter_secrets(w, r->data, r->caplen)
					       : capwriter_comment(w, r->comment, r->comment_len);

	check(err >= 0);
}

static int run(const uint8_t *data, size_t size, size_t step, uint64_t *sum, struct capwriter *w)
{
	struct input in = {.data = data, .len = size, .step = step};
	struct capfile_record r;
	struct capfile *file;
	uint64_t at;
	int rc;

	*sum = 0;
	check(capfile_new(&file, read_input, &in) == 0);
	while ((rc = capfile_next(file, &r)) > 0) {
		*sum = sum_of(*sum, &r);
		if (w)
			copy(w, &r);
	}
	if (rc < 0)
		check(capfile_why(file, &at)[0] && at <= size + 4);
	capfile_free(file);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct output out = {0};
	struct capwriter *w;
	uint64_t whole, cut, again;
	int rc;

	if (size < 1)
		return 0;
	check(capwriter_new(&w, write_output, &out, false, "fuzz", NULL, 0) == 0);
	rc = run(data + 1, size - 1, SIZE_MAX, &whole, w);
	check(capwriter_flush(w) == 0);
	capwriter_free(w);
	check(run(data + 1, size - 1, 1U + data[0], &cut, NULL) == rc && cut == whole);
	if (out.len) {
		check(run(out.data, out.len, SIZE_MAX, &again, NULL) == 0);
		check(again == whole);
	}
	free(out.data);
	return 0;
}
