#include "web/upgrade.h"

#include "base/err.h"
#include "web/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/random.h>

#define KEY_BYTES 16
#define ACCEPT (4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1)

/* RFC 6455 1.3: shows that the server speaks WebSocket, and has read this very key. */
static void accept_of(const char *key, size_t len, char accept[ACCEPT])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA_DIGEST_LENGTH];
	char text[TNI_WS_KEY + sizeof(guid)];

	memcpy(text, key, len);
	memcpy(text + len, guid, sizeof(guid) - 1);
	SHA1((const unsigned char *)text, len + sizeof(guid) - 1, digest);
	EVP_EncodeBlock((unsigned char *)accept, digest, sizeof(digest));
}

/* A subprotocol of the configuration's that is this one. */
static const char *own_subprotocol(const struct tni_ws_config *config, const struct tni_http_text *name)
{
	for (int i = 0; config->subprotocols && config->subprotocols[i]; i++)
		if (tni_http_equals(name, config->subprotocols[i]))
			return config->subprotocols[i];
	return NULL;
}

/* ---- client ---- */

int tni_ws_ask(const struct tni_ws_config *config, const char *authorization, char key[TNI_WS_KEY], struct tn_buf *net)
{
	struct tni_http_out out = {.len = 0};
	unsigned char random[KEY_BYTES];
	int rc;

	if (getentropy(random, sizeof(random)) < 0)
		return tni_err(-errno, "no random bytes: %s", strerror(errno));
	EVP_EncodeBlock((unsigned char *)key, random, sizeof(random));
	tni_http_line(&out, "GET %s HTTP/1.1", config->path);
	tni_http_line(&out, "Host: %s", config->host);
	tni_http_line(&out, "Upgrade: websocket");
	tni_http_line(&out, "Connection: Upgrade");
	tni_http_line(&out, "Sec-WebSocket-Key: %s", key);
	tni_http_line(&out, "Sec-WebSocket-Version: 13");
	if (config->origin)
		tni_http_line(&out, "Origin: %s", config->origin);
	for (int i = 0; config->subprotocols && config->subprotocols[i]; i++)
		tni_http_line(&out, "Sec-WebSocket-Protocol: %s", config->subprotocols[i]);
	if (config->deflate) {
		char offer[TNI_DEFLATE_PARAMS];

		tni_deflate_write(&config->deflate_own, true, offer);
		tni_http_line(&out, "Sec-WebSocket-Extensions: %s", offer);
	}
	for (int i = 0; config->fields && config->fields[i]; i++)
		tni_http_line(&out, "%s", config->fields[i]);
	if (authorization)
		tni_http_line(&out, "Authorization: %s", authorization);
	rc = tni_http_end(&out, net);
	explicit_bzero(out.text, out.len);
	return rc == -ENOMEM ? tni_err(rc, "out of memory") : rc;
}

/* Anything but the upgrade: the server's own words, and where it sends us, which is not followed. */
int tni_ws_refused(const struct tni_http *head)
{
	struct tni_http_text where = {0};
	bool moved = head->status >= 300 && head->status < 400 && tni_http_field(head, "Location", &where) == 1;

	return tni_err(-ECONNREFUSED, "the server answers %d%s%.*s%s%.*s", head->status, head->reason.len ? " " : "",
		       (int)(head->reason.len < 80 ? head->reason.len : 80), head->reason.len ? head->reason.at : "",
		       moved ? ", and names another place, which is not followed: " : "",
		       (int)(where.len < 200 ? where.len : 200), moved ? where.at : "");
}

/* What the server has taken of what was offered. */
static int take_extensions(const struct tni_ws_config *config, const struct tni_http *head,
			   struct tni_ws_agreed *agreed)
{
	struct tni_http_walk walk = {0};
	struct tni_http_text item;

	while (tni_http_item(head, "Sec-WebSocket-Extensions", &walk, &item)) {
		int rc = config->deflate && !agreed->deflate ? tni_deflate_read(&item, false, &agreed->params) : 0;

		if (rc < 0)
			return tni_err_prefix(rc, "the server's answer");
		if (rc == 0)
			return tni_err(TN_EFORMAT, "the server wants the extension '%.*s', which was not offered",
				       (int)(item.len < 80 ? item.len : 80), item.at);
		agreed->deflate = true;
		if (!tni_deflate_fits(&config->deflate_own, &agreed->params))
			return tni_err(TN_EFORMAT, "the server's answer '%.*s' is none to what was offered",
				       (int)(item.len < 150 ? item.len : 150), item.at);
	}
	return 0;
}

