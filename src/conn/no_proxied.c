/* What stands for proxied.c and src/proxy in a build without the PROXY protocol, in which no URL has its keys. */
#include "conn/asked.h"
#include "conn/proxied.h"

#include "base/err.h"
#include "proxy/header.h"

#include <errno.h>

static int not_built(void)
{
	return tni_err(-EOPNOTSUPP, "%s", TNI_NOT_BUILT("PROXY protocol", "proxy"));
}

const struct tni_proxy_told *tni_proxied_told(const struct tn_conn *conn)
{
	(void)conn;
	return NULL;
}

int tni_proxied_make(struct tn_conn *conn, const struct tn_conn *of, const struct tn_msg *msg)
{
	(void)conn, (void)of, (void)msg;
	return not_built();
}

int tni_proxied_take(struct tn_conn *conn, const struct tni_header *header, struct tn_addr *peer)
{
	(void)conn, (void)header, (void)peer;
	return not_built();
}

int tni_proxied_unwrap(struct tn_conn *socket, const struct tn_addr *sender, const void **data, size_t *len,
		       struct tn_addr *client)
{
	(void)socket, (void)sender, (void)data, (void)len, (void)client;
	return not_built();
}

bool tni_proxied_client(const struct tn_conn *conn, struct tn_addr *client)
{
	(void)conn, (void)client;
	return false;
}

void tni_proxied_free(struct tn_conn *conn)
{
	(void)conn;
}

int tni_proxy_reader(struct tni_layer **out)
{
	*out = NULL;
	return not_built();
}

int tni_proxy_sender(const unsigned char *header, size_t len, struct tni_layer **out)
{
	(void)header, (void)len;
	*out = NULL;
	return not_built();
}

int tn_conn_proxy(const struct tn_conn *conn, struct tn_proxy *proxy)
{
	(void)conn, (void)proxy;
	return not_built();
}

int tn_proxy_tlv(const struct tn_proxy *proxy, unsigned type, const unsigned char **value, size_t *len)
{
	(void)proxy, (void)type, (void)value, (void)len;
	return -ENOENT;
}

int tni_asked_layer(struct tn_conn *conn, struct tni_layer **out)
{
	(void)conn;
	*out = NULL;
	return not_built();
}

bool tni_asked_waits(const struct tn_conn *conn)
{
	(void)conn;
	return false;
}

int tn_conn_asked(const struct tn_conn *client, struct tn_asked *asked)
{
	(void)client, (void)asked;
	return not_built();
}

int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port, const char *keys,
		  const struct tn_handler *handler, void *arg, struct tn_conn **conn)
{
	(void)client, (void)what, (void)host, (void)port, (void)keys, (void)handler, (void)arg, (void)conn;
	return not_built();
}

int tn_conn_answer(struct tn_conn *client, int err, const struct tn_conn *used)
{
	(void)client, (void)err, (void)used;
	return not_built();
}
