/* What stands for raw.c in a build without the schemes below the transports: no URL has one, fd:N may be one. */
#include "net/raw.h"

#include "base/err.h"

#include <errno.h>

static int not_built(void)
{
	return tni_err(-EOPNOTSUPP, "%s", TNI_NOT_BUILT("raw, icmp and packet", "raw"));
}

int tni_raw_protocol(enum tni_raw_kind kind, const char *text)
{
	(void)kind, (void)text;
	return -EINVAL;
}

int tni_raw_open(const struct tni_raw_spec *spec, int family)
{
	(void)spec, (void)family;
	return not_built();
}

int tni_raw_interface(struct tn_addr *addr, const char *name, int protocol)
{
	(void)addr, (void)name, (void)protocol;
	return -ENODEV;
}

int tni_raw_neighbour(struct tn_addr *addr, const struct tn_addr *at, const char *text)
{
	(void)addr, (void)at, (void)text;
	return -EINVAL;
}

int tni_raw_new(int fd, enum tni_raw_kind kind, bool connected, const struct tn_addr *to, const char *netns,
		struct tni_raw **out)
{
	(void)fd, (void)kind, (void)connected, (void)to, (void)netns;
	*out = NULL;
	return 0;
}

void tni_raw_free(struct tni_raw *raw)
{
	(void)raw;
}

const struct tn_addr *tni_raw_to(const struct tni_raw *raw)
{
	(void)raw;
	return NULL;
}

bool tni_raw_take(struct tni_raw *raw, const struct tn_addr *from, const void **data, size_t *len)
{
	(void)raw, (void)from, (void)data, (void)len;
	return true;
}

void tni_raw_give(struct tni_raw *raw, const struct tn_addr *to, unsigned char *data, size_t len)
{
	(void)raw, (void)to, (void)data, (void)len;
}
