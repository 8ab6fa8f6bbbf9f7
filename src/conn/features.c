/* What this build and this system can do. */
#include "tenon.h"

#include "codec/codec.h"
#include "io/uring.h"

#include <stdio.h>
#include <sys/utsname.h>

#ifdef TNI_HAVE_CARES
#include <ares.h>
#endif
#ifdef TNI_HAVE_TLS
#include <openssl/crypto.h>
#endif

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

const char *tn_version(void)
{
	return TEXT(TN_VERSION_MAJOR) "." TEXT(TN_VERSION_MINOR) "." TEXT(TN_VERSION_PATCH);
}

static void describe_uring(char *out, size_t cap)
{
#ifdef TNI_HAVE_URING
	struct tn_loop *loop;
	int rc = tn_loop_new(&loop, "uring");

	if (rc < 0) {
		snprintf(out, cap, "engine uring: refused by this system (%s)", tn_strerror(rc));
		return;
	}
	tn_loop_free(loop);
	snprintf(out, cap, "engine uring: yes, %s (liburing " TNI_URING_VERSION ")",
		 tni_uring_is_mature() ? "the default" : "by name; epoll is the default before Linux 6.6");
#else
	snprintf(out, cap, "engine uring: not in this build");
#endif
}

const char *const *tn_features(void)
{
	static _Thread_local char uring[128], kernel[256];
#ifdef TNI_HAVE_CARES
	static _Thread_local char names[64];
#endif
#ifdef TNI_HAVE_TLS
	static _Thread_local char tls[128];
#endif
	static _Thread_local char formats[128];
	static _Thread_local const char *lines[10];
	struct utsname u;
	int n = 0;

	describe_uring(uring, sizeof(uring));
	lines[n++] = uring;
	lines[n++] = "engine epoll: yes";
#ifdef TNI_HAVE_TLS
	snprintf(tls, sizeof(tls), "tls: %s", OpenSSL_version(OPENSSL_VERSION));
	lines[n++] = tls;
#else
	lines[n++] = "tls: not in this build";
#endif
#ifdef TNI_HAVE_CARES
	snprintf(names, sizeof(names), "names: c-ares %s", ares_version(NULL));
	lines[n++] = names;
#else
	lines[n++] = "names: getaddrinfo(3) in threads (c-ares is not in this build)";
#endif
	snprintf(formats, sizeof(formats), "formats: %s", tni_codec_names());
	lines[n++] = formats;
	if (uname(&u) == 0) {
		snprintf(kernel, sizeof(kernel), "kernel: %s %s %s", u.sysname, u.release, u.machine);
		lines[n++] = kernel;
	}
	lines[n] = NULL;
	return lines;
}
