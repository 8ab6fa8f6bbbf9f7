/* What stands for tls.c where OpenSSL is not to be had. */
#include "load.h"

#include <err.h>

_Noreturn static void give_up(void)
{
	errx(1, "TLS: built without OpenSSL");
}

struct ssl_st *tls_connect(int fd)
{
	(void)fd;
	give_up();
}

ssize_t tls_send(struct ssl_st *ssl, const char *data, size_t len)
{
	(void)ssl, (void)data, (void)len;
	give_up();
}

ssize_t tls_recv(struct ssl_st *ssl, char *data, size_t len)
{
	(void)ssl, (void)data, (void)len;
	give_up();
}

void run_handshakes(struct load *load)
{
	(void)load;
	give_up();
}
