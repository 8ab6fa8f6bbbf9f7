/* What stands for this room in a build without OpenSSL, so that nothing above it needs to know:
 * none of it is reached. */
#ifndef TNI_SECURE_NONE_H
#define TNI_SECURE_NONE_H

#include "base/err.h"

#include <stdlib.h>

struct tn_buf;
struct tni_dtls_listener;
struct tni_layer;
struct tn_security;

static inline void tni_creds_spec_free(struct tni_creds_spec *spec)
{
	(void)spec;
}

static inline int tni_creds_serve(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	(void)spec;
	*creds = NULL;
	*culprit = NULL;
	return tni_err(TN_EURL, TNI_NOT_BUILT("TLS", "tls"));
}

static inline int tni_creds_check(const struct tni_creds_spec *spec, bool server, const char **culprit)
{
	(void)spec;
	(void)server;
	*culprit = NULL;
	return tni_err(TN_EURL, TNI_NOT_BUILT("TLS", "tls"));
}

static inline int tni_creds_dial(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	return tni_creds_serve(spec, creds, culprit);
}

static inline struct tni_creds *tni_creds_ref(struct tni_creds *creds)
{
	return creds;
}

static inline int tni_tls_resume(struct tni_layer *layer, const char *place)
{
	(void)layer;
	(void)place;
	return 0;
}

static inline void tni_creds_unref(struct tni_creds *creds)
{
	(void)creds;
}

static inline bool tni_creds_changed(struct tni_creds *creds)
{
	(void)creds;
	return false;
}

static inline const char *tni_creds_file(const struct tni_creds *creds, int index)
{
	(void)creds;
	(void)index;
	return NULL;
}

static inline void tni_creds_accept_files(struct tni_creds *creds)
{
	(void)creds;
}

static inline int tni_tls_new(struct tni_creds *creds, const char *host, struct tni_layer **layer)
{
	(void)creds;
	(void)host;
	*layer = NULL;
	return tni_err(TN_EURL, TNI_NOT_BUILT("TLS", "tls"));
}

static inline void tni_tls_wait(struct tni_layer *layer, bool optional)
{
	(void)layer;
	(void)optional;
}

static inline bool tni_tls_is_plain(const struct tni_layer *layer)
{
	(void)layer;
	return true;
}

static inline int tni_tls_begin(struct tni_layer *layer, struct tn_buf *net)
{
	(void)layer;
	(void)net;
	return 0;
}

static inline void tni_tls_common_name(const unsigned char *der, size_t len, char *out, size_t cap)
{
	(void)der;
	(void)len;
	if (cap)
		*out = '\0';
}

static inline int tni_dtls_dial(struct tni_creds *creds, const char *host, struct tni_layer **layer)
{
	return tni_tls_new(creds, host, layer);
}

static inline const unsigned char *tni_dtls_hello(const void *data, size_t len)
{
	(void)data;
	(void)len;
	return NULL;
}

static inline struct tni_dtls_listener *tni_dtls_listener_new(void)
{
	return NULL;
}

static inline void tni_dtls_listener_free(struct tni_dtls_listener *listener)
{
	(void)listener;
}

static inline int tni_dtls_listen(struct tni_dtls_listener *listener, struct tni_creds *creds, uint64_t now_ns,
				  const void *peer, size_t peer_len, const void *data, size_t len, struct tn_buf *net,
				  struct tni_layer **layer)
{
	(void)listener;
	(void)creds;
	(void)now_ns;
	(void)peer;
	(void)peer_len;
	(void)data;
	(void)len;
	(void)net;
	*layer = NULL;
	return 0;
}

static inline void tni_dtls_refuse(const void *hello, struct tn_buf *net)
{
	(void)hello;
	(void)net;
}

#endif
