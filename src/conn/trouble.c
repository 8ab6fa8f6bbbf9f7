#include "conn/trouble.h"

#include "base/err.h"
#include "conn/conn.h"
#include "conn/server.h"

#include <errno.h>
#include <stdio.h>

/* For tn_server_suppressed(): inside on_trouble, on this thread. */
static _Thread_local unsigned suppressed;

void tni_troubles_init(struct tni_troubles *troubles)
{
	pthread_mutex_init(&troubles->lock, NULL);
}

void tni_troubles_free(struct tni_troubles *troubles)
{
	pthread_mutex_destroy(&troubles->lock);
}

static enum tni_trouble_kind kind_of(int err)
{
	switch (err) {
	case TN_ECERT:
		return TNI_TROUBLE_IDENTITY;
	case TN_ELIMIT:
		return TNI_TROUBLE_LIMIT;
	case -EACCES:
		return TNI_TROUBLE_STRANGER;
	case -ENOBUFS:
		return TNI_TROUBLE_LOST;
	case TN_EFORMAT:
	case TN_ETLS:
	case TN_ECUT:
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EPIPE:
		return TNI_TROUBLE_PEER;
	default:
		return TNI_TROUBLE_SYSTEM;
	}
}

void tni_trouble_note(struct tni_part *part, int err)
{
	struct tni_troubles *troubles = &part->server->troubles;
	struct tni_trouble *trouble = &troubles->kinds[kind_of(err)];

	if (!tni_watch_wants_trouble(part->server))
		return;
	pthread_mutex_lock(&troubles->lock);
	trouble->waiting++;
	trouble->err = err;
	snprintf(trouble->text, sizeof(trouble->text), "%s", tn_errmsg());
	pthread_mutex_unlock(&troubles->lock);
	tni_loop_ready(part->loop, &part->task);
}

/* Takes out what is due. Otherwise *wait_ns is how long it has to wait at most. */
static bool take_due(struct tni_troubles *troubles, struct tni_trouble *trouble, struct tni_trouble *out, uint64_t now,
		     uint64_t *wait_ns)
{
	bool due = false;

	pthread_mutex_lock(&troubles->lock);
	if (trouble->waiting) {
		/* The clocks of two loops differ by a turn. */
		uint64_t passed = trouble->told_ns && now > trouble->told_ns ? now - trouble->told_ns : 0;

		due = !trouble->told_ns || passed >= TNI_NS_PER_S;
		if (!due && TNI_NS_PER_S - passed < *wait_ns)
			*wait_ns = TNI_NS_PER_S - passed;
	}
	if (due) {
		*out = *trouble;
		trouble->waiting = 0;
		trouble->told_ns = now;
	}
	pthread_mutex_unlock(&troubles->lock);
	return due;
}

static void tell(struct tni_part *part, const struct tni_trouble *trouble)
{
	suppressed = trouble->waiting - 1;
	tni_watch_trouble(part->server, trouble->err, trouble->text);
	suppressed = 0;
}

void tni_trouble_tell(struct tni_part *part, bool all)
{
	struct tni_troubles *troubles = &part->server->troubles;
	uint64_t now = all ? UINT64_MAX : part->loop->now_ns, wait_ns = UINT64_MAX;
	struct tni_trouble trouble;

	for (int i = 0; i < TNI_TROUBLE_KINDS; i++)
		if (take_due(troubles, &troubles->kinds[i], &trouble, now, &wait_ns))
			tell(part, &trouble);
	if (wait_ns != UINT64_MAX)
		tni_loop_timer(part->loop, &part->trouble_timer, wait_ns);
}

void tn_conn_trouble(struct tn_conn *conn, int err, const char *text)
{
	if (!conn->part)
		return;
	tni_err(err, "%s", text);
	tni_trouble_note(conn->part, err);
}

unsigned tn_server_suppressed(const struct tn_server *server)
{
	(void)server;
	return suppressed;
}
