#include "secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/complain.h"
#include "common/status.h"
#include "tenon.h"

static ssize_t read_file(const char *path, char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : nats_login_load(fd, text);
}

static int refuse(const char *path, const char *why)
{
	complain("%s: %s", path, why);
	return STATUS_USAGE;
}

static int read_line(struct secrets *out, const char *path, struct span *line)
{
	ssize_t len = read_file(path, out->text);

	if (len < 0)
		return refuse(path, tn_strerror((int)len));
	*line = (struct span){out->text, strcspn(out->text, "\r\n")};
	return line->len ? STATUS_DONE : refuse(path, "its first line is empty");
}

static int read_whole(struct secrets *out, const char *path, bool nats)
{
	ssize_t len = read_file(path, out->text);
	const char *why = len < 0 ? tn_strerror((int)len) : nats_login_read(&out->login, out->text, (size_t)len);

	if (!why && out->login.seed.len && !nats)
		why = "has the seed of an nkey, by which clients of nats:// alone log in";
	return why ? refuse(path, why) : STATUS_DONE;
}

int secrets_read(struct secrets *out, const struct login_given *given, bool nats)
{
	*out = (struct secrets){0};
	if (given->file && (given->name || given->password_file || given->token_file)) {
		complain("--login-file says all: --%s is one too many", given->name            ? "login"
									: given->password_file ? "password-file"
											       : "token-file");
		return STATUS_USAGE;
	}
	if (given->password_file && !given->name) {
		complain("--password-file: --login NAME is missing");
		return STATUS_USAGE;
	}
	if (given->token_file && given->name) {
		complain("--token-file says who you are: --login is one too many");
		return STATUS_USAGE;
	}
	out->text = calloc(1, NATS_LOGIN_MAX + 1);
	if (!out->text) {
		complain("out of memory");
		return STATUS_FAILED;
	}
	if (given->file)
		return read_whole(out, given->file, nats);
	if (given->token_file)
		return read_line(out, given->token_file, &out->login.token);
	if (!given->name)
		return STATUS_DONE;
	out->login.user = (struct span){given->name, strlen(given->name)};
	return given->password_file ? read_line(out, given->password_file, &out->login.password) : STATUS_DONE;
}

void secrets_forget(struct secrets *read)
{
	nats_login_forget(read->text);
	read->text = NULL;
}
