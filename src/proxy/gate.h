/*
 * The layer of a served proxy: it reads what the client asks for (proxy/request.h), is open then, and holds back what
 * the client says next until its owner has answered; then it leaves.
 */
#ifndef TNI_PROXY_GATE_H
#define TNI_PROXY_GATE_H

#include "layer.h"
#include "proxy/request.h"

/* Answers TNI_ASK_GATE, from when it is open until it leaves. */
struct tni_gate_facts {
	struct tni_layer *layer;
	const struct tni_request *request;
	bool answered;
};

/* `rules` are copied. 0 or -ENOMEM. */
int tni_gate_new(const struct tni_request_rules *rules, struct tni_layer **out);

/* Puts the answer into `net`, the layer's; the rest as tni_request_answer(). 0 or -ENOMEM. */
int tni_gate_answer(struct tni_layer *layer, int err, const unsigned char *ip, size_t ip_len, int port,
		    struct tn_buf *net);

#endif
