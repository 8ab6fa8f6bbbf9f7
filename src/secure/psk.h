/* Pre-shared keys: a file of lines IDENTITY:HEXKEY. A server takes all of them, a client goes by the first. */
#ifndef TNI_SECURE_PSK_H
#define TNI_SECURE_PSK_H

struct tni_creds;
struct tni_text;

/* Has the context use the keys of a file that holds this text. Returns 0, or a code with words. */
int tni_psk_use(struct tni_creds *creds, const char *file, const struct tni_text *text);

/* What stands in it, ended by a 0 byte and cut up by this. The same codes. */
int tni_psk_take(struct tni_creds *creds, const char *file, char *text);

/* Wipes and frees. */
void tni_psk_free(struct tni_creds *creds);

#endif
