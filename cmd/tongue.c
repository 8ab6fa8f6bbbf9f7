#include "tongue.h"

#include <string.h>

void tongue_learn(struct tongue *tongue, const struct tn_conn *conn)
{
	const char *format = tn_conn_format(conn);

	tongue->spoken = format != NULL;
	tongue->values = format && strcmp(format, "text") != 0;
}

int tongue_hear(struct tongue *tongue, const void *data, size_t len)
{
	return tn_decode(tongue->values ? "json" : "text", data, len, 0, &tongue->value);
}

bool is_blank_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!text[i] || !strchr(" \t\r\n", text[i]))
			return false;
	return true;
}

bool tongue_is_blank(const struct tongue *tongue, const char *line, size_t len)
{
	return tongue->values && is_blank_text(line, len);
}

int tongue_say(struct tongue *tongue, const struct tn_conn *conn, const struct tn_msg *msg)
{
	int err = tn_msg_value(conn, msg, &tongue->value);

	if (err < 0)
		return err;
	return tn_encode(tongue->values ? "json" : "text", tongue->value, tongue->pretty ? TN_PRETTY : 0,
			 &tongue->bytes);
}

bool tongue_skips(const struct tn_conn *conn)
{
	char value[16];

	return tn_conn_option(conn, "bad", value, sizeof(value)) == 0 && strcmp(value, "skip") == 0;
}
