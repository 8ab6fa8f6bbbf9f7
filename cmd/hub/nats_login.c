#include "nats_login.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/text.h"
#include "nkey.h"

ssize_t nats_login_load(int fd, char *text)
{
	ssize_t n, len = 0;
	int err = 0;

	while (!err && len < NATS_LOGIN_MAX && (n = read(fd, text + len, (size_t)(NATS_LOGIN_MAX - len))) != 0)
		if (n > 0)
			len += n;
		else if (errno != EINTR)
			err = -errno;
	close(fd);
	text[len] = '\0';
	return err ? err : len;
}

void nats_login_forget(char *text)
{
	if (text)
		explicit_bzero(text, NATS_LOGIN_MAX);
	free(text);
}

static struct span line_at(struct span text)
{
	size_t len = 0;

	while (text.len && (*text.data == ' ' || *text.data == '\t'))
		text.data++, text.len--;
	while (len < text.len && text.data[len] != '\n' && text.data[len] != '\r')
		len++;
	return (struct span){text.data, len};
}

static struct span behind(struct span text, struct span line)
{
	const char *from = line.data + line.len, *end = text.data + text.len;

	while (from < end && (*from == '\r' || *from == '\n'))
		from++;
	return (struct span){from, (size_t)(end - from)};
}

static bool has(struct span line, const char *words)
{
	return memmem(line.data, line.len, words, strlen(words));
}

/* What stands behind "BEGIN NATS USER JWT" and "BEGIN USER NKEY SEED". */
static const char *read_creds(struct nats_login *login, struct span text)
{
	while (text.len) {
		struct span line = line_at(text), rest = behind(text, line);

		if (has(line, "BEGIN NATS USER JWT"))
			login->jwt = line_at(rest);
		else if (has(line, "BEGIN USER NKEY SEED"))
			login->seed = line_at(rest);
		text = rest;
	}
	if (!login->jwt.len || !login->seed.len)
		return "has no JWT and seed of a user, as credentials of NATS have";
	return nkey_is_seed(login->seed) ? NULL : "its seed is none of a user's nkey (SU...)";
}

/* A seed that is mistyped must not go to the server as a token. */
static bool is_like_seed(struct span line)
{
	size_t i = 0;

	while (i < line.len && ((line.data[i] >= 'A' && line.data[i] <= 'Z') ||
				(line.data[i] >= '0' && line.data[i] <= '9') || line.data[i] == '='))
		i++;
	return i == line.len && line.len >= NKEY_LEN - 6 && line.data[0] == 'S' && line.data[1] == 'U';
}

const char *nats_login_read(struct nats_login *login, const char *data, size_t len)
{
	struct span text = {data, len}, line;
	const char *colon;

	*login = (struct nats_login){0};
	if (has(text, "BEGIN NATS USER JWT"))
		return read_creds(login, text);
	line = line_at(text);
	while (text.len && (!line.len || line.data[0] == '#')) {
		text = behind(text, line);
		line = line_at(text);
	}
	if (!line.len)
		return "has no line with user:password, a token, or the seed of an nkey";
	colon = memchr(line.data, ':', line.len);
	if (nkey_is_seed(line)) {
		login->seed = line;
	} else if (is_like_seed(line)) {
		return "the seed is none of a user's nkey (SU...), or is mistyped";
	} else if (colon) {
		login->user = (struct span){line.data, (size_t)(colon - line.data)};
		login->password = (struct span){colon + 1, line.len - login->user.len - 1};
	} else {
		login->token = line;
	}
	return NULL;
}

static void member(struct text *object, const char *key, const char *data, size_t len)
{
	text_add(object, ",\"%s\":", key);
	json_string(object, data, len);
}

static const char *sign(struct text *object, const struct nats_login *login, struct span nonce)
{
	struct nkey_proof proof;

	if (!nonce.len)
		return "the server asks for no signature (it knows neither nkeys nor JWTs)";
	if (!nkey_sign(login->seed, nonce, &proof))
		return "this build has no Ed25519 (configure it with -Dtls=enabled)";
	if (!login->jwt.len)
		member(object, "nkey", proof.key, strlen(proof.key));
	member(object, "sig", proof.signature, strlen(proof.signature));
	return NULL;
}

const char *nats_login_write(struct text *object, const struct nats_login *login, struct span nonce)
{
	if (login->user.len) {
		member(object, "user", login->user.data, login->user.len);
		member(object, "pass", login->password.data, login->password.len);
	}
	if (login->token.len)
		member(object, "auth_token", login->token.data, login->token.len);
	if (login->jwt.len)
		member(object, "jwt", login->jwt.data, login->jwt.len);
	return login->seed.len ? sign(object, login, nonce) : NULL;
}
