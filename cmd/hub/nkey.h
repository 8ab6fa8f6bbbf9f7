/* NKEYs as NATS has them: an Ed25519 key in letters, with a kind in front and a checksum behind. */
#ifndef TENON_HUB_NKEY_H
#define TENON_HUB_NKEY_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"

#define NKEY_LEN 56 /* letters */

/* Whether the text is a user's public key (U...). */
bool nkey_is_user(struct span text);

/* Whether who has this key has signed the nonce; `signature` is in base64url, as CONNECT has it. */
bool nkey_has_signed(struct span key, struct span nonce, struct span signature);

/* Whether the text is a user's seed (SU...), which is the secret of a key. */
bool nkey_is_seed(struct span text);

/* What a seed signs: its public key, and the signature of a nonce in base64url, both ended by a zero byte. False: it is
 * no seed, or this build has no Ed25519. */
struct nkey_proof {
	char key[NKEY_LEN + 1], signature[88 + 1];
};
bool nkey_sign(struct span seed, struct span nonce, struct nkey_proof *proof);

#endif
