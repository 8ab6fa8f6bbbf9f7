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

#endif
