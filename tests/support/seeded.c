#include "seeded.h"

#include "tenon.h"

#ifdef TNI_HAVE_TLS
#include "certs.h"
#endif

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* splitmix64 */
uint64_t seeded_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

uint64_t seeded_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

double seeded_load(void)
{
	double load[1];
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (getloadavg(load, 1) < 1 || processors < 1 || load[0] < (double)processors)
		return 1;
	return load[0] / (double)processors;
}

void *seeded_grown(void *list, size_t *cap, size_t need, size_t size)
{
	if (need <= *cap)
		return list;
	while (*cap < need)
		*cap = *cap ? *cap * 2 : 256;
	list = realloc(list, *cap * size);
	if (!list)
		abort();
	return list;
}

int seeded_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

const char *seeded_engine(const char *engine, uint64_t seed, char *out, size_t cap)
{
	bool bare = !strcmp(engine, "sim") || (!strncmp(engine, "fault:", 6) && !strchr(engine + 6, ':'));

	if (bare)
		snprintf(out, cap, "%s:%ju", engine, (uintmax_t)seed);
	else
		snprintf(out, cap, "%s", engine);
	return out;
}

bool seeded_engine_is_refused(const char *engine)
{
	struct tn_loop *loop;
	int rc = tn_loop_new(&loop, engine);

	if (rc == 0)
		tn_loop_free(loop);
	else
		printf("passed over: %s\n", tn_errmsg());
	return rc < 0;
}

void seeded_make_dir(const char *name, char *path, size_t cap)
{
	snprintf(path, cap, "/tmp/tenon-%s-XXXXXX", name);
	if (!mkdtemp(path))
		abort();
#ifdef TNI_HAVE_TLS
	certs_make(path, "ca", NULL, NULL, -1, 1);
	certs_make(path, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
#endif
}

void seeded_remove_dir(const char *path)
{
#ifdef TNI_HAVE_TLS
	certs_remove(path);
#else
	rmdir(path);
#endif
}
