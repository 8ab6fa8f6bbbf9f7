/* One request, one reply, no loop of your own.
 * Run: request [URL [TEXT]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>

int main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10000";
	const char *text = argc > 2 ? argv[2] : "Hello, world!";
	void *reply;
	size_t len;

	if (tn_call(NULL, url, text, strlen(text), &reply, &len, 5000) < 0)
		return fprintf(stderr, "%s\n", tn_errmsg()), 1;
	printf("%.*s\n", (int)len, (char *)reply);
	free(reply);
	return 0;
}
