#include "handler/handler.h"

#include <errno.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "handler/child.h"
#include "tenon_value.h"

static const struct handler_spec *const handlers[] = {
	&handler_echo, &handler_ack, &handler_discard, &handler_chargen, &handler_exec,
};

#define NHANDLERS ((int)(sizeof(handlers) / sizeof(handlers[0])))

const struct handler_spec *handler_at(int index)
{
	return index >= 0 && index < NHANDLERS ? handlers[index] : NULL;
}

static const char *name_nearest(const char *text, size_t len)
{
	const char *names[NHANDLERS];
	char word[32];

	for (int i = 0; i < NHANDLERS; i++)
		names[i] = handlers[i]->name;
	snprintf(word, sizeof(word), "%.*s", (int)len, text);
	return tn_nearest(word, names, NHANDLERS);
}

/* Whether the first word is a program that a shell would find. */
static bool is_command(const char *text)
{
	const char *path = getenv("PATH"), *next;
	size_t len = strcspn(text, " ");
	char file[512];

	if (memchr(text, '/', len))
		return snprintf(file, sizeof(file), "%.*s", (int)len, text) < (int)sizeof(file) &&
		       access(file, X_OK) == 0;
	for (; path && *path && len > 0; path = *next ? next + 1 : next) {
		next = strchrnul(path, ':');
		if (next - path + len + 2 < sizeof(file)) {
			snprintf(file, sizeof(file), "%.*s/%.*s", (int)(next - path), path, (int)len, text);
			if (access(file, X_OK) == 0)
				return true;
		}
	}
	return false;
}

static const char *unknown_text(const char *text, size_t len)
{
	static _Thread_local char why[256];
	const char *near = name_nearest(text, len);
	size_t used = (size_t)snprintf(why, sizeof(why), "no handler '%.*s'", len > 64 ? 64 : (int)len, text);

	if (is_command(text)) {
		snprintf(why + used, sizeof(why) - used, "; a command stands behind exec: as in exec:%.100s", text);
		return why;
	}
	if (near) {
		snprintf(why + used, sizeof(why) - used, " (did you mean %s?)", near);
		return why;
	}
	used += (size_t)snprintf(why + used, sizeof(why) - used, "; there are");
	for (int i = 0; i < NHANDLERS; i++)
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s %s%s%s", i ? "," : "", handlers[i]->name,
					 handlers[i]->argument ? ":" : "",
					 handlers[i]->argument ? handlers[i]->argument : "");
	return why;
}

const struct handler_spec *handler_find(const char *text, const char **argument, const char **why)
{
	size_t len = strcspn(text, ":");

	*argument = text[len] ? text + len + 1 : NULL;
	for (int i = 0; i < NHANDLERS; i++) {
		const struct handler_spec *spec = handlers[i];

		if (strncmp(spec->name, text, len) != 0 || spec->name[len])
			continue;
		if (!spec->argument == !*argument && (!*argument || **argument))
			return spec;
		*why = spec->argument ? "exec needs a command: exec:COMMAND" : "only exec takes an argument";
		return NULL;
	}
	*why = unknown_text(text, len);
	return NULL;
}

bool handler_is_datagrams(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);
}

bool handler_is_packets(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_PACKETS;
}

bool handler_is_lossy(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_DATAGRAMS;
}

const struct handler_spec *handler_default(const char *url)
{
	int kind = tn_url_kind(url);

	/* Below the transports most of what comes is meant for others */
	if (kind > 0 && kind & TN_URL_BELOW)
		return &handler_discard;
	return handler_is_lossy(url) ? &handler_ack : &handler_echo;
}

const struct tn_handler *handler_face(const struct handler_spec *spec, const char *url)
{
	return handler_is_lossy(url) ? &spec->datagrams : &spec->stream;
}

void handler_set_child_files(const struct rlimit *limit)
{
	child_set_files(limit);
}

void handler_finish(void)
{
	child_finish_all();
}

/* {"error": why}, or where there are no maps "error: why". NULL without memory. */
static struct tn_value *error_value(const char *format, const char *why)
{
	struct tn_value *map, *text;
	char words[512];

	if (strcmp(format, "text") == 0) {
		snprintf(words, sizeof(words), "error: %s", why);
		return tn_value_new_text(NULL, words, strlen(words));
	}
	map = tn_value_new_map(NULL);
	text = map ? tn_value_new_text(map, why, strlen(why)) : NULL;
	if (text && tn_value_put(map, "error", text) == 0)
		return map;
	tn_value_free(map);
	return NULL;
}

void handler_refuse(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	const char *why = tn_errmsg(), *format = tn_conn_format(conn);
	struct tn_value *value;
	size_t len;

	(void)arg;
	if (!format || !handler_may_answer(conn, msg) || (msg->peer && handler_is_reply(msg)))
		return;
	len = strlen(format);
	if (strncmp(why, format, len) == 0 && why[len] == ':')
		why += len + 2; /* the sender knows what it speaks */
	value = error_value(format, why);
	err = value ? 0 : -ENOMEM;
	if (value && handler_reply_fits(conn, msg, value))
		err = tn_reply_value(conn, msg, value);
	if (err < 0)
		handler_unanswered(conn, msg, err);
	tn_value_free(value);
}

/* What no frame of this endpoint can carry is no failure on the way: replies before it still go out. */
void handler_unanswered(struct tn_conn *conn, const struct tn_msg *msg, int err)
{
	if (msg && msg->peer)
		return;
	if (err == TN_ETOOBIG || err == TN_EFORMAT || err == TN_ESTATE)
		tn_close(conn);
	else
		tn_abort(conn, err);
}