long tni_ws_read_answer(const struct tni_ws_config *config, const char *key, const char *data, size_t len,
			struct tni_ws_agreed *agreed)
{
	struct tni_http_text accept = {0}, subprotocol = {0};
	char wanted[ACCEPT];
	struct tni_http head;
	long n = tni_http_read(&head, TNI_RESPONSE, data, len);
	int rc;

	if (n <= 0)
		return n < 0 ? tni_err_prefix((int)n, "the server's answer") : 0;
	if (head.status != 101)
		return tni_ws_refused(&head);
	accept_of(key, strlen(key), wanted);
	if (!tni_http_has(&head, "Upgrade", "websocket") || !tni_http_has(&head, "Connection", "Upgrade"))
		return tni_err(TN_EFORMAT, "the server's answer is an upgrade, but not to websocket");
	rc = tni_http_field(&head, "Sec-WebSocket-Accept", &accept);
	if (rc < 0)
		return tni_err_prefix(rc, "the server's answer");
	if (!rc || !tni_http_equals(&accept, wanted))
		return tni_err(TN_EFORMAT, "the server's answer belongs to another request (Sec-WebSocket-Accept)");
	rc = take_extensions(config, &head, agreed);
	if (rc < 0)
		return rc;
	rc = tni_http_field(&head, "Sec-WebSocket-Protocol", &subprotocol);
	if (rc < 0)
		return tni_err_prefix(rc, "the server's answer");
	agreed->subprotocol = rc ? own_subprotocol(config, &subprotocol) : NULL;
	if (rc && !agreed->subprotocol)
		return tni_err(TN_EFORMAT, "the server wants the subprotocol '%.*s', which was not offered",
			       (int)(subprotocol.len < 80 ? subprotocol.len : 80), subprotocol.at);
	return n;
}

/* ---- server ---- */

void tni_ws_turn_away(struct tn_buf *net, int status, const char *words)
{
	tni_http_refuse(net, status, NULL, words);
}

static bool is_key(const struct tni_http_text *key)
{
	unsigned char bytes[3 * (TNI_WS_KEY - 1) / 4];

	return key->len == TNI_WS_KEY - 1 && key->at[21] != '=' && key->at[22] == '=' && key->at[23] == '=' &&
	       EVP_DecodeBlock(bytes, (const unsigned char *)key->at, (int)key->len) == (int)sizeof(bytes);
}

/* Whether the path of a target, which may go on with a query, is this one. */
static bool is_path(const struct tni_http_text *target, const char *path)
{
	const char *query = memchr(target->at, '?', target->len);
	struct tni_http_text own = {target->at, query ? (size_t)(query - target->at) : target->len};

	return tni_http_equals(&own, path);
}

/* Who serves the path that is asked for, perhaps until a moment ago. NULL: nobody. */
static const struct tni_ws_config *site_of(const struct tni_ws_config *first, const struct tni_http_text *target)
{
	const struct tni_ws_config *site = first, *found = NULL;

	do {
		if ((!found || found->closed) && is_path(target, site->path))
			found = site;
		site = site->next;
	} while (site && site != first);
	return found;
}

/* 0; otherwise the status that refuses the request, with words; `field` gets one more line for its head. */
static int check_request(const struct tni_ws_config *config, const struct tni_http *head, const char **field,
			 struct tni_http_text *key)
{
	struct tni_http_text version = {0};
	int rc;

