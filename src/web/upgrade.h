/* WebSocket's opening handshake (RFC 6455 4): an HTTP/1.1 request that asks for the upgrade, and its answer. */
#ifndef TNI_WEB_UPGRADE_H
#define TNI_WEB_UPGRADE_H

#include "web/websocket.h"

#define TNI_WS_KEY 25 /* 16 random bytes in base64, with the zero byte */

/* What the handshake has agreed upon. */
struct tni_ws_agreed {
	const char *subprotocol; /* one of the configuration's; NULL: none */
	bool deflate;
	struct tni_deflate_params params;
	char *target; /* server: what the client has asked for; malloc'ed */
};

/* Client: the request goes to the end of `net`; `key` gets what the answer is checked against. `authorization`: who we
 * are, or NULL. 0 or < 0 with words. */
int tni_ws_ask(const struct tni_ws_config *config, const char *authorization, char key[TNI_WS_KEY], struct tn_buf *net);

/* Client: reads the answer at the front of `data`. Its length; 0: it is not whole yet; < 0 with words. */
long tni_ws_read_answer(const struct tni_ws_config *config, const char *key, const char *data, size_t len,
			struct tni_ws_agreed *agreed);

/* The error that an answer is which is no upgrade. */
int tni_ws_refused(const struct tni_http *head);

/*
 * Server: reads the request at the front of `data`, and puts the answer at the end of `net`, also when it is refused.
 * `config` becomes the one of its ring whose path is asked for; `who` is what its enter() gets. The request's length;
 * 0: it is not whole yet; < 0 with words.
 */
long tni_ws_answer(const struct tni_ws_config **config, void *who, const char *data, size_t len, struct tn_buf *net,
		   struct tni_ws_agreed *agreed);

/* Server: an answer that refuses whatever is asked, with words, goes to the end of `net`. */
#ifdef TNI_HAVE_TLS
void tni_ws_turn_away(struct tn_buf *net, int status, const char *words);
#else /* no endpoint is WebSocket */
static inline void tni_ws_turn_away(struct tn_buf *net, int status, const char *words)
{
	(void)net, (void)status, (void)words;
}
#endif

#endif
