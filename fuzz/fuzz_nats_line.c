/*
 * What a NATS server sends to a client (cmd/hub/nats_line): the first byte chooses how the stream is cut. However it is
 * cut, the same operations come out; all of one lies in its own bytes. A message is written again as it would be
 * published: the line tells a reader the lengths of what stands behind it.
 */
#include "fuzz.h"

#include "hub/nats_line.h"
#include "tenon_value.h"

static struct tn_split *kind;

struct outcome {
	uint64_t sum;
	unsigned operations;
	int rc;
};

static void check_inside(struct span part, const void *data, size_t len)
{
	const char *begin = data;

	CHECK(!part.len || (part.data >= begin && part.data + part.len <= begin + len));
}

/* Writes the line into memory of each length up to the one that it needs. */
static void check_published(const struct message *m, size_t extra)
{
	size_t whole = m->topic.len + m->reply.len + 64, len, cap;
	char *out = malloc(whole);

	CHECK(out);
	len = nats_line_publish(out, whole, m, extra);
	CHECK(len > 2 && len < whole && memcmp(out + len - 2, "\r\n", 2) == 0);
	CHECK(memcmp(out, m->head_len + extra ? "HPUB " : "PUB ", 4) == 0);
	CHECK(strtoull(memrchr(out, ' ', len), NULL, 10) == m->body.len + extra);
	free(out);
	cap = len - 1 - m->topic.len % 3;
	out = malloc(cap);
	CHECK(out && nats_line_publish(out, cap, m, extra) == 0);
	free(out);
}

static void check(const void *data, size_t len, struct outcome *out)
{
	struct nats_line line;
	struct span value;

	nats_line_read(&line, data, len);
	out->sum = out->sum * 31 + line.op;
	check_inside(line.text, data, len);
	if (line.op != NATS_MSG)
		return;
	check_inside(line.sid, data, len);
	check_inside(line.message.topic, data, len);
	check_inside(line.message.reply, data, len);
	check_inside(line.message.body, data, len);
	CHECK(line.message.head_len <= line.message.body.len);
	CHECK(!line.nobody || line.message.head_len == line.message.body.len);
	if (nats_line_header(&line.message, "Tenon-Number", &value)) {
		check_inside(value, line.message.body.data, line.message.head_len);
		out->sum += value.len;
	}
	check_published(&line.message, len % 3);
}

static struct outcome run(const uint8_t *data, size_t size, size_t step)
{
	struct outcome out = {0};
	struct tn_split *split;
	const void *msg;
	size_t len;

	CHECK(tn_split_another(kind, &split) == 0);
	for (size_t at = 0; at < size && out.rc >= 0; at += step) {
		CHECK(tn_split_feed(split, data + at, size - at < step ? size - at : step) == 0);
		while ((out.rc = tn_split_next(split, &msg, &len)) > 0) {
			check(msg, len, &out);
			out.operations++;
		}
	}
	tn_split_free(split);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;

	if (!kind)
		CHECK(nats_line_frame() == 0 &&
		      tn_split_new("tcp://localhost:1?frame=nats-client&max=1MiB", &kind) == 0);
	if (!size)
		return 0;
	whole = run(data + 1, size - 1, size);
	cut = run(data + 1, size - 1, 1 + data[0] % 16);
	CHECK(whole.operations == cut.operations && whole.sum == cut.sum && whole.rc == cut.rc);
	return 0;
}
