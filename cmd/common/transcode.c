#include "transcode.h"

#include <string.h>

bool transcoder_is_for(const char *url)
{
	struct tn_split *split = NULL;
	bool formatted = tn_split_new(url, &split) >= 0 && tn_split_format(split);

	tn_split_free(split);
	return formatted;
}

void transcoder_begin(struct transcoder *coder, const struct tn_conn *conn)
{
	const char *format = tn_conn_format(conn);

	coder->formatted = format != NULL;
	coder->values = tn_format_kind(format) & TN_FORMAT_VALUES;
}

int transcoder_read(struct transcoder *coder, const void *data, size_t len)
{
	return tn_decode(coder->values ? "json" : "text", data, len, 0, &coder->value);
}

bool is_blank_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!text[i] || !strchr(" \t\r\n", text[i]))
			return false;
	return true;
}

bool transcoder_is_blank(const struct transcoder *coder, const char *line, size_t len)
{
	return coder->values && is_blank_text(line, len);
}

int transcoder_write(struct transcoder *coder, const struct tn_conn *conn, const struct tn_msg *msg)
{
	int err = tn_msg_value(conn, msg, &coder->value);

	if (err < 0)
		return err;
	return tn_encode(coder->values ? "json" : "text", coder->value, coder->pretty ? TN_PRETTY : 0, &coder->bytes);
}

bool transcoder_skips_bad(const struct tn_conn *conn)
{
	char value[16];

	return tn_conn_option(conn, "bad", value, sizeof(value)) == 0 && strcmp(value, "skip") == 0;
}
