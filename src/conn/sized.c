/* The exported functions that take structs which may grow: see "structs that grow" in tenon.h. */
#include "tenon.h"

#include "base/err.h"
#include "frame/frame.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What the program has filled in, as this library knows it. 0, or -EINVAL: the program uses what is not known here. */
static int take(void *own, size_t own_size, const void *theirs, size_t size)
{
	memset(own, 0, own_size);
	memcpy(own, theirs, size < own_size ? size : own_size);
	for (size_t i = own_size; i < size; i++)
		if (((const unsigned char *)theirs)[i])
			return tni_err(-EINVAL,
				       "this program uses what tenon %s does not have: it was compiled for a later "
				       "one",
				       tn_version());
	return 0;
}

/* What this library has filled in, as far as the program has room. */
static void give(void *theirs, size_t size, const void *own, size_t own_size)
{
	memcpy(theirs, own, size < own_size ? size : own_size);
	if (size > own_size)
		memset((char *)theirs + own_size, 0, size - own_size);
}

/* It says its size itself, so there is no other name for it. */
int tn_frame_register(const struct tn_frame *frame)
{
	struct tn_frame own;
	int rc;

	if (!frame || frame->size < offsetof(struct tn_frame, wrap))
		return tni_err(-EINVAL, "frame: its size must be sizeof(struct tn_frame)");
	rc = take(&own, sizeof(own), frame, frame->size);
	return rc < 0 ? rc : tni_own_register(&own);
}

int tn_serve_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler, size_t size, void *arg,
		   struct tn_server **server)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_serve(loop, url, &own, arg, server);
}

int tn_serve_loops_sized(struct tn_loop *const *loops, int nloops, const char *url, const struct tn_handler *handler,
			 size_t size, void *arg, struct tn_server **server)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_serve_loops(loops, nloops, url, &own, arg, server);
}

int tn_server_watch_sized(struct tn_server *server, const struct tn_watch *watch, size_t size, void *arg)
{
	struct tn_watch own;
	int rc = take(&own, sizeof(own), watch, size);

	return rc < 0 ? rc : tn_server_watch(server, &own, arg);
}

void tn_server_count_sized(const struct tn_server *server, struct tn_counts *counts, size_t size)
{
	struct tn_counts own;

	tn_server_count(server, &own);
	give(counts, size, &own, sizeof(own));
}

int tn_dial_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler, size_t size, void *arg,
		  struct tn_conn **conn)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_dial(loop, url, &own, arg, conn);
}

int tn_dial_for_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler, size_t size, void *arg,
		      const struct tn_conn *of, const struct tn_msg *msg, struct tn_conn **conn)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_dial_for(loop, url, &own, arg, of, msg, conn);
}

int tn_dial_endpoint_sized(struct tn_loop *loop, struct tn_endpoint *ep, const struct tn_handler *handler, size_t size,
			   void *arg, struct tn_conn **conn)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_dial_endpoint(loop, ep, &own, arg, conn);
}

int tn_conn_asked_sized(const struct tn_conn *client, struct tn_asked *asked, size_t size)
{
	struct tn_asked own;
	int rc = tn_conn_asked(client, &own);

	if (rc == 0)
		give(asked, size, &own, sizeof(own));
	return rc;
}

int tn_dial_asked_sized(struct tn_conn *client, enum tn_asked_what what, const char *host, int port, const char *keys,
			const struct tn_handler *handler, size_t size, void *arg, struct tn_conn **conn)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_dial_asked(client, what, host, port, keys, &own, arg, conn);
}

int tn_conn_proxy_sized(const struct tn_conn *conn, struct tn_proxy *proxy, size_t size)
{
	struct tn_proxy own;
	int rc = tn_conn_proxy(conn, &own);

	if (rc == 0)
		give(proxy, size, &own, sizeof(own));
	return rc;
}

int tn_flow_sized(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, size_t size, void *arg)
{
	struct tn_pass own;
	int rc = pass ? take(&own, sizeof(own), pass, size) : 0;

	return rc < 0 ? rc : tn_flow(from, to, pass ? &own : NULL, arg);
}

int tn_conn_set_handler_sized(struct tn_conn *conn, const struct tn_handler *handler, size_t size, void *arg)
{
	struct tn_handler own;
	int rc = take(&own, sizeof(own), handler, size);

	return rc < 0 ? rc : tn_conn_set_handler(conn, &own, arg);
}

void tn_conn_info_sized(const struct tn_conn *conn, struct tn_conn_info *info, size_t size)
{
	struct tn_conn_info own;

	tn_conn_info(conn, &own);
	give(info, size, &own, sizeof(own));
}

int tn_conn_security_sized(const struct tn_conn *conn, struct tn_security *security, size_t size)
{
	struct tn_security own;
	int rc = tn_conn_security(conn, &own);

	if (rc == 0)
		give(security, size, &own, sizeof(own));
	return rc;
}

int tn_conn_websocket_sized(const struct tn_conn *conn, struct tn_websocket *ws, size_t size)
{
	struct tn_websocket own;
	int rc = tn_conn_websocket(conn, &own);

	if (rc == 0)
		give(ws, size, &own, sizeof(own));
	return rc;
}

int tn_option_at_sized(int index, struct tn_option *option, size_t size)
{
	struct tn_option own;
	int rc = tn_option_at(index, &own);

	if (rc == 0)
		give(option, size, &own, sizeof(own));
	return rc;
}

int tn_url_place_sized(const char *url, struct tn_place *place, size_t size)
{
	struct tn_place own;
	int rc = tn_url_place(url, &own);

	if (rc == 0)
		give(place, size, &own, sizeof(own));
	return rc;
}
