#include "container.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ID_LEN 64   /* of a container of the OCI's engines, in hexadecimal */
#define ID_SHOWN 12 /* as they show it */

static size_t hex_length(const char *text)
{
	size_t len = 0;

	while (isxdigit((unsigned char)text[len]))
		len++;
	return len;
}

/* What stands before the ID, in the same name or the one above. */
static const struct {
	const char *before, *engine;
} engines[] = {
	{"docker-", "docker"},
	{"docker/", "docker"},
	{"libpod-", "podman"},
	{"libpod/", "podman"},
	{"cri-containerd-", "containerd"},
	{"crio-", "cri-o"},
	{"garden/", "garden"},
};

/* Names that people have given. */
static const struct {
	const char *before, *engine, *end;
} named[] = {
	{"lxc.payload.", "lxc", "/"},
	{"lxc/", "lxc", "/"},
	{"machine.slice/systemd-nspawn@", "nspawn", ".service"},
	{"machine.slice/machine-", "machine", ".scope"},
};

static const char *engine_before(const char *path, const char *id)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
		size_t len = strlen(engines[i].before);

		if ((size_t)(id - path) >= len && memcmp(id - len, engines[i].before, len) == 0)
			return engines[i].engine;
	}
	return strstr(path, "kubepods") ? "kubernetes" : "oci";
}

bool container_of_path(const char *path, char out[CONTAINER_MAX])
{
	const char *id = NULL;

	out[0] = '\0';
	/* The last one: containers run in containers */
	for (const char *p = path; *p; p += hex_length(p) ? hex_length(p) : 1)
		if (hex_length(p) == ID_LEN)
			id = p;
	if (id) {
		snprintf(out, CONTAINER_MAX, "%s:%.*s", engine_before(path, id), ID_SHOWN, id);
		return true;
	}
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		const char *name = strstr(path, named[i].before), *end;

		if (!name)
			continue;
		name += strlen(named[i].before);
		end = strstr(name, named[i].end);
		snprintf(out, CONTAINER_MAX, "%s:%.*s", named[i].engine,
			 end ? (int)(end - name) : (int)strcspn(name, "/\n"), name);
		return true;
	}
	return false;
}

bool container_of_process(int pid, char out[CONTAINER_MAX])
{
	char name[64], line[1024];
	bool found = false;
	FILE *file;

	out[0] = '\0';
	snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	file = fopen(name, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		const char *path = strchr(line, ':');

		line[strcspn(line, "\n")] = '\0';
		path = path ? strchr(path + 1, ':') : NULL;
		found = path && container_of_path(path + 1, out);
	}
	if (file)
		fclose(file);
	return found;
}