	if (head->minor < 1)
		return tni_err(505, "WebSocket begins with HTTP/1.1");
	if (!config)
		return tni_err(404, "nothing is served at '%.*s'",
			       (int)(head->target.len < 200 ? head->target.len : 200), head->target.at);
	if (config->closed)
		return tni_err(503, "the server ends");
	if (!tni_http_equals(&head->method, "GET")) {
		*field = "Allow: GET";
		return tni_err(405, "WebSocket begins with GET");
	}
	if (head->chunked || head->length)
		return tni_err(400, "the request has a body");
	if (!tni_http_has(head, "Upgrade", "websocket") || !tni_http_has(head, "Connection", "Upgrade")) {
		*field = "Upgrade: websocket";
		return tni_err(426,
			       "a WebSocket client is expected here: the request asks for no upgrade to websocket");
	}
	rc = tni_http_field(head, "Sec-WebSocket-Version", &version);
	if (rc < 0)
		return tni_err_prefix(400, "the request");
	if (!rc || !tni_http_equals(&version, "13")) {
		*field = "Sec-WebSocket-Version: 13";
		return tni_err(426, "version 13 of WebSocket is spoken here");
	}
	rc = tni_http_field(head, "Sec-WebSocket-Key", key);
	if (rc < 0)
		return tni_err_prefix(400, "the request");
	if (!rc || !is_key(key))
		return tni_err(400, "Sec-WebSocket-Key is not 16 bytes in base64");
	return tni_web_may_ask(config, head);
}

/* The client lists subprotocols in the order of its wishes, we in the order of ours: ours decides. */
static const char *choose_subprotocol(const struct tni_ws_config *config, const struct tni_http *head)
{
	const char *best = NULL;

	for (int i = 0; config->subprotocols && config->subprotocols[i] && !best; i++) {
		struct tni_http_walk walk = {0};
		struct tni_http_text item;

		while (!best && tni_http_item(head, "Sec-WebSocket-Protocol", &walk, &item))
			if (tni_http_equals(&item, config->subprotocols[i]))
				best = config->subprotocols[i];
	}
	return best;
}

/* The first offer that is understood: each of those can be met. */
static void choose_extensions(const struct tni_ws_config *config, const struct tni_http *head,
			      struct tni_ws_agreed *agreed)
{
	struct tni_http_walk walk = {0};
	struct tni_deflate_params offer;
	struct tni_http_text item;

	while (config->deflate && !agreed->deflate && tni_http_item(head, "Sec-WebSocket-Extensions", &walk, &item))
		agreed->deflate = tni_deflate_read(&item, true, &offer) == 1;
	if (agreed->deflate)
		tni_deflate_accept(&offer, &config->deflate_own, &agreed->params);
}

static int accept(const struct tni_http_text *key, struct tn_buf *net, const struct tni_ws_agreed *agreed)
{
	struct tni_http_out out = {.len = 0};
	char accept[ACCEPT];
	int rc;

	accept_of(key->at, key->len, accept);
	tni_http_line(&out, "HTTP/1.1 101 Switching Protocols");
	tni_http_line(&out, "Upgrade: websocket");
	tni_http_line(&out, "Connection: Upgrade");
	tni_http_line(&out, "Sec-WebSocket-Accept: %s", accept);
	if (agreed->subprotocol)
		tni_http_line(&out, "Sec-WebSocket-Protocol: %s", agreed->subprotocol);
	if (agreed->deflate) {
		char answer[TNI_DEFLATE_PARAMS];

		tni_deflate_write(&agreed->params, false, answer);
		tni_http_line(&out, "Sec-WebSocket-Extensions: %s", answer);
	}
	rc = tni_http_end(&out, net);
	return rc == -ENOMEM ? tni_err(rc, "out of memory") : rc;
}

long tni_ws_answer(const struct tni_ws_config **config, void *who, const char *data, size_t len, struct tn_buf *net,
		   struct tni_ws_agreed *agreed)
{
	const struct tni_ws_config *site = NULL;
	const char *field = NULL;
	struct tni_http_text key = {.at = ""};
	struct tni_http head;
	long n = tni_http_read(&head, TNI_REQUEST, data, len);
	int status, rc;

	if (n == 0)
		return 0;
	if (n > 0)
		site = site_of(*config, &head.target);
	status = n < 0 ? head.answer : check_request(site, &head, &field, &key);
	if (!status && site && site->enter)
		status = site->enter(site, who);
	if (status || !site) {
		tni_http_refuse(net, status, field, tn_errmsg());
		return n < 0 ? n : TN_EFORMAT;
	}
	*config = site;
	agreed->target = tni_http_copy(head.target.at, head.target.len);
	if (!agreed->target)
		return tni_err(-ENOMEM, "out of memory");
	agreed->subprotocol = choose_subprotocol(site, &head);
	choose_extensions(site, &head, agreed);
	rc = accept(&key, net, agreed);
	return rc < 0 ? rc : n;
}
