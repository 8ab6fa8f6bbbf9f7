/* Who a Unix socket's other end is, in events. */
#ifndef TENON_CREDENTIALS_H
#define TENON_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

struct text;
struct tn_conn_info;

struct credentials {
	bool known;
	int pid;
	uint32_t uid, gid;
	char label[256];
};

void credentials_take(struct credentials *who, const struct tn_conn_info *info);

/* WHOSE_pid, WHOSE_uid, WHOSE_gid, WHOSE_label; nothing where none are known. */
void credentials_json(struct text *line, const char *whose, const struct credentials *who);

/* " (user 1000, process 123)"; nothing where none are known. */
void credentials_text(struct text *line, const struct credentials *who);

#endif
