/* Keys of a served URL that are this command's own and not the library's: handler and session. */
#ifndef TENON_OWN_KEYS_H
#define TENON_OWN_KEYS_H

/* A URL without them, and their values; each to be freed. */
struct own_keys {
	char *url;
	char *handler, *session; /* NULL: the URL has none */
};

/*
 * Takes them out of a URL. Returns NULL, or what is wrong with one, `*key`: a constant text; then nothing is to be
 * freed.
 */
const char *own_keys_take(const char *url, struct own_keys *keys, const char **key);

void own_keys_free(struct own_keys *keys);

#endif
