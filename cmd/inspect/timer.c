#include "timer.h"

#include "common/human.h"
#include "common/json.h"
#include "common/text.h"

/* idiag_timer of struct inet_diag_msg: sock_diag(7). */
static const char *const names[] = {NULL, "retransmission", "keepalive", "time-wait", "probe of a shut window"};

static const char *name_of(const struct sock *sock)
{
	return sock->timer < sizeof(names) / sizeof(names[0]) ? names[sock->timer] : "other";
}

void timer_words(const struct sock *sock, struct text *text)
{
	char when[32];

	if (!sock->timer)
		return;
	text_add(text, "%s in %s", name_of(sock), human_us((double)sock->timer_ms * 1e3, when, sizeof(when)));
	if (sock->timer_count)
		text_add(text, ", %u so far", sock->timer_count);
}

void timer_json(const struct sock *sock, struct text *line)
{
	if (!sock->timer)
		return;
	json_object(line, "timer");
	json_text(line, "kind", name_of(sock));
	json_number(line, "expires_ms", sock->timer_ms);
	json_number(line, "count", sock->timer_count);
	json_object_end(line);
}
