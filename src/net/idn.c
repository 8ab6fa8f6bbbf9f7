#include "net/idn.h"

#include "base/err.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef TNI_HAVE_IDN
#include <dlfcn.h>
#include <idn2.h>
#include <pthread.h>
#endif

bool tni_idn_is_ascii(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name >= 0x80)
			return false;
	return true;
}

#define CANNOT                                                                                              \
	"letters beyond ASCII cannot be converted here (%s): write the name as it stands in DNS, xn--..., " \
	"which the command idn2 prints"

#ifdef TNI_HAVE_IDN

/* Loaded when it is needed: its tables take longer to load than most commands take to run. */
static struct {
	int (*lookup)(const uint8_t *name, uint8_t **ascii, int flags);
	const char *(*words)(int rc);
	void (*free)(void *memory);
} idn2;

static pthread_once_t idn2_once = PTHREAD_ONCE_INIT;

static void idn2_load(void)
{
	void *library = dlopen("libidn2.so.0", RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return;
	*(void **)&idn2.words = dlsym(library, "idn2_strerror");
	*(void **)&idn2.free = dlsym(library, "idn2_free");
	if (idn2.words && idn2.free)
		*(void **)&idn2.lookup = dlsym(library, "idn2_lookup_u8");
}

static int convert(const char *name, char *out, size_t cap)
{
	uint8_t *ascii = NULL;
	size_t len;
	int rc;

	pthread_once(&idn2_once, idn2_load);
	if (!idn2.lookup)
		return tni_err(TN_EURL, CANNOT, "libidn2.so.0 is not installed");
	rc = idn2.lookup((const uint8_t *)name, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (rc == IDN2_MALLOC)
		return tni_err(-ENOMEM, "host name: out of memory");
	if (rc != IDN2_OK)
		return tni_err(TN_EURL, "no host name can be written like this: %s", idn2.words(rc));
	len = strlen((char *)ascii);
	if (len < cap)
		memcpy(out, ascii, len + 1);
	idn2.free(ascii);
	return len < cap ? 0 : tni_err(TN_EURL, "the host name is too long");
}

#else

static int convert(const char *name, char *out, size_t cap)
{
	(void)name, (void)out, (void)cap;
	return tni_err(TN_EURL, CANNOT, "this tenon was built without libidn2");
}

#endif

int tni_idn_to_ascii(const char *name, char *out, size_t cap)
{
	if (tni_utf8_check(name, strlen(name)) != strlen(name))
		return tni_err(TN_EURL, "the host name is not in UTF-8");
	return convert(name, out, cap);
}
