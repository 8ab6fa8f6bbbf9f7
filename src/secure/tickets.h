/*
 * The keys that a server's session tickets are sealed with (RFC 5077 section 4). A key seals for an hour and opens for
 * one more: who learns a key can read the sessions of two hours at most. All loops of a server share them.
 */
#ifndef TNI_SECURE_TICKETS_H
#define TNI_SECURE_TICKETS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#define TNI_TICKET_NS (3600 * UINT64_C(1000000000))

struct tni_ticket_key {
	unsigned char name[16], cipher[32], mac[32];
};

struct tni_tickets {
	pthread_mutex_t lock;
	struct tni_ticket_key keys[2]; /* now, and before */
	bool has_before;
	uint64_t since_ns; /* when the first of them was made; 0: there is none yet */
};

void tni_tickets_init(struct tni_tickets *tickets);
void tni_tickets_wipe(struct tni_tickets *tickets);

/* The key to seal with at this time. False: there is no randomness. */
bool tni_tickets_current(struct tni_tickets *tickets, uint64_t now_ns, struct tni_ticket_key *key);

/* The key of that name: 1: it is the current one; 2: the one before; 0: there is none (any more). */
int tni_tickets_find(struct tni_tickets *tickets, uint64_t now_ns, const unsigned char name[16],
		     struct tni_ticket_key *key);

/* Has a server's context use them; SSL_get_app_data() of its connections is a struct tls. */
void tni_tickets_use(SSL_CTX *ctx);

#endif
