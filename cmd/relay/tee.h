/*
 * Option --tee: a copy of what sessions say goes to other endpoints, the shadows, whose answers are read and dropped.
 * No session waits for a shadow: what it does not take is dropped, and counted.
 */
#ifndef TENON_RELAY_TEE_H
#define TENON_RELAY_TEE_H

#include <stdbool.h>
#include <stdint.h>

struct tn_conn;
struct tn_loop;
struct tn_msg;

/* Options --tee, --tee-sample and --tee-replies. */
const char *tee_add(const char *value, void *to);
const char *tee_set_sample(const char *value, void *to);
extern bool tee_replies;

bool tee_wanted(void);

/* The n-th URL, from 0; NULL past the end. */
const char *tee_url(int n);

/* Whether the options make sense together. Returns the exit status, after printing an error. */
int tee_check(void);

/* Tells what has been copied and what not. When all sessions have ended. */
void tee_tell(void);

/* ---- one session ---- */

struct tee;

/* A message that is lost does not spoil the others. What a proxy's client says over datagrams goes to shadows that have
 * datagrams alone: a stream would not tell where one ends. */
enum tee_carries { TEE_BYTES, TEE_MESSAGES, TEE_ASSOCIATION };

/* NULL: it is not one of the sample, or there is no memory. All others take NULL. */
struct tee *tee_begin(struct tn_loop *loop, enum tee_carries carries);

/* What a side has said; of the client, or of the target. `from`: in whose format it is; NULL: in none. */
void tee_put(struct tee *tee, struct tn_conn *from, bool by_client, const struct tn_msg *msg);

/* The client has ended its direction. */
void tee_end(struct tee *tee);
void tee_over(struct tee *tee);

#endif
