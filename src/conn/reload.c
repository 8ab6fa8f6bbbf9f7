/* What a server has read from files: held for new connections, and read again when the files have changed. */
#include "base/err.h"
#include "base/log.h"
#include "conn/server.h"
#include "conn/sites.h"
#include "endpoint/access.h"

#include <errno.h>
#include <string.h>

/* How often files are looked at. */
#define FILES_LOOK_NS TNI_NS_PER_S

struct tni_creds *tni_server_creds(struct tn_server *server)
{
	struct tni_creds *creds;

	pthread_mutex_lock(&server->creds_lock);
	creds = tni_creds_ref(server->creds);
	pthread_mutex_unlock(&server->creds_lock);
	return creds;
}

const struct tni_access *tni_part_access(struct tni_part *part)
{
	struct tn_server *server = part->server;

	if (part->access && part->access_seen == atomic_load_explicit(&server->access_made, memory_order_acquire))
		return part->access;
	tni_access_unref(part->access);
	pthread_mutex_lock(&server->creds_lock);
	part->access = tni_access_ref(server->access);
	part->access_seen = atomic_load(&server->access_made);
	pthread_mutex_unlock(&server->creds_lock);
	return part->access;
}

static int read_creds(struct tn_server *server)
{
	return server->creds ? tni_endpoint_creds(server->parts[0].ep, &server->fresh) : 0;
}

/* What has been read is used, or dropped where reading has failed. */
static void settle_creds(struct tn_server *server, int rc)
{
	struct tni_creds *old = server->fresh;

	if (rc == 0 && server->fresh) {
		pthread_mutex_lock(&server->creds_lock);
		old = server->creds;
		server->creds = server->fresh;
		pthread_mutex_unlock(&server->creds_lock);
	}
	server->fresh = NULL;
	tni_creds_unref(old);
}

static int reload_creds(struct tn_server *server)
{
	int rc = read_creds(server);

	settle_creds(server, rc);
	return rc;
}

static int reload_access(struct tn_server *server)
{
	struct tni_access *access, *old;
	int rc = tni_access_new(server->parts[0].ep, &access);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&server->creds_lock);
	old = server->access;
	server->access = access;
	atomic_fetch_add(&server->access_made, 1);
	pthread_mutex_unlock(&server->creds_lock);
	tni_access_unref(old);
	return 0;
}

static bool has_lists(const struct tn_server *server)
{
	return server->access && tni_files_path(&server->access->files, 0);
}

/* Until a client has asked for its path, it is anybody's of those who share the address: all of them show it the same
 * certificate, the one before or the new one. Lists are each server's own. */
int tn_server_reload(struct tn_server *server)
{
	struct tn_server *at = server;
	int rc;

	if (!server->creds && !has_lists(server))
		return tni_err(-EOPNOTSUPP, "%s: it has read no files", server->parts[0].ep->url);
	do {
		rc = read_creds(at);
		at = tni_sites_next(at);
	} while (rc == 0 && at != server);
	if (rc == 0 && has_lists(server))
		rc = reload_access(server);
	at = server;
	do {
		settle_creds(at, rc);
		at = tni_sites_next(at);
	} while (at != server);
	return rc;
}

/* That the old ones stay in use is trouble, not news: a certificate may be about to expire. */
static void tell_failed_reload(struct tn_server *server, int err, const char *what)
{
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	tni_err(err, "%s; the old %s stay in use", why, what);
	if (tni_watch_wants_trouble(server))
		tni_trouble_note(&server->parts[0], err);
	else
		tni_log(true, "%s", tn_errmsg());
}

static void tell_reload(struct tn_server *server, int err, const char *what)
{
	if (err < 0)
		tell_failed_reload(server, err, what);
	else
		tni_log(true, "%s: the files of the %s have changed and are in use", server->parts[0].ep->url, what);
}

/* Files are replaced one after the other: they are read once they have not changed for a while. What cannot be used now
 * is looked at again when it changes again. */
static void look_at_files(struct tni_timer *timer)
{
	struct tn_server *server = tni_container_of(timer, struct tn_server, files_timer);
	int err;

	tni_loop_timer(server->parts[0].loop, timer, FILES_LOOK_NS);
	if (server->creds && tni_creds_changed(server->creds)) {
		err = reload_creds(server);
		if (err < 0)
			tni_creds_accept_files(server->creds);
		tell_reload(server, err, "certificates");
	}
	if (has_lists(server) && tni_files_changed(&server->access->files)) {
		err = reload_access(server);
		if (err < 0)
			tni_files_accept(&server->access->files);
		tell_reload(server, err, "lists of addresses");
	}
}

void tni_server_watch_files(struct tn_server *server)
{
	if (!server->creds && !has_lists(server))
		return;
	server->files_timer.fire = look_at_files;
	tni_loop_timer(server->parts[0].loop, &server->files_timer, FILES_LOOK_NS);
}
