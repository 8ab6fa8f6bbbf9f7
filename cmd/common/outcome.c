#include "outcome.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tenon.h"

const char *outcome_failure(const struct outcome *outcome, char *out, size_t cap)
{
	const char *name = outcome->signal ? sigabbrev_np(outcome->signal) : NULL;

	if (!outcome->known || (!outcome->signal && !outcome->status))
		return NULL;
	if (outcome->signal)
		snprintf(out, cap, "the command was ended by signal %d%s%s", outcome->signal, name ? ", SIG" : "",
			 name ? name : "");
	else if (outcome->status == 127)
		snprintf(out, cap, "the command ended with status 127: it was not found");
	else if (outcome->status == 126)
		snprintf(out, cap, "the command ended with status 126: it could not be run");
	else
		snprintf(out, cap, "the command ended with status %d", outcome->status);
	return out;
}

void outcome_json(struct text *line, const struct outcome *outcome)
{
	json_signed_or_null(line, "status", outcome->known && !outcome->signal, outcome->status);
	json_text(line, "signal", outcome->known && outcome->signal ? sigabbrev_np(outcome->signal) : NULL);
}

bool outcome_of(const struct tn_conn *conn, struct outcome *outcome)
{
	struct tn_conn_info info;

	tn_conn_info(conn, &info);
	*outcome = (struct outcome){
		.known = info.child_ended && !info.child_cut, .status = info.child_status, .signal = info.child_signal};
	return info.child_pid;
}
