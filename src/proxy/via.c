#include "proxy/via.h"

#include "base/err.h"
#include "base/list.h"
#include "proxy/connect.h"
#include "web/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct via {
	struct tni_layer layer;
	enum tni_via_kind kind;
	struct tni_proxy_target target;
	struct tni_login login;
	char *authorization;
	bool heard; /* something has come */
	union {
		struct tni_socks socks;
		struct tni_connect connect;
	};
	char host[];
};

static struct via *via_of(const struct tni_layer *layer)
{
	return tni_container_of((struct tni_layer *)(uintptr_t)layer, struct via, layer);
}

static int via_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct via *v = via_of(layer);

	return v->kind == TNI_VIA_HTTP ? tni_connect_begin(&v->connect, net) : tni_socks_begin(&v->socks, net);
}

/* One answer. */
static long read_answer(struct via *v, struct tn_buf *in, struct tn_buf *net)
{
	size_t len = in->len < TNI_HTTP_MAX ? in->len : TNI_HTTP_MAX;
	const unsigned char *data = tni_buf_pullup(in, len);

	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	return v->kind == TNI_VIA_HTTP ? tni_connect_read(&v->connect, (const char *)data, len)
				       : tni_socks_read(&v->socks, data, len, net);
}

static int via_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct via *v = via_of(layer);
	long n = 1;

	(void)out, (void)max;
	while (in->len && n > 0 && !layer->done) {
		v->heard = true;
		n = read_answer(v, in, net);
		if (n > 0)
			tni_buf_consume(in, (size_t)n);
		if (v->kind == TNI_VIA_HTTP ? v->connect.done : v->socks.done)
			layer->open = layer->done = true;
	}
	return n < 0 ? (int)n : 0;
}

/* Never reached: nothing goes down before it is done. */
static int via_down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	(void)layer, (void)max;
	return tni_buf_move(net, in, in->len) < 0 ? tni_err(-ENOMEM, "out of memory") : 0;
}

static int via_shut(struct tni_layer *layer, struct tn_buf *net)
{
	(void)layer, (void)net;
	return 0;
}

static int via_cut(struct tni_layer *layer)
{
	const struct via *v = via_of(layer);
	int rc = v->kind == TNI_VIA_HTTP ? tni_connect_end(&v->connect) : 0;

	return rc < 0 ? rc
		      : tni_err(-ECONNRESET, v->heard ? "has closed the connection in the middle of its answer"
						      : "has closed the connection without an answer");
}

static int via_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	const struct via *v = via_of(layer);
	struct tni_words *words = answer;

	if (what != TNI_ASK_SILENCE || layer->done)
		return -EOPNOTSUPP;
	snprintf(words->text, sizeof(words->text), "%s",
		 v->kind == TNI_VIA_HTTP && v->connect.err ? v->connect.said
		 : v->heard                                ? "has not answered to the end"
							   : "has not answered");
	return 0;
}

static void via_free(struct tni_layer *layer)
{
	struct via *v = via_of(layer);

	tni_login_free(&v->login);
	tni_login_wipe(v->authorization);
	free(v);
}

static const struct tni_layer_ops via_ops = {
	.name = "proxy",
	.opening = "proxy",
	.open = via_open,
	.up = via_up,
	.down = via_down,
	.shut = via_shut,
	.cut = via_cut,
	.query = via_query,
	.free = via_free,
};

static int prepare(struct via *v)
{
	if (v->kind != TNI_VIA_HTTP) {
		v->socks = (struct tni_socks){.version = v->kind >= TNI_VIA_SOCKS5 ? 5 : 4,
					      .target = &v->target,
					      .user = v->login.user,
					      .password = v->login.password};
		return v->login.password && !v->login.user
			       ? tni_err(TN_EURL, "takes a user and a password (user:password), no token")
			       : 0;
	}
	if (v->login.user || v->login.password) {
		v->authorization = tni_login_authorization(&v->login);
		if (!v->authorization)
			return tni_err(-ENOMEM, "out of memory");
	}
	v->connect = (struct tni_connect){.target = &v->target, .authorization = v->authorization};
	return 0;
}

int tni_via_new(enum tni_via_kind kind, const char *host, int port, struct tni_login *login, struct tni_layer **out)
{
	size_t len = strlen(host) + 1;
	struct via *v = calloc(1, sizeof(*v) + len);
	int rc;

	if (!v) {
		tni_login_free(login);
		return tni_err(-ENOMEM, "out of memory");
	}
	v->layer.ops = &via_ops;
	v->kind = kind;
	v->login = *login;
	*login = (struct tni_login){NULL, NULL};
	memcpy(v->host, host, len);
	v->target = (struct tni_proxy_target){.name = v->host, .port = port};
	rc = prepare(v);
	if (rc < 0)
		via_free(&v->layer);
	else
		*out = &v->layer;
	return rc;
}

void tni_via_set_address(struct tni_layer *layer, const void *ip, size_t len)
{
	struct via *v = via_of(layer);

	memcpy(v->target.ip, ip, len);
	v->target.ip_len = len;
}
