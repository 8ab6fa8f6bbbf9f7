#include "credentials.h"

#include <stdio.h>

#include "json.h"
#include "tenon.h"
#include "text.h"

void credentials_take(struct credentials *who, const struct tn_conn_info *info)
{
	*who = (struct credentials){
		.known = info->peer_known, .pid = info->peer_pid, .uid = info->peer_uid, .gid = info->peer_gid};
	snprintf(who->label, sizeof(who->label), "%s", info->peer_label);
}

static const char *member(const char *whose, const char *what)
{
	static _Thread_local char name[32];

	snprintf(name, sizeof(name), "%s_%s", whose, what);
	return name;
}

void credentials_json(struct text *line, const char *whose, const struct credentials *who)
{
	if (!who->known)
		return;
	if (who->pid)
		json_number(line, member(whose, "pid"), (uint64_t)who->pid);
	else
		json_text(line, member(whose, "pid"), NULL);
	json_number(line, member(whose, "uid"), who->uid);
	json_number(line, member(whose, "gid"), who->gid);
	json_text(line, member(whose, "label"), *who->label ? who->label : NULL);
}

void credentials_text(struct text *line, const struct credentials *who)
{
	if (!who->known)
		return;
	text_add(line, " (user %u", (unsigned)who->uid);
	if (who->pid)
		text_add(line, ", process %d", who->pid);
	text_add(line, ")");
}
