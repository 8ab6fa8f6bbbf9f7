/* Who may ask a server on the web: under which names (Host), and from whose pages (Origin). */
#ifndef TNI_WEB_GUARD_H
#define TNI_WEB_GUARD_H

#include "web/http.h"
#include "web/websocket.h"

/*
 * Whether a request may be answered, by the hosts and origins of the configuration. 0, or the status that refuses it,
 * with words (tni_err).
 *
 * A browser lets a stranger's page ask every server on this computer and in its network. It says the page's origin with
 * what is more than a look (Origin), and newer ones say with all requests whether page and server are of one site
 * (Sec-Fetch-Site). The page must be one that the server has served itself, or one that is listed. What is no browser
 * may leave both out. And a page can make its own name stand for an address of this network (DNS rebinding): so the
 * name that is asked for must be known here.
 */
int tni_web_may_ask(const struct tni_ws_config *config, const struct tni_http *head);

#endif
