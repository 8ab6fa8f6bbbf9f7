#include "handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "handler.h"

/* What a relay does is a command of its own, which `tenon serve` calls in place of serving. */
static const struct handler_spec handler_relay = {
	.name = "relay",
	.argument = "URL",
	.meaning = "relays each connection (or client of datagrams) to another endpoint, as tenon relay does",
};

/* The same of a served proxy, for which there is no other. */
static const struct handler_spec handler_proxy = {
	.name = "proxy",
	.meaning = "connects each client of a proxy:// endpoint to where it wants to go (there: the default)",
};

static const struct handler_spec *const handlers[] = {
	&handler_echo,    &handler_ack,  &handler_discard,  &handler_count,       &handler_print, &handler_broadcast,
	&handler_chargen, &handler_exec, &handler_exec_pty, &handler_exec_socket, &handler_relay, &handler_proxy,
};

#define NHANDLERS ((int)(sizeof(handlers) / sizeof(handlers[0])))

const char *handler_at(int index, const char **meaning)
{
	static _Thread_local char form[64];
	const struct handler_spec *spec = index >= 0 && index < NHANDLERS ? handlers[index] : NULL;

	if (!spec)
		return NULL;
	snprintf(form, sizeof(form), "%s%s%s", spec->name, spec->argument ? ":" : "",
		 spec->argument ? spec->argument : "");
	*meaning = spec->meaning;
	return form;
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
	const char *near = name_nearest(text, len), *form, *meaning;
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
	for (int i = 0; (form = handler_at(i, &meaning)); i++)
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s %s", i ? "," : "", form);
	return why;
}

static const char *argument_text(const struct handler_spec *spec)
{
	static _Thread_local char why[96];

	if (!spec->argument)
		return "only exec, exec-pty, exec-socket and relay take an argument";
	snprintf(why, sizeof(why), "%s needs an argument: %s:%s", spec->name, spec->name, spec->argument);
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
		*why = argument_text(spec);
		return NULL;
	}
	*why = unknown_text(text, len);
	return NULL;
}

bool handler_is_of_proxies(const char *name)
{
	return name && strcmp(name, handler_proxy.name) == 0;
}

bool handler_is_relay(const struct handler_spec *spec)
{
	return spec == &handler_relay;
}

bool handler_is_datagrams(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);
}

bool handler_is_lossy(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_DATAGRAMS;
}

const struct handler_spec *handler_default(const char *url)
{
	int kind = tn_url_kind(url);

	if (kind > 0 && kind & TN_URL_PROXY)
		return &handler_proxy;
	/* Most of what comes below the transports is meant for others */
	if (kind > 0 && kind & TN_URL_BELOW)
		return &handler_discard;
	return handler_is_lossy(url) ? &handler_ack : &handler_echo;
}

const struct tn_handler *handler_face(const struct handler_spec *spec, const char *url)
{
	int kind = tn_url_kind(url);

	if (kind > 0 && kind & TN_URL_HTTP)
		return spec->requests.on_msg ? &spec->requests : NULL;
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
